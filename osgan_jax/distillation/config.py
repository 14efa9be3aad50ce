"""What a teacher or a student is trained with; the published recipes are the defaults."""

import dataclasses
from typing import ClassVar

from osgan_jax.engine.config import RunConfig, field

ALGORITHMS = ('kd', 'zskt', 'dfad', 'one_stage')
DISAGREEMENTS = ('l1', 'kl')
SCHEDULES = ('steps', 'cosine', 'constant')

# Of CIFAR-10, and what the field uses for CIFAR-100 too; the second are means of the standard
# deviations of single images.
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_EPOCHS = 200


@dataclasses.dataclass(frozen=True)
class _ClassifierConfig(RunConfig):
    """What teachers and students have in common: the data they are measured on."""

    AT_LEAST: ClassVar[dict[str, float]] = {
        **RunConfig.AT_LEAST,
        'image_size': 1,
        'learning_rate': 0.0,
        'weight_decay': 0.0,
        'crop': 0,
    }

    dataset: str | None = field(None, 'catalogue name, folder, npz, or tfds:NAME')
    split: str = field('train', 'the part to train on')
    test_split: str = field('test', 'the part that accuracy is measured on')
    test_data_dir: str | None = field(
        None, "where that part lies, with --test_split=train; default data_dir's", may_change=True
    )
    upscale: bool | None = field(
        None, 'enlarge images smaller than asked; default only in small-image datasets'
    )
    flip: bool | None = field(None, 'mirror half of the images; default colour images only')
    crop: int | None = field(
        None, 'pixels by which training images are shifted at most; default an eighth of their size'
    )
    learning_rate: float | None = field(None, "the classifier's rate; default the recipe's")
    momentum: float = field(0.9, "of the classifier's SGD")
    weight_decay: float | None = field(None, "the classifier's; default the recipe's")
    decay_at: tuple[float, ...] | None = field(
        None, 'shares of the steps after which rates are multiplied by decay_factor'
    )
    decay_factor: float = field(0.1, 'what the rates are multiplied by')

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(f'momentum={self.momentum}: expected a number in [0, 1)')
        if not 0 < self.decay_factor <= 1:
            raise ValueError(f'decay_factor={self.decay_factor}: expected a number in (0, 1]')
        shares = self.decay_at or ()
        if list(shares) != sorted(set(shares)) or any(not 0 < share < 1 for share in shares):
            raise ValueError(f'decay_at={list(shares)}: expected rising shares between 0 and 1')


@dataclasses.dataclass(frozen=True)
class TeacherConfig(_ClassifierConfig):
    """A classifier trained on data. Open fields are decided by `resolve_teacher`."""

    KIND: ClassVar[str] = 'teacher'

    dataset: str = field('digits', 'catalogue name, folder, npz, or tfds:NAME')
    network: str | None = field(
        None, 'its architecture; default resnet34 for colour images, lenet5 for grey ones'
    )
    image_size: int | None = field(None, "pixels; default the dataset's")
    channels: int | None = field(None, "1 or 3; default the dataset's")
    # Not rising with --num_steps: the schedule depends on it.
    num_steps: int | None = field(None, 'updates in all; default 200 epochs')
    mean: tuple[float, ...] | None = field(
        None, "of each channel, images in [0, 1]; default CIFAR's published ones or the dataset's"
    )
    std: tuple[float, ...] | None = field(None, 'standard deviation of each channel, likewise')

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')
        if any(not std > 0 for std in self.std or ()):
            raise ValueError(f'std={list(self.std)}: expected numbers above 0')


@dataclasses.dataclass(frozen=True)
class DistillConfig(_ClassifierConfig):
    """A student and its algorithm. Open fields are decided by `resolve_student`."""

    KIND: ClassVar[str] = 'distill'
    AT_LEAST: ClassVar[dict[str, float]] = {
        **_ClassifierConfig.AT_LEAST,
        'latent_dim': 1,
        'generator_width': 2,
        'student_steps': 1,
        'learning_rate_g': 0.0,
        'clip_norm': 0.0,
        'attention': 0.0,
    }

    algorithm: str = field('one_stage', 'how the student learns', choices=ALGORITHMS)
    teacher: str | None = field(None, 'workdir of experiments.teacher', may_change=True)
    student: str | None = field(
        None, 'its architecture; default resnet18, or lenet5_half under a lenet5'
    )
    dataset: str | None = field(
        None, "what accuracy is measured on and kd trains on; default the teacher's; none: no data"
    )
    # Not rising: the schedule depends on it.
    num_steps: int | None = field(
        None, 'rounds in all; default 25,000, of zskt 80,000, of kd 200 epochs'
    )
    batch_size: int | None = field(
        None, 'images a step over all devices; default 256, of zskt and kd 128'
    )
    student_steps: int | None = field(
        None, "the student's updates a round; default 5 in dfad, 10 in zskt; 1 in the others"
    )

    generator: str | None = field(None, 'dfad or zskt; default by algorithm')
    generator_width: int = field(128, 'channels of its first grids; 128 in both papers')
    latent_dim: int | None = field(None, "dimensions of z; default the generator's, 256 or 100")
    disagreement: str | None = field(
        None,
        'what the generator maximises: l1 of the logits, or kl; default by algorithm',
        choices=DISAGREEMENTS,
    )
    attention: float | None = field(
        None, "weight of attention transfer in the student's loss; default 250 in zskt, else 0"
    )
    temperature: float = field(4.0, 'kd: of both softmaxes')
    hard_weight: float = field(0.1, 'kd: weight of the cross-entropy with the labels')

    optimizer: str | None = field(
        None, "the student's; default adam in zskt, else sgd", choices=('sgd', 'adam')
    )
    learning_rate_g: float | None = field(None, "the generator's rate, Adam; default 1e-3")
    schedule: str | None = field(
        None, 'of both rates; default cosine in zskt, else steps', choices=SCHEDULES
    )
    clip_norm: float | None = field(
        None, 'bound on the norm of each gradient, 0 for none; default 5 in zskt'
    )

    # Decided by the teacher, and no flags.
    teacher_digest: str | None = field(None, "of the teacher's variables", flag=False)
    image_size: int | None = field(None, 'pixels', flag=False)
    channels: int | None = field(None, '1 or 3', flag=False)
    mean: tuple[float, ...] | None = field(None, 'of each channel', flag=False)
    std: tuple[float, ...] | None = field(None, 'of each channel', flag=False)

    def __post_init__(self):
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f'temperature={self.temperature}: expected a number above 0')
        if not 0 <= self.hard_weight <= 1:
            raise ValueError(f'hard_weight={self.hard_weight}: expected a number in [0, 1]')
        if self.algorithm in ('kd', 'one_stage') and self.student_steps not in (None, 1):
            raise ValueError(
                f'student_steps={self.student_steps}: {self.algorithm} updates the student once a '
                'round; leave it out, or choose --algorithm=dfad or zskt'
            )
        if self.algorithm == 'one_stage' and self.attention:
            raise ValueError(
                f'attention={self.attention}: in one stage student and generator share one '
                "gradient, and attention transfer is the student's alone; use --algorithm=zskt, "
                'or --disagreement=kl without it'
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
      ValueError: for a batch greater than the dataset, or means of another number of channels.
    """
    batch_size = config.batch_size or 128
    epoch = _steps_an_epoch(num_examples, batch_size)
    network = config.network or ('resnet34' if channels == 3 else 'lenet5')
    mean, std = config.mean, config.std
    if mean is None or std is None:
        known = _CIFAR if config.dataset in ('cifar10', 'cifar100') else statistics()
        mean, std = mean or known[0], std or known[1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f'mean={list(mean)}, std={list(std)}: expected a number for each of {channels} channels'
        )
    plain, asked = network.startswith('lenet'), config.num_steps
    config = dataclasses.replace(
        config,
        network=network,
        image_size=image_size,
        channels=channels,
        batch_size=batch_size,
        num_steps=config.num_steps or _EPOCHS * epoch,
        mean=tuple(mean),
        std=tuple(std),
        decay_at=(0.4, 0.8) if config.decay_at is None else config.decay_at,
        learning_rate=_first(config.learning_rate, 0.01 if plain else 0.1),
        weight_decay=_first(config.weight_decay, 5e-4),
    )
    return _resolve_rest(config, asked)


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

    zskt, kd, asked = config.algorithm == 'zskt', config.algorithm == 'kd', config.num_steps
    if kd and not num_examples:
        raise ValueError('kd learns from data: give --dataset, or another --algorithm')
    batch_size = config.batch_size or (128 if zskt or kd else 256)
    rounds = 80_000 if zskt else 25_000
    if kd:
        rounds = _EPOCHS * _steps_an_epoch(num_examples, batch_size)
    optimizer = config.optimizer or ('adam' if zskt else 'sgd')
    generator = config.generator or ('zskt' if zskt else 'dfad')
    rate = {'adam': 2e-3, 'sgd': 0.1}[optimizer]
    if optimizer == 'sgd' and network.startswith('lenet'):
        rate = 0.01
    config = dataclasses.replace(
        config,
        student=config.student or ('lenet5_half' if network.startswith('lenet') else 'resnet18'),
        batch_size=batch_size,
        num_steps=config.num_steps or rounds,
        student_steps=config.student_steps or {'dfad': 5, 'zskt': 10}.get(config.algorithm, 1),
        generator=generator,
        latent_dim=config.latent_dim or data_free.latent_dim(generator),
        disagreement=config.disagreement or ('kl' if zskt else 'l1'),
        attention=_first(config.attention, 250.0 if zskt else 0.0),
        optimizer=optimizer,
        learning_rate=_first(config.learning_rate, rate),
        learning_rate_g=_first(config.learning_rate_g, 1e-3),
        weight_decay=_first(config.weight_decay, 0.0 if zskt else 5e-4),
        schedule=config.schedule or ('cosine' if zskt else 'steps'),
        decay_at=_first(config.decay_at, (0.4, 0.8) if kd else (0.2, 0.4)),
        clip_norm=_first(config.clip_norm, 5.0 if zskt else 0.0),
        teacher_digest=digest,
        image_size=teacher.image_size,
        channels=teacher.channels,
        mean=tuple(teacher.mean),
        std=tuple(teacher.std),
    )
    return _resolve_rest(config, asked)


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
    calls = max(1, config.num_steps // (20 * config.steps_per_call))
    return dataclasses.replace(
        config,
        crop=config.image_size // 8 if config.crop is None else config.crop,
        flip=config.channels == 3 if config.flip is None else config.flip,
        eval_every=config.eval_every or calls * config.steps_per_call,
    )


def _steps_an_epoch(num_examples: int, batch_size: int) -> int:
    if num_examples < batch_size:
        raise ValueError(
            f'batch_size={batch_size}: the dataset has {num_examples} images; choose fewer a batch'
        )
    return num_examples // batch_size


def _first(given, default):
    return default if given is None else given
