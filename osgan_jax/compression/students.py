"""Compressing: the job that trains a student under its teacher."""

import dataclasses
import functools
import os
from typing import Any

import jax

from osgan_jax import data
from osgan_jax.compression import config as configs
from osgan_jax.compression import stages, teachers
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.data import classes
from osgan_jax.engine import messages, resuming, runner, runs
from osgan_jax.engine.job import Update
from osgan_jax.gan import model, trainer
from osgan_jax.gan.trainer import GANJob
from osgan_jax.io import own_code


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

    Returns:
      As `osgan_jax.engine.runner.run`, which also says what else is raised; the state is
      a `stages.CompressState`.

    Raises:
      ValueError: for a configuration that contradicts itself, its teacher or the dataset, or on
        resuming under another teacher.
      FileNotFoundError: for a teacher or a dataset that is not there.
    """
    return runner.run(CompressJob(config, workdir, dataset, teacher))


class CompressJob(GANJob):
    """Training of a student GAN under a teacher."""

    def __init__(
        self,
        config: CompressConfig,
        workdir: str | os.PathLike[str],
        dataset: data.Dataset | None = None,
        teacher: Teacher | None = None,
    ):
        """Makes the job; the arguments are those of `compress`."""
        super().__init__(config, workdir, dataset)
        self.teacher = teacher

    def open(self) -> runs.Run:
        """Reads the teacher, opens the dataset and resolves the configuration."""
        if self.teacher is None:
            self.teacher = self._load_teacher()
        teacher = self.teacher
        self.constants = teacher.variables
        asked = self.config
        config = dataclasses.replace(self.config, teacher_step=teacher.step)
        config = configs.resolve(config, teacher.run.config, model.digest(teacher.variables))
        self.config = configs.count_steps(config)
        if self.dataset is None and not (asked.dataset or asked.data_dir or asked.split):
            self.dataset = messages.read_dataset(self.config.dataset, self._open_teachers_dataset)
        run = super().open()
        if run.config.conditional and run.num_classes != teacher.gan.num_classes:
            raise ValueError(
                f'the teacher was trained with {teacher.gan.num_classes} classes, but '
                f"{self.dataset.name} has {run.num_classes}: give the teacher's dataset"
            )
        if other := run.config.conditional and classes.difference(
            teacher.run.class_names, run.class_names
        ):
            raise ValueError(
                f"{self.dataset.name} does not fit the teacher: {other}; give the teacher's dataset"
            )
        return run

    def build_step(self) -> tuple[Any, Update]:
        """The shapes of a student's state and the step of both stages."""
        self.check_rows(self.teacher.run.config.minibatch_deviation)
        what = (self.run.config, self.gan, self.teacher)
        self._create = functools.partial(stages.create, *what)
        shapes = jax.eval_shape(self._create)
        self._check_narrower(shapes)
        return shapes, stages.make_update(*what, self._create, self.collectives)

    def _check_narrower(self, state: stages.CompressState) -> None:
        """Raises ValueError where networks of one's own take no notice of the multiplier."""
        config, teacher = self.run.config, self.teacher
        size = model.num_parameters(state.params_g)
        same = size == model.num_parameters(teacher.variables['generator']['params'])
        asked = config.channel_multiplier != teacher.run.config.channel_multiplier
        if asked and same and own_code.is_own(config.network):
            raise ValueError(
                f'channel_multiplier={config.channel_multiplier}: {config.network} makes a student '
                f'as large as its teacher, {size:,} parameters: take its width from '
                'facts.multiplied_width()'
            )

    def renew(self, state: stages.CompressState, parts: frozenset[str]) -> stages.CompressState:
        """As a GAN's; Stage II begins by this run's flags."""
        return stages.fork(self.run.config, super().renew(state, parts))

    def flops(self, compiled: float | None) -> None:
        """None: the compiler counts both stages."""
        del compiled

    def describe_recipe(self) -> str:
        """Whose recipe it is."""
        return "the teacher's, where flags say nothing else"

    def describe_teacher(self) -> list[tuple[str, str]]:
        """The objective, the teacher and the stages."""
        config, teacher = self.run.config, self.teacher
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
        if config.fork:
            steps += ', unless II began in the source'
        return [*lines, ('stages', f'I: {steps}; II: with the teacher{weight}')]

    def _open_teachers_dataset(self) -> data.Dataset:
        return resuming.reopen(
            self.teacher.run,
            'the teacher',
            lambda: trainer.open_dataset(self.config),
            'give --dataset and --data_dir, --data_changed to go on with these, or the images '
            'themselves from Python',
            messages.warn if self.config.data_changed else None,
        )

    def _load_teacher(self) -> Teacher:
        config = self.config
        if config.teacher is None:
            raise ValueError('give --teacher, the workdir of a run of experiments.train')
        step = config.teacher_step
        if step is None and runs.kind_of(self.workdir) == CompressConfig.KIND:
            # The teacher may have gone on training; its student has not changed teachers.
            step = runs.read(self.workdir, CompressConfig).config.teacher_step
        with messages.announced(f'Reading the teacher in {config.teacher}'):
            return teachers.load(config.teacher, step)
