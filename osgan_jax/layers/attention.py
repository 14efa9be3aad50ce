"""Self-attention over an image's pixels (Zhang et al. 2019, https://arxiv.org/abs/1805.08318).

BigGAN's form (Brock et al. 2019, https://arxiv.org/abs/1809.11096): keys and values are pooled to
half the grid.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import pooling, spectral

Array = jax.Array


class SelfAttention(nn.Module):
    """Adds to each pixel the values that it attends to, times a gain that starts at 0.

    Attributes:
      dtype: Dtype of the computation; the softmax is float32.
      kernel_init: Initialiser of the kernels.
    """

    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = spectral.orthogonal

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[N, H, W, C]`, H and W even and C a multiple of 8, to the same shape."""
        n, h, w, c = x.shape

        def conv(x, features, name):
            layer = spectral.Conv(
                features,
                (1, 1),
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            return layer(x, train=train)

        query = conv(x, c // 8, 'query').reshape(n, h * w, c // 8)
        key = pooling.max_pool(conv(x, c // 8, 'key')).reshape(n, -1, c // 8)
        value = pooling.max_pool(conv(x, c // 2, 'value')).reshape(n, -1, c // 2)
        scores = jnp.einsum('npc,nqc->npq', query, key, preferred_element_type=jnp.float32)
        weights = jnp.asarray(jax.nn.softmax(scores), self.dtype)
        attended = jnp.einsum('npq,nqc->npc', weights, value).reshape(n, h, w, c // 2)
        gain = self.param('gain', nn.initializers.zeros, ())
        return x + jnp.asarray(gain, self.dtype) * conv(attended, c, 'out')
