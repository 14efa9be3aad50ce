"""Table 2 from the results of cells: accuracies, and what they cost, as Markdown and CSV."""

import csv
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from experiments.table1 import summary
from experiments.table2.cells import Planned, Study
from experiments.table2.published import PAPER_TABLE2
from experiments.table2.results import Result, by_algorithm, cost_to_reach, finished
from osgan_jax import reporting
from osgan_jax.distillation.config import DistillConfig
from osgan_jax.io import atomic

SHARES = (0.5, 0.8, 0.9, 0.95, 0.97)
"""Of the teacher's accuracy, that students are to reach."""

TITLES = {
    'teacher': 'Teacher',
    'kd': 'KD',
    'zskt': 'ZSKT (two)',
    'dfad': 'DFAD (two)',
    'one_stage': 'One-stage (one)',
    'one_stage_kl': 'One-stage, KL (one)',
    'supervised': 'Labels alone',
}
_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    'seconds': ('Seconds of training', lambda value: _seconds(value)),
    'updates': ("The student's updates", lambda value: f'{value:,.0f}'),
    'flops': ('FLOPs', lambda value: _flops(value)),
}


def write(
    workdir: str | os.PathLike[str], results: Sequence[Result], dataset: str, setting: str = ''
) -> str:
    """Writes table2.md, table2.csv, figure.png and samples.png, each whole.

    Returns:
      The Markdown.
    """
    from experiments.table2 import figures

    workdir = pathlib.Path(workdir)
    text = markdown(results, dataset, setting)
    for name, content in (('table2.md', text), ('table2.csv', csv_text(results))):
        with atomic.replacing(workdir / name) as file:
            file.write(content.encode())
    figures.save_figure(results, workdir / 'figure.png', dataset)
    figures.save_samples(results, workdir / 'samples.png')
    return text


def markdown(results: Sequence[Result], dataset: str, setting: str = '') -> str:
    """The table as Markdown: accuracies beside the paper's, then the cost of reaching them.

    Args:
      results: of the teacher and of all cells, also those that are missing.
      dataset: its name.
      setting: how the cells were trained, in a sentence.
    """
    groups = by_algorithm(results)
    lines = [f'# Table 2 on {dataset}', '', *_notes(results, dataset, setting)]
    head = ['method', 'network', 'params', 'accuracy', 'paper CIFAR10', 'paper CIFAR100', 'seeds']
    head += ['rounds', 'of the published', "student's updates", 'batch', 'seconds', 'FLOPs']
    lines += [_row(head), _row(['---'] * 2 + ['---:'] * (len(head) - 2))]
    teacher = next((r for r in results if r.algorithm == 'teacher'), None)
    if teacher is not None:
        lines.append(_accuracies('teacher', [teacher]))
    lines += [_accuracies(name, group) for name, group in groups.items()]
    if teacher is not None and teacher.accuracy:
        lines += ['', *_costs(groups, teacher.accuracy)]
    failed = [f'* {r.name} failed: {r.reason}' for r in results if r.status == 'failed']
    return '\n'.join([*lines, *(['', *failed] if failed else [])]) + '\n'


def csv_text(results: Sequence[Result]) -> str:
    """The results as CSV: a line for the teacher and each cell."""
    teacher = next((r.accuracy for r in results if r.algorithm == 'teacher'), None)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    columns = ['algorithm', 'seed', 'status', 'network', 'parameters', 'accuracy']
    columns += ['step', 'published', 'updates', 'batch_size', 'seconds', 'flops']
    about = ['dataset', 'fingerprint', 'num_samples']
    reached = [f'{cost}_to_{round(100 * share)}' for share in SHARES for cost in _COSTS]
    writer.writerow([*columns, *reached, *about, 'reason'])
    for r in results:
        row = [getattr(r, name) for name in columns]
        for share in SHARES:
            line = cost_to_reach(r.evaluations, share * teacher) if teacher else None
            row += [(line or {}).get(cost) for cost in _COSTS]
        row += [*map(r.about.get, about), r.reason]
        writer.writerow(['' if value is None else value for value in row])
    return text.getvalue()


def setting(study: Study, teacher: Result, planned: Sequence[Planned]) -> str:
    """How the cells were trained, in a sentence or two."""
    student, precision = planned[0].network, study.shared.precision
    text = f'Teacher: {teacher.network}, seed {teacher.seed}. Students: {student}, {precision}, '
    if study.shared.generator_width != DistillConfig.generator_width:
        text += f'generators of width {study.shared.generator_width}, '
    if study.student_updates is not None:
        text += f'{study.student_updates:,} updates each'
    else:
        fraction = 1.0 if study.fraction is None else study.fraction
        text += f'{100 * fraction:.3g}% of the published rounds each'
    if study.shared.max_seconds is not None:
        text += (
            f', but no more than {study.shared.max_seconds:g} s of training: what takes longer was '
            'ended before its rates had decayed as scheduled'
        )
    return f'{text}.'


def _notes(results: Sequence[Result], dataset: str, setting: str) -> list[str]:
    """Sentences over the table, each a paragraph."""
    cells = [r for r in results if r.algorithm != 'teacher']
    counts = {status: sum(r.status == status for r in cells) for status in ('finished', 'failed')}
    text = f'{counts["finished"]} of {len(cells)} cells finished'
    text += f', {counts["failed"]} failed' if counts['failed'] else ''
    notes = [f'{text}. {setting}'.strip()]
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
    return [line for note in notes for line in (note, '')]


def _accuracies(name: str, group: Sequence[Result]) -> str:
    ended, first = finished(group), group[0]
    accuracy = summary.spread(r.accuracy for r in ended if r.accuracy is not None)
    paper = PAPER_TABLE2.get(name)
    shares = [100 * r.step / r.published for r in ended if r.published]
    row = [
        TITLES.get(name, name),
        first.network or '-',
        '-' if first.parameters is None else reporting.summary.human(first.parameters),
        '-' if accuracy is None else _spread(accuracy),
        f'{paper.cifar10:.3f}' if paper else '-',
        f'{paper.cifar100:.3f}' if paper else '-',
        _seeds(group),
        _range((r.step for r in ended), '{:,.0f}'.format),
        _range(shares, '{:.3g}%'.format),
        _range((r.updates for r in ended), '{:,.0f}'.format),
        '-' if first.batch_size is None else f'{first.batch_size}',
        _range((r.seconds for r in ended), _seconds),
        _range((r.flops for r in ended), _flops),
    ]
    return _row(row)


def _costs(groups: Mapping[str, Sequence[Result]], teacher: float) -> list[str]:
    """For each cost a table of what it took to reach shares of the teacher's accuracy."""
    lines = [
        "## Cost of reaching a share of the teacher's accuracy",
        '',
        'Of the first evaluation at or above it, mean over seeds; how many of them where not all '
        'came that far, and - where none did. Between evaluations nothing is known: what is '
        'reached at the first one may have been reached before.',
    ]
    head = ['method', *(f'{100 * share:g}% ({share * teacher:.4f})' for share in SHARES)]
    for cost, (title, shown) in _COSTS.items():
        lines += ['', f'{title}:', '', _row(head), _row(['---'] + ['---:'] * len(SHARES))]
        for name, group in groups.items():
            reached = [_mean_cost(finished(group), cost, s * teacher, shown) for s in SHARES]
            lines.append(_row([TITLES.get(name, name), *reached]))
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


def _spread(accuracy: summary.Spread) -> str:
    text = f'{accuracy.mean:.4f}'
    return text if accuracy.std is None else f'{text} ± {accuracy.std:.4f}'


def _seeds(group: Sequence[Result]) -> str:
    done, failed = len(finished(group)), sum(r.status == 'failed' for r in group)
    text = f'{done}' if done == len(group) else f'{done} of {len(group)}'
    return f'{text}, {failed} failed' if failed else text


def _range(values: Iterable[float | None], shown: Callable[[float], str]) -> str:
    values = [value for value in values if value is not None]
    if not values:
        return '-'
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f'{low} to {high}'


def _seconds(value: float) -> str:
    return f'{value:,.1f}' if value < 100 else f'{value:,.0f}'


def _flops(value: float) -> str:
    return reporting.summary.human(value, 'FLOP')


def _row(columns: Iterable[str]) -> str:
    return f'| {" | ".join(columns)} |'
