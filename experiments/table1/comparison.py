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


def equal_seconds(results: Sequence[Result]) -> dict[str, float]:
    """Of each method, the seconds that its fastest row took in all.

    A row's seconds are its steps times its pace, so that what else a machine did for a while has
    no say.
    """
    speed, seconds = paces(results), {}
    for row, group in by_row(results).items():
        steps = [r.step for r in finished(group) if r.step]
        if row in speed and steps:
            whole = min(steps) * speed[row]
            seconds[row[0]] = min(whole, seconds.get(row[0], whole))
    return seconds


def scores_at(
    results: Sequence[Result],
    metric: str,
    *,
    steps: Mapping[Row, float] | None = None,
    best: Callable[[Any], float] | None = None,
) -> Scores:
    """Each row's scores by the evaluations of training, by seed.

    Args:
      results: of all cells.
      metric: the score.
      steps: the step of each row to look at, others being left out; the last one by default.
      best: `min` or `max` for the best evaluation until then, of cells with several; by default the
        score is that at the step itself, interpolated linearly between two evaluations.
    """
    kind = figures.commonest_kind(results, metric)
    scores: dict[Row, dict[int, float]] = {}
    for row, group in by_row(results).items() if kind is not None else ():
        if steps is not None and row not in steps:
            continue
        own = scores.setdefault(row, {})
        for result in finished(group):
            found = figures.curve([result], metric, 'step', kind)
            if found is None:
                continue
            places, values, _ = found
            if best is not None and len(places) == 1:
                continue  # there is nothing to choose from
            step = places[-1] if steps is None else steps[row]
            # A rounding of the pace must not put the fastest row's last evaluation out of reach.
            if places[0] <= step <= places[-1] * 1.01:
                score = np.interp(step, places, values)
                until = values[places <= step * 1.01]
                own[result.cell.seed] = float(score if best is None else best(until))
    return scores


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

        Each is followed by one on the best evaluation until then, for a run may have been longer
        than was good for it. Cells of one method that were given equal seconds differ in steps:
        their end is the second comparison already. Those of several methods also do where each has
        as many epochs.
        """
        best = min if self.lower else max
        lines = self._section('At the end of training', last_scores(results, self.metric))
        found = scores_at(results, self.metric, best=best)
        lines += self._section('At the best evaluation', found, (self.metric,), _mean_of(found))
        steps = {(r.cell.row[0], r.step) for r in finished(results)}
        if len(steps) > len({method for method, _ in steps}):
            return lines
        speed, seconds = paces(results), equal_seconds(results)
        steps = {row: seconds[row[0]] / pace for row, pace in speed.items() if row[0] in seconds}
        heads = ('ms a step', 'seconds', self.metric)
        for title, which in (
            ('In equal seconds', None),
            ('At the best evaluation in equal seconds', best),
        ):
            found = scores_at(results, self.metric, steps=steps, best=which)
            mean = _mean_of(found)

            def more(row: Row, mean: Callable[[Row], list[str]] = mean) -> list[str]:
                return [f'{1e3 * speed[row]:.1f}', f'{seconds[row[0]]:.0f}', *mean(row)]

            lines += self._section(title, found, heads, more)
        return lines

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


def _mean_of(scores: Scores) -> Callable[[Row], list[str]]:
    """The cell of a row's mean score."""
    return lambda row: [str(tables.spread(scores[row].values()) or '-')]
