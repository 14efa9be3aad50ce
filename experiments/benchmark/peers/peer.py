"""Training steps in eager PyTorch.

Networks, objectives, penalties and schemes are those of `osgan_jax.networks`, `osgan_jax.core` and
`osgan_jax.gan.updates`, written the way training code is in an eager framework (no torch.compile
unless asked for, no captured graphs) and tuned as far as that allows: see `Peer`.

One stage in autograd's terms (Shen et al., "Training Generative Adversarial Networks in One Stage",
CVPR 2021, Algorithm 1): D runs on a detached copy of the fake batch that collects its own gradient.
One backward pass through D with each logit's carrier leaves D's weight gradients where the
optimiser looks for them, and at the copy the gradient which, times gamma for each sample, goes on
through G. R2 has the logits' own gradients at the copy: times dL_G/ds they take that one's place.
"""

from collections.abc import Callable

import torch
from torch import nn

from experiments.benchmark.peers.losses import LOSSES, Penalties, split_cotangent
from experiments.benchmark.peers.networks import NETWORKS
from osgan_jax import networks
from osgan_jax.core import image_sizes
from osgan_jax.gan.config import TrainConfig

Tensor = torch.Tensor

LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)  # Adam's, section 4 of the paper


class Peer:
    """A pair of networks with their optimisers and one batch of random images, ready to be timed.

    Attributes:
      generator: maps what its `draw` returns to images.
      discriminator: maps images to logits.
      real: the images, `[N, C, H, W]` in [-1, 1].
      random: draws everything that steps draw, on the device.
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
          config: resolved; its network and that one's options, loss, penalties, batch size,
            precision and seed count. 'float32' has no TF32 anywhere, 'bfloat16' is autocast:
            parameters, logits and optimiser stay float32.
          scheme: 'one_stage'; 'two_stage', whose second stage tells autograd that D is frozen; or
            'two_stage_eager', which does not, so that D's weight gradients are computed and
            dropped. Both alternate as `osgan_jax.gan.updates` does: a fresh z for G, against the
            new D.
          device: as torch names it: 'cpu', 'cuda', 'cuda:1'.
          compiler: a backend of `torch.compile`, such as 'inductor', for both networks; None for
            eager ones.

        Raises:
          ValueError: for a device that is not there, or options that the network does not take.
        """
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(
                f'device {device!r}: this installation of PyTorch finds no CUDA device'
            )
        options = networks.get(config.network).complete(config.network_options(0))
        self._step, self._loss = SCHEMES[scheme], LOSSES[config.loss]
        self._penalties = Penalties(*(getattr(config, name) or 0.0 for name in Penalties._fields))
        self._precision = config.precision
        made = NETWORKS[config.network]
        # Drawn apart from the process's own random numbers, the same on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generator, discriminator = made.generator(options), made.discriminator(options)
            size = (config.batch_size, config.channels, *image_sizes.sides(config.image_size))
            real = 2 * torch.rand(size) - 1
        # The faster order of axes: DCGAN-64, float32, two CPU cores, torch 2.13, medians of 9
        # steps, against contiguous ones: one_stage 190 and 202 ms (width 64, batch 32), 105 and 140
        # ms (width 32, batch 64). One concatenated batch for D, and an Adam that is not fused, made
        # no difference beyond the spread.
        place = {'device': device, 'memory_format': torch.channels_last}
        self.generator, self.discriminator = generator.to(**place), discriminator.to(**place)
        self._draw = self.generator.draw
        if compiler:
            # Parameters stay the modules'.
            self.generator = torch.compile(self.generator, backend=compiler)
            self.discriminator = torch.compile(self.discriminator, backend=compiler)
        self.real = real.to(**place)
        self.random = torch.Generator(self.real.device).manual_seed(config.seed)
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

    def draw(self) -> tuple[Tensor, ...]:
        """Draws what the generator takes, on the device."""
        return self._draw(self.real.shape[0], self.random)

    def one_stage_gradients(self, drawn: tuple[Tensor, ...]) -> None:
        """Adds both networks' gradients to their parameters' `.grad`, from one pass through D.

        Args:
          drawn: as `draw` returns it.
        """
        with self._autocast():
            fake = self.generator(*drawn)
            # A leaf of its own: the pass through D ends here, and its gradient can be scaled.
            images = self._penalties.differentiated(self.real, fake.detach().requires_grad_())
            s_real, s_fake = (self.discriminator(each) for each in images)
        n = s_fake.shape[0]
        r, c_d, c_g = (c / n for c in self._loss.cotangents(s_real.detach(), s_fake.detach()))
        penalty, at_fake = self._penalise(images, (s_real, s_fake))
        wanted = list(self.discriminator.parameters())
        if at_fake is None:
            carrier, gamma = split_cotangent(c_d, c_g)
            wanted.append(images[1])
        else:
            carrier, gamma = c_d, c_g
        (s_real @ r + s_fake @ carrier + penalty).backward(inputs=wanted)
        at_fake = images[1].grad if at_fake is None else at_fake
        torch.autograd.backward(fake, gamma.view(-1, 1, 1, 1) * at_fake)

    def discriminator_gradients(self, drawn: tuple[Tensor, ...]) -> None:
        """Adds D's gradients to its parameters' `.grad`; none reach G."""
        with self._autocast():
            with torch.no_grad():
                fake = self.generator(*drawn)
            images = self._penalties.differentiated(self.real, fake)
            logits = tuple(self.discriminator(each) for each in images)
        penalty, _ = self._penalise(images, logits)
        parameters = list(self.discriminator.parameters())
        (self._loss.discriminator(*logits) + penalty).backward(inputs=parameters)

    def generator_gradients(self, drawn: tuple[Tensor, ...], *, freeze: bool) -> None:
        """Adds G's gradients to its parameters' `.grad`.

        Args:
          drawn: as `draw` returns it.
          freeze: whether autograd is told that D's weight gradients are not wanted; otherwise it
            computes them and adds them to D's `.grad`.
        """
        if freeze:
            self.discriminator.requires_grad_(False)
        with self._autocast():
            s_real = None
            if self._loss.paired:
                with torch.no_grad():
                    s_real = self.discriminator(self.real)
            s_fake = self.discriminator(self.generator(*drawn))
        self._loss.generator(s_real, s_fake).backward()
        if freeze:
            self.discriminator.requires_grad_(True)

    def _penalise(
        self, images: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """D's penalties, see `Penalties.of`."""
        n, device = images[0].shape[0], images[0].device
        mixture = None
        if self._penalties.gradient_penalty:
            mixture = torch.rand(n, generator=self.random, device=device)
        with self._autocast():
            return self._penalties.of(self.discriminator, images, logits, mixture)

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
    peer.one_stage_gradients(peer.draw())
    peer.update(peer.discriminator, peer.generator)


def _two_stage(peer: Peer, *, freeze: bool = True) -> None:
    peer.discriminator_gradients(peer.draw())
    peer.update(peer.discriminator)
    peer.generator_gradients(peer.draw(), freeze=freeze)
    peer.update(peer.generator)


def _two_stage_eager(peer: Peer) -> None:
    _two_stage(peer, freeze=False)
    peer.forget(peer.discriminator)


SCHEMES: dict[str, Callable[[Peer], None]] = {
    'one_stage': _one_stage,
    'two_stage': _two_stage,
    'two_stage_eager': _two_stage_eager,
}
