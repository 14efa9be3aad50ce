"""Training a teacher: a classifier, on data."""

import math
import os
from collections.abc import Callable

import jax
import numpy as np

from osgan_jax import data
from osgan_jax.core import compiling, image_sizes
from osgan_jax.core.collectives import ONE_DEVICE
from osgan_jax.data import classes, identity
from osgan_jax.distillation import learners, rounds
from osgan_jax.distillation.classifiers import Accuracy
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_teacher
from osgan_jax.distillation.recorder import DistillRecorder
from osgan_jax.engine import messages, runner, runs, summary
from osgan_jax.engine.job import Job, Update
from osgan_jax.gan import model
from osgan_jax.reporting.summary import human

# Images from which the mean and standard deviation of a dataset's channels are estimated.
_STATISTICS_IMAGES = 5_000


def train_teacher(
    config: TeacherConfig,
    workdir: str | os.PathLike[str],
    *,
    dataset: data.Dataset | None = None,
    test: data.Dataset | None = None,
) -> runner.Result:
    """Trains, or resumes, the classifier that lives in `workdir`.

    Writes there: config.json, metrics.jsonl, timing.jsonl, tensorboard/, curves.png, checkpoints/,
    and the accuracy on the test images in evaluations.jsonl and evaluations.png.

    Args:
      config: what to train; open fields are resolved from the dataset.
      workdir: the run's directory.
      dataset: to train on, instead of the configured one.
      test: to measure on, likewise.

    Returns:
      As `osgan_jax.engine.runner.run`, which also says what else is raised; the state is
      a `learners.State`.

    Raises:
      ValueError: for a network, dataset or option that does not exist or fit.
      FileNotFoundError: for a dataset that is not there.
    """
    return runner.run(TeacherJob(config, workdir, dataset, test))


class ClassifierJob(Job):
    """Training of a classifier: a teacher's, and its student's.

    Attributes:
      test: the images to measure on; None for none.
    """

    advice = 'Lower --learning_rate, or try another --seed.'

    def __init__(
        self,
        config: TeacherConfig | DistillConfig,
        workdir: str | os.PathLike[str],
        dataset: data.Dataset | None = None,
        test: data.Dataset | None = None,
    ):
        """Makes the job; the arguments are those of `train_teacher`."""
        super().__init__(config, workdir, dataset)
        self.test = test
        self._create: compiling.Deferred
        self._student: learners.Learner
        self._generator: learners.Learner | None = None
        self._flops: float | None = None
        self._curves_title = ''

    def create(self) -> learners.State:
        """A fresh state."""
        return self._create()

    def flops(self, compiled: float | None) -> float | None:
        """The count before compiling, with every step of a student."""
        del compiled
        return self._flops

    def open_recorder(
        self, start: int, flops: float | None, check: Callable[[], None]
    ) -> DistillRecorder:
        """The recorder, which measures the accuracy where there are test images."""
        del check
        config, test = self.run.config, self.test
        return DistillRecorder(
            self.run,
            self.workdir,
            start,
            title=self._curves_title,
            accuracy=None if test is None else Accuracy(self._student.module, test, config),
            generator=self._generator,
            flops=flops,
        )


class TeacherJob(ClassifierJob):
    """Training of a classifier on data."""

    title = 'osgan_jax: a teacher'

    def open(self) -> runs.Run:
        """Opens both parts of the dataset and resolves the configuration."""
        if self.dataset is None:
            self.dataset = open_part(self.config)
        dataset = self.dataset
        check_labelled(dataset)
        config = resolve_teacher(
            self.config,
            image_size=dataset.image_size,
            channels=dataset.channels,
            num_examples=len(dataset),
            statistics=lambda: _statistics(dataset),
        )
        if self.test is None:
            self.test = open_part(config, test=True)
        self.test = classes.align(self.test, dataset.class_names, 'those trained on')
        check_alike(dataset, self.test)
        source = identity.identify(dataset)
        return runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset), source)

    def build(self) -> tuple[learners.State, Update]:
        """The shapes of a classifier and its step."""
        config, num_classes = self.run.config, self.run.num_classes
        self._student = learners.student(config, num_classes, self.collectives.axis_name)
        self._curves_title = f'{config.network}, {self.dataset_name}'
        self._create = learners.creation(config, self._student, None)
        shapes = self._create.shapes
        self._size = human(model.num_parameters(shapes.student.params))
        # This traces a step too: what does not fit shows before anything is written.
        self._flops = count_flops(config, num_classes)
        return shapes, rounds.make_supervised(config, self._student, self.collectives)

    def describe(self, flops: float | None) -> list[tuple[str, str | None]]:
        """What is trained, on what, and how."""
        config = self.run.config
        return [
            ('network', f'{config.network}, {self._size} parameters, {config.precision}'),
            ('dataset', describe(self.dataset)),
            *self.dataset.remarks(),
            ('measured on', describe(self.test)),
            ('images', f'shifted by up to {config.crop} pixels{", mirrored" * config.flip}'),
            ('a step', f'{config.batch_size} images{summary.count_flops(flops)}'),
            ('rate', f'sgd, {config.learning_rate:g}' + describe_decay(config, 'step')),
        ]


def count_flops(config: TeacherConfig, num_classes: int) -> float | None:
    """FLOPs of a step over all devices; None where it is not known.

    Args:
      config: resolved.
      num_classes: of the dataset.
    """
    student = learners.student(config, num_classes, None)
    state = jax.eval_shape(lambda: learners.create(config, student, None))
    batch = batch_shapes(config)
    update = rounds.make_supervised(config, student, ONE_DEVICE)
    # Before compiling, as students' are counted.
    return (jax.jit(update).lower(state, batch).cost_analysis() or {}).get('flops')


def batch_shapes(config: TeacherConfig | DistillConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of images over all devices."""
    shape = (config.batch_size, config.image_size, config.image_size, config.channels)
    return {
        'image': jax.ShapeDtypeStruct(shape, np.float32),
        'label': jax.ShapeDtypeStruct(shape[:1], np.int32),
    }


def open_part(config: TeacherConfig | DistillConfig, *, test: bool = False) -> data.Dataset:
    """Opens the part of the configured dataset to train on, or to measure on."""
    split = config.test_split if test else config.split
    return messages.read_dataset(
        f'{config.dataset} ({split})',
        lambda: data.load(
            config.dataset,
            split=split,
            data_dir=(test and config.test_data_dir) or config.data_dir,
            image_size=config.image_size,
            channels=config.channels,
            upscale=config.upscale,
            oblong=False,
            **config.reading(),
        ),
    )


def check_labelled(dataset: data.Dataset) -> None:
    """Raises ValueError unless there are at least two classes."""
    if dataset.num_classes < 2:
        raise ValueError(f'{dataset.name} has no labels, which a classifier needs')


def check_alike(dataset: data.Dataset, test: data.Dataset) -> None:
    """Raises ValueError unless two parts have the same shape of images and number of classes."""
    shape = lambda d: (d.image_size, d.channels, d.num_classes)  # noqa: E731
    if shape(dataset) != shape(test):
        raise ValueError(
            f'{describe(dataset)}, and to be measured on {describe(test)}: sizes, channels and '
            'classes must be the same'
        )


def describe(dataset: data.Dataset) -> str:
    """One line about a dataset."""
    size = f'{image_sizes.text(dataset.image_size)}x{dataset.channels}'
    classes = f'{dataset.num_classes} classes'
    return f'{dataset.name} ({dataset.split}), {len(dataset):,} images, {size}, {classes}'


def describe_decay(config: TeacherConfig | DistillConfig, unit: str) -> str:
    """When rates are lowered by steps, as the end of a line; '' for never."""
    if not config.decay_at:
        return ''
    steps = ' and '.join(f'{round(share * config.num_steps):,}' for share in config.decay_at)
    return f', times {config.decay_factor:g} after {unit} {steps}'


def _statistics(dataset: data.Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of images in [0, 1]."""
    rows = np.unique(
        np.linspace(0, len(dataset) - 1, min(len(dataset), _STATISTICS_IMAGES)).astype(int)
    )
    count, total, squares = 0, 0, 0
    for row in rows:
        pixels = dataset[int(row)]['image'].reshape(-1, dataset.channels).astype(np.int64)
        count += len(pixels)
        # Python's integers: exact, so that a constant channel's variance is 0.
        total += pixels.sum(0).astype(object)
        squares += np.square(pixels).sum(0).astype(object)
    variance = count * squares - total**2
    if not variance.all():
        raise ValueError(f'{dataset.name} has a channel that is the same in all images')
    mean, std = total / count, [math.sqrt(each) / count for each in variance]
    digits = lambda values: tuple(round(float(v) / 255, 6) for v in values)  # noqa: E731
    return digits(mean), digits(std)
