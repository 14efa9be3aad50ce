"""StyleGAN2's published weights as variables of `osgan_jax.networks.stylegan2`.

Two forms are published, told apart by their names:

* 'pytorch': the state dicts of https://github.com/NVlabs/stylegan2-ada-pytorch. Dense layers are
  `[O, I]`, convolutions `[O, I, kh, kw]`.
* 'tensorflow': the variables of https://github.com/NVlabs/stylegan2, of configurations E and F.
  Dense layers are `[I, O]`, convolutions `[kh, kw, I, O]`; kernels that double the grid are the
  other form's mirrored, and 1 is added to styles where they are used. Networks with labels use
  them in another way than those here, and are refused.

Both keep parameters as they are trained, and scale them by the equalised learning rate where they
are used, as the layers here do: nothing is scaled in between. Both flatten the last 4x4 grid with
its channels first; here they come last.
"""

import re
from collections.abc import Iterable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.io import messages, published
from osgan_jax.networks import stylegan2

FORMS = ('pytorch', 'tensorflow')

# Layers here, in PyTorch and in TensorFlow; None where they have no counterpart.
_LAYERS = (
    (r'mapping_network/dense_(\d+)', r'mapping.fc\1', r'G_mapping/Dense\1'),
    (r'mapping_network/embedding', r'mapping.embed', None),
    (r'synthesis_network/conv_4', r'synthesis.b4.conv1', r'G_synthesis/4x4/Conv'),
    (r'synthesis_network/to_rgb_4', r'synthesis.b4.torgb', r'G_synthesis/4x4/ToRGB'),
    (
        r'synthesis_network/block_(\d+)/up',
        r'synthesis.b\1.conv0',
        r'G_synthesis/\1x\1/Conv0_up',
    ),
    (r'synthesis_network/block_(\d+)/conv', r'synthesis.b\1.conv1', r'G_synthesis/\1x\1/Conv1'),
    (r'synthesis_network/block_(\d+)/to_rgb', r'synthesis.b\1.torgb', r'G_synthesis/\1x\1/ToRGB'),
    (r'from_rgb', r'b{size}.fromrgb', r'{size}x{size}/FromRGB'),
    (r'block_(\d+)/conv', r'b\1.conv0', r'\1x\1/Conv0'),
    (r'block_(\d+)/down', r'b\1.conv1', r'\1x\1/Conv1_down'),
    (r'block_(\d+)/shortcut', r'b\1.skip', r'\1x\1/Skip'),
    (r'conv_4', r'b4.conv', r'4x4/Conv'),
    (r'dense', r'b4.fc', r'4x4/Dense0'),
    (r'logit', r'b4.out', r'Output'),
    (r'label/dense_(\d+)', r'mapping.fc\1', None),
    (r'label/embedding', r'mapping.embed', None),
)
# Variables of layers.
_LEAVES = {
    'kernel': ('.weight', '/weight'),
    'bias': ('.bias', '/bias'),
    'noise_strength': ('.noise_strength', '/noise_strength'),
    'conv/kernel': ('.weight', '/weight'),
    'conv/style/kernel': ('.affine.weight', '/mod_weight'),
    'conv/style/bias': ('.affine.bias', '/mod_bias'),
}
_OTHER_VARIABLES = {
    'w_average': ('mapping.w_avg', 'dlatent_avg'),
    'synthesis_network/constant': ('synthesis.b4.const', 'G_synthesis/4x4/Const/const'),
}

# Published tensors that are not variables here: noise, which `fixed_noise` takes, the blur, and a
# relic of progressive growing.
_IGNORED = re.compile(
    r'synthesis\.b\d+\.conv[01]\.noise_const|(.+\.)?resample_filter|G_synthesis/noise\d+|lod'
)
_BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def tensor_shapes(
    network: stylegan2.Generator | stylegan2.Discriminator, form: str = 'pytorch'
) -> dict[str, tuple[int, ...]]:
    """Returns the tensors that a network takes: shapes by a form's names, in its layouts.

    They are the parameters and, of a generator, the average of w. What else is published, fixed
    noise among it, is not needed.

    Args:
      network: the module, of which sizes, channels, layers and classes count.
      form: one of `FORMS`.

    Raises:
      ValueError: an unknown form, or TensorFlow's of a network with labels.
    """
    return {name: tensor.shape for name, tensor in _tensors(network, form).items()}


def generator_variables(
    tensors: dict[str, np.ndarray], generator: stylegan2.Generator
) -> dict[str, Any]:
    """Makes the generator's variables of published tensors.

    Args:
      tensors: from `osgan_jax.io.weights.read`, in either form; fixed noise may be among them.
      generator: the module that they are for.

    Returns:
      'params' and 'batch_stats', float32 on the host.

    Raises:
      ValueError: as `osgan_jax.io.published.select`; also if the network has labels and the form
        is TensorFlow's.
    """
    return _variables(tensors, generator, 'generator')


def discriminator_variables(
    tensors: dict[str, np.ndarray], discriminator: stylegan2.Discriminator
) -> dict[str, Any]:
    """Makes the discriminator's variables of published tensors.

    Published ones have the minibatch deviation: `stddev_group` must not be 0.

    Args:
      tensors: from `osgan_jax.io.weights.read`, in either form.
      discriminator: the module that they are for.

    Returns:
      'params', float32 on the host.

    Raises:
      ValueError: as of `generator_variables`.
    """
    return _variables(tensors, discriminator, 'discriminator')


def fixed_noise(tensors: dict[str, np.ndarray], image_size: int) -> list[np.ndarray]:
    """Returns the noise that is published with a generator, for `Generator.synthesis`.

    Args:
      tensors: the generator's, in either form; only its noise is read.
      image_size: height and width of the generator's images.

    Returns:
      A float32 array `[H, W]` for each layer but the last: grids 4, 8, 8, 16, 16 and so on.

    Raises:
      ValueError: noise is missing, of another shape or type, or not finite, or there is no network
        of that size.
    """
    if image_size not in stylegan2.IMAGE_SIZES:
        sizes = ', '.join(map(str, stylegan2.IMAGE_SIZES))
        raise ValueError(f'stylegan2 has no {image_size}-pixel networks: use one of {sizes}')
    form = _form(tensors)
    shapes = {}
    for layer in range(stylegan2.num_styles(image_size) - 1):
        # Two layers a grid, after the one of 4x4.
        grid = 2 ** ((layer + 5) // 2)
        if form == 'pytorch':
            shapes[f'synthesis.b{grid}.conv{(layer + 1) % 2}.noise_const'] = (grid, grid)
        else:
            shapes[f'G_synthesis/noise{layer}'] = (1, 1, grid, grid)
    whose = f'the noise of a {image_size}-pixel StyleGAN2 generator'
    found = published.select(
        {name: tensors[name] for name in shapes if name in tensors}, shapes, whose
    )
    return [found[name].reshape(shape[-2:]) for name, shape in shapes.items()]


def _variables(tensors: dict[str, np.ndarray], network: nn.Module, role: str) -> dict[str, Any]:
    form = _form(tensors)
    _check_blur(tensors)
    taken = {name: array for name, array in tensors.items() if not _IGNORED.fullmatch(name)}
    whose = (
        f'the {form} weights of a {network.image_size}-pixel StyleGAN2 {role}, whose sizes, widths '
        'and classes must be those of the published network'
    )
    return published.convert(taken, _tensors(network, form), whose)


def _form(tensors: Iterable[str]) -> str:
    # PyTorch's names have points where TensorFlow's have slashes.
    return 'tensorflow' if any('/' in name for name in tensors) else 'pytorch'


def _check_blur(tensors: dict[str, np.ndarray]) -> None:
    for name, array in tensors.items():
        if name.endswith('resample_filter') and (
            np.shape(array) != _BLUR.shape or not np.allclose(array, _BLUR, rtol=1e-5)
        ):
            raise ValueError(
                f'{messages.quote(name)} is not the filter [1, 3, 3, 1], the only one that '
                'stylegan2 has here: use weights of a network with that one'
            )


def _tensors(network: nn.Module, form: str) -> dict[str, published.Tensor]:
    """The network's tensors by a form's names."""
    if form not in FORMS:
        raise ValueError(f'unknown form {form!r} of weights: use one of {", ".join(FORMS)}')
    if form == 'tensorflow' and network.num_classes:
        raise ValueError(
            'TensorFlow weights of StyleGAN2 with labels do not fit the networks here, which use '
            "labels as the authors' PyTorch code does: take PyTorch weights, or no labels"
        )
    found = {}
    for path, leaf in flax.traverse_util.flatten_dict(_shapes(network)).items():
        name = _name('/'.join(path[1:]), network.image_size, form)
        found[name] = _tensor(path, leaf.shape, form)
    return found


def _shapes(network: nn.Module) -> dict[str, Any]:
    if isinstance(network, stylegan2.Generator):
        samples, inputs = 1, jnp.zeros((1, network.latent_dim))
    else:
        samples, size = network.stddev_splits, network.image_size
        inputs = jnp.zeros((samples, size, size, network.channels))
    labels = jnp.zeros((samples,), jnp.int32) if network.num_classes else None
    return jax.eval_shape(lambda: network.init(jax.random.key(0), inputs, labels, train=False))


def _name(path: str, size: int, form: str) -> str:
    which = FORMS.index(form)
    if path in _OTHER_VARIABLES:
        return _OTHER_VARIABLES[path][which]
    leaves = '|'.join(_LEAVES)
    for pattern, *layers in _LAYERS:
        match = re.fullmatch(f'{pattern}/(?P<leaf>{leaves})', path)
        if match:
            return match.expand(layers[which]).format(size=size) + _LEAVES[match['leaf']][which]
    raise ValueError(f'{path} of stylegan2 has no published name')


def _tensor(path: tuple[str, ...], shape: tuple[int, ...], form: str) -> published.Tensor:
    torch = form == 'pytorch'
    name = '/'.join(path[1:])
    if name == 'synthesis_network/constant':
        height, width, channels = shape
        grid = (channels, height, width)
        return published.Tensor(
            path,
            grid if torch else (1, *grid),
            lambda array: np.moveaxis(array.reshape(grid), 0, 2),
        )
    tensor = published.from_torch(path, shape) if torch else published.Tensor(path, shape)
    if name == 'dense/kernel':
        return tensor._replace(convert=lambda array: _channels_last(tensor.convert(array)))
    if not torch and name.endswith('up/conv/kernel'):
        return tensor._replace(convert=lambda array: array[::-1, ::-1])
    if not torch and name.endswith('style/bias'):
        return tensor._replace(convert=lambda array: array + 1)
    return tensor


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    """Brings the rows of a dense layer after a 4x4 grid from `[C, 4, 4]` to `[4, 4, C]`."""
    grid = kernel.reshape(-1, 4, 4, kernel.shape[1])
    return grid.transpose(1, 2, 0, 3).reshape(kernel.shape)
