"""The Inception network that FID, KID and IS are defined by, for inference only.

Inception v3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567) as it was frozen into the
TensorFlow graph of 2015-12-05 that Heusel et al. 2017 (https://arxiv.org/abs/1706.08500) measure
with. Modules bear the names of torchvision's `inception_v3`, in which the converted weights are
published; the graph differs from it in four ways. Its average pools do not count padding, the last
block pools by maximum, there are 1008 outputs, and there is no auxiliary classifier.

Weights are of use only if they are the published ones: see
`osgan_jax.evaluation.features.inception`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import modules

IMAGE_SIZE = 299
LEAST_SIZE = 75  # below, the grid of the last blocks would be empty
POOLED = 2048
CLASSES = 1008

# A convolution in a branch: its name, channels of its output, kernel and, if not 1, stride.
_Layer = tuple[Any, ...]
_Convolve = Callable[..., jax.Array]


class Outputs(NamedTuple):
    """The outputs of the network.

    Attributes:
      pooled: `[N, 2048]` float32, the mean over the last grid: what FID and KID compare.
      logits: `[N, 1008]` float32 without the bias of `fc`: what IS reads, by a slip in its
        original code that all published scores share.
      biased_logits: `[N, 1008]` float32 with that bias.
    """

    pooled: jax.Array
    logits: jax.Array
    biased_logits: jax.Array


class ConvBlock(nn.Module):
    """Convolution without bias, BatchNorm by running statistics, ReLU.

    Attributes:
      features: Channels of the output.
      kernel_size: Height and width of the kernel, odd.
      stride: Stride, the same for both axes.
      padding: 'half' keeps the grid at stride 1; 'valid' pads by nothing.
      dtype: Dtype of the computation.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = 'half'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, C]` to `[N, H', W', features]`."""
        x = modules.Conv(
            self.features,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            use_bias=False,
            dtype=self.dtype,
            name='conv',
        )(x)
        norm = nn.BatchNorm(use_running_average=True, epsilon=1e-3, dtype=self.dtype, name='bn')
        return nn.relu(norm(x))


def average_pool(x: jax.Array) -> jax.Array:
    """Averages 3x3 pixels around each of `[N, H, W, C]`; at the border, those that exist."""
    return nn.avg_pool(x, (3, 3), (1, 1), 'SAME', count_include_pad=False)


def max_pool(x: jax.Array) -> jax.Array:
    """Takes the greatest of 3x3 pixels around each of `[N, H, W, C]`."""
    return nn.max_pool(x, (3, 3), (1, 1), 'SAME')


class Mixed(nn.Module):
    """A block: branches side by side.

    Attributes:
      branches: One of `mixed_a` to `mixed_e`.
      dtype: Dtype of the computation.
    """

    branches: Callable[[_Convolve, jax.Array], Sequence[jax.Array]]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, C]` to the channels of all branches."""

        def convolve(x: jax.Array, *layers: _Layer) -> jax.Array:
            for name, features, kernel_size, *stride in layers:
                # Strides halve the grid; otherwise it is kept.
                halving = (*stride, 'valid') if stride else ()
                x = ConvBlock(features, kernel_size, *halving, dtype=self.dtype, name=name)(x)
            return x

        return jnp.concatenate(self.branches(convolve, x), axis=-1)


def mixed_a(pool_features: int):
    """Blocks 5b to 5d: 1x1, 5x5, two 3x3, and an average pool; `224 + pool_features` channels."""
    return lambda convolve, x: (
        convolve(x, ('branch1x1', 64, (1, 1))),
        convolve(x, ('branch5x5_1', 48, (1, 1)), ('branch5x5_2', 64, (5, 5))),
        convolve(
            x,
            ('branch3x3dbl_1', 64, (1, 1)),
            ('branch3x3dbl_2', 96, (3, 3)),
            ('branch3x3dbl_3', 96, (3, 3)),
        ),
        convolve(average_pool(x), ('branch_pool', pool_features, (1, 1))),
    )


def mixed_b(convolve: _Convolve, x: jax.Array) -> Sequence[jax.Array]:
    """Block 6a, which halves the grid: 3x3, two 3x3, and a maximum pool; `480 + C` channels."""
    return (
        convolve(x, ('branch3x3', 384, (3, 3), 2)),
        convolve(
            x,
            ('branch3x3dbl_1', 64, (1, 1)),
            ('branch3x3dbl_2', 96, (3, 3)),
            ('branch3x3dbl_3', 96, (3, 3), 2),
        ),
        nn.max_pool(x, (3, 3), (2, 2)),
    )


def mixed_c(hidden: int):
    """Blocks 6b to 6e: 1x1, 7x7 in two factors, in four, and an average pool; 768 channels.

    Args:
      hidden: Channels between the factors.
    """
    return lambda convolve, x: (
        convolve(x, ('branch1x1', 192, (1, 1))),
        convolve(
            x,
            ('branch7x7_1', hidden, (1, 1)),
            ('branch7x7_2', hidden, (1, 7)),
            ('branch7x7_3', 192, (7, 1)),
        ),
        convolve(
            x,
            ('branch7x7dbl_1', hidden, (1, 1)),
            ('branch7x7dbl_2', hidden, (7, 1)),
            ('branch7x7dbl_3', hidden, (1, 7)),
            ('branch7x7dbl_4', hidden, (7, 1)),
            ('branch7x7dbl_5', 192, (1, 7)),
        ),
        convolve(average_pool(x), ('branch_pool', 192, (1, 1))),
    )


def mixed_d(convolve: _Convolve, x: jax.Array) -> Sequence[jax.Array]:
    """Block 7a, which halves the grid: 3x3, 7x7 in two factors, a maximum pool; `512 + C`."""
    return (
        convolve(x, ('branch3x3_1', 192, (1, 1)), ('branch3x3_2', 320, (3, 3), 2)),
        convolve(
            x,
            ('branch7x7x3_1', 192, (1, 1)),
            ('branch7x7x3_2', 192, (1, 7)),
            ('branch7x7x3_3', 192, (7, 1)),
            ('branch7x7x3_4', 192, (3, 3), 2),
        ),
        nn.max_pool(x, (3, 3), (2, 2)),
    )


def mixed_e(pool: Callable[[jax.Array], jax.Array]):
    """Blocks 7b and 7c: 1x1, 3x3 as a pair of factors, again after a 3x3, a pool; 2048 channels.

    Args:
      pool: `average_pool` (7b) or `max_pool` (7c).
    """

    def branches(convolve, x):
        middle = convolve(x, ('branch3x3_1', 384, (1, 1)))
        deep = convolve(x, ('branch3x3dbl_1', 448, (1, 1)), ('branch3x3dbl_2', 384, (3, 3)))
        return (
            convolve(x, ('branch1x1', 320, (1, 1))),
            convolve(middle, ('branch3x3_2a', 384, (1, 3))),
            convolve(middle, ('branch3x3_2b', 384, (3, 1))),
            convolve(deep, ('branch3x3dbl_3a', 384, (1, 3))),
            convolve(deep, ('branch3x3dbl_3b', 384, (3, 1))),
            convolve(pool(x), ('branch_pool', 192, (1, 1))),
        )

    return branches


_BLOCKS = {
    '5b': mixed_a(32),
    '5c': mixed_a(64),
    '5d': mixed_a(64),
    '6a': mixed_b,
    '6b': mixed_c(128),
    '6c': mixed_c(160),
    '6d': mixed_c(160),
    '6e': mixed_c(192),
    '7a': mixed_d,
    '7b': mixed_e(average_pool),
    '7c': mixed_e(max_pool),
}


class Classifier(nn.Module):
    """The last layer, with and without its bias."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[N, 2048]` to logits `[N, 1008]` without the bias, and with it."""
        shape = (x.shape[-1], CLASSES)
        kernel = self.param('kernel', nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (CLASSES,), jnp.float32)
        logits = x @ kernel
        return logits, logits + bias


class Inception(nn.Module):
    """The whole network.

    With `mutable=['intermediates']` and `capture_intermediates=True`, `apply` also returns the
    outputs of all modules, and of the pools between them as `maxpool1` and `maxpool2`.

    Attributes:
      dtype: Dtype of the computation up to the last grid; outputs are float32. Published scores
        are those of float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> Outputs:
        """Classifies images.

        Args:
          images: `[N, 299, 299, 3]` in about [-1, 1], see
            `osgan_jax.evaluation.features.inception.preprocess`. Other sizes of at least 75 pixels
            run too, but give no comparable scores.

        Raises:
          ValueError: for images of another rank or number of channels, or smaller ones.
        """
        if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < LEAST_SIZE:
            raise ValueError(
                f'expected images [N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3], or of at least '
                f'{LEAST_SIZE} pixels, got {list(images.shape)}'
            )
        x = jnp.asarray(images, self.dtype)
        x = ConvBlock(32, (3, 3), 2, 'valid', self.dtype, name='Conv2d_1a_3x3')(x)
        x = ConvBlock(32, (3, 3), 1, 'valid', self.dtype, name='Conv2d_2a_3x3')(x)
        x = ConvBlock(64, (3, 3), 1, 'half', self.dtype, name='Conv2d_2b_3x3')(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        self.sow('intermediates', 'maxpool1', x)
        x = ConvBlock(80, (1, 1), 1, 'valid', self.dtype, name='Conv2d_3b_1x1')(x)
        x = ConvBlock(192, (3, 3), 1, 'valid', self.dtype, name='Conv2d_4a_3x3')(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        self.sow('intermediates', 'maxpool2', x)
        for name, branches in _BLOCKS.items():
            x = Mixed(branches, self.dtype, name=f'Mixed_{name}')(x)
        pooled = jnp.asarray(x, jnp.float32).mean((1, 2))
        return Outputs(pooled, *Classifier(name='fc')(pooled))
