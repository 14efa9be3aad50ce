"""The same training steps in eager PyTorch, to be timed beside this project's own.

An optional peer of the benchmark: this module needs torch, which nothing else here does. Networks,
objectives and schemes are those of `osgan_jax.networks.dcgan`, `osgan_jax.losses` and
`osgan_jax.gan.updates`, written the way training code is in an eager framework (no torch.compile
unless asked for, no captured graphs) and tuned as far as that allows: see `Peer`.

One stage in autograd's terms (Shen et al., "Training Generative Adversarial Networks in One Stage",
CVPR 2021, Algorithm 1): D runs on a detached copy of the fake batch that collects its own gradient.
One backward pass through D with each logit's carrier leaves D's weight gradients where the
optimiser looks for them, and at the copy the gradient which, times gamma for each sample, goes on
through G.

Data contract: images here are `[N, C, H, W]`, torch's order of axes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from osgan_jax.core import image_sizes, one_stage
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.gan.config import TrainConfig
from osgan_jax.networks import dcgan

Tensor = torch.Tensor

LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)  # Adam's, section 4 of the paper


class Generator(nn.Module):
    """`osgan_jax.networks.dcgan.Generator`: `z` `[N, latent_dim]` to images `[N, C, H, W]`."""

    def __init__(self, image_size: ImageSize, channels: int, width: int, latent_dim: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = latent_dim
        for index, features in enumerate(reversed(dcgan.hidden_channels(image_size, width))):
            geometry = {'stride': 2, 'padding': 1} if index else {'stride': 1, 'padding': 0}
            kernel = 4 if index else image_sizes.grid(image_size)
            layers += [
                nn.ConvTranspose2d(inputs, features, kernel, **geometry),
                nn.BatchNorm2d(features, eps=1e-5, momentum=0.1),
                nn.ReLU(inplace=True),
            ]
            inputs = features
        layers.append(nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """Generates images, float32 in [-1, 1]."""
        return torch.tanh(self.layers(z[:, :, None, None]).float())


class Discriminator(nn.Module):
    """`osgan_jax.networks.dcgan.Discriminator` with norm='group': images to logits `[N]`."""

    def __init__(self, image_size: ImageSize, channels: int, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for index, features in enumerate(dcgan.hidden_channels(image_size, width)):
            layers.append(nn.Conv2d(inputs, features, 4, stride=2, padding=1))
            if index:
                layers.append(nn.GroupNorm(math.gcd(32, features), features, eps=1e-5))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = features
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(inputs, 1, image_sizes.grid(image_size))
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


class Loss(NamedTuple):
    """One objective on logits `[N]`, as in Table S1.

    Attributes:
      discriminator: `(s_real, s_fake) -> L_D`.
      generator: `s_fake -> L_G`.
      cotangents: `(s_real, s_fake) -> (dL_D/ds_real, dL_D/ds_fake, dL_G/ds_fake)`, times N: their
        closed forms take fewer kernels than differentiating the two scalars.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    cotangents: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


LOSSES = {
    'least_squares': Loss(
        lambda real, fake: (real - 1).square().mean() + fake.square().mean(),
        lambda fake: (fake - 1).square().mean(),
        lambda real, fake: (2 * (real - 1), 2 * fake, 2 * (fake - 1)),
    ),
    'non_saturating': Loss(
        _cross_entropy,
        lambda fake: functional.softplus(-fake).mean(),
        lambda real, fake: (-torch.sigmoid(-real), torch.sigmoid(fake), -torch.sigmoid(-fake)),
    ),
    'minimax': Loss(
        _cross_entropy,
        lambda fake: -functional.softplus(fake).mean(),
        lambda real, fake: (-torch.sigmoid(-real), torch.sigmoid(fake), -torch.sigmoid(fake)),
    ),
    'hinge': Loss(
        lambda real, fake: torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(),
        lambda fake: -fake.mean(),
        lambda real, fake: (-(real < 1).float(), (fake > -1).float(), -torch.ones_like(fake)),
    ),
    'wasserstein': Loss(
        lambda real, fake: fake.mean() - real.mean(),
        lambda fake: -fake.mean(),
        lambda real, fake: (-torch.ones_like(real), torch.ones_like(fake), -torch.ones_like(fake)),
    ),
}


def split_cotangent(c_d: Tensor, c_g: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the carrier and gamma, see `osgan_jax.core.one_stage.split_cotangent`."""
    floor = one_stage.CARRIER_FLOOR * c_g.abs()
    carrier = torch.where(c_d.abs() >= floor, c_d, torch.where(c_d < 0, -floor, floor))
    # The carrier is zero only where c_g is.
    gamma = torch.where(carrier == 0, 0.0, c_g / carrier)
    return carrier, gamma


class Peer:
    """A pair of networks with their optimisers and one batch of random images, ready to be timed.

    Attributes:
      generator: a `Generator`.
      discriminator: a `Discriminator`.
      real: the images, `[N, C, H, W]` in [-1, 1].
    """

    def __init__(
        self,
        config: TrainConfig,
        scheme: str,
        device: str = 'cpu',
        *,
        compiler: str | None = None,
    ):
        """Builds networks, optimisers and a batch.

        Args:
          config: resolved; its loss, sizes, width, precision and seed count. 'float32' has no TF32
            anywhere, 'bfloat16' is autocast: parameters, logits and optimiser stay float32.
          scheme: 'one_stage'; 'two_stage', whose second stage tells autograd that D is frozen; or
            'two_stage_eager', which does not, so that D's weight gradients are computed and
            dropped. Both alternate as `osgan_jax.gan.updates` does: a fresh z for G, against the
            new D.
          device: as torch names it: 'cpu', 'cuda', 'cuda:1'.
          compiler: a backend of `torch.compile`, such as 'inductor', for both networks; None for
            eager ones.

        Raises:
          ValueError: for a device that is not there.
        """
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(
                f'device {device!r}: this installation of PyTorch finds no CUDA device'
            )
        size, channels = config.image_size, config.channels
        width, self._latent_dim = config.width or 128, config.latent_dim
        self._step, self._loss = SCHEMES[scheme], LOSSES[config.loss]
        self._precision = config.precision
        # Drawn apart from the process's own random numbers, the same on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generator = Generator(size, channels, width, self._latent_dim)
            discriminator = Discriminator(size, channels, width)
            real = 2 * torch.rand(config.batch_size, channels, *image_sizes.sides(size)) - 1
        # The faster order of axes: DCGAN-64, float32, two CPU cores, torch 2.13, medians of 9
        # steps, against contiguous ones: one_stage 190 and 202 ms (width 64, batch 32), 105 and 140
        # ms (width 32, batch 64). One concatenated batch for D, and an Adam that is not fused, made
        # no difference beyond the spread.
        place = {'device': device, 'memory_format': torch.channels_last}
        self.generator, self.discriminator = generator.to(**place), discriminator.to(**place)
        if compiler:
            # Parameters stay the modules'.
            self.generator = torch.compile(self.generator, backend=compiler)
            self.discriminator = torch.compile(self.discriminator, backend=compiler)
        self.real = real.to(**place)
        self._random = torch.Generator(self.real.device).manual_seed(config.seed)
        self._adam = {
            network: torch.optim.Adam(
                network.parameters(), lr=LEARNING_RATE, betas=BETAS, fused=True
            )
            for network in (self.generator, self.discriminator)
        }

    def step(self) -> None:
        """Trains both networks for one step and waits for the device."""
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=True, allow_tf32=self._precision == 'tensorfloat32'
        ):
            self._step(self)
        if self.real.is_cuda:
            torch.cuda.synchronize(self.real.device)

    def latents(self) -> Tensor:
        """Draws `z` `[N, latent_dim]` on the device."""
        size = (self.real.shape[0], self._latent_dim)
        return torch.randn(size, generator=self._random, device=self.real.device)

    def one_stage_gradients(self, z: Tensor) -> None:
        """Adds both networks' gradients to their parameters' `.grad`, from one pass through D."""
        with self._autocast():
            fake = self.generator(z)
            # A leaf of its own: the pass through D ends here, and its gradient can be scaled.
            leaf = fake.detach().requires_grad_()
            s_real, s_fake = self.discriminator(self.real), self.discriminator(leaf)
        n = s_fake.shape[0]
        r, c_d, c_g = (c / n for c in self._loss.cotangents(s_real.detach(), s_fake.detach()))
        carrier, gamma = split_cotangent(c_d, c_g)
        torch.autograd.backward((s_real, s_fake), (r, carrier))
        torch.autograd.backward(fake, gamma.view(-1, 1, 1, 1) * leaf.grad)

    def discriminator_gradients(self, z: Tensor) -> None:
        """Adds D's gradients to its parameters' `.grad`; none reach G."""
        with self._autocast():
            with torch.no_grad():
                fake = self.generator(z)
            s_real, s_fake = self.discriminator(self.real), self.discriminator(fake)
        self._loss.discriminator(s_real, s_fake).backward()

    def generator_gradients(self, z: Tensor, *, freeze: bool) -> None:
        """Adds G's gradients to its parameters' `.grad`.

        Args:
          z: `[N, latent_dim]`.
          freeze: whether autograd is told that D's weight gradients are not wanted; otherwise it
            computes them and adds them to D's `.grad`.
        """
        if freeze:
            self.discriminator.requires_grad_(False)
        with self._autocast():
            s_fake = self.discriminator(self.generator(z))
        self._loss.generator(s_fake).backward()
        if freeze:
            self.discriminator.requires_grad_(True)

    def update(self, *networks: nn.Module) -> None:
        """Applies the gradients of the networks given, and drops them."""
        for network in networks:
            self._adam[network].step()
            self.forget(network)

    def forget(self, network: nn.Module) -> None:
        """Drops a network's gradients."""
        self._adam[network].zero_grad(set_to_none=True)

    def _autocast(self) -> torch.autocast:
        enabled = self._precision == 'bfloat16'
        return torch.autocast(self.real.device.type, dtype=torch.bfloat16, enabled=enabled)


def _one_stage(peer: Peer) -> None:
    peer.one_stage_gradients(peer.latents())
    peer.update(peer.discriminator, peer.generator)


def _two_stage(peer: Peer, *, freeze: bool = True) -> None:
    peer.discriminator_gradients(peer.latents())
    peer.update(peer.discriminator)
    peer.generator_gradients(peer.latents(), freeze=freeze)
    peer.update(peer.generator)


def _two_stage_eager(peer: Peer) -> None:
    _two_stage(peer, freeze=False)
    peer.forget(peer.discriminator)


SCHEMES: dict[str, Callable[[Peer], None]] = {
    'one_stage': _one_stage,
    'two_stage': _two_stage,
    'two_stage_eager': _two_stage_eager,
}
