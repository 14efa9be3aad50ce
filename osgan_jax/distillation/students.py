"""Distilling: a student learns to do what a frozen teacher does."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.core.collectives import collectives_over
from osgan_jax.distillation import classifiers, rounds, teachers
from osgan_jax.distillation import state as states
from osgan_jax.distillation.classifiers import Accuracy, Classifier
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_student
from osgan_jax.distillation.records import DistillRecords
from osgan_jax.engine import recorder, runner, runs
from osgan_jax.gan import model
from osgan_jax.runtime import parallel

NO_DATA = 'none'


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

    Returns, raises: as `osgan_jax.engine.runner.carry_out`, the state a `state.State`; also
      ValueError: for a network, dataset or option that does not exist or fit, or on resuming with
        another teacher.
      FileNotFoundError: for a teacher or a dataset that is not there.
    """
    workdir = pathlib.Path(workdir)
    return runner.carry_out(
        lambda: _prepare(config, workdir, teacher, dataset, test),
        workdir,
        precision=config.precision,
        deterministic=config.deterministic,
    )


def _prepare(config: DistillConfig, workdir, teacher, dataset, test) -> runner.Job:
    if teacher is None:
        if config.teacher is None:
            raise ValueError('give --teacher, the workdir of a run of experiments.teacher')
        teacher = classifiers.load(config.teacher)
    config, dataset, test = _with_data(config, teacher, dataset, test)
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    collectives = collectives_over(devices)
    student = states.student(config, teacher.run.num_classes, collectives.axis_name)
    generator = None
    if config.algorithm != 'kd':
        generator = states.generator(config, collectives.axis_name)
    state = states.create(config, student, generator)
    seen = 0 if dataset is None else len(dataset)
    run = runs.Run(config, teacher.run.num_classes, teacher.run.class_names, seen)
    rows = config.batch_size // jax.process_count()

    def example() -> dict[str, np.ndarray]:
        if dataset is not None:
            return runner.example(config.batch_size, dataset)
        return {'row': np.arange(rows, dtype=np.int32)}

    # Traces a round too: what does not fit shows before anything is written.
    flops = count_flops(config, teacher)

    return runner.Job(
        run=run,
        devices=devices,
        state=state,
        update=rounds.make_round(config, student, generator, teacher.module, collectives),
        batches=lambda: (
            runner.open_batches(dataset, config) if dataset is not None else _NoData(example())
        ),
        example=example(),
        records=lambda start, flops, check: DistillRecords(
            run,
            workdir,
            start,
            title=f'{config.algorithm}, {teacher.architecture} to {config.student}',
            accuracy=None if test is None else Accuracy(student.module, test, config),
            generator=generator,
            flops=flops,
        ),
        summary=lambda start, flops: _summary(run, workdir, teacher, state, devices, start, flops),
        advice=teachers.ADVICE,
        constants=teacher.variables,
        flops=lambda: flops,
    )


def count_flops(config: DistillConfig, teacher: Classifier) -> float | None:
    """FLOPs of a round, with every step of the student counted; None where nobody counts.

    Args:
      config: resolved.
      teacher: what it learns from.
    """
    student = states.student(config, teacher.run.num_classes, None)
    generator = None if config.algorithm == 'kd' else states.generator(config, None)
    state = jax.eval_shape(lambda: states.create(config, student, generator))
    batch = {'row': jax.ShapeDtypeStruct((config.batch_size,), np.int32)}
    if config.algorithm == 'kd':
        batch = teachers.batch_shapes(config)
    # Before compiling, because a compiler counts a loop's body once.
    update = rounds.make_round(config, student, generator, teacher.module, unroll=True)
    cost = jax.jit(update).lower(state, batch, teacher.variables).cost_analysis()
    return (cost or {}).get('flops')


def _with_data(config: DistillConfig, teacher: Classifier, dataset, test):
    """Resolves the configuration and opens what it asks for: `(config, dataset, test)`."""
    origin = teacher.run.config
    if config.dataset is None:
        names = ('dataset', 'data_dir', 'split', 'test_split', 'test_data_dir', 'upscale')
        config = dataclasses.replace(config, **{name: getattr(origin, name) for name in names})
    asked = dataclasses.replace(config, image_size=origin.image_size, channels=origin.channels)
    has_data = config.dataset != NO_DATA
    if config.algorithm != 'kd':
        dataset = None
    elif dataset is None and has_data:
        dataset = teachers.open_part(asked)
    if test is None and has_data:
        test = teachers.open_part(asked, test=True)
    for part in (dataset, test):
        if part is not None:
            _check_fits(teacher, part)
    resolved = resolve_student(
        config,
        network=teacher.architecture,
        teacher=origin,
        num_examples=0 if dataset is None else len(dataset),
        digest=teacher.digest(),
    )
    return resolved, dataset, test


def _check_fits(teacher: Classifier, dataset: data.Dataset) -> None:
    config, classes = teacher.run.config, teacher.run.num_classes
    wanted = (config.image_size, config.channels, classes)
    if (dataset.image_size, dataset.channels, dataset.num_classes) != wanted:
        raise ValueError(
            f'the teacher knows {classes} classes of {config.image_size}x{config.image_size}x'
            f'{config.channels} images, and here is {teachers.describe(dataset)}'
        )


class _NoData:
    """The batches of an algorithm that needs none: always the same rows to be filled."""

    def __init__(self, batch: dict[str, np.ndarray]):
        self._batch = batch

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return self._batch

    def __enter__(self) -> '_NoData':
        return self

    def __exit__(self, *unused: Any) -> None:
        pass

    def get_state(self) -> bytes:
        return b''

    def set_state(self, state: bytes) -> None:
        pass


def _summary(run, workdir, teacher: Classifier, state, devices, start, flops) -> str:
    config = run.config
    count = lambda tree: reporting.summary.human(model.num_parameters(tree))  # noqa: E731
    source = 'real images'
    if state.generator is not None:
        made = f'{config.generator}, {count(state.generator.params)} parameters'
        source = f'{made}, maximises {config.disagreement} of the logits'
    updates = f'{config.student_steps} of the student'
    if state.generator is not None:
        updates += ', 1 of the generator'
    origin = teacher.run.config
    trained = origin.dataset if isinstance(origin, TeacherConfig) else 'distilled itself'
    fields = [
        ('algorithm', config.algorithm),
        (
            'teacher',
            f'{teacher.architecture}, {count(teacher.variables["params"])} parameters, of step '
            f'{teacher.step:,} ({trained})',
        ),
        (
            'student',
            f'{config.student}, {count(state.student.params)} parameters, {config.precision}',
        ),
        ('learns from', source),
        ('measured on', f'{config.dataset} ({config.test_split})'),
        ('a round', f'{config.batch_size} images, {updates}{recorder.count_flops(flops)}'),
        ('rates', _rates(config)),
        ('rounds', recorder.length(run)),
        ('devices', recorder.platform(devices)),
        ('workdir', str(workdir)),
        ('resumed', f'from round {start:,}' if start else None),
    ]
    return reporting.summary.summary(fields, title='osgan_jax: a student')


def _rates(config: DistillConfig) -> str:
    text = f'{config.optimizer} {config.learning_rate:g}'
    if config.algorithm != 'kd':
        text += f', generator adam {config.learning_rate_g:g}'
    if config.schedule == 'cosine':
        return text + ', cosine'
    if config.schedule == 'steps' and config.decay_at:
        at = ' and '.join(f'{round(share * config.num_steps):,}' for share in config.decay_at)
        text += f', times {config.decay_factor:g} after round {at}'
    return text
