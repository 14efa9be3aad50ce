"""`osgan_jax.networks.dcgan` in PyTorch."""

import torch
from torch import nn

from experiments.benchmark.peers import layers
from osgan_jax.core import image_sizes
from osgan_jax.networks import NetworkOptions, dcgan

Tensor = torch.Tensor


class Generator(layers.Generator):
    """`z` `[N, latent_dim]` to images `[N, C, H, W]`."""

    def __init__(self, options: NetworkOptions):
        super().__init__(options.latent_dim)
        size = options.image_size
        stack: list[nn.Module] = []
        inputs = options.latent_dim
        hidden = dcgan.hidden_channels(size, options.multiplied_width())
        for index, features in enumerate(reversed(hidden)):
            geometry = {'stride': 2, 'padding': 1} if index else {'stride': 1, 'padding': 0}
            kernel = 4 if index else image_sizes.grid(size)
            stack += [
                nn.ConvTranspose2d(inputs, features, kernel, **geometry),
                nn.BatchNorm2d(features, eps=1e-5, momentum=0.1),
                nn.ReLU(inplace=True),
            ]
            inputs = features
        stack.append(nn.ConvTranspose2d(inputs, options.channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*stack)
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """Generates images, float32 in [-1, 1]."""
        return torch.tanh(self.layers(z[:, :, None, None]).float())


class Discriminator(nn.Module):
    """Images to logits `[N]`, with group norm."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        stack: list[nn.Module] = []
        inputs = options.channels
        hidden = dcgan.hidden_channels(options.image_size, options.multiplied_width())
        for index, features in enumerate(hidden):
            stack.append(nn.Conv2d(inputs, features, 4, stride=2, padding=1))
            if index:
                stack.append(layers.normalisation('group', features))
            stack.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = features
        self.layers = nn.Sequential(*stack)
        self.last = nn.Conv2d(inputs, 1, image_sizes.grid(options.image_size))
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images; logits are float32."""
        x = self.layers(images)
        # The last layer stays float32 in every precision, as it does in our networks.
        with torch.autocast(x.device.type, enabled=False):
            return self.last(x.float()).flatten()


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
