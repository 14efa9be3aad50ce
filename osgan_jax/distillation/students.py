"""Distillation: a student learns the outputs of a frozen teacher."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from osgan_jax import data
from osgan_jax.data import classes, identity
from osgan_jax.distillation import classifiers, learners, rounds, teachers
from osgan_jax.distillation.classifiers import Classifier
from osgan_jax.distillation.config import (
    DATA_FIELDS,
    DistillConfig,
    TeacherConfig,
    check_effects,
    resolve_student,
)
from osgan_jax.engine import adoption, messages, resuming, runner, runs, summary
from osgan_jax.engine.job import Update
from osgan_jax.gan import model
from osgan_jax.reporting.summary import human

NO_DATA = 'none'
_GIVE_DATA = (
    'give --dataset and --data_dir, --data_changed to go on with these, or the images themselves '
    'from Python'
)

# Of the images to train on: who asks for others gets others than the teacher's.
_TRAINED_ON = frozenset(DATA_FIELDS) - {'test_split', 'test_data_dir'}


def distill(
    config: DistillConfig,
    workdir: str | os.PathLike[str],
    *,
    teacher: Classifier | None = None,
    dataset: data.Dataset | None = None,
    test: data.Dataset | None = None,
) -> runner.Result:
    """Distils, or resumes, the student that lives in `workdir`.

    Writes there what `train_teacher` does, and samples/step_*.png of the generator.

    Args:
      config: what to train; open fields are resolved from the algorithm and the teacher.
      workdir: the run's directory.
      teacher: instead of the configured one.
      dataset: to train on, for kd, instead of the configured one.
      test: to measure on, likewise.

    Returns:
      As `osgan_jax.engine.runner.run`, which also says what else is raised; the state is
      a `learners.State`.

    Raises:
      ValueError: for a network, dataset or option that does not exist or fit, or on resuming with
        another teacher.
      FileNotFoundError: for a teacher or a dataset that is not there.
    """
    return runner.run(DistillJob(config, workdir, dataset, test, teacher))


class DistillJob(teachers.ClassifierJob):
    """Training of a student by a frozen teacher."""

    title = 'osgan_jax: a student'
    step_name = 'round'

    def __init__(
        self,
        config: DistillConfig,
        workdir: str | os.PathLike[str],
        dataset: data.Dataset | None = None,
        test: data.Dataset | None = None,
        teacher: Classifier | None = None,
    ):
        """Makes the job; the arguments are those of `distill`."""
        super().__init__(config, workdir, dataset, test)
        self.teacher = teacher

    def open(self) -> runs.Run:
        """Reads the teacher, opens the data that are needed and resolves the configuration."""
        if self.teacher is None:
            if self.config.teacher is None:
                raise ValueError('give --teacher, the workdir of a run of experiments.teacher')
            with messages.announced(f'Reading the teacher in {self.config.teacher}'):
                self.teacher = classifiers.load(self.config.teacher)
        self.constants, teacher_run = self.teacher.variables, self.teacher.run
        config = self.config
        inherits = config.dataset is None
        if inherits:
            names = set(DATA_FIELDS) - adoption.asked_for(self.request)
            values = {name: getattr(teacher_run.config, name) for name in names}
            config = dataclasses.replace(config, **values)
        self._open_data(config, inherits)
        num_examples, source = 0, None
        if self.dataset is not None:
            num_examples, source = len(self.dataset), identity.identify(self.dataset)
        resolved = resolve_student(
            config,
            network=self.teacher.architecture,
            teacher=teacher_run.config,
            num_examples=num_examples,
            digest=self.teacher.digest(),
        )
        check_effects(self.request, resolved)
        return runs.Run(
            resolved, teacher_run.num_classes, teacher_run.class_names, num_examples, source
        )

    def build(self) -> tuple[learners.State, Update]:
        """The shapes of a student, of its generator where there is one, and the round."""
        config, axis_name = self.run.config, self.collectives.axis_name
        self._student = learners.student(config, self.run.num_classes, axis_name)
        if config.algorithm != 'kd':
            self._generator = learners.generator(config, axis_name)
        self._curves_title = f'{config.algorithm}, {self.teacher.architecture} to {config.student}'
        self._create = learners.creation(config, self._student, self._generator)
        shapes = self._create.shapes
        self._student_size = _size(shapes.student.params)
        self._generator_size = None if self._generator is None else _size(shapes.generator.params)
        # This traces a round too: what does not fit shows before anything is written.
        self._flops = count_flops(config, self.teacher)
        update = rounds.make_round(
            config, self._student, self._generator, self.teacher.module, self.collectives
        )
        return shapes, update

    def renew(self, state: learners.State, parts: frozenset[str]) -> learners.State:
        """A forked state, at its step of this run's schedule of rates."""
        del parts
        updates = learners.updates_a_round(self.run.config)
        student = learners.at_update(state.student, state.step * updates)
        generator = state.generator and learners.at_update(state.generator, state.step)
        return state.replace(student=student, generator=generator)

    def open_batches(self) -> data.Batches:
        """Batches of images, or of rows to be filled."""
        return _Rows(self.example_batch()) if self.dataset is None else super().open_batches()

    def example_batch(self) -> dict[str, np.ndarray]:
        """A batch as the step takes this process's rows of it."""
        if self.dataset is not None:
            return super().example_batch()
        rows = self.run.config.batch_size // jax.process_count()
        return {'row': np.arange(rows, dtype=np.int32)}

    def describe(self, flops: float | None) -> list[tuple[str, str | None]]:
        """The teacher, its student, and how the student learns."""
        config, teacher = self.run.config, self.teacher
        source, updates = 'real images', f'{config.student_steps} of the student'
        if self._generator is not None:
            network = f'{config.generator}, {self._generator_size} parameters'
            source = f'{network}, maximises {config.disagreement} of the logits'
            if config.attention:
                source += f'; the student also learns attention, weight {config.attention:g}'
            updates += ', 1 of the generator'
        origin = teacher.run.config
        trained = origin.dataset if isinstance(origin, TeacherConfig) else 'distilled itself'
        return [
            ('algorithm', config.algorithm),
            (
                'teacher',
                f'{teacher.architecture}, {_size(teacher.variables["params"])} parameters, of step '
                f'{teacher.step:,} ({trained})',
            ),
            ('student', f'{config.student}, {self._student_size} parameters, {config.precision}'),
            ('learns from', source),
            ('measured on', f'{config.dataset} ({config.test_split})'),
            ('a round', f'{config.batch_size} images, {updates}{summary.count_flops(flops)}'),
            ('rates', _rates(config)),
        ]

    def _open_data(self, config: DistillConfig, inherits: bool) -> None:
        """Opens the parts that the algorithm learns from and is measured on.

        Args:
          config: with names of the data.
          inherits: whether the dataset is the teacher's.
        """
        origin = self.teacher.run.config
        config = dataclasses.replace(config, image_size=origin.image_size, channels=origin.channels)
        has_data = config.dataset != NO_DATA
        if inherits and has_data and self.test is None:
            resuming.check_reopens(self.teacher.run, 'the teacher', _GIVE_DATA)
        if config.algorithm != 'kd':
            self.dataset = None
        elif self.dataset is None and has_data:
            self.dataset = teachers.open_part(config)
            if inherits and not adoption.asked_for(self.request) & _TRAINED_ON:
                accept = messages.warn if config.data_changed else None
                opened = self.dataset
                resuming.reopen(self.teacher.run, 'the teacher', lambda: opened, _GIVE_DATA, accept)
        if self.test is None and has_data:
            self.test = teachers.open_part(config, test=True)
        for name in ('dataset', 'test'):
            part = getattr(self, name)
            if part is not None:
                part = classes.align(part, self.teacher.run.class_names, 'the teacher')
                _check_fits(self.teacher, part)
                setattr(self, name, part)


def count_flops(config: DistillConfig, teacher: Classifier) -> float | None:
    """FLOPs of a round, with every step of the student counted; None where it is not known.

    Args:
      config: resolved.
      teacher: what it learns from.
    """
    student = learners.student(config, teacher.run.num_classes, None)
    generator = None if config.algorithm == 'kd' else learners.generator(config, None)
    state = jax.eval_shape(lambda: learners.create(config, student, generator))
    batch = {'row': jax.ShapeDtypeStruct((config.batch_size,), np.int32)}
    if config.algorithm == 'kd':
        batch = teachers.batch_shapes(config)
    # Before compiling, because a compiler counts a loop's body once.
    update = rounds.make_round(config, student, generator, teacher.module, unroll=True)
    cost = jax.jit(update).lower(state, batch, teacher.variables).cost_analysis()
    return (cost or {}).get('flops')


def _check_fits(teacher: Classifier, dataset: data.Dataset) -> None:
    config, classes = teacher.run.config, teacher.run.num_classes
    wanted = (config.image_size, config.channels, classes)
    if (dataset.image_size, dataset.channels, dataset.num_classes) != wanted:
        raise ValueError(
            f'the teacher was trained with {classes} classes of '
            f'{config.image_size}x{config.image_size}x{config.channels} images, which does not '
            f'fit {teachers.describe(dataset)}'
        )


class _Rows:
    """The batches of an algorithm without data: always the same rows to be filled."""

    def __init__(self, batch: dict[str, np.ndarray]):
        self._batch = batch

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return self._batch

    def __enter__(self) -> '_Rows':
        return self

    def __exit__(self, *unused: Any) -> None:
        pass

    def get_state(self) -> bytes:
        return b''

    def set_state(self, state: bytes) -> None:
        pass


def _size(params: Any) -> str:
    return human(model.num_parameters(params))


def _rates(config: DistillConfig) -> str:
    text = f'{config.optimizer} {config.learning_rate:g}'
    if config.algorithm != 'kd':
        text += f', generator adam {config.learning_rate_g:g}'
    if config.schedule == 'cosine':
        return text + ', cosine'
    if config.schedule == 'steps':
        text += teachers.describe_decay(config, 'round')
    return text
