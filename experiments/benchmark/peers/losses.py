"""Objectives and penalties of `osgan_jax.core.losses` and `regularizers`, in PyTorch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import softplus

from osgan_jax.core import one_stage

Tensor = torch.Tensor


class Loss(NamedTuple):
    """One objective on logits `[N]`, as in Table S1.

    Attributes:
      discriminator: `(s_real, s_fake) -> L_D`.
      generator: `(s_real, s_fake) -> L_G`; `s_real` is None unless `paired`.
      cotangents: `(s_real, s_fake) -> (dL_D/ds_real, dL_D/ds_fake, dL_G/ds_fake)`, times N: their
        closed forms take fewer kernels than differentiating the two scalars.
      paired: whether L_G needs the real logits.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]
    cotangents: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    paired: bool = False


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real).mean() + softplus(fake).mean()


def _relativistic(factor: float) -> Loss:
    def cotangents(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wrong = factor * torch.sigmoid(fake - real)
        return -wrong, wrong, wrong - factor

    return Loss(
        lambda real, fake: factor * softplus(fake - real).mean(),
        lambda real, fake: factor * softplus(real - fake).mean(),
        cotangents,
        paired=True,
    )


LOSSES = {
    'least_squares': Loss(
        lambda real, fake: (real - 1).square().mean() + fake.square().mean(),
        lambda real, fake: (fake - 1).square().mean(),
        lambda real, fake: (2 * (real - 1), 2 * fake, 2 * (fake - 1)),
    ),
    'non_saturating': Loss(
        _cross_entropy,
        lambda real, fake: softplus(-fake).mean(),
        lambda real, fake: (-torch.sigmoid(-real), torch.sigmoid(fake), -torch.sigmoid(-fake)),
    ),
    'minimax': Loss(
        _cross_entropy,
        lambda real, fake: -softplus(fake).mean(),
        lambda real, fake: (-torch.sigmoid(-real), torch.sigmoid(fake), -torch.sigmoid(fake)),
    ),
    'hinge': Loss(
        lambda real, fake: torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
        lambda real, fake: (-(real < 1).float(), (fake > -1).float(), -torch.ones_like(fake)),
    ),
    'wasserstein': Loss(
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
        lambda real, fake: (-torch.ones_like(real), torch.ones_like(fake), -torch.ones_like(fake)),
    ),
    'relativistic': _relativistic(2.0),
    'relativistic_pairing': _relativistic(1.0),
}


def split_cotangent(c_d: Tensor, c_g: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the carrier and gamma, see `osgan_jax.core.one_stage.split_cotangent`."""
    floor = one_stage.CARRIER_FLOOR * c_g.abs()
    carrier = torch.where(c_d.abs() >= floor, c_d, torch.where(c_d < 0, -floor, floor))
    # The carrier is zero only where c_g is.
    gamma = torch.where(carrier == 0, 0.0, c_g / carrier)
    return carrier, gamma


class Penalties(NamedTuple):
    """Weights of D's penalties, see `osgan_jax.core.regularizers.Penalties`; 0 for none."""

    r1: float = 0.0
    r2: float = 0.0
    gradient_penalty: float = 0.0

    def differentiated(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The images, those of R1 and R2 as leaves by which logits are differentiated."""
        return (
            real.detach().requires_grad_() if self.r1 else real,
            fake.detach().requires_grad_() if self.r2 else fake,
        )

    def of(
        self,
        discriminator: nn.Module,
        images: tuple[Tensor, Tensor],
        logits: tuple[Tensor, Tensor],
        mixture: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The penalties' sum, and with R2 the gradients of the logits at the fake images.

        Args:
          discriminator: maps images to logits.
          images: real and fake, of which those of R1 and R2 require gradients.
          logits: of these images.
          mixture: share of the real image in each mixture `[N]`, for WGAN-GP's penalty.
        """
        gammas = (self.r1, self.r2)
        wanted = [k for k, gamma in enumerate(gammas) if gamma]
        total, at_fake = logits[0].new_zeros(()), None
        if wanted:
            found = torch.autograd.grad(
                sum(logits[k].sum() for k in wanted),
                [images[k] for k in wanted],
                create_graph=True,
            )
            for k, gradient in zip(wanted, found, strict=True):
                squares = gradient.float().square().sum((1, 2, 3))
                total = total + gammas[k] / 2 * squares.mean()
            at_fake = found[-1].detach() if self.r2 else None
        if self.gradient_penalty:
            real, fake = (each.detach() for each in images)
            share = mixture.view(-1, 1, 1, 1)
            mixed = (share * real + (1 - share) * fake).requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(mixed).sum(), mixed, create_graph=True)
            slopes = gradient.float().square().sum((1, 2, 3)).sqrt()
            total = total + self.gradient_penalty * (slopes - 1).square().mean()
        return total, at_fake
