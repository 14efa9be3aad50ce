"""Layers whose weights are divided by their largest singular value.

Miyato et al. 2018 (https://arxiv.org/abs/1802.05957), algorithm 1. Each call estimates that value
by one power iteration. The iteration's vector is the variable `u` of the collection `batch_stats`,
and is updated with `train=True`. Parameters are the undivided weights. The gradient treats the
iteration's vectors as constants, as in the paper.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import resampled

Array = jax.Array
EPSILON = 1e-6

orthogonal = nn.initializers.orthogonal()


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)


def normalise(module: nn.Module, weights: Array, *, train: bool) -> Array:
    """Divides weights by their largest singular value, within a compact method of `module`.

    Args:
      module: the layer, which keeps the variable `u`.
      weights: `[..., O]`, treated as a matrix with O columns.
      train: whether `u` is updated.

    Returns:
      An array like `weights`.
    """
    matrix = jax.lax.stop_gradient(weights).reshape(-1, weights.shape[-1])

    def start():
        key = module.make_rng('params')
        return _unit(jax.random.normal(key, (matrix.shape[1],)))

    u = module.variable('batch_stats', 'u', start)
    v = _unit(matrix @ u.value)
    new = _unit(matrix.T @ v)
    if train and not module.is_initializing():
        u.value = new
    sigma = v @ weights.reshape(matrix.shape) @ new
    # Weights that are all zero stay zero.
    return weights / jnp.where(jnp.abs(sigma) < EPSILON, 1.0, sigma)


class Conv(nn.Module):
    """Convolution that keeps the grid, or doubles or halves it, kernel `[kh, kw, I, O]`.

    Attributes:
      features: Channels of the output.
      kernel_size: Height and width of the kernel, odd.
      resample: 'enlarge' doubles the image's grid first, 'mean_pool' halves the result's, see
        `resampled.conv`.
      use_bias: Whether a bias is added; it is not divided.
      kernel_init: Initialiser of the kernel.
      dtype: Dtype of the computation.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    resample: str | None = None
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = orthogonal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[N, H, W, I]` to `[N, H, W, O]`, or twice or half of H and W."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = normalise(self, self.param('kernel', self.kernel_init, shape), train=train)
        x = resampled.conv(jnp.asarray(x, self.dtype), kernel, self.resample)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,))
            x = x + jnp.asarray(bias, self.dtype)
        return x


class Dense(nn.Module):
    """Dense layer, kernel `[I, O]`.

    Attributes:
      features: Size of the output.
      use_bias: Whether a bias is added; it is not divided.
      kernel_init: Initialiser of the kernel.
      dtype: Dtype of the computation.
    """

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = orthogonal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[..., I]` to `[..., O]`."""
        kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features))
        kernel = normalise(self, kernel, train=train)
        x = jnp.asarray(x, self.dtype) @ jnp.asarray(kernel, self.dtype)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,))
            x = x + jnp.asarray(bias, self.dtype)
        return x


class Embed(nn.Module):
    """A vector for each label.

    Attributes:
      num_embeddings: Number of labels.
      features: Size of the vectors.
      embedding_init: Initialiser of the vectors.
    """

    num_embeddings: int
    features: int
    embedding_init: nn.initializers.Initializer = orthogonal

    @nn.compact
    def __call__(self, labels: Array, *, train: bool) -> Array:
        """Maps labels `[N]` to `[N, features]`."""
        shape = (self.num_embeddings, self.features)
        table = normalise(self, self.param('embedding', self.embedding_init, shape), train=train)
        return table[labels]
