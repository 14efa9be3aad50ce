"""Times of rounds of distillation, several algorithms side by side."""

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

from experiments.benchmark import turns
from experiments.benchmark.turns import StepTiming
from osgan_jax.core.collectives import collectives_over
from osgan_jax.distillation import learners, rounds, students
from osgan_jax.distillation.classifiers import Classifier
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_student
from osgan_jax.engine import messages, runs
from osgan_jax.runtime import parallel, settings

_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class RoundCase:
    """The networks and the batch whose rounds are timed.

    Attributes:
      teacher: its architecture.
      student: its architecture.
      batch_size: images per step over all devices, the same for all algorithms.
      channels: 1 or 3.
      precision: of the student and the generator, and of the teacher.
      num_devices: None for all.
      generator_width: see `DistillConfig`.
    """

    teacher: str
    student: str
    batch_size: int
    channels: int = 3
    precision: str = 'float32'
    num_devices: int | None = None
    generator_width: int = 128

    @property
    def name(self) -> str:
        """The case's name."""
        parts = [f'{self.teacher} to {self.student}', f'batch {self.batch_size}']
        if self.generator_width != 128:
            parts.append(f'generator width {self.generator_width}')
        if self.precision != 'float32':
            parts.append(self.precision)
        if self.num_devices:
            parts.append(f'{self.num_devices} device{"s" * (self.num_devices > 1)}')
        return ', '.join(parts)

    def updates(self, algorithm: str) -> int:
        """The student's updates in a round."""
        return self.config(algorithm).student_steps

    def config(self, algorithm: str) -> DistillConfig:
        """An algorithm's configuration; all have the same generator and l1 disagreement."""
        config = DistillConfig(
            algorithm=algorithm,
            student=self.student,
            batch_size=self.batch_size,
            num_steps=1000,
            precision=self.precision,
            num_devices=self.num_devices,
            generator_width=self.generator_width,
        )
        return resolve_student(
            config,
            network=self.teacher,
            teacher=_teacher_config(self),
            num_examples=1000 * self.batch_size,
            digest='',
        )


def check_rounds(case: RoundCase, algorithms: Sequence[str]) -> None:
    """Raises ValueError, before anything is compiled, for a case that cannot be run."""
    learners.classifier(_teacher_config(case), _CLASSES)
    for algorithm in algorithms:
        config = case.config(algorithm)
        learners.classifier(config, _CLASSES)
        parallel.local_devices(config.num_devices, config.batch_size)


def measure_rounds(case: RoundCase, algorithms: Sequence[str], *, repeats: int) -> list[StepTiming]:
    """Times one round of each algorithm from the same fresh state, each with its own recipe.

    Args:
      case: networks, batch and precision.
      algorithms: which of `distillation.ALGORITHMS`, in the order they take turns.
      repeats: timed calls of each, after one that is not counted.

    Raises:
      ValueError: for a case that cannot be run.
    """
    check_rounds(case, algorithms)
    settings.set_precision(case.precision)
    module = learners.classifier(_teacher_config(case), _CLASSES)
    images = np.zeros((2, 32, 32, case.channels), np.float32)
    init = jax.jit(lambda key, x: module.init(key, x, train=False))
    variables = init(jax.random.key(1), images)
    run = runs.Run(_teacher_config(case), _CLASSES, (), 0)
    teacher = Classifier(run, 0, module, variables)
    runners = {algorithm: _runner(case, algorithm, teacher) for algorithm in algorithms}
    return turns.take_turns(runners, repeats)


def _teacher_config(case: RoundCase) -> TeacherConfig:
    return TeacherConfig(
        network=case.teacher,
        image_size=32,
        channels=case.channels,
        precision=case.precision,
        mean=(0.5,) * case.channels,
        std=(0.25,) * case.channels,
    )


def _runner(case: RoundCase, algorithm: str, teacher: Classifier) -> turns.Runner:
    messages.say(f'Compiling {algorithm} ...')
    start = time.perf_counter()
    config = case.config(algorithm)
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    collectives = collectives_over(devices)
    student = learners.student(config, _CLASSES, collectives.axis_name)
    generator = None
    rows = np.arange(config.batch_size, dtype=np.int32)
    batch = {'row': rows}
    if algorithm == 'kd':
        shape = (config.batch_size, 32, 32, case.channels)
        image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        batch = {'image': image, 'label': rows % _CLASSES}
    else:
        generator = learners.generator(config, collectives.axis_name)
    state = learners.create(config, student, generator)
    update = rounds.make_round(config, student, generator, teacher.module, collectives)
    runner, _ = turns.compiled_runner(
        update, state, batch, teacher.variables, devices=devices, began=start
    )
    runner.flops = students.count_flops(config, teacher)
    return runner
