"""Table 2 from the results of cells: accuracies and their cost, as Markdown and CSV."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.studies import records, tables
from experiments.studies.records import by_row, finished
from experiments.table2.plans import TEACHER, Settings
from experiments.table2.published import PAPER_TABLE2
from osgan_jax import reporting
from osgan_jax.distillation.config import DistillConfig

SHARES = (0.5, 0.8, 0.9, 0.95, 0.97)
"""Shares of the teacher's accuracy that students are to reach."""

TITLES = {
    'teacher': 'Teacher',
    'kd': 'KD',
    'zskt': 'ZSKT (two)',
    'dfad': 'DFAD (two)',
    'one_stage': 'One-stage (one)',
    'one_stage_kl': 'One-stage, KL (one)',
    'supervised': 'Labels alone',
}


def _seconds(value: float) -> str:
    return f'{value:,.1f}' if value < 100 else f'{value:,.0f}'


def _flops(value: float) -> str:
    return reporting.summary.human(value, 'FLOP')


_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    'seconds': ('Seconds of training', _seconds),
    'updates': ("The student's updates", '{:,.0f}'.format),
    'flops': ('FLOPs', _flops),
}


@dataclasses.dataclass(frozen=True)
class Result(records.Result):
    """The result of the teacher or of a student.

    Its metrics are the accuracy on the test part, 0 to 1, and the FLOPs of all rounds; its
    evaluations also have the student's `updates` so far.

    Attributes:
      network: architecture.
      parameters: number of its parameters.
      batch_size: images a step.
      updates_a_round: updates of the student.
      published: rounds of the published recipe; None for the teacher.
    """

    network: str = ''
    parameters: int | None = None
    batch_size: int | None = None
    updates_a_round: int = 1
    published: int | None = None

    @property
    def algorithm(self) -> str:
        """Row of the table."""
        return self.cell.row[0]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.cell.seed

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last checkpoint, 0 to 1."""
        return self.metrics.get('accuracy')

    @property
    def flops(self) -> float | None:
        """FLOPs of all rounds; None if they were not counted."""
        return self.metrics.get('flops')

    @property
    def updates(self) -> int | None:
        """Updates of the student."""
        return None if self.step is None else self.step * self.updates_a_round


def by_algorithm(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results of students by algorithm, in the order in which the algorithms first occur."""
    return {row[0]: group for row, group in by_row(results).items() if row != (TEACHER,)}


def teacher_of(results: Iterable[Result]) -> Result | None:
    """The teacher's result, if it is among these."""
    return next((result for result in results if result.algorithm == TEACHER), None)


def cost_to_reach(
    evaluations: Iterable[Mapping[str, Any]], accuracy: float
) -> Mapping[str, Any] | None:
    """The first evaluation, by step, at which an accuracy is reached; None where none does."""
    lines = sorted(evaluations, key=lambda line: line['step'])
    return next((line for line in lines if line['accuracy'] >= accuracy), None)


def markdown(results: Sequence[Result], dataset: str, setting: str = '') -> str:
    """The table as Markdown: accuracies beside the paper's, then the cost of reaching them.

    Args:
      results: results of the teacher and of all cells, also those that are missing.
      dataset: its name.
      setting: how the cells were trained, in a sentence.
    """
    groups = by_algorithm(results)
    lines = [f'# Table 2 on {dataset}', '', *tables.paragraphs(_notes(results, setting))]
    head = ['method', 'network', 'params', 'accuracy', 'paper CIFAR10', 'paper CIFAR100', 'seeds']
    head += ['rounds', 'of the published', "student's updates", 'batch', 'seconds', 'FLOPs']
    lines += tables.head(head, 2)
    teacher = teacher_of(results)
    if teacher is not None:
        lines.append(_accuracies(TEACHER, [teacher]))
    lines += [_accuracies(name, group) for name, group in groups.items()]
    if teacher is not None and teacher.accuracy:
        lines += ['', *_costs(groups, teacher.accuracy)]
    return '\n'.join([*lines, *tables.failures(results)]) + '\n'


def csv_text(results: Sequence[Result]) -> str:
    """The results as CSV: a line for the teacher and each cell."""
    teacher = teacher_of(results)
    goal = teacher.accuracy if teacher else None
    columns = ['algorithm', 'seed', 'status', 'network', 'parameters', 'accuracy']
    columns += ['step', 'published', 'updates', 'batch_size', 'seconds', 'flops']
    about = ['dataset', 'fingerprint', 'num_samples']
    reached = [f'{cost}_to_{round(100 * share)}' for share in SHARES for cost in _COSTS]
    rows = []
    for r in results:
        row = [getattr(r, name) for name in columns]
        for share in SHARES:
            line = cost_to_reach(r.evaluations, share * goal) if goal else None
            row += [(line or {}).get(cost) for cost in _COSTS]
        rows.append([*row, *map(r.about.get, about), r.reason])
    return tables.csv_text([*columns, *reached, *about, 'reason'], rows)


def setting(settings: Settings, teacher: Result, student: str) -> str:
    """How the cells were trained, in a sentence or two; `student` is their architecture."""
    precision = settings.shared.precision
    text = f'Teacher: {teacher.network}, seed {teacher.seed}. Students: {student}, {precision}, '
    if settings.shared.generator_width != DistillConfig.generator_width:
        text += f'generators of width {settings.shared.generator_width}, '
    if settings.student_updates is not None:
        text += f'{settings.student_updates:,} updates each'
    else:
        fraction = 1.0 if settings.fraction is None else settings.fraction
        text += f'{100 * fraction:.3g}% of the published rounds each'
    budget = settings.shared.max_seconds
    if budget is not None:
        text += (
            f', but no more than {budget:g} s of training: what takes longer was '
            'ended before its rates had decayed as scheduled'
        )
    return f'{text}.'


def _notes(results: Sequence[Result], setting: str) -> list[str]:
    """Sentences over the table, each a paragraph."""
    notes = [tables.cells_note([r for r in results if r.algorithm != TEACHER], setting)]
    about = next((r.about for r in results if r.about), None)
    if about:
        notes.append(
            f'Accuracy of the last checkpoint on {about["num_samples"]:,} images of '
            f'{about["dataset"]}, mean ± sample standard deviation over seeds. All students have '
            'one teacher: the deviations say nothing of other teachers.'
        )
    notes.append(
        "The paper's figures are those of its Table 2, ResNet34 to ResNet18 on CIFAR at a full "
        'schedule; they compare with ours only as far as network, data and schedule do. "Of the '
        'published" is the share of the published number of rounds; the paper does not say how '
        "many rounds one-stage training made, and DFAD's is taken."
    )
    notes.append(
        'FLOPs are those that the compiler counts, the passes through teacher and generator '
        'included. Seconds are of training alone, without compiling and evaluating.'
    )
    return notes


def _accuracies(name: str, group: Sequence[Result]) -> str:
    ended, first = finished(group), group[0]
    accuracy = tables.spread(r.accuracy for r in ended if r.accuracy is not None)
    paper = PAPER_TABLE2.get(name)
    shares = [100 * r.step / r.published for r in ended if r.published]
    row = [
        TITLES.get(name, name),
        first.network or '-',
        '-' if first.parameters is None else reporting.summary.human(first.parameters),
        '-' if accuracy is None else accuracy.text(4),
        f'{paper.cifar10:.3f}' if paper else '-',
        f'{paper.cifar100:.3f}' if paper else '-',
        tables.seeds(group),
        tables.extent(r.step for r in ended),
        tables.extent(shares, '{:.3g}%'.format),
        tables.extent(r.updates for r in ended),
        '-' if first.batch_size is None else f'{first.batch_size}',
        tables.extent((r.seconds for r in ended), _seconds),
        tables.extent((r.flops for r in ended), _flops),
    ]
    return tables.row(row)


def _costs(groups: Mapping[str, Sequence[Result]], teacher: float) -> list[str]:
    """A table for each cost of reaching shares of the teacher's accuracy."""
    lines = [
        "## Cost of reaching a share of the teacher's accuracy",
        '',
        'Of the first evaluation at or above it, mean over seeds; in brackets the number of seeds '
        'that reached it, if not all did; - if none did. Between evaluations nothing is known: '
        'what is reached at the first one may have been reached before.',
    ]
    head = ['method', *(f'{100 * share:g}% ({share * teacher:.4f})' for share in SHARES)]
    for cost, (title, shown) in _COSTS.items():
        lines += ['', f'{title}:', '', *tables.head(head, 1)]
        for name, group in groups.items():
            reached = [_mean_cost(finished(group), cost, s * teacher, shown) for s in SHARES]
            lines.append(tables.row([TITLES.get(name, name), *reached]))
    return lines


def _mean_cost(
    ended: Sequence[Result], cost: str, accuracy: float, shown: Callable[[float], str]
) -> str:
    lines = [cost_to_reach(r.evaluations, accuracy) for r in ended]
    values = [line[cost] for line in lines if line is not None and line.get(cost) is not None]
    if not values:
        return '-'
    text = shown(sum(values) / len(values))
    return text if len(values) == len(ended) else f'{text} ({len(values)} of {len(ended)})'
