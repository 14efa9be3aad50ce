"""Compressing: the job that trains a student under its teacher."""

import dataclasses
import os
import pathlib

from osgan_jax import data, networks
from osgan_jax.compression import config as configs
from osgan_jax.compression import stages, teachers
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.core.collectives import collectives_over
from osgan_jax.engine import runner, runs
from osgan_jax.gan import methods, model, recorder, trainer
from osgan_jax.runtime import parallel


def compress(
    config: CompressConfig,
    workdir: str | os.PathLike[str],
    *,
    teacher: Teacher | None = None,
    dataset: data.Dataset | None = None,
) -> runner.Result:
    """Trains, or resumes, the student that lives in `workdir`.

    Writes there what `osgan_jax.gan.trainer.train` does; a student is sampled from, evaluated and
    edited as any other run.

    Args:
      config: what to train; open fields are resolved from the teacher, the method and the dataset.
      workdir: the run's directory.
      teacher: instead of the configured one.
      dataset: instead of the configured one, already opened.

    Returns, raises: as `osgan_jax.engine.runner.carry_out`, the state a `stages.CompressState`;
      also ValueError: for a configuration that contradicts itself, its teacher or the dataset, or
      on
        resuming under another teacher.
      FileNotFoundError: for a teacher or a dataset that is not there.
    """
    workdir = pathlib.Path(workdir)
    return runner.carry_out(
        lambda: _prepare(config, workdir, teacher, dataset),
        workdir,
        precision=config.precision,
        deterministic=config.deterministic,
    )


def _prepare(config: CompressConfig, workdir, teacher, dataset) -> runner.Job:
    trainer.check_evaluation(config)
    if teacher is None:
        if config.teacher is None:
            raise ValueError('give --teacher, the workdir of a run of experiments.train')
        step = config.teacher_step
        if step is None and runs.kind_of(workdir) == CompressConfig.KIND:
            # The teacher may have gone on training; its student has not changed teachers.
            step = runs.read(workdir, CompressConfig).config.teacher_step
        teacher = teachers.load(config.teacher, step)
    config = dataclasses.replace(config, teacher_step=teacher.step)
    config = configs.resolve(config, teacher.run.config, teachers.digest(teacher.variables))
    if dataset is None:
        dataset = trainer.open_dataset(config)
    config, gan, state, devices, run = _build(config, teacher, dataset)
    collectives = collectives_over(devices)
    update = stages.make_update(config, gan, teacher, state, collectives)

    def records(start: int, flops: float | None, check) -> recorder.GANRecords:
        del flops  # no figure of its own
        return trainer.open_records(run, workdir, gan, start, dataset, check)

    def summary(start: int, flops: float | None) -> str:
        del flops  # the compiler counts both stages
        return recorder.summary(
            run, workdir, dataset, state, devices, start, None, _about(config, teacher)
        )

    return runner.Job(
        run=run,
        devices=devices,
        state=state,
        update=update,
        batches=lambda: runner.open_batches(dataset, config),
        example=runner.example(config.batch_size, dataset),
        records=records,
        summary=summary,
        advice=trainer.ADVICE,
        constants=teacher.variables,
        flops=lambda: None,
    )


def _build(config: CompressConfig, teacher: Teacher, dataset: data.Dataset):
    config = methods.resolve(
        configs.count_steps(config),
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_classes=dataset.num_classes,
        num_examples=len(dataset),
    )
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    run = runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset))
    if config.conditional and run.num_classes != teacher.gan.num_classes:
        raise ValueError(
            f'the teacher knows {teacher.gan.num_classes} classes, but {dataset.name} has '
            f'{run.num_classes}: give the dataset that it was trained on'
        )
    gan = model.build(
        config,
        num_classes=run.num_classes,
        steps_per_epoch=run.steps_per_epoch,
        axis_name=collectives_over(devices).axis_name,
    )
    rows = config.batch_size // len(devices) // config.accumulate
    for judge in (gan.discriminator, teacher.gan.discriminator):
        networks.check_rows(judge, rows)
    state = stages.create(config, gan, teacher)
    return config, gan, state, devices, run


def _about(config: CompressConfig, teacher: Teacher) -> list[tuple[str, str]]:
    size = model.num_parameters(teacher.variables['generator']['params'])
    lines = [
        ('objective', f'{config.objective}, {config.channel_multiplier} of the channels'),
        ('teacher', f'{config.teacher}, step {teacher.step:,}, G {size:,} parameters'),
    ]
    if config.objective == 'baseline':
        return [*lines, ('stages', 'I alone, without the teacher')]
    weight = '' if config.objective in configs.UNWEIGHTED else f', weight {config.weight:g}'
    most = 'at most ' if config.auto_stage_two else ''
    steps = f'{most}{config.stage_one_steps:,} steps without the teacher'
    return [*lines, ('stages', f'I: {steps}; II: under it{weight}')]
