"""`osgan_jax.networks.stylegan2` in PyTorch, unconditional.

Modulated convolutions are grouped ones, a group a sample, as in the authors' code.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmark.peers import layers
from osgan_jax.core import image_sizes
from osgan_jax.networks import NetworkOptions, stylegan2

Tensor = torch.Tensor

_EPSILON = 1e-8


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2, inplace=True) * math.sqrt(2)


class Linear(nn.Module):
    """Dense layer with an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, start: float = 0.0, multiplier: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), start / multiplier))
        self.gain, self.multiplier = multiplier / math.sqrt(inputs), multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, I]` to `[N, O]`."""
        return functional.linear(x, self.weight * self.gain, self.bias * self.multiplier)


class Conv(nn.Module):
    """Convolution with an equalised learning rate, which may halve the grid."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, *, halve: bool = False, bias: bool = True
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain, self.size, self.halve = 1 / math.sqrt(inputs * size * size), size, halve

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, I, H, W]` to `[N, O, H, W]`, or half of H and W."""
        weight, padding, stride = self.weight * self.gain, self.size // 2, 1
        if self.halve and self.size == 1:
            x = layers.halve(x)
        elif self.halve:
            x, padding, stride = layers.blur(x, 2), 0, 2
        return functional.conv2d(x, weight, self.bias, stride, padding)


class ModulatedConv(nn.Module):
    """Convolution whose weights are scaled for each sample, which may double the grid."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        size: int = 3,
        *,
        double: bool = False,
        demodulate: bool = True,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.style = Linear(w_dim, inputs, start=1.0)
        self.gain = 1 / math.sqrt(inputs * size * size)
        self.double, self.demodulate = double, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps `[N, I, H, W]`, style vectors `[N, w_dim]` to `[N, O, H, W]`, or twice H and W."""
        n, inputs, height, width = x.shape
        weight = (self.weight * self.gain) * self.style(w)[:, None, :, None, None]
        if self.demodulate:
            weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + _EPSILON).rsqrt()
        x = x.reshape(1, n * inputs, height, width)
        if self.double:
            weight = weight.transpose(1, 2).flatten(0, 1)
            x = functional.conv_transpose2d(x, weight, stride=2, groups=n)
            return layers.blur(x.reshape(n, -1, *x.shape[2:]), 1, gain=4.0)
        weight = weight.flatten(0, 1)
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=n)
        return x.reshape(n, -1, height, width)


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and activation."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, double: bool = False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, w_dim, double=double)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Maps `[N, I, H, W]`, w `[N, w_dim]` and noise `[N, 1, H', W']` to `[N, O, H', W']`."""
        x = self.conv(x, w) + self.noise_strength * noise
        return _activate(x + self.bias[:, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to an image, not demodulated."""

    def __init__(self, inputs: int, channels: int, w_dim: int):
        super().__init__()
        self.conv = ModulatedConv(inputs, channels, w_dim, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps `[N, I, H, W]`, w `[N, w_dim]` to `[N, channels, H, W]`, float32."""
        return self.conv(x, w).float() + self.bias[:, None, None]


class SynthesisBlock(nn.Module):
    """Doubles the grid with two styled convolutions, and adds their image to the one so far."""

    def __init__(self, inputs: int, outputs: int, channels: int, w_dim: int):
        super().__init__()
        self.up = StyledConv(inputs, outputs, w_dim, double=True)
        self.conv = StyledConv(outputs, outputs, w_dim)
        self.to_rgb = ToRGB(outputs, channels, w_dim)

    def forward(
        self, x: Tensor, image: Tensor, ws: Tensor, noise: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Maps features, image, styles `[N, 3, w_dim]` and noise to larger features and image."""
        x = self.conv(self.up(x, ws[:, 0], noise[0]), ws[:, 1], noise[1])
        return x, layers.double(image) + self.to_rgb(x, ws[:, 2])


class Generator(layers.Generator):
    """What `draw` returns to images `[N, C, H, W]`, which nothing bounds."""

    def __init__(self, options: NetworkOptions):
        super().__init__(options.latent_dim)
        size, w_dim = options.image_size, options.latent_dim
        self.grids = [image_sizes.grid(size, shorter) for shorter in _grids(size)]
        self.style_mixing = options.style_mixing
        self.mapping = nn.ModuleList(
            Linear(w_dim, w_dim, multiplier=0.01) for _ in range(options.mapping_layers)
        )
        self.register_buffer('w_average', torch.zeros(w_dim))
        # The constant's channels are never multiplied.
        first = _features(options, 4, multiplier=1.0)
        widths = [_features(options, grid) for grid in _grids(size)]
        self.constant = nn.Parameter(torch.randn(first, *self.grids[0]))
        self.conv = StyledConv(first, widths[0], w_dim)
        self.to_rgb = ToRGB(widths[0], options.channels, w_dim)
        self.blocks = nn.ModuleList(
            SynthesisBlock(*pair, options.channels, w_dim) for pair in itertools.pairwise(widths)
        )

    def draw(self, samples: int, random: torch.Generator) -> tuple[Tensor, ...]:
        """Draws z, the z of style mixing, its first layers `[N]`, and each layer's noise.

        A first layer of L, the number of layers, leaves a sample's styles as they are.
        """
        z, other = (layers.normal((samples, self.latent_dim), random) for _ in range(2))
        count, device = 2 * len(self.grids), random.device
        first = torch.randint(1, count, (samples,), generator=random, device=device)
        mixed = torch.rand(samples, generator=random, device=device) < self.style_mixing
        shapes = [grid for index, grid in enumerate(self.grids) for _ in range(2 if index else 1)]
        noise = [layers.normal((samples, 1, *shape), random) for shape in shapes]
        return z, other, torch.where(mixed, first, count), *noise

    def forward(self, z: Tensor, other: Tensor, first: Tensor, *noise: Tensor) -> Tensor:
        """Generates images, float32, from what `draw` returns."""
        w = self._map(z)
        if self.training:
            with torch.no_grad():
                self.w_average.lerp_(w.mean(0), 1 - 0.995)
        ws = w[:, None].expand(-1, 2 * len(self.grids), -1)
        if self.style_mixing:
            layer = torch.arange(ws.shape[1], device=w.device)
            ws = torch.where((layer < first[:, None])[:, :, None], ws, self._map(other)[:, None])
        x = self.constant.expand(z.shape[0], -1, -1, -1)
        x = self.conv(x, ws[:, 0], noise[0])
        image = self.to_rgb(x, ws[:, 1])
        for index, block in enumerate(self.blocks):
            layer = 2 * index + 1
            x, image = block(x, image, ws[:, layer : layer + 3], noise[layer : layer + 2])
        return image

    def _map(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            x = z * (z.square().mean(1, keepdim=True) + _EPSILON).rsqrt()
            for layer in self.mapping:
                x = _activate(layer(x))
            return x


class DiscriminatorBlock(nn.Module):
    """Halves the grid: two convolutions, beside a linear shortcut."""

    def __init__(self, before: int, after: int, *, skip: bool):
        super().__init__()
        self.conv = Conv(before, before)
        self.down = Conv(before, after, halve=True)
        self.shortcut = Conv(before, after, 1, halve=True, bias=False) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]` to `[N, after, H / 2, W / 2]`."""
        y = _activate(self.down(_activate(self.conv(x))))
        return y if self.shortcut is None else (y + self.shortcut(x)) / math.sqrt(2)


class Discriminator(nn.Module):
    """Images to logits `[N]`; the layers after the smallest grid are float32."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        grids = _grids(options.image_size)
        widths = [_features(options, grid) for grid in reversed(grids)]
        self.group, last = options.minibatch_deviation, widths[-1]
        self.from_rgb = Conv(options.channels, widths[0], 1)
        self.blocks = nn.Sequential(
            *(
                DiscriminatorBlock(*pair, skip=options.discriminator_skips)
                for pair in itertools.pairwise(widths)
            )
        )
        self.conv = Conv(last + bool(self.group), last)
        self.dense = Linear(last * math.prod(image_sizes.grid(options.image_size)), last)
        self.last = Linear(last, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images; logits are float32."""
        x = self.blocks(_activate(self.from_rgb(images))).float()
        with torch.autocast(x.device.type, enabled=False):
            if self.group:
                x = self._with_deviation(x)
            # Channels last, as they lie in memory.
            x = _activate(self.conv(x)).permute(0, 2, 3, 1).flatten(1)
            return self.last(_activate(self.dense(x)))[:, 0]

    def _with_deviation(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        group = min(self.group, n)
        deviation = (x.unflatten(0, (group, -1)).var(0, unbiased=False) + _EPSILON).sqrt()
        added = deviation.mean((1, 2, 3)).repeat(group)
        return torch.cat([x, added.view(n, 1, 1, 1).expand(-1, -1, height, width)], 1)


def _grids(size: image_sizes.ImageSize) -> list[int]:
    return [2**k for k in range(2, int(math.log2(image_sizes.short(size))) + 1)]


def _features(options: NetworkOptions, grid: int, multiplier: float | None = None) -> int:
    share = float(options.channel_multiplier) if multiplier is None else multiplier
    base = stylegan2.BASE_CHANNELS // stylegan2.MAX_CHANNELS * options.width
    return stylegan2.features(grid, share, base, options.width)
