"""BigGAN's published weights as variables of `osgan_jax.networks.biggan`.

The form is that of the authors' PyTorch code, https://github.com/ajbrock/BigGAN-PyTorch: state
dicts with hierarchical z and a shared embedding, dense layers `[O, I]`, convolutions
`[O, I, kh, kw]`. Where the weights were those of parallel networks all names begin with `module.`.

Weights are published as they are trained, not divided by their largest singular value, beside the
vector `u0` from which one power iteration estimates it. Here as there the iteration runs at each
call, from the same vector, so that the value is the same, and so are images.
"""

import re
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.io import published
from osgan_jax.networks import biggan

# Layers here and in the authors' code; {attention} is the block that attention follows.
_SHARED_LAYERS = (
    (r'block_(\d+)/Conv_0', r'blocks.\1.0.conv1'),
    (r'block_(\d+)/Conv_1', r'blocks.\1.0.conv2'),
    (r'block_(\d+)/shortcut', r'blocks.\1.0.conv_sc'),
    (r'SelfAttention_0/query', r'blocks.{attention}.1.theta'),
    (r'SelfAttention_0/key', r'blocks.{attention}.1.phi'),
    (r'SelfAttention_0/value', r'blocks.{attention}.1.g'),
    (r'SelfAttention_0/out', r'blocks.{attention}.1.o'),
    (r'SelfAttention_0', r'blocks.{attention}.1'),
    (r'Dense_0', r'linear'),
)
_LAYERS = {
    'generator': (
        *_SHARED_LAYERS,
        (r'embedding', r'shared'),
        (r'block_(\d+)/ConditionalBatchNorm_0/(gain|bias)', r'blocks.\1.0.bn1.\2'),
        (r'block_(\d+)/ConditionalBatchNorm_1/(gain|bias)', r'blocks.\1.0.bn2.\2'),
        (r'block_(\d+)/ConditionalBatchNorm_0/BatchNorm_0', r'blocks.\1.0.bn1'),
        (r'block_(\d+)/ConditionalBatchNorm_1/BatchNorm_0', r'blocks.\1.0.bn2'),
        (r'BatchNorm_0', r'output_layer.0'),
        (r'Conv_0', r'output_layer.2'),
    ),
    'discriminator': (*_SHARED_LAYERS, (r'Embed_0', r'embed')),
}
_LEAVES = {
    'kernel': 'weight',
    'embedding': 'weight',
    'bias': 'bias',
    'scale': 'gain',
    'gain': 'gamma',
    'mean': 'stored_mean',
    'var': 'stored_var',
    'u': 'u0',
}
_ATTENTION = {'generator': {64: 2, 128: 3, 256: 3}, 'discriminator': {64: 0, 128: 0, 256: 1}}


def tensor_shapes(
    network: biggan.Generator | biggan.Discriminator,
) -> dict[str, tuple[int, ...]]:
    """Returns the tensors that a network takes: shapes by the authors' names, in their layouts.

    They are the parameters, `u0` of each layer that is spectrally normalised, and BatchNorm's
    `stored_mean` and `stored_var`.

    Args:
      network: the module, of which sizes, channels, width and classes count.
    """
    return {name: tensor.shape for name, tensor in _tensors(network).items()}


def generator_variables(
    tensors: dict[str, np.ndarray], generator: biggan.Generator
) -> dict[str, Any]:
    """Makes the generator's variables of published tensors.

    Ignored is `sv0` of the layers, the singular value when it was last computed.

    Args:
      tensors: from `osgan_jax.io.weights.read`.
      generator: the module that they are for.

    Returns:
      'params' and 'batch_stats', float32 on the host.

    Raises:
      ValueError: as `osgan_jax.io.published.select`.
    """
    return _variables(tensors, generator)


def discriminator_variables(
    tensors: dict[str, np.ndarray], discriminator: biggan.Discriminator
) -> dict[str, Any]:
    """Makes the discriminator's variables of published tensors.

    The embedding's vector is over labels there, and over features here. The one over features that
    gives the same singular value after one iteration takes eigenvectors of the embedding: seconds
    with 1,000 classes.

    Args:
      tensors: from `osgan_jax.io.weights.read`.
      discriminator: the module that they are for.

    Returns:
      'params' and 'batch_stats', float32 on the host.

    Raises:
      ValueError: as of `generator_variables`.
    """
    return _variables(tensors, discriminator)


def _variables(tensors: dict[str, np.ndarray], network: nn.Module) -> dict[str, Any]:
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): array for name, array in tensors.items()}
    expected = _tensors(network)
    taken = {
        name: array
        for name, array in tensors.items()
        if not (name.endswith('.sv0') and f'{name.removesuffix("sv0")}u0' in expected)
    }
    whose = (
        f'the weights of a {network.image_size}-pixel BigGAN {_role(network)}, whose sizes, widths '
        'and classes must be those of the published network'
    )
    variables = published.convert(taken, expected, whose)
    if 'embed.u0' in expected:
        stats = variables[expected['embed.u0'].path[0]]['Embed_0']
        table = variables['params']['Embed_0']['embedding']
        stats['u'] = np.float32(_over_features(table, stats['u']))
    return variables


def _role(network: nn.Module) -> str:
    return 'generator' if isinstance(network, biggan.Generator) else 'discriminator'


def _tensors(network: nn.Module) -> dict[str, published.Tensor]:
    """The network's tensors by the authors' names."""
    if _role(network) == 'generator':
        inputs = jnp.zeros((1, network.latent_dim))
    else:
        inputs = jnp.zeros((1, network.image_size, network.image_size, network.channels))
    labels = jnp.zeros((1,), jnp.int32) if network.num_classes else None
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), inputs, labels, train=False))
    found = {}
    for path, leaf in flax.traverse_util.flatten_dict(variables).items():
        name = _name('/'.join(path[1:-1]), path[-1], network)
        found[name] = _tensor(name, path, leaf.shape, network)
    return found


def _tensor(
    name: str, path: tuple[str, ...], shape: tuple[int, ...], network: nn.Module
) -> published.Tensor:
    if path[-1] == 'u':
        length = network.num_classes if name == 'embed.u0' else shape[0]
        tensor = published.Tensor(path, (1, length), np.ravel)
    else:
        tensor = published.from_torch(path, shape)
    if _role(network) == 'generator' and name.startswith('linear.'):
        # A 4x4 grid, which has its channels first there, last here.
        return tensor._replace(convert=lambda array: _channels_last(tensor.convert(array)))
    return tensor


def _name(layer: str, leaf: str, network: nn.Module) -> str:
    role = _role(network)
    for pattern, theirs in _LAYERS[role]:
        match = re.fullmatch(pattern, layer)
        if match:
            attention = _ATTENTION[role].get(network.image_size)
            return f'{match.expand(theirs).format(attention=attention)}.{_LEAVES[leaf]}'
    raise ValueError(f'{layer} of biggan has no published name')


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Brings the last axis, a 4x4 grid's, from `[C, 4, 4]` to `[4, 4, C]`."""
    grid = array.reshape(*array.shape[:-1], -1, 4, 4)
    return np.moveaxis(grid, -3, -1).reshape(array.shape)


def _over_features(table: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Returns the vector over features that gives the singular value of one over labels.

    With `table = W`, a = u and G = W W', the authors' iteration starts with W' a, and its value is
    the root of a'GGa / a'Ga. The one here starts with b = W x for the vector x that is returned,
    and its value is the root of b'Gb / b'b: the same for b the square root of G times a, which is W
    times P'a, P the orthogonal factor of W's polar decomposition.

    Args:
      table: `[N, C]`.
      u: `[N]`.

    Returns:
      `[C]`.
    """
    table = np.asarray(table, np.float64)
    # P'a of eigenvectors: a tenth of the time that the singular vectors of W take.
    wide = table.shape[0] <= table.shape[1]
    values, vectors = np.linalg.eigh(table @ table.T if wide else table.T @ table)
    kept = values > 1e-12 * values[-1]  # the others are rounding's
    root = vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T
    return u @ root @ table if wide else u @ table @ root
