"""The configuration of a compressed GAN: a GAN's, with what its teacher decides."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from osgan_jax.core import image_sizes
from osgan_jax.engine.config import READING
from osgan_jax.engine.declarations import dataset_field, declarations, field
from osgan_jax.gan import contradictions
from osgan_jax.gan.config import (
    BETAS,
    FALLING,
    OPTIMIZERS,
    SCHEDULED,
    TrainConfig,
    parse_multiplier,
)

OBJECTIVES = (
    'dgl',
    'baseline',
    'single_fixed',
    'single_updated',
    'g_inter',
    'd_inter',
    'd_out',
    'ggl',
    'gdgl',
    'from_scratch',
    'gradual',
    'uncompressed',
)
IMITATIONS = ('g_inter', 'd_inter', 'd_out')
# Where the teacher's term is the only one, or there is none.
UNWEIGHTED = ('baseline', 'single_fixed', 'single_updated')

# Thousands of images of Stage I and II: Tables 7 to 10 of the paper, Table 11, and section 4.3 on
# networks that are not compressed. Its longer runs have Stages II of 30,000 to 65,000. BigGAN's
# Stage I has 100,000, its Stage II goes on until it diverges: flags set its length.
_STAGES = {
    'uncompressed': (20_000.0, 10_000.0),
    'gradual': (15_000.0, 45_000.0),
    'biggan': (100_000.0, 15_000.0),
}
_DEFAULT_STAGES = (15_000.0, 15_000.0)
_MOST_STEPS = 2**31 - 2
_WEIGHT = 0.1
# Both gammas of Figure 9.
_IMITATION_WEIGHT = 0.2

_DATA = ('data_dir', 'split', 'upscale')
# Where they are open.
_INHERITED = (
    *(
        'batch_size',
        'd_steps',
        'discriminator_norm',
        'style_mixing',
        'beta1',
        'beta2',
        'adam_epsilon',
    ),
    *('mapping_layers', 'discriminator_skips', 'hierarchical_z', 'init'),
    *('blocks', 'group_channels', 'full_width'),
    *(
        'ema_decay',
        'ema_start',
        'ema_ramp',
        'weight_clip',
        'r1',
        'r2',
        'gradient_penalty',
        'penalty_every',
    ),
    *('path_length', 'path_length_every', 'orthogonal'),
)
_RATES = ('learning_rate_g', 'learning_rate_d', 'decay_factor')
_OPTIMIZERS = ('optimizer_g', 'optimizer_d')
_FINALS = tuple(f'{name}_final' for name in SCHEDULED if name in (*_INHERITED, *_RATES))


def _teachers(default: Any = None, **bounds: Any) -> Any:
    """A field that is the teacher's, whatever the flags say."""
    return field(default, "the teacher's", decided_by='teacher', flag=False, **bounds)


@dataclasses.dataclass(frozen=True)
class CompressConfig(TrainConfig):
    """A student. Open fields are decided by `resolve`, then by `osgan_jax.gan.methods.resolve`."""

    KIND: ClassVar[str] = 'compress'
    CHANGED: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **{name: {'decided_by': ('teacher',), 'otherwise': None} for name in _INHERITED},
        # The method's, under another scheme than the teacher's.
        **{name: {'decided_by': ('teacher', 'scheme')} for name in _RATES},
        # Those of --optimizer, where it is given.
        **{name: {'decided_by': ('teacher', 'optimizer')} for name in _OPTIMIZERS},
        **{
            f'{name}_{whose}': {'decided_by': ('teacher', 'optimizer')}
            for name in BETAS
            for whose in 'gd'
        },
        # The method's, beside another schedule or first value than the teacher's.
        **{name: {'decided_by': ('teacher', 'method')} for name in ('schedule', *_FINALS)},
    }

    teacher: str | None = field(
        None,
        'workdir of the teacher: a run of experiments.train, compress or convert, an export with '
        'its discriminator, or pretrained:NAME',
        may_change=True,
        path=True,
        pretrained=True,
    )
    teacher_step: int | None = field(
        None, "step of the teacher's checkpoint; the newest good one by default"
    )
    objective: str = field(
        'dgl',
        "the teacher's term in the student's losses: a row of the paper's Tables 5 to 11",
        choices=OBJECTIVES,
    )
    weight: float | None = field(
        None,
        "weight of the teacher's term; by default 0.2 if the student imitates features or "
        "outputs of the teacher's networks, else 0.1",
        group='losses',
        at_least=0,
        decided_by='objective',
    )
    imitated: tuple[str, ...] = field(
        (),
        'grids, in pixels, at which g_inter and d_inter compare features; g_inter also takes '
        'out, for the images; by default the three largest grids',
        group='losses',
    )
    stage_one_kimg: float | None = field(
        None,
        "length of Stage I, without the teacher's term, in thousands of images; by default the "
        "paper's",
        at_least=0,
        decided_by=('objective', 'method'),
    )
    stage_two_kimg: float | None = field(
        None,
        "length of Stage II, with the teacher's term, in thousands of images; longer if "
        "--auto_stage_two begins it early; by default the paper's",
        at_least=0,
        decided_by=('objective', 'method'),
        may_change=True,
    )
    auto_stage_two: bool = field(
        False,
        "begin Stage II once the student's D separates real and fake images as well as the "
        "teacher's D; --stage_one_kimg then bounds Stage I",
    )
    channel_multiplier: str | None = field(
        None,
        'share of the channels to keep, above 0 and up to 1, such as 1/2 or 0.5; by default '
        "half of the teacher's",
        group='networks',
        decided_by='objective',
    )
    optimizer: str | None = field(
        None,
        'optimiser of both networks',
        group='optimizer',
        choices=OPTIMIZERS,
        decided_by='teacher',
    )

    dataset: str | None = dataset_field(None, decided_by='teacher')
    split: str | None = field(
        None,
        "part of the dataset; by default the teacher's, or train with another --dataset",
        group='data',
        decided_by='dataset',
        may_change=True,
    )

    method: str | None = _teachers()
    network: str | None = _teachers()
    loss: str | None = _teachers()
    loss_options: tuple[str, ...] = _teachers(())
    image_size: int | str | None = _teachers(parse=image_sizes.parse)
    channels: int | None = _teachers()
    width: int | None = _teachers(at_least=1)
    latent_dim: int | None = _teachers(at_least=1)
    conditional: bool | None = _teachers()
    num_steps: int | None = field(
        None, 'steps of both stages', at_least=1, may_change=True, flag=False
    )
    stage_one_steps: int | None = field(None, 'steps of Stage I at most', flag=False)
    # Adopted: where it is known, weight and channels are decided and were not asked for.
    teacher_digest: str | None = field(
        None, "fingerprint of the teacher's networks", flag=False, adopted=True
    )

    def __post_init__(self):
        super().__post_init__()
        for each in self.imitated:
            if each != 'out' and not (each.isascii() and each.isdecimal()):
                raise ValueError(f'imitated={each!r}: expected grids in pixels, or out')
        if self.imitated and self.objective not in ('g_inter', 'd_inter'):
            raise ValueError(
                f'imitated: --objective={self.objective} compares no features; g_inter and d_inter '
                'do'
            )
        asked = self.weight is not None and self.teacher_digest is None
        if asked and self.objective in UNWEIGHTED:
            raise ValueError(
                f'weight: --objective={self.objective} has no term of the teacher; leave it out'
            )
        if 'out' in self.imitated and self.objective != 'g_inter':
            raise ValueError('imitated=out: only g_inter compares images')


KINDS = (TrainConfig, CompressConfig)
"""Configurations of the runs that hold a GAN: to sample from, score, edit or learn from."""


def resolve(config: CompressConfig, teacher: TrainConfig, digest: str) -> CompressConfig:
    """Fills what the teacher and the objective decide; the rest is `methods.resolve`'s.

    Args:
      config: what was asked for.
      teacher: the resolved configuration of the teacher.
      digest: of the teacher's networks.

    Raises:
      ValueError: for gradual under a teacher that is not itself a student, or a channel multiplier
        given to uncompressed.
    """
    if config.objective == 'gradual' and not isinstance(teacher, CompressConfig):
        raise ValueError(
            'objective=gradual: the teacher must be a student itself; give --teacher a run of '
            'experiments.compress, or use --objective=dgl'
        )
    declared = declarations(CompressConfig).values()
    theirs = [each for each in declared if each.decided_by == ('teacher',)]
    values = {each.name: getattr(teacher, each.name) for each in theirs if not each.flag}
    inherited = [each.name for each in theirs if each.flag]
    if config.scheme == teacher.scheme:
        inherited += _RATES
    if config.optimizer is None:
        inherited += _OPTIMIZERS
    for name in BETAS:
        if getattr(config, name) is None:
            inherited += [f'{name}_g', f'{name}_d']
    inherited += _schedule(config, teacher, inherited)
    if config.dataset is None:
        inherited += _DATA
        fields = declarations(CompressConfig)
        unset = [name for name in READING if getattr(config, name) == fields[name].default]
        values |= {name: getattr(teacher, name) for name in unset}
    elif config.split is None:
        values['split'] = 'train'
    values |= {name: getattr(teacher, name) for name in inherited if getattr(config, name) is None}
    given_way = contradictions.superseded(config)
    values |= {name: given_way[name] for name in given_way if name in values}
    if 'ema_decay' in values and 'ema_decay_final' not in values:
        values['ema_decay'] = max(teacher.span('ema_decay'))
    batch, d_steps = config.batch_size or teacher.batch_size, config.d_steps or teacher.d_steps
    for name in ('ema_decay', 'ema_decay_final'):
        if name in values:
            # Of images, not of steps.
            values[name] **= batch * d_steps / teacher.images_per_step
    multiplier = parse_multiplier(teacher.channel_multiplier)
    if config.objective == 'uncompressed':
        if config.channel_multiplier is not None and config.teacher_digest is None:
            raise ValueError(
                "objective=uncompressed: the student has the teacher's channels; leave "
                '--channel_multiplier out'
            )
        values['channel_multiplier'] = str(multiplier)
    elif config.channel_multiplier is None:
        values['channel_multiplier'] = str(multiplier / 2)
    if config.weight is None:
        imitates = config.objective in IMITATIONS
        values['weight'] = _IMITATION_WEIGHT if imitates else _WEIGHT
    stages = _STAGES.get(config.objective) or _STAGES.get(teacher.method, _DEFAULT_STAGES)
    given = (config.stage_one_kimg, config.stage_two_kimg)
    first, second = (b if a is None else a for a, b in zip(given, stages, strict=True))
    return dataclasses.replace(
        config, stage_one_kimg=first, stage_two_kimg=second, teacher_digest=digest, **values
    )


def _schedule(config: CompressConfig, teacher: TrainConfig, inherited: list[str]) -> list[str]:
    """What a student has of its teacher's schedule: beside first values that are the teacher's."""
    if config.schedule is not None or teacher.schedule not in FALLING:
        return []
    first = [name for name in SCHEDULED if name in inherited and getattr(config, name) is None]
    return ['schedule', *(f'{name}_final' for name in first)]


def count_steps(config: CompressConfig) -> CompressConfig:
    """Turns thousands of images into steps, once the batch is known.

    Raises:
      ValueError: if no step is left, or more than can be counted.
    """
    step_kimg = config.images_per_step / 1000
    stages = config.stage_one_kimg, config.stage_two_kimg
    if config.objective == 'from_scratch':  # Stage II takes the images of both
        stages = 0.0, sum(stages)
    first, second = (math.ceil(kimg / step_kimg) for kimg in stages)
    total = first + second
    if total > _MOST_STEPS:
        raise ValueError(
            f'stage_one_kimg and stage_two_kimg make {total} steps: expected at most {_MOST_STEPS}'
        )
    calls = -(-total // config.steps_per_call)
    if not calls:
        raise ValueError('stage_one_kimg and stage_two_kimg are both 0: nothing to train')
    return dataclasses.replace(
        config, stage_one_steps=first, num_steps=calls * config.steps_per_call
    )
