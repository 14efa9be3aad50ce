"""LPIPS, a learned perceptual distance between images: version 0.1, on VGG16.

Zhang et al. 2018 (https://arxiv.org/abs/1801.03924), section 3 and Eq. 1: the activations of five
layers, brought to length 1 at each place, are subtracted and squared; learned weights of channels
sum them up, and the mean over places, summed over layers, is the distance. The weights of channels
are published with the code (https://github.com/richzhang/PerceptualSimilarity), those of VGG16 with
torchvision.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.io import checked_npz, messages, published, weights
from osgan_jax.networks import vgg16

# ImageNet's mean and deviation of channels, for images in [-1, 1], as the published code has them.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

_EPSILON = 1e-10  # added to lengths

# The names that the `lpips` package gives the tensors of both published files in one.
_ALIASES = {
    f'net.slice{index}.{number}.{leaf}': f'features.{number}.{leaf}'
    for index, (_, numbers) in enumerate(vgg16.BLOCKS, 1)
    for number in numbers
    for leaf in ('weight', 'bias')
} | {
    f'lins.{index}.model.1.weight': f'lin{index}.model.1.weight'
    for index in range(len(vgg16.BLOCKS))
}
_LEAVES = {'kernel': 'weight', 'bias': 'bias'}
_WHOSE = 'the weights of LPIPS on VGG16'
_SCALING = {'scaling_layer.shift': SHIFT, 'scaling_layer.scale': SCALE}


class LPIPS(nn.Module):
    """The distance as a module.

    Attributes:
      width: Channels of VGG16's first block, 64 in the published network.
    """

    width: int = vgg16.WIDTH

    @nn.compact
    def __call__(self, images_a: jax.Array, images_b: jax.Array) -> jax.Array:
        """Compares images pair by pair.

        Args:
          images_a: `[N, H, W, C]` in [-1, 1], of at least 16 pixels; C 1, which is repeated, or 3.
          images_b: likewise, of the same shape.

        Returns:
          `[N]` float32, 0 for images that are equal. Its gradient is finite everywhere.

        Raises:
          ValueError: on images of different, or of other, shapes.
        """
        if images_a.shape != images_b.shape or images_a.ndim != 4:
            raise ValueError(
                'LPIPS compares images [N, H, W, C] of one shape, got '
                f'{list(images_a.shape)} and {list(images_b.shape)}'
            )
        x = jnp.concatenate([images_a, images_b]).astype(jnp.float32)
        if x.shape[3] == 1:
            x = jnp.repeat(x, 3, axis=3)
        elif x.shape[3] != 3:
            raise ValueError(f'LPIPS takes images of 1 or 3 channels, got {x.shape[3]}')
        x = (x - jnp.array(SHIFT)) / jnp.array(SCALE)
        total = jnp.zeros(images_a.shape[0])
        for index, tap in enumerate(vgg16.VGG16(self.width, name='vgg16')(x)):
            a, b = jnp.split(_normalise(tap), 2)
            kernel = self.param(
                f'lin{index}', nn.initializers.constant(1 / tap.shape[3]), tap.shape[3:]
            )
            total += jnp.mean(jnp.square(a - b), (1, 2)) @ kernel
        return total


def _normalise(x: jax.Array) -> jax.Array:
    """Brings the vectors of `[N, H, W, C]` to length 1, those of length 0 aside."""
    square = jnp.sum(jnp.square(x), axis=3, keepdims=True)
    # The root of 0 has no derivative, and ReLUs do leave whole vectors at 0.
    length = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return x / (jnp.where(square > 0, length, 0.0) + _EPSILON)


@dataclasses.dataclass(frozen=True)
class Distance:
    """A fixed distance between images; those of different weights are not comparable.

    Attributes:
      name: 'lpips_vgg16'.
      fingerprint: hash of the weights, hexadecimal.
      apply: `(images_a [N, H, W, C], images_b) -> [N]` float32, see `LPIPS`. It may be called
        under jit; its weights are the leaves of it as a pytree, so that they can be passed to a
        compiled function in place of being built into it.
    """

    name: str
    fingerprint: str
    apply: Callable[[jax.Array, jax.Array], jax.Array]


def distance(*weights_paths: str | os.PathLike[str]) -> Distance:
    """Makes files of weights into a distance.

    Args:
      *weights_paths: torchvision's VGG16 and the published weights of channels, in any order; or
        one file with all of them. As .pth, .npz or .safetensors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: they hold other weights.
    """
    tensors = {}
    for path in weights_paths:
        read = weights.read(path)
        twice = sorted(tensors.keys() & read.keys())
        if twice:
            names = messages.shorten([messages.quote(name) for name in twice])
            raise ValueError(
                f'cannot use {messages.printable(path)}: another file of weights holds {names} '
                'too; give each file once'
            )
        tensors.update(read)
    try:
        variables = load_variables(tensors)
    except ValueError as error:
        names = ' and '.join(map(messages.printable, weights_paths))
        raise ValueError(f'cannot use {names or "no file"}: {error}') from None
    flat = flax.traverse_util.flatten_dict(variables, sep='/')
    fingerprint = checked_npz.digest_named('lpips vgg16 0.1', flat)
    return Distance('lpips_vgg16', fingerprint, jax.tree_util.Partial(_apply, variables))


def _apply(variables: Any, images_a: jax.Array, images_b: jax.Array) -> jax.Array:
    # Differences of nearly equal images drown in the digits that accelerators leave by default.
    with jax.default_matmul_precision('highest'):
        return LPIPS().apply(variables, images_a, images_b)


def load_variables(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Makes the variables of `LPIPS` of tensors by PyTorch's names.

    Those are `features.0.weight` to `features.28.bias`, as torchvision has them, and
    `lin0.model.1.weight` to `lin4.model.1.weight`; or all of them as a file of the whole model by
    the `lpips` package has them (`net.slice1.0.weight`, `lins.0.model.1.weight`). Convolutions go
    from `[O, I, kh, kw]` to `[kh, kw, I, O]`. Quietly left out are torchvision's dense layers, and
    the scaling of the input where it is the published one.

    Args:
      tensors: from `osgan_jax.io.weights.read`, of one file or of two.

    Returns:
      'params', float32 on the host.

    Raises:
      ValueError: tensors are missing, unknown, of another shape or type, not finite, or there
        twice and different; it names them.
    """
    found, different = {}, []
    for given, value in tensors.items():
        name, array = _ALIASES.get(given, given), np.asarray(value)
        if given in _SCALING:
            expected = np.array(_SCALING[given])[None, :, None, None]
            if array.shape != expected.shape or not np.allclose(array, expected, atol=1e-6):
                different.append(messages.quote(given))
        elif name in found and not np.array_equal(found[name], array):
            different.append(messages.quote(given))
        elif not given.startswith('classifier.'):
            found[name] = array
    if different:
        faults = messages.listing({'at odds with the others': different})
        raise ValueError(f'these are not {_WHOSE}: {faults}')
    return published.convert(found, published_tensors(), _WHOSE)


@functools.cache
def published_tensors() -> dict[str, published.Tensor]:
    """The 31 tensors that the distance takes, by PyTorch's names."""
    images = jnp.zeros((1, vgg16.LEAST_SIZE, vgg16.LEAST_SIZE, 3))
    variables = jax.eval_shape(lambda: LPIPS().init(jax.random.key(0), images, images))
    found = {}
    for path, leaf in flax.traverse_util.flatten_dict(variables).items():
        if path[-2] == 'params':
            shape = (1, *leaf.shape, 1, 1)
            found[f'{path[-1]}.model.1.weight'] = published.Tensor(path, shape, np.ravel)
        else:
            name = f'features.{path[-2].removeprefix("features_")}.{_LEAVES[path[-1]]}'
            found[name] = published.from_torch(path, leaf.shape)
    return found
