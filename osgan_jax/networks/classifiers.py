"""Classifiers of small images: teachers and students of distillation.

* resnet18, resnet34: residual networks (He et al. 2016, https://arxiv.org/abs/1512.03385) in their
  usual form for CIFAR: a 3x3 stem of 64 channels, no pooling before the blocks, a 1x1
  convolution with BatchNorm where a shortcut changes shape.
* resnet18_imagenet, resnet34_imagenet, resnet50_imagenet: those of the same paper for large images:
  a 7x7 stem that halves the grid, and 3x3 max pooling that halves it again; the last has blocks of
  a 1x1, a 3x3 and a 1x1 convolution, the 3x3 with the stride, as torchvision has them.
* wrn16_1, wrn16_2, wrn40_1, wrn40_2: wide residual networks of that depth and width (Zagoruyko and
  Komodakis 2016, https://arxiv.org/abs/1605.07146), normalised before each convolution.
* lenet5, lenet5_half: LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, and half its channels.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import modules, norms, pooling
from osgan_jax.networks import classifier_registry

Array = jax.Array

# Residual networks: "fan out" keeps the size of gradients through ReLUs (He et al. 2015).
_he = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')
# Uniform within 1 / sqrt(fan in), the usual start of a LeNet, which has no normalisation.
_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class Outputs(NamedTuple):
    """The outputs of a classifier.

    Attributes:
      logits: `[N, K]` float32.
      activations: features `[N, h, w, C]` after each stage, for attention transfer.
    """

    logits: Array
    activations: tuple[Array, ...]


class _Network(nn.Module):
    """The base of all classifiers.

    Attributes:
      num_classes: Number of classes, K.
      dtype: Dtype of the computation; logits are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
    """

    num_classes: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def conv(self, x: Array, features: int, size: int, stride: int = 1) -> Array:
        """A convolution without bias that keeps the grid, or divides it by the stride."""
        return modules.Conv(
            features,
            (size, size),
            stride=stride,
            padding=size // 2,
            use_bias=False,
            kernel_init=_he,
            dtype=self.dtype,
        )(x)

    def norm(self, x: Array, train: bool) -> Array:
        """BatchNorm."""
        return norms.batch_norm(x, train=train, dtype=self.dtype, axis_name=self.axis_name)

    def head(self, x: Array) -> Array:
        """Logits from features `[N, C]` or, averaged over space, `[N, h, w, C]`."""
        x = jnp.asarray(x, jnp.float32)
        x = x.mean((1, 2)) if x.ndim == 4 else x
        return nn.Dense(self.num_classes, kernel_init=_uniform)(x)


class ResNet(_Network):
    """A residual network of blocks of two 3x3 convolutions, or of bottlenecks.

    Attributes:
      blocks: Blocks in each of four stages, of 64, 128, 256 and 512 channels.
      bottleneck: Whether blocks are bottlenecks, whose output has four times the channels.
      large: Whether the stem is that for large images.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    large: bool = False

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Outputs:
        """Classifies standardised images `[N, H, W, C]`."""
        stem = (7, 2) if self.large else (3, 1)
        x = nn.relu(self.norm(self.conv(jnp.asarray(images, self.dtype), 64, *stem), train))
        if self.large:
            # Windows of 3x3 that overlap; padded with -inf, which no window takes.
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        activations = []
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = self._block(x, 64 * 2**stage, 2 if stage and not block else 1, train)
            activations.append(x)
        return Outputs(self.head(x), tuple(activations))

    def _block(self, x: Array, features: int, stride: int, train: bool) -> Array:
        shortcut, after = x, features * (4 if self.bottleneck else 1)
        if stride > 1 or x.shape[-1] != after:
            shortcut = self.norm(self.conv(x, after, 1, stride), train)
        if self.bottleneck:
            x = nn.relu(self.norm(self.conv(x, features, 1), train))
        x = nn.relu(self.norm(self.conv(x, features, 3, stride), train))
        last = 1 if self.bottleneck else 3
        return nn.relu(self.norm(self.conv(x, after, last), train) + shortcut)


class WideResNet(_Network):
    """A wide residual network.

    Attributes:
      depth: Number of convolutions in a row, 6 n + 4 with n blocks in each of three stages.
      widening: Factor of the stages' 16, 32 and 64 channels.
    """

    depth: int = 16
    widening: int = 1

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Outputs:
        """Classifies standardised images `[N, H, W, C]`."""
        x = self.conv(jnp.asarray(images, self.dtype), 16, 3)
        activations = []
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                features = 16 * self.widening * 2**stage
                x = self._block(x, features, 2 if stage and not block else 1, train)
            activations.append(x)
        return Outputs(self.head(nn.relu(self.norm(x, train))), tuple(activations))

    def _block(self, x: Array, features: int, stride: int, train: bool) -> Array:
        active = nn.relu(self.norm(x, train))
        if stride > 1 or x.shape[-1] != features:
            x = self.conv(active, features, 1, stride)
        active = nn.relu(self.norm(self.conv(active, features, 3, stride), train))
        return x + self.conv(active, features, 3)


class LeNet(_Network):
    """LeNet-5 for 32x32 pixels.

    Attributes:
      features: Channels of three convolutions and units of the hidden layer.
    """

    features: tuple[int, ...] = (6, 16, 120, 84)

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Outputs:
        """Classifies standardised images `[N, 32, 32, C]`."""
        del train  # nothing here behaves differently
        x = jnp.asarray(images, self.dtype)
        activations = []
        for index, features in enumerate(self.features[:3]):
            x = modules.Conv(
                features, (5, 5), padding='valid', kernel_init=_uniform, dtype=self.dtype
            )(x)
            x = nn.relu(x)
            activations.append(x)
            if index < 2:
                x = pooling.max_pool(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.features[3], kernel_init=_uniform, dtype=self.dtype)(x))
        return Outputs(self.head(x), tuple(activations))


_FAMILIES = {family.__name__: family for family in (ResNet, WideResNet, LeNet)}


def build(
    name: str,
    *,
    image_size: int = 32,
    channels: int = 3,
    num_classes: int = 10,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> nn.Module:
    """Builds a classifier: `(standardised images [N, H, W, C], train) -> Outputs`.

    Args:
      name: One of `classifier_registry.names()`.
      image_size: Height and width of the images: 32 for LeNet, a multiple of 8 for the others.
      channels: Channels of the images, 1 or 3.
      num_classes: Number of classes, at least 2.
      dtype: Dtype of the computation; parameters and logits are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics; None for each device's own.

    Raises:
      ValueError: for an unknown name, or a number out of range.
    """
    spec = classifier_registry.get(name)
    if spec.image_size not in (None, image_size):
        raise ValueError(
            f'{name} is made for {spec.image_size} pixels, got {image_size}: '
            f'set --image_size={spec.image_size}'
        )
    if image_size < 8 or image_size % 8:
        raise ValueError(f'{name}: expected an image size that 8 divides, got {image_size}')
    if channels not in (1, 3) or num_classes < 2:
        raise ValueError(
            f'{name}: expected 1 or 3 channels and at least 2 classes, got {channels} and '
            f'{num_classes}'
        )
    family = _FAMILIES[spec.family]
    return family(num_classes=num_classes, dtype=dtype, axis_name=axis_name, **spec.options)
