"""What a compressed GAN is trained with: a GAN's configuration, and what it has of its teacher."""

import dataclasses
import math
from typing import ClassVar

from osgan_jax.config import TrainConfig
from osgan_jax.configuration import field

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

# Thousands of images of Stage I and II: Tables 7 to 10 of the paper, and section 4.3 on networks
# that are not compressed. BigGAN's Stage I has 100,000, its Stage II goes on until it diverges.
_STAGES = {'uncompressed': (20_000.0, 10_000.0), 'biggan': (100_000.0, 15_000.0)}
_DEFAULT_STAGES = (15_000.0, 15_000.0)
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
# What is the teacher's unless flags say otherwise; rates are the method's in the student's scheme.
RECIPE = (
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
    """A student. Open fields are decided by `resolve` and `osgan_jax.methods.resolve`."""

    KIND: ClassVar[str] = 'compress'
    AT_LEAST: ClassVar[dict[str, float]] = {
        **TrainConfig.AT_LEAST,
        'weight': 0.0,
        'stage_one_kimg': 0.0,
        'stage_two_kimg': 0.0,
    }

    teacher: str | None = field(
        None, 'workdir of experiments.train, or of compress for gradual', may_change=True
    )
    objective: str = field(
        'dgl', "what the teacher adds: a row of the paper's Tables 5 to 11", choices=OBJECTIVES
    )
    weight: float | None = field(
        None, "of the teacher's term; default 0.1, and 0.2 where features are imitated"
    )
    imitated: tuple[str, ...] = field(
        (), 'grids whose features g_inter and d_inter compare, and out; default the three largest'
    )
    stage_one_kimg: float | None = field(
        None, "thousands of images before the teacher's term (T); default the paper's"
    )
    stage_two_kimg: float | None = field(
        None, "thousands of images with it (S); default the paper's", may_change=True
    )
    auto_stage_two: bool = field(
        False, "begin it once the student's D tells real from fake as well as the teacher's; T caps"
    )
    channel_multiplier: str = field('1/2', 'share of the channels that is left')

    dataset: str | None = field(None, "default the teacher's: catalogue name, folder, npz or tfds:")
    split: str | None = field(None, "the dataset's part; default the teacher's")

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
            if each != 'out' and not each.isdigit():
                raise ValueError(f'imitated={each!r}: expected grids in pixels, or out')
        if self.objective == 'uncompressed' and self.channel_multiplier not in ('1', '1/2'):
            raise ValueError('objective=uncompressed: leave --channel_multiplier out, it is 1')
        if self.imitated and self.objective not in ('g_inter', 'd_inter'):
            raise ValueError(
                f'imitated: --objective={self.objective} compares no features; g_inter and d_inter '
                'do'
            )
        if 'out' in self.imitated and self.objective != 'g_inter':
            raise ValueError('imitated=out: only g_inter compares images')


def resolve(config: CompressConfig, teacher: TrainConfig, digest: str) -> CompressConfig:
    """Fills what the teacher and the objective decide; the rest is `methods.resolve`'s.

    Args:
      config: what was asked for.
      teacher: the resolved configuration of the teacher.
      digest: of the teacher's networks.

    Raises:
      ValueError: for gradual under a teacher that is no student itself.
    """
    if config.objective == 'gradual' and not isinstance(teacher, CompressConfig):
        raise ValueError(
            'objective=gradual: the teacher is to be a student itself; give --teacher a run of '
            'experiments.compress, or take --objective=dgl'
        )
    values = {name: getattr(teacher, name) for name in INHERITED}
    if config.dataset is None:
        values |= {name: getattr(teacher, name) for name in DATA if name != 'data_dir'}
        values['data_dir'] = config.data_dir or teacher.data_dir
    elif config.split is None:
        values['split'] = 'train'
    if config.objective == 'uncompressed':
        values['channel_multiplier'] = '1'
    values |= {name: getattr(teacher, name) for name in RECIPE if getattr(config, name) is None}
    if config.weight is None:
        imitates = config.objective in IMITATIONS
        values['weight'] = _IMITATION_WEIGHT if imitates else _WEIGHT
    stages = _STAGES.get(config.objective) or _STAGES.get(teacher.method, _DEFAULT_STAGES)
    given = (config.stage_one_kimg, config.stage_two_kimg)
    first, second = (b if a is None else a for a, b in zip(given, stages, strict=True))
    if config.objective == 'from_scratch':
        first, second = 0.0, second if config.stage_two_kimg is not None else sum(stages)
    return dataclasses.replace(
        config, stage_one_kimg=first, stage_two_kimg=second, teacher_digest=digest, **values
    )


def count_steps(config: CompressConfig) -> CompressConfig:
    """Turns thousands of images into steps, once the batch is known.

    Raises:
      ValueError: if no step is left.
    """
    step_kimg = config.batch_size / 1000
    first = math.ceil(config.stage_one_kimg / step_kimg)
    total = first + math.ceil(config.stage_two_kimg / step_kimg)
    calls = -(-total // config.steps_per_call)
    if not calls:
        raise ValueError('stage_one_kimg and stage_two_kimg are both 0: nothing to train')
    return dataclasses.replace(
        config, stage_one_steps=first, num_steps=calls * config.steps_per_call
    )
