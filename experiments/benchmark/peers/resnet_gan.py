"""`osgan_jax.networks.resnet_gan` in PyTorch, unconditional."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmark.peers import layers
from osgan_jax.core import image_sizes
from osgan_jax.networks import NetworkOptions, resnet_gan

Tensor = torch.Tensor


class GeneratorBlock(nn.Module):
    """Residual block that doubles the grid."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs, eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, features, 3, padding=1),
            nn.BatchNorm2d(features, eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, features, 1)
        self.upsample = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]` to `[N, features, 2H, 2W]`."""
        # A 1x1 convolution costs a quarter before the pixels are repeated.
        return self.residual(x) + self.upsample(self.shortcut(x))


class Generator(layers.Generator):
    """`z` `[N, latent_dim]` to images `[N, C, H, W]`."""

    def __init__(self, options: NetworkOptions):
        super().__init__(options.latent_dim)
        multiples = resnet_gan.GENERATOR_MULTIPLES[image_sizes.short(options.image_size)]
        widths = [multiple * options.multiplied_width() for multiple in multiples]
        self.start = (*image_sizes.grid(options.image_size), widths[0])
        self.first = nn.Linear(options.latent_dim, math.prod(self.start))
        self.blocks = nn.Sequential(
            *(GeneratorBlock(*pair) for pair in itertools.pairwise(widths)),
        )
        self.last = nn.Sequential(
            nn.BatchNorm2d(widths[-1], eps=1e-5, momentum=0.1),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[-1], options.channels, 3, padding=1),
        )
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """Generates images, float32 in [-1, 1]."""
        # Channels last, as everything after it.
        x = self.first(z).unflatten(1, self.start).permute(0, 3, 1, 2)
        return torch.tanh(self.last(self.blocks(x)).float())


class DiscriminatorBlock(nn.Module):
    """Residual block, which may halve the grid; the first one has no activation before it."""

    def __init__(self, inputs: int, features: int, *, halve: bool, first: bool, norm: str):
        super().__init__()
        wrap = layers.spectral(norm)
        hidden = features if first else inputs
        before = [layers.normalisation(norm, inputs), nn.ReLU()]
        self.residual = nn.Sequential(
            *([] if first else before),
            wrap(nn.Conv2d(inputs, hidden, 3, padding=1)),
            nn.Identity() if first else layers.normalisation(norm, hidden),
            nn.ReLU(inplace=True),
            wrap(nn.Conv2d(hidden, features, 3, padding=1)),
        )
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        changes = halve or inputs != features
        self.shortcut = wrap(nn.Conv2d(inputs, features, 1)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, C, H, W]` to `[N, features, H, W]`, or half of H and W."""
        # A 1x1 convolution costs a quarter after the averaging.
        return self.pool(self.residual(x)) + self.shortcut(self.pool(x))


class Discriminator(nn.Module):
    """Images to logits `[N]`."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        norm = options.discriminator_norm
        blocks, inputs = [], options.channels
        table = resnet_gan.DISCRIMINATOR_BLOCKS[image_sizes.short(options.image_size)]
        for index, (multiple, halve) in enumerate(table):
            features = multiple * options.multiplied_width()
            blocks.append(
                DiscriminatorBlock(inputs, features, halve=halve, first=index == 0, norm=norm)
            )
            inputs = features
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(inputs, 1)
        _initialise(self)
        # After the initialisation, which needs the layer's own weight.
        self.last = layers.spectral(norm)(self.last)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images; logits are float32."""
        x = functional.relu(self.blocks(images)).float().sum((2, 3))
        with torch.autocast(x.device.type, enabled=False):
            return self.last(x)[:, 0]


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            gain = math.sqrt(2) if layer.weight.shape[-1] == 3 else 1.0
            nn.init.xavier_uniform_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
