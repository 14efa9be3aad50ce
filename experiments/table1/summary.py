"""Table 1 from the results of cells: means over seeds, as Markdown and CSV."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.table1 import published
from osgan_jax.gan import methods

_BASE = 'two_stage'  # what the other schemes are compared with, as in the paper


@dataclasses.dataclass(frozen=True)
class Result:
    """What is known of one cell.

    Attributes:
      method: row of the table.
      scheme: how it was trained.
      seed: of the run.
      status: 'finished', 'failed' or 'missing'.
      reason: of a failure.
      step: updates made.
      seconds: that training took, without evaluations.
      metrics: of the last checkpoint, by name.
      about: what they were measured with, see `osgan_jax.evaluation.evaluators`.
      evaluations: all lines of the cell's evaluations.jsonl.
      samples: its last sample grid.
      image_size: pixels.
    """

    method: str
    scheme: str
    seed: int
    status: str = 'missing'
    reason: str = ''
    step: int | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluations: Sequence[Mapping[str, Any]] = ()
    samples: pathlib.Path | None = None
    image_size: int | None = None

    @property
    def name(self) -> str:
        """The cell's directory: lsgan-one_stage-0."""
        return f'{self.method}-{self.scheme}-{self.seed}'


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1 below the root; None of a single value)."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        size = max(abs(self.mean), self.std or 0.0)
        # Four digits, so that scores of any scale can be read and compared.
        digits = 2 if not 0 < size < math.inf else 3 - math.floor(math.log10(size))
        digits = min(max(digits, 0), 6)
        text = f'{self.mean:.{digits}f}'
        return text if self.std is None else f'{text} ± {self.std:.{digits}f}'


def spread(values: Iterable[float]) -> Spread | None:
    """Mean and deviation of some numbers; None of none."""
    values = np.array(list(values), np.float64)
    if not values.size:
        return None
    std = float(values.std(ddof=1)) if values.size > 1 else None
    return Spread(float(values.mean()), std, values.size)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a distance."""
    return metric.endswith(('fid', 'kid', '_fd', '_kd'))


def metric_names(results: Iterable[Result]) -> list[str]:
    """Metrics with a column of their own, headline first; what ends in _std has none."""
    names = dict.fromkeys(
        name for result in results for name in result.metrics if not name.endswith('_std')
    )
    return sorted(names, key=lambda name: not name.endswith(('fid', '_fd')))


def headline(results: Sequence[Result]) -> str | None:
    """The metric to draw: the first distance, else the first one; None where there is none."""
    names = metric_names(results)
    return next(filter(lower_is_better, names), names[0] if names else None)


def groups(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results by method and scheme: methods together, schemes in the order they came in."""
    results = list(results)
    rows, columns = (
        list(dict.fromkeys(names))
        for names in ([r.method for r in results], [r.scheme for r in results])
    )
    found: dict[tuple[str, str], list[Result]] = {(m, s): [] for m in rows for s in columns}
    for result in results:
        found[result.method, result.scheme].append(result)
    return {place: group for place, group in found.items() if group}


def arrow(value: float | None, base: float | None) -> str:
    """↓ or ↑, the paper's marks for a mean below or above two-stage training's; '' for neither."""
    if value is None or base is None or value == base:
        return ''
    return '↓' if value < base else '↑'


def markdown(results: Sequence[Result], dataset: str, setting: str = '') -> str:
    """The table as Markdown, a line for each method and scheme.

    Args:
      results: of all cells, also those that are missing.
      dataset: its name; the paper's figures are put beside ours where it is one of the paper's.
      setting: a sentence about how the cells were trained.
    """
    names, paper = metric_names(results), published.PAPER_TABLE1.get(dataset)
    head = ['method', 'scheme', *names, 'seeds', 'steps', 'seconds']
    head += ['paper FID', 'paper KID'] if paper else []
    lines = [f'# Table 1 on {dataset}', '', *_notes(results, dataset, setting)]
    lines += [_row(head), _row(['---'] * 2 + ['---:'] * (len(head) - 2))]
    grouped = groups(results)
    for (method, scheme), group in grouped.items():
        base = grouped.get((method, _BASE), []) if scheme != _BASE else []
        row = [methods.get(method).title, scheme]
        row += [_compared(_over_seeds(group, n), _over_seeds(base, n), n) for n in names]
        row += [_seeds(group), _range(r.step for r in _finished(group))]
        row += [_range(r.seconds for r in _finished(group))]
        row += _printed(paper, method, scheme) if paper else []
        lines.append(_row(row))
    failed = [f'* {r.name} failed: {r.reason}' for r in results if r.status == 'failed']
    return '\n'.join([*lines, *(['', *failed] if failed else [])]) + '\n'


def csv_text(results: Sequence[Result]) -> str:
    """The results as CSV, a line a cell."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    about = ('extractor', 'convention', 'fingerprint', 'num_samples')
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    head = ['method', 'scheme', 'seed', 'status', 'step', 'seconds', *names, *about, 'reason']
    writer.writerow(head)
    for r in results:
        row = [r.method, r.scheme, r.seed, r.status, r.step, r.seconds]
        row += [*map(r.metrics.get, names), *map(r.about.get, about), r.reason]
        writer.writerow(['' if value is None else value for value in row])
    return text.getvalue()


def _notes(results: Sequence[Result], dataset: str, setting: str) -> list[str]:
    """Sentences over the table, each a paragraph."""
    counts = {status: sum(r.status == status for r in results) for status in ('finished', 'failed')}
    cells = f'{counts["finished"]} of {len(results)} cells finished'
    cells += f', {counts["failed"]} failed' if counts['failed'] else ''
    notes = [
        f'{cells}. {setting}'.strip(),
        'Mean ± sample standard deviation over seeds. As in the paper, ↓ stands where the mean is '
        'below that of two_stage and ↑ where it is above; bold is the better side. The arrow says '
        'nothing of chance: compare the difference with the deviations.',
    ]
    about = next((r.about for r in results if r.about), None)
    if about:
        notes.append(
            f'Measured on {about["num_samples"]:,} samples of the last checkpoint against '
            f'{about["num_real"]:,} real images, with the extractor {about["extractor"]} '
            f'({about["convention"]}; {about["fingerprint"][:12]}).'
        )
    if about and about['extractor'] == 'classifier':
        notes.append(
            f'The names that begin with `classifier_` belong to a classifier trained on {dataset} '
            'itself: they compare these cells with each other, and are neither FID nor KID.'
        )
    if dataset in published.PAPER_TABLE1:
        notes.append(
            f"The paper's figures are those of its Table 1 for {published.DATASETS[dataset]}: "
            'five runs, 64 pixels, batch 128. Its two-stage runs had BatchNorm in D.'
        )
    return [line for note in notes for line in (note, '')]


def _row(columns: Iterable[str]) -> str:
    return f'| {" | ".join(columns)} |'


def _finished(group: Iterable[Result]) -> list[Result]:
    return [result for result in group if result.status == 'finished']


def _over_seeds(group: Iterable[Result], metric: str) -> Spread | None:
    return spread(r.metrics[metric] for r in _finished(group) if metric in r.metrics)


def _compared(value: Spread | None, base: Spread | None, metric: str) -> str:
    """A score, in bold where it is better than two-stage training's, and its arrow."""
    if value is None:
        return '-'
    mark = arrow(value.mean, base.mean if base else None)
    if not mark:
        return str(value)
    better = (mark == '↓') == lower_is_better(metric)
    return f'**{value}** ({mark})' if better else f'{value} ({mark})'


def _printed(paper: Mapping[str, Any], method: str, scheme: str) -> list[str]:
    """The paper's FID and KID as it prints them."""
    scores = paper.get(method, {}).get(scheme)
    if scores is None:
        return ['-', '-']
    base, texts = paper[method][_BASE], []
    for score, other, digits in zip(scores, base, (2, 3), strict=True):
        text = f'{score.mean:.{digits}f}±{score.std:.{digits}f}'
        if scheme != _BASE:
            # Means that are printed alike have ↓ in the paper, which knows more digits.
            text += f' ({arrow(score.mean, other.mean) or "↓"})'
        texts.append(text)
    return texts


def _seeds(group: Sequence[Result]) -> str:
    done, failed = len(_finished(group)), sum(r.status == 'failed' for r in group)
    text = f'{done}' if done == len(group) else f'{done} of {len(group)}'
    return f'{text}, {failed} failed' if failed else text


def _range(values: Iterable[float | None]) -> str:
    values = [round(value) for value in values if value is not None]
    if not values:
        return '-'
    low, high = min(values), max(values)
    return f'{low:,}' if low == high else f'{low:,} to {high:,}'
