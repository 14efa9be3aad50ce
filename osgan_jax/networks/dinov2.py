"""DINOv2's vision transformer, whose class token images are compared by; for inference only.

Oquab et al. 2023 (https://arxiv.org/abs/2304.07193), without register tokens, with GELU: ViT-S/14,
ViT-B/14 and ViT-L/14. Distances of Frechet (Stein et al. 2023, https://arxiv.org/abs/2306.04675)
are those of ViT-L/14.

Positions were trained on a grid of 37x37 patches, 518 pixels, and are interpolated for others. The
published code (`dinov2_vitl14` of https://github.com/facebookresearch/dinov2) does so bicubically
and not antialiased; for the 16x16 patches of 224 pixels its scale is (16 + 0.1) / 37, by an offset
against rounding down that its features have been computed with ever since. transformers' scale is
16 / 37.

Weights are of use only if they are the published ones: see `osgan_jax.evaluation.features.dinov2`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.layers import modules

PATCH = 14
GRID = 37
OFFSET = 0.1


class Block(nn.Module):
    """Self-attention and an MLP, each normed before and scaled after.

    Attributes:
      heads: Heads of attention.
      dtype: Dtype of the computation.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens `[N, T, C]` to tokens of the same shape."""
        n, tokens, width = x.shape
        dense = functools.partial(nn.Dense, dtype=self.dtype)

        qkv = dense(3 * width, name='attn_qkv')(_norm('norm1', self.dtype)(x))
        query, key, value = jnp.moveaxis(qkv.reshape(n, tokens, 3, self.heads, -1), 2, 0)
        scores = jnp.einsum('nthd,nshd->nhts', query, key) / np.sqrt(width // self.heads)
        weights = jnp.asarray(jax.nn.softmax(jnp.asarray(scores, jnp.float32)), self.dtype)
        attended = jnp.einsum('nhts,nshd->nthd', weights, value).reshape(x.shape)
        x = x + self._scale('ls1_gamma', dense(width, name='attn_proj')(attended))

        hidden = dense(4 * width, name='mlp_fc1')(_norm('norm2', self.dtype)(x))
        hidden = nn.gelu(hidden, approximate=False)
        return x + self._scale('ls2_gamma', dense(width, name='mlp_fc2')(hidden))

    def _scale(self, name: str, x: jax.Array) -> jax.Array:
        gamma = self.param(name, nn.initializers.ones, (x.shape[-1],), jnp.float32)
        return x * jnp.asarray(gamma, self.dtype)


class DINOv2(nn.Module):
    """The whole network; the defaults are ViT-L/14's.

    Attributes:
      depth: Blocks.
      width: Channels of a token, a multiple of `heads`.
      heads: Heads of attention.
      patch: Height and width of a patch in pixels.
      grid: Patches along each side of the images that positions were trained for.
      offset: Added to the number of patches where the scale of positions is computed.
      dtype: Dtype of the computation; features are float32.
    """

    depth: int = 24
    width: int = 1024
    heads: int = 16
    patch: int = PATCH
    grid: int = GRID
    offset: float = OFFSET
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the normed class token of images, `[N, width]` float32.

        Args:
          images: `[N, H, W, 3]`, H and W multiples of `patch`, scaled as the network was trained:
            mean 0 and deviation 1 on ImageNet.

        Raises:
          ValueError: for images of another rank, number of channels or size.
        """
        height, width = images.shape[1:3] if images.ndim == 4 else (0, 0)
        if images.shape[-1] != 3 or not height or height % self.patch or width % self.patch:
            raise ValueError(
                f'DINOv2 takes images [N, H, W, 3] with H and W multiples of {self.patch}, '
                f'got {list(images.shape)}'
            )
        x = modules.Conv(
            self.width,
            (self.patch, self.patch),
            stride=self.patch,
            padding='valid',
            dtype=self.dtype,
            name='patch_embed_proj',
        )(jnp.asarray(images, self.dtype))
        n, down, across, _ = x.shape
        small = nn.initializers.normal(0.02)
        token = self.param('cls_token', small, (1, 1, self.width), jnp.float32)
        shape = (1, 1 + self.grid**2, self.width)
        positions = self.param('pos_embed', small, shape, jnp.float32)
        token, positions = token + positions[:, :1], positions[0, 1:]
        if (down, across) != (self.grid, self.grid):
            rows, columns = (
                position_matrix(self.grid, count, self.offset) for count in (down, across)
            )
            positions = positions.reshape(self.grid, self.grid, -1)
            positions = jnp.einsum('pi,qj,ijc->pqc', rows, columns, positions)
        x = x.reshape(n, down * across, -1) + jnp.asarray(
            positions.reshape(down * across, -1), self.dtype
        )
        token = jnp.broadcast_to(jnp.asarray(token, self.dtype), (n, 1, self.width))
        x = jnp.concatenate([token, x], axis=1)
        for index in range(self.depth):
            x = Block(self.heads, self.dtype, name=f'blocks_{index}')(x)
        return _norm('norm', jnp.float32)(x[:, 0])


def position_matrix(grid: int, count: int, offset: float) -> np.ndarray:
    """The weights `[count, grid]` float32 of trained positions in those of `count` patches.

    Bicubic by Keys 1981 with a = -3/4, as PyTorch's `interpolate` has it: four neighbours, also
    where the grid shrinks, and beyond the border the outermost again.

    Args:
      grid: positions trained, along an axis.
      count: positions wanted.
      offset: see `DINOv2`.
    """
    place = (np.arange(count) + 0.5) * (grid / (count + offset)) - 0.5
    first = np.floor(place).astype(int)
    matrix = np.zeros((count, grid))
    for tap in range(-1, 3):
        x = np.abs(place - first - tap)
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        at = np.clip(first + tap, 0, grid - 1)
        np.add.at(matrix, (np.arange(count), at), np.where(x <= 1, near, far))
    return np.asarray(matrix, np.float32)


def _norm(name: str, dtype: Any) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name)
