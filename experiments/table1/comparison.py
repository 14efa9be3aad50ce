"""Variants against the baseline, seed by seed: in equal steps and in equal seconds."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.studies import figures, tables
from experiments.studies.records import Result, by_row, finished
from experiments.studies.tables import Spread
from osgan_jax.gan import methods

Row = tuple[str, ...]
Scores = Mapping[Row, Mapping[int, float]]  # of a row, by seed


class Paired(NamedTuple):
    """A variant against the baseline, over the seeds that both have.

    Attributes:
      difference: its scores less the baseline's.
      ratio: geometric mean of its scores over the baseline's; None unless all are positive.
      better: seeds whose score is the better one.
      count: seeds.
    """

    difference: Spread
    ratio: float | None
    better: int
    count: int

    def cells(self) -> list[str]:
        """Difference, ratio and seeds, as a table shows them."""
        ratio = '-' if self.ratio is None else f'{self.ratio:.3f}'
        return [str(self.difference), ratio, f'{self.better} of {self.count}']


def pair(
    ours: Mapping[Any, float], theirs: Mapping[Any, float], *, lower: bool = True
) -> Paired | None:
    """Compares scores under the same keys; None where no key is in both."""
    both = [(ours[key], theirs[key]) for key in ours if key in theirs]
    difference = tables.spread(a - b for a, b in both)
    if difference is None:
        return None
    ratio = None
    if all(0 < score < math.inf for scores in both for score in scores):
        ratio = math.exp(sum(math.log(a / b) for a, b in both) / len(both))
    better = sum(a < b if lower else a > b for a, b in both)
    return Paired(difference, ratio, better, len(both))


def last_scores(results: Sequence[Result], metric: str) -> Scores:
    """Each row's scores of the last checkpoint, by seed."""
    return {
        row: {r.cell.seed: r.metrics[metric] for r in finished(group) if metric in r.metrics}
        for row, group in by_row(results).items()
    }


def paces(results: Sequence[Result]) -> dict[Row, float]:
    """Seconds a step of each row: the median of its cells' medians."""
    found = {
        row: [r.pace for r in finished(group) if r.pace is not None]
        for row, group in by_row(results).items()
    }
    return {row: float(np.median(own)) for row, own in found.items() if own}


def scores_in_time(results: Sequence[Result], metric: str) -> tuple[dict[str, float], Scores]:
    """Each row's scores after as many seconds as the fastest row of its method took in all.

    A row's seconds are its steps times its pace, so that what else a machine did for a while has
    no say. Between two evaluations the score is interpolated linearly.

    Returns:
      The seconds of each method, and the scores; without methods whose rows have no evaluations.
    """
    speed, groups = paces(results), by_row(results)
    kinds = [figures.kind(e) for r in results for e in r.evaluations if e.get(metric) is not None]
    if not kinds:
        return {}, {}
    kind = max(kinds, key=kinds.count)
    seconds: dict[str, float] = {}
    for row, group in groups.items():
        steps = [r.step for r in finished(group) if r.step]
        if row in speed and steps:
            whole = min(steps) * speed[row]
            seconds[row[0]] = min(whole, seconds.get(row[0], whole))
    scores: dict[Row, dict[int, float]] = {}
    for row, group in groups.items():
        if row not in speed or row[0] not in seconds:
            continue
        step, own = seconds[row[0]] / speed[row], scores.setdefault(row, {})
        for result in finished(group):
            places, values, _ = figures.curve([result], metric, 'step', kind) or ((), (), ())
            # A rounding of the pace must not put the fastest row's last evaluation out of reach.
            if len(places) and places[0] <= step <= places[-1] * 1.01:
                own[result.cell.seed] = float(np.interp(step, places, values))
    return seconds, scores


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Tables of variants against a baseline.

    Attributes:
      columns: heads of the columns that tell rows apart.
      base: the baseline, a row without its method.
      metric: the score to compare.
      lower: whether the lower score is the better one.
    """

    columns: Sequence[str]
    base: Row
    metric: str
    lower: bool

    def markdown(self, results: Sequence[Result]) -> list[str]:
        """Sections on the end of training and on equal seconds; empty without a baseline.

        Cells that were given equal seconds differ in steps: their end is the second comparison.
        """
        lines = self._section('At the end of training', last_scores(results, self.metric))
        if len({r.step for r in finished(results)}) > 1:
            return lines
        speed = paces(results)
        seconds, scores = scores_in_time(results, self.metric)

        def more(row: Row) -> list[str]:
            mean = tables.spread(scores[row].values())
            return [f'{1e3 * speed[row]:.1f}', f'{seconds[row[0]]:.0f}', str(mean or '-')]

        heads = ('ms a step', 'seconds', self.metric)
        return lines + self._section('In equal seconds', scores, heads, more)

    def _section(
        self,
        title: str,
        scores: Scores,
        heads: Sequence[str] = (),
        more: Callable[[Row], list[str]] = lambda row: [],
    ) -> list[str]:
        """A heading and a table, with further columns before the comparison's own."""
        lines, variants = [], {}
        for row, own in scores.items():
            theirs, found = scores.get((row[0], *self.base), {}), None
            if row[1:] != self.base:
                found = self._pair(own, theirs)
                if found is None:
                    continue
                variants.setdefault(row[1:], []).append((row[0], own, theirs))
            cells = ['-'] * 3 if found is None else found.cells()
            lines.append([methods.get(row[0]).title, *row[1:], *more(row), *cells])
        if not variants:
            return []
        for variant, found in variants.items():
            if len(found) > 1:
                ours, theirs = (
                    {
                        (method, seed): score
                        for method, *both in found
                        for seed, score in both[i].items()
                    }
                    for i in (0, 1)
                )
                # Scores of different methods are of different sizes: only ratios can be averaged.
                cells = ['-', *self._pair(ours, theirs).cells()[1:]]
                lines.append(['all methods', *variant, *['-'] * len(heads), *cells])
        against = ' '.join(self.base)
        note = (
            f'The {self.metric} less that of {against} with the same seed, the geometric mean of '
            'their ratio, and the seeds where it is better.'
        )
        heads = [*self.columns, *heads, f'less {against}', 'ratio', 'seeds better']
        return [
            *('', f'## {title}', '', note, ''),
            *tables.head(heads, len(self.columns)),
            *map(tables.row, lines),
        ]

    def _pair(self, ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> Paired | None:
        return pair(ours, theirs, lower=self.lower)
