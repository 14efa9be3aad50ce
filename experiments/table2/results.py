"""What is known of the teacher and the students of Table 2."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.studies import records
from experiments.table2.cells import Planned
from osgan_jax.distillation import learners
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.evaluation import score_log
from osgan_jax.gan import model


@dataclasses.dataclass(frozen=True)
class Result:
    """What is known of the teacher, or of one cell.

    Attributes:
      algorithm: row of the table.
      seed: of the run.
      status: 'finished', 'failed' or 'missing'.
      reason: of a failure.
      network: architecture.
      parameters: of it.
      batch_size: images a step.
      updates_a_round: of the student.
      published: rounds of the published recipe; None for the teacher.
      step: rounds made.
      seconds: that training took, without evaluations.
      flops: of all rounds; None where nobody counted.
      accuracy: of the last checkpoint on the test part, 0 to 1.
      about: the test part.
      evaluations: lines of evaluations.jsonl, with the student's `updates` so far.
      samples: the last sample grid.
      image_size: pixels.
    """

    algorithm: str
    seed: int
    status: str = 'missing'
    reason: str = ''
    network: str = ''
    parameters: int | None = None
    batch_size: int | None = None
    updates_a_round: int = 1
    published: int | None = None
    step: int | None = None
    seconds: float | None = None
    flops: float | None = None
    accuracy: float | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluations: Sequence[Mapping[str, Any]] = ()
    samples: pathlib.Path | None = None
    image_size: int | None = None

    @property
    def name(self) -> str:
        """The cell's directory: dfad-0."""
        return f'{self.algorithm}-{self.seed}'

    @property
    def updates(self) -> int | None:
        """Of the student."""
        return None if self.step is None else self.step * self.updates_a_round


def cost_to_reach(
    evaluations: Iterable[Mapping[str, Any]], accuracy: float
) -> Mapping[str, Any] | None:
    """The first evaluation, by step, at which an accuracy is reached; None where none does."""
    lines = sorted(evaluations, key=lambda line: line['step'])
    return next((line for line in lines if line['accuracy'] >= accuracy), None)


def by_algorithm(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results of students, seeds together, in the order the algorithms came in."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.algorithm != 'teacher':
            groups.setdefault(result.algorithm, []).append(result)
    return groups


def finished(group: Iterable[Result]) -> list[Result]:
    """Those that came to their end."""
    return [result for result in group if result.status == 'finished']


def collect(
    planned: Sequence[Planned],
    workdir: str | os.PathLike[str],
    about: Mapping[str, Any],
    num_classes: int,
) -> list[Result]:
    """Reads what is known of every cell; what was measured on other images does not count.

    Args:
      planned: the cells.
      workdir: the table's directory.
      about: the test part, as evaluations have it.
      num_classes: of the dataset.
    """
    results, sizes = [], {}
    for each in planned:
        directory, config = pathlib.Path(workdir) / each.cell.name, each.config
        record = records.read(directory)
        known: dict[str, Any] = {}
        if record is not None and record['status'] == 'failed':
            known = {'status': 'failed', 'reason': record['reason']}
        elif record is not None and record['about'].get('fingerprint') == about['fingerprint']:
            known = {'status': 'finished', **record['metrics']}
            known |= {name: record[name] for name in ('step', 'seconds')}
        network = each.network
        if network not in sizes:
            sizes[network] = _num_parameters(config, num_classes)
        grids = sorted((directory / 'samples').glob('step_*.png'))
        lines = score_log.read(directory) if directory.is_dir() else []
        results.append(
            Result(
                **dataclasses.asdict(each.cell),
                **known,
                network=network,
                parameters=sizes[network],
                batch_size=config.batch_size,
                updates_a_round=each.updates_a_round,
                published=each.published,
                about=about,
                evaluations=[
                    {**line, 'updates': line['step'] * each.updates_a_round}
                    for line in lines
                    if line['fingerprint'] == about['fingerprint']
                    # A run that was killed may have been further than it came afterwards.
                    and line['step'] <= known.get('step', line['step'])
                ],
                samples=grids[-1] if grids else None,
                image_size=config.image_size,
            )
        )
    return results


def shapes(config: TeacherConfig | DistillConfig, num_classes: int) -> Any:
    """Shapes of the variables of the classifier that a resolved configuration trains."""
    module = learners.classifier(config, num_classes)
    images = jnp.zeros((2, config.image_size, config.image_size, config.channels))
    return jax.eval_shape(lambda key: module.init(key, images, train=False), jax.random.key(0))


def _num_parameters(config: TeacherConfig | DistillConfig, num_classes: int) -> int:
    return model.num_parameters(shapes(config, num_classes)['params'])
