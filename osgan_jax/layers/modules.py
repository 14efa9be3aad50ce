"""Linen modules over `osgan_jax.layers.convolutions`, with float32 parameters.

`dtype` is the dtype of the computation and of the result; parameters stay float32.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import convolutions, resampled

# Radford et al. 2015 (https://arxiv.org/abs/1511.06434), section 4.
dcgan_init = nn.initializers.normal(0.02)


class Conv(nn.Module):
    """Strided convolution, kernel `[kh, kw, I, O]` (HWIO).

    Attributes:
      features: Channels of the output, O.
      kernel_size: Height and width of the kernel.
      stride: Stride, the same for both axes.
      padding: See `convolutions.resolve_padding`.
      groups: Equal parts of the channels, each of which is convolved by itself; the kernel is
        `[kh, kw, I / groups, O]`.
      resample: 'enlarge' doubles the image's grid first, 'mean_pool' halves the result's, see
        `resampled.conv`; the stride is then 1, the padding 'half' and there is one group.
      use_bias: Whether a bias `[O]` is added.
      kernel_init: Initialiser of the kernel.
      bias_init: Initialiser of the bias.
      dtype: Dtype of the computation.
      implementation: See `convolutions.set_implementation`; None takes the setting.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: Any = 'half'
    groups: int = 1
    resample: str | None = None
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = dcgan_init
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32
    implementation: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, I]` to `[N, H', W', O]`."""
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        x = jnp.asarray(x, self.dtype)
        if self.resample is None:
            x = convolutions.conv(
                x,
                jnp.asarray(kernel, self.dtype),
                stride=self.stride,
                padding=self.padding,
                groups=self.groups,
                implementation=self.implementation,
            )
        else:
            if (self.stride, self.padding, self.groups) != (1, 'half', 1):
                raise ValueError(
                    f'resample={self.resample!r} goes with a stride of 1, half padding and one '
                    f'group, got {self.stride}, {self.padding!r} and {self.groups}'
                )
            x = resampled.conv(x, kernel, self.resample, implementation=self.implementation)
        if self.use_bias:
            bias = self.param('bias', self.bias_init, (self.features,), jnp.float32)
            x = x + jnp.asarray(bias, self.dtype)
        return x


class ConvTranspose(nn.Module):
    """Transposed convolution, kernel `[kh, kw, O, I]` (that of the convolution it is adjoint to).

    Attributes:
      features: Channels of the output, O.
      kernel_size: Height and width of the kernel.
      stride: Stride of the convolution of which this is the adjoint.
      padding: Padding of that convolution, see `convolutions.resolve_padding`.
      use_bias: Whether a bias `[O]` is added.
      kernel_init: Initialiser of the kernel.
      bias_init: Initialiser of the bias.
      dtype: Dtype of the computation.
      implementation: See `convolutions.set_implementation`; None takes the setting.
    """

    features: int
    kernel_size: tuple[int, int] = (4, 4)
    stride: int = 2
    padding: Any = 'half'
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = dcgan_init
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32
    implementation: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, I]` to `[N, H', W', O]`."""
        shape = (*self.kernel_size, self.features, x.shape[-1])
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        x = convolutions.conv_transpose(
            jnp.asarray(x, self.dtype),
            jnp.asarray(kernel, self.dtype),
            stride=self.stride,
            padding=self.padding,
            implementation=self.implementation,
        )
        if self.use_bias:
            bias = self.param('bias', self.bias_init, (self.features,), jnp.float32)
            x = x + jnp.asarray(bias, self.dtype)
        return x
