"""What several of the peers' networks are made of."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

Tensor = torch.Tensor


class Generator(nn.Module):
    """Maps what `draw` returns to images `[N, C, H, W]`, float32.

    Attributes:
      latent_dim: size of z.
    """

    def __init__(self, latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim

    def draw(self, samples: int, random: torch.Generator) -> tuple[Tensor, ...]:
        """Draws everything random of a batch: z `[N, latent_dim]` alone for most networks."""
        return (normal((samples, self.latent_dim), random),)


def normal(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Draws from the standard normal distribution on the device of `random`."""
    return torch.randn(shape, generator=random, device=random.device)


def normalisation(kind: str, channels: int) -> nn.Module:
    """A layer that normalises a discriminator's features, see `osgan_jax.layers.norms.normalise`.

    Args:
      kind: one of `osgan_jax.layers.norms.NAMES` but 'batch', which mixes samples.
      channels: of the features.
    """
    groups = {'group': math.gcd(32, channels), 'instance': channels, 'layer': 1}
    return nn.GroupNorm(groups[kind], channels, eps=1e-5) if kind in groups else nn.Identity()


def spectral(kind: str) -> Callable[[nn.Module], nn.Module]:
    """What wraps the layers with weights: spectral normalisation where `kind` is 'spectral'."""
    return parametrizations.spectral_norm if kind == 'spectral' else lambda layer: layer


# The filter [1, 3, 3, 1] in both axes of `[N, C, H, W]`, a depthwise convolution.


def _taps(x: Tensor, gain: float) -> Tensor:
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    return (gain * torch.outer(row, row)).expand(x.shape[1], 1, 4, 4)


def blur(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Filters, with zeros around: `[N, C, H, W]` to `H + 2 * padding - 3` and so on."""
    return functional.conv2d(x, _taps(x, gain), padding=padding, groups=x.shape[1])


def halve(x: Tensor) -> Tensor:
    """Filters at every second pixel: `[N, C, H, W]` to half of H and W."""
    return functional.conv2d(x, _taps(x, 1.0), stride=2, padding=1, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """Filters pixels with zeros between them: `[N, C, H, W]` to twice H and W."""
    taps = _taps(x, 4.0)
    return functional.conv_transpose2d(x, taps, stride=2, padding=1, groups=x.shape[1])
