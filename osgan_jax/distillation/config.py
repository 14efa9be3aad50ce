"""The configurations of teachers and students; their defaults are the published recipes."""

import dataclasses
import functools
from typing import Any, ClassVar

from osgan_jax.core import image_sizes
from osgan_jax.engine import adoption
from osgan_jax.engine.config import READING, RunConfig, fill
from osgan_jax.engine.declarations import (
    check_rising,
    dataset_field,
    field,
    image_size_field,
    otherwise,
)
from osgan_jax.networks import classifier_registry

ALGORITHMS = ('kd', 'zskt', 'dfad', 'one_stage')
DISAGREEMENTS = ('l1', 'kl', 'mean_kl')
SCHEDULES = ('steps', 'cosine', 'constant')

DATA_FIELDS = (
    *('dataset', 'data_dir', 'split', 'test_split', 'test_data_dir', 'upscale'),
    *READING,
)
"""Which images a classifier is trained and measured on."""

# Flags that only some values of another field read.
_READ_BY = {
    **dict.fromkeys(
        ('generator', 'generator_width', 'latent_dim', 'disagreement', 'learning_rate_g'),
        ('algorithm', ('zskt', 'dfad', 'one_stage')),
    ),
    'attention': ('algorithm', ('zskt', 'dfad')),
    **dict.fromkeys(('temperature', 'hard_weight', 'crop', 'flip'), ('algorithm', ('kd',))),
    **dict.fromkeys(('decay_at', 'decay_factor'), ('schedule', ('steps',))),
    'momentum': ('optimizer', ('sgd',)),
}

# Of CIFAR-10, and what the field uses for CIFAR-100 too; the second are means of the standard
# deviations of single images.
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_EPOCHS = 200

# Where an algorithm's recipe differs from `otherwise=` of the fields, which are those of one_stage.
_RECIPES: dict[str, dict[str, Any]] = {
    'one_stage': {},
    'dfad': {'student_steps': 5},
    'zskt': {
        'num_steps': 80_000,
        'batch_size': 128,
        'student_steps': 10,
        'generator': 'zskt',
        'disagreement': 'mean_kl',
        'attention': 250.0,
        'optimizer': 'adam',
        'weight_decay': 0.0,
        'schedule': 'cosine',
        'clip_norm': 5.0,
    },
    'kd': {'batch_size': 128, 'decay_at': (0.4, 0.8)},
}

_data = functools.partial(field, group='data')
_optimizer = functools.partial(field, group='optimizer')
# Of a field that is open until the algorithm decides it.
_algorithms = functools.partial(field, None, decided_by='algorithm')

_NETWORKS = 'osgan_jax.networks.classifier_registry:names'


@dataclasses.dataclass(frozen=True)
class _ClassifierConfig(RunConfig):
    """What teachers and students have in common: the data they are measured on."""

    dataset: str | None = dataset_field(None)
    split: str = _data('train', 'part of the dataset to train on', may_change=True)
    test_split: str = _data(
        'test', 'part of the dataset on which accuracy is measured', may_change=True
    )
    test_data_dir: str | None = _data(
        None,
        'directory or file of the images on which accuracy is measured, with '
        '--test_split=train; --data_dir by default',
        may_change=True,
        path=True,
    )
    upscale: bool | None = _data(
        None, 'enlarge images that are too small, instead of refusing them', decided_by='dataset'
    )
    flip: bool | None = _data(
        None, 'mirror half of the training images; by default only colour ones'
    )
    crop: int | None = _data(
        None,
        'greatest shift of training images, in pixels; by default an eighth of their size',
        at_least=0,
    )
    eval_every: int | None = field(
        None,
        'steps or rounds between measurements of the accuracy; by default a twentieth of the run',
        group='evaluation',
        at_least=1,
        may_change=True,
    )
    learning_rate: float | None = _optimizer(
        None, "learning rate of the classifier's optimiser", at_least=0, decided_by='network'
    )
    momentum: float = _optimizer(0.9, "momentum of the classifier's SGD", at_least=0, below=1)
    weight_decay: float | None = _optimizer(
        None, 'weight decay of the classifier', at_least=0, otherwise=5e-4
    )
    decay_at: tuple[float, ...] | None = _optimizer(
        None,
        'fractions of the run after which rates are multiplied by --decay_factor, in rising order',
        above=0,
        below=1,
        otherwise=(0.4, 0.8),
    )
    decay_factor: float = _optimizer(
        0.1, 'factor of the rates at each of --decay_at', above=0, at_most=1
    )

    def __post_init__(self):
        super().__post_init__()
        check_rising('decay_at', self.decay_at)


@dataclasses.dataclass(frozen=True)
class TeacherConfig(_ClassifierConfig):
    """A classifier trained on data. Open fields are decided by `resolve_teacher`."""

    KIND: ClassVar[str] = 'teacher'

    dataset: str = dataset_field('digits')
    batch_size: int | None = field(
        None, 'images per step, over all devices', at_least=2, otherwise=128
    )
    network: str | None = field(
        None,
        'architecture; by default resnet34 for colour images, lenet5 for grey ones',
        group='networks',
        names=_NETWORKS,
        decided_by='dataset',
    )
    image_size: int | None = image_size_field(
        None,
        'height and width of images, which are squares, in pixels',
        parse=image_sizes.square,
        decided_by='dataset',
    )
    channels: int | None = _data(None, 'channels of images, 1 or 3', decided_by='dataset')
    # Not rising with --num_steps: the schedule depends on it.
    num_steps: int | None = field(None, 'number of steps; 200 epochs by default', at_least=1)
    mean: tuple[float, ...] | None = _data(
        None,
        'mean of each channel for images in [0, 1]; by default the published one for CIFAR, or '
        "else the dataset's",
        decided_by='dataset',
    )
    std: tuple[float, ...] | None = _data(
        None,
        'standard deviation of each channel for images in [0, 1]; by default the '
        "published one for CIFAR, or else the dataset's",
        above=0,
        decided_by='dataset',
    )

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')


@dataclasses.dataclass(frozen=True)
class DistillConfig(_ClassifierConfig):
    """A student and its algorithm. Open fields are decided by `resolve_student`."""

    KIND: ClassVar[str] = 'distill'

    algorithm: str = field('one_stage', 'how the student learns', choices=ALGORITHMS)
    teacher: str | None = field(
        None,
        'workdir of the teacher, a run of experiments.teacher or distill',
        may_change=True,
        path=True,
    )
    student: str | None = field(
        None,
        'architecture of the student; by default resnet18, or lenet5_half under a lenet5',
        group='networks',
        names=_NETWORKS,
        decided_by='teacher',
    )
    dataset: str | None = _data(
        None,
        'dataset on which accuracy is measured and on which kd trains: a name, folder, npz or '
        'tfds:NAME; none for no data',
        names='osgan_jax.data:names',
        decided_by='teacher',
    )
    # Not rising: the schedule depends on it.
    num_steps: int | None = _algorithms(
        'number of rounds; 80,000 by default in zskt, 200 epochs in kd',
        at_least=1,
        otherwise=25_000,
    )
    batch_size: int | None = _algorithms(
        'images per step, over all devices', at_least=2, otherwise=256
    )
    student_steps: int | None = _algorithms(
        "the student's updates in a round; 5 by default in dfad, 10 in zskt",
        at_least=1,
        otherwise=1,
    )

    generator: str | None = _algorithms(
        'architecture of the generator, dfad or zskt', group='networks', otherwise='dfad'
    )
    generator_width: int = field(
        128,
        "channels of the generator's first grids; 128 in both papers",
        group='networks',
        at_least=2,
    )
    latent_dim: int | None = field(
        None,
        'dimensions of z; by default 256 for the generator dfad, 100 for zskt',
        group='networks',
        at_least=1,
        decided_by='network',
    )
    disagreement: str | None = _algorithms(
        'disagreement that the generator maximises: the L1 distance of the logits, the KL '
        'divergence, or the KL divergence averaged over classes (the default in zskt)',
        group='losses',
        choices=DISAGREEMENTS,
        otherwise='l1',
    )
    attention: float | None = _algorithms(
        "weight of attention transfer in the student's loss; 250 by default in zskt",
        group='losses',
        at_least=0,
        otherwise=0.0,
    )
    temperature: float = field(4.0, 'temperature of both softmaxes in kd', group='losses', above=0)
    hard_weight: float = field(
        0.1,
        'weight of the cross-entropy with the labels in kd',
        group='losses',
        at_least=0,
        at_most=1,
    )

    learning_rate: float | None = _optimizer(
        None,
        "the student's learning rate; by default 2e-3 with adam, and with sgd 0.1, or 0.01 under a "
        'lenet5',
        at_least=0,
        decided_by=('optimizer', 'network'),
    )
    weight_decay: float | None = _algorithms(
        'weight decay of the student; 0 by default in zskt',
        group='optimizer',
        at_least=0,
        otherwise=5e-4,
    )
    decay_at: tuple[float, ...] | None = _algorithms(
        'fractions of the run after which --schedule=steps multiplies rates by --decay_factor, '
        'in rising order; 0.4,0.8 by default in kd',
        group='optimizer',
        above=0,
        below=1,
        otherwise=(0.2, 0.4),
    )
    optimizer: str | None = _algorithms(
        "the student's optimiser; adam by default in zskt",
        group='optimizer',
        choices=('sgd', 'adam'),
        otherwise='sgd',
    )
    learning_rate_g: float | None = _optimizer(
        None, "learning rate of the generator's Adam", at_least=0, otherwise=1e-3
    )
    schedule: str | None = _algorithms(
        'schedule of both rates; cosine by default in zskt',
        group='optimizer',
        choices=SCHEDULES,
        otherwise='steps',
    )
    clip_norm: float | None = _algorithms(
        'bound on the norm of each gradient, 0 for none; 5 by default in zskt',
        group='optimizer',
        at_least=0,
        otherwise=0.0,
    )

    # Decided by the teacher.
    teacher_digest: str | None = field(None, "digest of the teacher's variables", flag=False)
    image_size: int | None = field(
        None, 'height and width of images, in pixels', at_least=1, flag=False
    )
    channels: int | None = field(None, 'channels of images, 1 or 3', flag=False)
    mean: tuple[float, ...] | None = field(None, 'mean of each channel', flag=False)
    std: tuple[float, ...] | None = field(None, 'standard deviation of each channel', flag=False)

    def __post_init__(self):
        super().__post_init__()
        if self.algorithm in ('kd', 'one_stage') and self.student_steps not in (None, 1):
            raise ValueError(
                f'student_steps={self.student_steps}: {self.algorithm} updates the student once a '
                'round; leave it out, or choose --algorithm=dfad or zskt'
            )
        if self.algorithm == 'one_stage' and self.attention:
            raise ValueError(
                f'attention={self.attention}: in one stage student and generator share one '
                'gradient, but attention transfer is a term of the student only; use '
                '--algorithm=zskt, or leave --attention out'
            )


def resolve_teacher(
    config: TeacherConfig, *, image_size: int, channels: int, num_examples: int, statistics
) -> TeacherConfig:
    """Fills what a teacher's configuration leaves open.

    Args:
      config: as given.
      image_size: of the dataset, pixels.
      channels: of the dataset.
      num_examples: of the dataset.
      statistics: `() -> (mean, std)` of the dataset's channels, asked where nothing else is known.

    Raises:
      ValueError: for images that are not square, an unknown network, a batch greater than the
        dataset, or means of another number of channels.
    """
    config = fill(config, otherwise(TeacherConfig))
    image_size = image_sizes.square(image_size)
    epoch = _steps_per_epoch(num_examples, config.batch_size)
    network = config.network or ('resnet34' if channels == 3 else 'lenet5')
    mean, std = config.mean, config.std
    if mean is None or std is None:
        published = config.dataset in ('cifar10', 'cifar100') and channels == 3
        known = _CIFAR if published else statistics()
        mean, std = mean or known[0], std or known[1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f'mean={list(mean)}, std={list(std)}: expected a number for each of {channels} channels'
        )
    asked = config.num_steps
    config = dataclasses.replace(
        config,
        network=network,
        image_size=image_size,
        channels=channels,
        mean=tuple(mean),
        std=tuple(std),
    )
    rate = classifier_registry.get(network).learning_rate
    return _resolve_rest(fill(config, {'num_steps': _EPOCHS * epoch, 'learning_rate': rate}), asked)


def resolve_student(
    config: DistillConfig, *, network: str, teacher: TeacherConfig, num_examples: int, digest: str
) -> DistillConfig:
    """Fills what a student's configuration leaves open.

    Args:
      config: as given.
      network: the teacher's architecture.
      teacher: a configuration with the teacher's data and statistics.
      num_examples: of the dataset; 0 without one.
      digest: of the teacher's variables.

    Raises:
      ValueError: for kd without data, or a batch greater than the dataset.
    """
    from osgan_jax.networks import data_free

    kd, asked = config.algorithm == 'kd', config.num_steps
    if kd and not num_examples:
        raise ValueError('algorithm=kd needs data: give --dataset, or choose another --algorithm')
    config = fill(config, otherwise(DistillConfig) | _RECIPES[config.algorithm])
    if kd:
        epoch = _steps_per_epoch(num_examples, config.batch_size)
        config = dataclasses.replace(config, num_steps=asked or _EPOCHS * epoch)
    usual = classifier_registry.get(network)
    rate = 2e-3 if config.optimizer == 'adam' else usual.learning_rate
    config = fill(
        config,
        {
            'student': usual.student,
            'latent_dim': data_free.latent_dim(config.generator),
            'learning_rate': rate,
        },
    )
    config = dataclasses.replace(
        config,
        teacher_digest=digest,
        image_size=teacher.image_size,
        channels=teacher.channels,
        mean=tuple(teacher.mean),
        std=tuple(teacher.std),
    )
    return _resolve_rest(config, asked)


def check_effects(asked: DistillConfig, resolved: DistillConfig) -> None:
    """Checks that flags have an effect on a student.

    Raises:
      ValueError: for one that neither the algorithm, the schedule nor the optimiser reads.
    """
    if asked.teacher_digest is not None:
        return  # resolved before, with flags that the students of a table share
    given = adoption.asked_for(asked)
    for name, (decider, readers) in _READ_BY.items():
        value, decided = getattr(asked, name), getattr(resolved, decider)
        if name in given and value and decided not in readers:
            shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(
                f'{name}={shown}: --{decider}={decided} does not use it; leave it out, or choose '
                f'--{decider}={" or ".join(readers)}'
            )


def _resolve_rest(config, asked: int | None):
    if asked is not None and asked % config.steps_per_call:
        raise ValueError(
            f'num_steps={asked}: expected a multiple of steps_per_call={config.steps_per_call}'
        )
    if config.crop is not None and config.crop > config.image_size:
        raise ValueError(
            f'crop={config.crop}: expected at most the {config.image_size} pixels of an image'
        )
    # Whole calls, of those that nobody asked for.
    num_steps = -(-config.num_steps // config.steps_per_call) * config.steps_per_call
    config = dataclasses.replace(config, num_steps=num_steps)
    # Twenty points of accuracy, on whole calls.
    calls = max(1, num_steps // (20 * config.steps_per_call))
    defaults = {
        'crop': config.image_size // 8,
        'flip': config.channels == 3,
        'eval_every': calls * config.steps_per_call,
    }
    return fill(config, defaults)


def _steps_per_epoch(num_examples: int, batch_size: int) -> int:
    if num_examples < batch_size:
        raise ValueError(
            f'batch_size={batch_size}: the dataset has {num_examples} images; choose a smaller '
            'batch'
        )
    return num_examples // batch_size
