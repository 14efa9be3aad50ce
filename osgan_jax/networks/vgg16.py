"""The features of VGG16, between whose layers LPIPS compares images; for inference only.

Configuration D of Simonyan and Zisserman 2014 (https://arxiv.org/abs/1409.1556) without its dense
layers. Modules are numbered as in torchvision's `vgg16().features`, in which weights are published.

Weights are of use only if they are the published ones: see `osgan_jax.evaluation.features.lpips`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import modules

LEAST_SIZE = 16  # below, the last grid would be empty
WIDTH = 64

# Of each block: its channels as a multiple of the first block's, and the numbers of its
# convolutions. The numbers in between are those of ReLUs and pools.
BLOCKS = (
    (1, (0, 2)),
    (2, (5, 7)),
    (4, (10, 12, 14)),
    (8, (17, 19, 21)),
    (8, (24, 26, 28)),
)


class VGG16(nn.Module):
    """Five blocks of convolutions with a pool between them.

    Attributes:
      width: Channels of the first block, 64 in the published network.
      dtype: Dtype of the computation and of the outputs.
    """

    width: int = WIDTH
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, the last features of each block.

        Args:
          images: `[N, H, W, 3]`, of at least 16 pixels, scaled as the network was trained: mean 0
            and deviation 1 on ImageNet.

        Returns:
          Tap k, from 0: `[N, H // 2^k, W // 2^k, C]`, C being 1, 2, 4, 8 and 8 times `width`.

        Raises:
          ValueError: for images of another rank or number of channels, or smaller ones.
        """
        if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < LEAST_SIZE:
            raise ValueError(
                f'VGG16 takes images [N, H, W, 3] of at least {LEAST_SIZE} pixels, '
                f'got {list(images.shape)}'
            )
        x = jnp.asarray(images, self.dtype)
        taps = []
        for multiple, numbers in BLOCKS:
            if taps:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for number in numbers:
                conv = modules.Conv(
                    multiple * self.width, dtype=self.dtype, name=f'features_{number}'
                )
                x = nn.relu(conv(x))
            taps.append(x)
        return tuple(taps)
