"""`osgan_jax.networks.r3gan` in PyTorch, unconditional."""

import math

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from experiments.benchmark.peers import layers
from osgan_jax.core import image_sizes
from osgan_jax.networks import NetworkOptions, r3gan

Tensor = torch.Tensor

_SLOPE = 0.2


class Block(nn.Module):
    """Adds a residual of 1x1, grouped 3x3 and 1x1 convolutions; the last begins at zero."""

    def __init__(self, channels: int, depth: int, group_channels: int):
        super().__init__()
        inner = 2 * channels
        groups = inner // min(group_channels, inner)
        self.expand = nn.Conv2d(channels, inner, 1)
        self.group = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.reduce = nn.Conv2d(inner, channels, 1, bias=False)
        for conv in (self.expand, self.group):
            nn.init.kaiming_normal_(conv.weight, _SLOPE)
            with torch.no_grad():
                conv.weight.mul_(depth**-0.25)
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.reduce.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]` to the same."""
        y = leaky_relu(self.expand(x), _SLOPE, inplace=True)
        y = leaky_relu(self.group(y), _SLOPE, inplace=True)
        return x + self.reduce(y)


class Resample(nn.Module):
    """Doubles or halves the grid, with a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, features: int, *, doubles: bool):
        super().__init__()
        self.doubles = doubles
        self.change = _linear_conv(inputs, features) if inputs != features else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]` to `[N, features, 2H, 2W]` or `[N, features, H / 2, W / 2]`."""
        # The convolution is on the smaller grid.
        return layers.double(self.change(x)) if self.doubles else self.change(layers.halve(x))


class Generator(layers.Generator):
    """`z` `[N, latent_dim]` to images `[N, C, H, W]`."""

    def __init__(self, options: NetworkOptions):
        super().__init__(options.latent_dim)
        widths = _widths(options)
        self.basis = nn.Parameter(torch.randn(widths[0], *image_sizes.grid(options.image_size)))
        self.weigh = nn.Linear(options.latent_dim, widths[0], bias=False)
        nn.init.normal_(self.weigh.weight, 0.0, options.latent_dim**-0.5)
        self.stages = _stages(options, widths, doubles=True)
        self.last = _linear_conv(widths[-1], options.channels)

    def forward(self, z: Tensor) -> Tensor:
        """Generates images, float32; they may leave [-1, 1]."""
        x = self.basis * self.weigh(z)[:, :, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        return self.last(self.stages(x)).float()


class Discriminator(nn.Module):
    """Images to logits `[N]`."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        widths = _widths(options)[::-1]
        grid = image_sizes.grid(options.image_size)
        self.first = _linear_conv(options.channels, widths[0])
        self.stages = _stages(options, widths, doubles=False)
        self.basis = nn.Parameter(torch.randn(widths[-1], *grid) / math.prod(grid) ** 0.5)
        self.last = nn.Linear(widths[-1], 1, bias=False)
        nn.init.normal_(self.last.weight, 0.0, widths[-1] ** -0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images; logits are float32."""
        x = self.stages(self.first(images))
        # One filter a channel, as large as the grid.
        x = (x.float() * self.basis).sum((2, 3))
        with torch.autocast(x.device.type, enabled=False):
            return self.last(x)[:, 0]


def _widths(options: NetworkOptions) -> list[int]:
    return r3gan.widths(options.image_size, options.multiplied_width(), options.full_width)


def _stages(options: NetworkOptions, widths: list[int], *, doubles: bool) -> nn.Sequential:
    depth = options.blocks * len(widths)
    found: list[nn.Module] = []
    for index, width in enumerate(widths):
        if index:
            found.append(Resample(widths[index - 1], width, doubles=doubles))
        found += [Block(width, depth, options.group_channels) for _ in range(options.blocks)]
    return nn.Sequential(*found)


def _linear_conv(inputs: int, features: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, features, 1, bias=False)
    nn.init.normal_(conv.weight, 0.0, inputs**-0.5)
    return conv
