"""Fields of the objectives: loss, penalties, and augmentation of the images that D judges."""

import dataclasses
from typing import Any

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import field
from osgan_jax.gan.fields.final import final_field
from osgan_jax.io import own_code

ADA = 'ada'
"""The name of ADA's augmentations among those of `--augment`."""
ADA_GROUPS = ('blit', 'geom', 'color')
"""The groups of ADA's augmentations that its paper applies."""
GRADIENT_PENALTIES = ('gradient_penalty', 'r1', 'r2')
"""Penalties on D's gradient."""


def _penalty(help: str, at_least: float = 0, otherwise: float | None = None) -> Any:
    """An open field of a penalty, which the method decides."""
    known = {'group': 'penalties', 'decided_by': 'method'}
    return field(None, help, at_least=at_least, otherwise=otherwise, **known)


@dataclasses.dataclass(frozen=True)
class ObjectiveFields(Config):
    """What G and D minimise."""

    loss: str | None = field(
        None,
        "adversarial objective; relativistic_pairing is R3GAN's; relativistic is twice that "
        'loss, so the same r1 and r2 count half as much; or your own: module:function or '
        'FILE.py:function, which returns an osgan_jax.AdversarialLoss',
        group='losses',
        names='osgan_jax.core.loss_names:names',
        decided_by='method',
    )
    loss_options: tuple[str, ...] = field(
        (),
        "the objective's hyperparameters, with these defaults: slope=0.0 and "
        'linear_generator=false of geometric, rho=1e-06 of fisher',
        group='losses',
    )
    lecam: float = field(
        0.0,
        "weight of LeCam regularisation, which pulls D's real logits towards the running mean "
        'of its fake logits, and vice versa; 0 for none',
        group='losses',
        at_least=0,
    )
    lecam_decay: float = field(
        0.99, "decay of LeCam's running means per update", group='losses', at_least=0, below=1
    )
    label_smoothing: float = field(
        0.0,
        "amount by which D's target at real images is below 1; for minimax, non_saturating, "
        'boundary_seeking and least_squares',
        group='losses',
        at_least=0,
        below=0.5,
    )
    top_k: float = field(
        1.0,
        'final share of the fake images that G learns from: those with the highest logits; 1 '
        'for all',
        group='losses',
        above=0,
        at_most=1,
    )
    top_k_decay: float = field(
        0.99,
        'factor of the share of fake images after each epoch, from 1 down to --top_k',
        group='losses',
        above=0,
        at_most=1,
    )
    penalty_warmup_steps: int = field(
        0,
        'number of first steps in which --r1, --r2 and --gradient_penalty rise linearly from 0; '
        'their linear or cosine schedule begins after them',
        group='penalties',
        at_least=0,
    )
    weight_clip: float | None = _penalty(
        "bound on the absolute values of D's weights after each step; 0 for none"
    )
    r1: float | None = _penalty(
        "R1's gamma: the weight of D's squared gradient at real images is gamma / 2; with the "
        "relativistic loss, use twice R3GAN's value",
        otherwise=0.0,
    )
    r2: float | None = _penalty("R2's gamma: the same as R1's, at fake images", otherwise=0.0)
    gradient_penalty: float | None = _penalty(
        "weight of WGAN-GP's penalty on D's gradient between real and fake images", otherwise=0.0
    )
    r1_final: float | None = final_field(
        "R1's gamma at the end of the schedule; by default it is constant", 'penalties'
    )
    r2_final: float | None = final_field(
        "R2's gamma at the end of the schedule; by default it is constant", 'penalties'
    )
    gradient_penalty_final: float | None = final_field(
        '--gradient_penalty at the end of the schedule; by default it is constant', 'penalties'
    )
    penalty_every: int | None = _penalty(
        'updates of D between its penalties, whose weights are multiplied by that number',
        at_least=1,
        otherwise=1,
    )
    path_length: float | None = _penalty(
        "weight of G's path length penalty, in w where G has one, else in z", otherwise=0.0
    )
    path_length_every: int | None = _penalty(
        "steps between G's path length penalties, whose weights are multiplied by that number",
        at_least=1,
        otherwise=1,
    )
    orthogonal: float | None = _penalty(
        "weight of G's orthogonal regularisation (BigGAN, Eq. 3); at equal weight, the gradient "
        'in BigGAN-PyTorch is half as large',
        otherwise=0.0,
    )
    augment: tuple[str, ...] | None = field(
        None,
        'augmentations of the real and fake images that D sees: some of color, translation, '
        'cutout (DiffAugment, applied to every image), or ada (ADA, each applied with a '
        'probability)',
        group='augmentation',
        decided_by='method',
        otherwise=(),
        older=(),
    )
    augment_groups: tuple[str, ...] | None = field(
        None,
        'groups of augmentations for --augment=ada: some of blit, geom, color, noise, cutout; '
        'color:0.5 applies color with half of the probability',
        group='augmentation',
        decided_by='method',
        otherwise=ADA_GROUPS,
        older=ADA_GROUPS,
    )
    augment_probability: float | None = field(
        None,
        'probability of each augmentation of --augment=ada; by default it starts at 0 and is '
        'adapted',
        group='augmentation',
        at_least=0,
        at_most=1,
        decided_by='method',
    )
    augment_probability_final: float | None = final_field(
        '--augment_probability at the end of the schedule; by default it is constant, or '
        'adapted if you do not set --augment_probability',
        'augmentation',
        at_most=1,
    )
    ada_target: float | None = field(
        None,
        "target of ADA's adaptation: the probability grows while the mean sign of D's logits at "
        'real images is above this value',
        group='augmentation',
        above=-1,
        below=1,
        decided_by='method',
        otherwise=0.6,
        older=0.6,
    )
    ada_images: float | None = field(
        None,
        'number of real images in which the adapted probability can rise from 0 to 1',
        group='augmentation',
        at_least=1,
        decided_by='method',
        otherwise=500_000.0,
        older=500_000.0,
    )

    def __post_init__(self):
        # First, for a field's value is a text from here on.
        if self.loss is not None:
            object.__setattr__(self, 'loss', own_code.absolute(_named(self.loss)))
        super().__post_init__()


def _named(loss: Any) -> str:
    """The name of a loss in a configuration: a text as it is, an AdversarialLoss with what it is.

    Raises:
      ValueError: if it is neither.
    """
    if isinstance(loss, str):
        return loss
    from osgan_jax.core import losses  # imports jax, as a loss that is given has done

    if not isinstance(loss, losses.AdversarialLoss):
        raise ValueError(
            f'loss: expected a name, module:function or an osgan_jax.AdversarialLoss, got a value '
            f'of type {type(loss).__name__}'
        )
    return own_code.Given(loss.name, loss)
