"""What a compressed GAN is trained with: a GAN's configuration, and what it has of its teacher."""

import dataclasses
import math
from typing import ClassVar

from osgan_jax.engine.config import field
from osgan_jax.gan.config import OPTIMIZERS, TrainConfig, parse_multiplier

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
# Stage I has 100,000, its Stage II goes on until it diverges: how long is for flags to say.
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

# What is the teacher's, whatever the flags say.
INHERITED = (
    'method',
    'network',
    'loss',
    'loss_options',
    'image_size',
    'channels',
    'width',
    'latent_dim',
    'conditional',
)
# What is the teacher's unless flags say otherwise; rates too, where the scheme is the same.
RATES = ('learning_rate_g', 'learning_rate_d', 'decay_factor')
RECIPE = (
    'discriminator_norm',
    'optimizer',
    'weight_clip',
    'batch_size',
    'beta1',
    'beta2',
    'adam_epsilon',
    'ema_decay',
    'ema_start',
    'r1',
    'r2',
    'gradient_penalty',
    'penalty_every',
    'path_length',
    'path_length_every',
    'orthogonal',
    'style_mixing',
)
DATA = ('dataset', 'data_dir', 'split', 'upscale')


@dataclasses.dataclass(frozen=True)
class CompressConfig(TrainConfig):
    """A student. Open fields are decided by `resolve` and `osgan_jax.gan.methods.resolve`."""

    KIND: ClassVar[str] = 'compress'
    AT_LEAST: ClassVar[dict[str, float]] = {
        **TrainConfig.AT_LEAST,
        'weight': 0.0,
        'stage_one_kimg': 0.0,
        'stage_two_kimg': 0.0,
    }

    teacher: str | None = field(
        None, 'workdir of experiments.train, compress or convert', may_change=True
    )
    teacher_step: int | None = field(None, "the teacher's checkpoint; default the newest good one")
    objective: str = field(
        'dgl', "what the teacher adds: a row of the paper's Tables 5 to 11", choices=OBJECTIVES
    )
    weight: float | None = field(
        None, "of the teacher's term; default 0.1, and 0.2 where its networks are imitated"
    )
    imitated: tuple[str, ...] = field(
        (), 'grids whose features g_inter and d_inter compare, and out; default the three largest'
    )
    stage_one_kimg: float | None = field(
        None, "thousands of images before the teacher's term (T); default the paper's ablations'"
    )
    stage_two_kimg: float | None = field(
        None, 'thousands of images with it (S), or more where it began by itself', may_change=True
    )
    auto_stage_two: bool = field(
        False, "begin it once the student's D tells real from fake as well as the teacher's; T caps"
    )
    channel_multiplier: str | None = field(
        None, "share of the channels that is left; default half of the teacher's"
    )
    optimizer: str | None = field(
        None, "of both networks; default the teacher's", choices=OPTIMIZERS
    )

    dataset: str | None = field(None, "default the teacher's: catalogue name, folder, npz or tfds:")
    split: str | None = field(
        None, "the dataset's part; default the teacher's, of another dataset train"
    )

    # Decided by the teacher.
    method: str | None = field(None, "the teacher's", flag=False)
    network: str | None = field(None, "the teacher's", flag=False)
    loss: str | None = field(None, "the teacher's", flag=False)
    loss_options: tuple[str, ...] = field((), "the teacher's", flag=False)
    image_size: int | None = field(None, "the teacher's", flag=False)
    channels: int | None = field(None, "the teacher's", flag=False)
    width: int | None = field(None, "the teacher's", flag=False)
    latent_dim: int | None = field(None, "the teacher's", flag=False)
    conditional: bool | None = field(None, "the teacher's", flag=False)
    num_steps: int | None = field(None, 'of both stages', may_change=True, flag=False)
    stage_one_steps: int | None = field(None, 'of Stage I at most', flag=False)
    teacher_digest: str | None = field(None, "fingerprint of the teacher's networks", flag=False)

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
                f"weight: --objective={self.objective} has no term of the teacher's to weigh"
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
      ValueError: for gradual under a teacher that is no student itself, or a channel multiplier
        given to uncompressed.
    """
    if config.objective == 'gradual' and not isinstance(teacher, CompressConfig):
        raise ValueError(
            'objective=gradual: the teacher is to be a student itself; give --teacher a run of '
            'experiments.compress, or take --objective=dgl'
        )
    values = {name: getattr(teacher, name) for name in INHERITED}
    inherited = RECIPE + (RATES if config.scheme == teacher.scheme else ())
    if config.dataset is None:
        inherited += DATA
    elif config.split is None:
        values['split'] = 'train'
    values |= {name: getattr(teacher, name) for name in inherited if getattr(config, name) is None}
    if config.ema_decay is None and config.batch_size:
        # Of images, not of steps.
        values['ema_decay'] = teacher.ema_decay ** (config.batch_size / teacher.batch_size)
    theirs = parse_multiplier(teacher.channel_multiplier)
    if config.objective == 'uncompressed':
        if config.channel_multiplier is not None and config.teacher_digest is None:
            raise ValueError(
                "objective=uncompressed: leave --channel_multiplier out, it is the teacher's"
            )
        values['channel_multiplier'] = str(theirs)
    elif config.channel_multiplier is None:
        values['channel_multiplier'] = str(theirs / 2)
    if config.weight is None:
        imitates = config.objective in IMITATIONS
        values['weight'] = _IMITATION_WEIGHT if imitates else _WEIGHT
    stages = _STAGES.get(config.objective) or _STAGES.get(teacher.method, _DEFAULT_STAGES)
    given = (config.stage_one_kimg, config.stage_two_kimg)
    first, second = (b if a is None else a for a, b in zip(given, stages, strict=True))
    if config.objective == 'from_scratch':
        first, second = 0.0, first + second
    return dataclasses.replace(
        config, stage_one_kimg=first, stage_two_kimg=second, teacher_digest=digest, **values
    )


def count_steps(config: CompressConfig) -> CompressConfig:
    """Turns thousands of images into steps, once the batch is known.

    Raises:
      ValueError: if no step is left, or more than can be counted.
    """
    step_kimg = config.batch_size / 1000
    first = math.ceil(config.stage_one_kimg / step_kimg)
    total = first + math.ceil(config.stage_two_kimg / step_kimg)
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
