"""The configuration of a GAN's training run.

`osgan_jax.gan.methods.resolve` fills open fields (None) when the run starts, and the workdir keeps
the result. The fields are declared here and, by what they decide, in `osgan_jax.gan.fields`.
"""

import dataclasses
from typing import Any, ClassVar, Self

from osgan_jax import networks
from osgan_jax.engine.config import RunConfig, fill
from osgan_jax.engine.declarations import dataset_field, field, image_size_field
from osgan_jax.gan.fields.networks import NetworkFields, parse_multiplier
from osgan_jax.gan.fields.objectives import ADA, ADA_GROUPS, GRADIENT_PENALTIES, ObjectiveFields
from osgan_jax.gan.fields.optimisers import (
    ADAMS,
    BETAS,
    FALLING,
    OPTIMIZERS,
    RATES,
    OptimizerFields,
)
from osgan_jax.gan.fields.scores import ScoreFields
from osgan_jax.io import own_code

__all__ = [
    'ADA',
    'ADAMS',
    'ADA_GROUPS',
    'BETAS',
    'FALLING',
    'GRADIENT_PENALTIES',
    'OPTIMIZERS',
    'OWN',
    'RATES',
    'SCHEDULED',
    'SCHEMES',
    'TrainConfig',
    'parse_multiplier',
]

SCHEMES = ('one_stage', 'two_stage', 'shared_forward')
SCHEDULED = (*RATES, 'beta2', 'ema_decay', 'augment_probability', *GRADIENT_PENALTIES)
"""The fields that follow --schedule."""
OWN = ('network', 'loss')
"""The fields that may name code of one's own."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(NetworkFields, ObjectiveFields, OptimizerFields, ScoreFields, RunConfig):
    """What to train, on what, and how."""

    KIND: ClassVar[str] = 'train'

    method: str = field(
        'lsgan',
        "row of the paper's Table 1, or wgan_gp, sngan_resnet, stylegan2, biggan or r3gan; sets "
        'loss, networks, rates and penalties',
        names='osgan_jax.gan.methods:names',
        carried=True,
    )
    scheme: str = field(
        'one_stage',
        'how the gradients of both networks are computed: one forward and one backward pass '
        'through D, two separate updates, or one forward and two backward passes',
        choices=SCHEMES,
        carried=True,
    )
    init_from: str | None = field(
        None,
        'RUN@STEP, RUN@best or RUN: begin at step 0 with the parameters and averages of another '
        'run that fit; its networks and method are the default; also an export, or pretrained:NAME',
        path=True,
        pretrained=True,
        begins=True,
    )
    dataset: str = dataset_field('digits')
    split: str = field(
        'train',
        'part of the dataset; the paper trains on all 202,599 faces of celeb_a (all)',
        group='data',
        may_change=True,
    )
    upscale: bool | None = field(
        None,
        'enlarge images that are smaller than --image_size, instead of refusing them',
        group='data',
        decided_by='dataset',
    )
    num_steps: int | None = field(
        None,
        'number of steps; by default the published number, or else 30 epochs, and at least '
        '2,000 steps',
        at_least=1,
        decided_by=('method', 'dataset'),
        may_change=True,
    )
    batch_size: int | None = field(
        None,
        'real images per update of D, over all devices; the number of fake images is the same',
        at_least=2,
        decided_by='method',
        otherwise=128,
    )
    d_steps: int | None = field(
        None,
        'updates of D for each update of G; all but the last update D alone, each with its own '
        'batch',
        at_least=1,
        at_most=1000,
        decided_by='method',
        otherwise=1,
        older=1,
    )
    accumulate: int = field(
        1,
        'number of parts into which a batch is split to save memory; BatchNorm in G then uses '
        'the statistics of one part',
        at_least=1,
    )
    shard_state: bool | None = field(
        None,
        'divide parameters, optimisers and averages among the devices of a process, each of which '
        'updates its part; by default on accelerators, if one process trains',
        group='devices',
        may_change=True,
    )
    image_size: int | str | None = image_size_field(decided_by='dataset', carried=True)
    channels: int | None = field(
        None, 'channels of images, 1 or 3', group='data', decided_by='dataset', carried=True
    )
    flip: bool | None = field(
        None,
        'mirror half of the real images',
        group='data',
        decided_by=('method', 'dataset'),
        otherwise=False,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')

    @property
    def batches_per_step(self) -> int:
        """Batches of real images that a step takes, one for each update of D."""
        return self.d_steps or 1

    def span(self, name: str) -> tuple[float, float]:
        """The first and the last value of a field of `SCHEDULED`, or of one network's beta2.

        The configuration is resolved.
        """
        of_both = 'beta2' if name in ('beta2_g', 'beta2_d') else name
        start, end = getattr(self, name), getattr(self, f'{of_both}_final')
        follows = (*FALLING, 'step') if name not in RATES else FALLING
        return start, end if self.schedule in follows and end is not None else start

    def is_alike(self, name: str, other: Any) -> bool:
        """As `Config.is_alike`: what is one's own is told by what it builds, not by its name."""
        own = name in OWN and own_code.is_own(getattr(self, name)) and own_code.is_own(other)
        return own or super().is_alike(name, other)

    def complete(self) -> Self:
        """As `Config.complete`; options that its network was given later have their defaults."""
        later = {
            'root_epsilon': self.optimizer == 'rmsprop',
            'schedule': 'step' if self.decay_epochs else 'constant',
            **dict.fromkeys(('optimizer_g', 'optimizer_d'), self.optimizer),
            **{f'{name}_{whose}': getattr(self, name) for name in BETAS for whose in 'gd'},
        }
        complete = fill(super().complete(), later)
        if own_code.is_own(self.network):
            return complete  # reading a configuration runs no code of others
        try:
            options = networks.get(self.network).options
        except ValueError:  # another's, not registered here
            return complete
        return fill(complete, options)
