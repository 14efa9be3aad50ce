"""Training a teacher: a classifier, on data."""

import os
import pathlib

import jax
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.core.collectives import ONE_DEVICE, collectives_over
from osgan_jax.distillation import rounds
from osgan_jax.distillation import state as states
from osgan_jax.distillation.classifiers import Accuracy
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_teacher
from osgan_jax.distillation.records import DistillRecords
from osgan_jax.engine import recorder, runner, runs
from osgan_jax.gan import model
from osgan_jax.runtime import parallel

ADVICE = 'Lower --learning_rate, or try another --seed.'
# Images whose channels' mean and standard deviation stand for a dataset's.
_LOOKED_AT = 5_000


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

    Returns, raises: as `osgan_jax.engine.runner.carry_out`, the state a `state.State`; also
      ValueError: for a network, dataset or option that does not exist or fit.
      FileNotFoundError: for a dataset that is not there.
    """
    workdir = pathlib.Path(workdir)
    return runner.carry_out(
        lambda: _prepare(config, workdir, dataset, test),
        workdir,
        precision=config.precision,
        deterministic=config.deterministic,
    )


def _prepare(config, workdir, dataset, test) -> runner.Job:
    if dataset is None:
        dataset = open_part(config)
    check_labelled(dataset)
    config = resolve_teacher(
        config,
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_examples=len(dataset),
        statistics=lambda: _statistics(dataset),
    )
    if test is None:
        test = open_part(config, test=True)
    check_alike(dataset, test)
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    collectives = collectives_over(devices)
    run = runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset))
    student = states.student(config, run.num_classes, collectives.axis_name)
    state = states.create(config, student, None)
    # Traces a step too: what does not fit shows before anything is written.
    flops = count_flops(config, run.num_classes)
    parameters = reporting.summary.human(model.num_parameters(state.student.params))

    def summary(start: int, flops: float | None) -> str:
        fields = [
            ('network', f'{config.network}, {parameters} parameters, {config.precision}'),
            ('dataset', describe(dataset)),
            ('', dataset.report),
            ('measured on', describe(test)),
            ('images', f'shifted by up to {config.crop} pixels{", mirrored" * config.flip}'),
            ('a step', f'{config.batch_size} images{recorder.count_flops(flops)}'),
            ('rate', f'sgd, {config.learning_rate:g}{_decay(config)}'),
            ('steps', recorder.length(run)),
            ('devices', recorder.platform(devices)),
            ('workdir', str(workdir)),
            ('resumed', f'from step {start:,}' if start else None),
        ]
        return reporting.summary.summary(fields, title='osgan_jax: a teacher')

    return runner.Job(
        run=run,
        devices=devices,
        state=state,
        update=rounds.make_supervised(config, student, collectives),
        batches=lambda: runner.open_batches(dataset, config),
        example=runner.example(config.batch_size, dataset),
        records=lambda start, flops, check: DistillRecords(
            run,
            workdir,
            start,
            title=f'{config.network}, {dataset.name}',
            accuracy=Accuracy(student.module, test, config),
            generator=None,
            flops=flops,
        ),
        summary=summary,
        advice=ADVICE,
        flops=lambda: flops,
    )


def count_flops(config: TeacherConfig, num_classes: int) -> float | None:
    """FLOPs of a step over all devices; None where nobody counts.

    Args:
      config: resolved.
      num_classes: of the dataset.
    """
    student = states.student(config, num_classes, None)
    state = jax.eval_shape(lambda: states.create(config, student, None))
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
    return data.load(
        config.dataset,
        split=config.test_split if test else config.split,
        data_dir=(test and config.test_data_dir) or config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        upscale=config.upscale,
    )


def check_labelled(dataset: data.Dataset) -> None:
    """Raises ValueError unless there are at least two classes."""
    if dataset.num_classes < 2:
        raise ValueError(f'{dataset.name} has no labels, which a classifier is trained on')


def check_alike(dataset: data.Dataset, test: data.Dataset) -> None:
    """Raises ValueError if two parts do not have the same kind of images and classes."""
    kind = lambda d: (d.image_size, d.channels, d.num_classes)  # noqa: E731
    if kind(dataset) != kind(test):
        raise ValueError(
            f'{describe(dataset)}, and to be measured on {describe(test)}: sizes, channels and '
            'classes must be the same'
        )


def describe(dataset: data.Dataset) -> str:
    """One line about a dataset."""
    size = f'{dataset.image_size}x{dataset.image_size}x{dataset.channels}'
    classes = f'{dataset.num_classes} classes'
    return f'{dataset.name} ({dataset.split}), {len(dataset):,} images, {size}, {classes}'


def _decay(config: TeacherConfig) -> str:
    if not config.decay_at:
        return ''
    steps = ' and '.join(f'{round(share * config.num_steps):,}' for share in config.decay_at)
    return f', times {config.decay_factor:g} after step {steps}'


def _statistics(dataset: data.Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of images in [0, 1]."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _LOOKED_AT)).astype(int))
    images = np.stack([dataset[int(row)]['image'] for row in rows]) / 255.0
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    if not std.all():
        raise ValueError(f'{dataset.name} has a channel that is the same in all images')
    digits = lambda values: tuple(round(float(v), 6) for v in values)  # noqa: E731
    return digits(mean), digits(std)
