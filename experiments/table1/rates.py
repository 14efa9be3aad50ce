"""Learning rates for each row of the table, chosen from one grid that all rows share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.studies import tables
from experiments.studies.records import Result, by_row, finished

Row = tuple[str, ...]


class Rates(NamedTuple):
    """Learning rates of both networks."""

    g: float
    d: float

    def __str__(self) -> str:
        return f'{self.g:g}:{self.d:g}'


def parse(text: str) -> Rates:
    """Reads G:D, such as 1e-4:2e-4.

    Raises:
      ValueError: for anything but two positive finite numbers.
    """
    try:
        rates = Rates(*map(float, text.split(':')))
    except (TypeError, ValueError):
        rates = Rates(0.0, 0.0)
    if not all(0 < rate < float('inf') for rate in rates):
        raise ValueError(
            f'rates={text!r}: expected the rates of G and D as two positive numbers, '
            'such as 1e-4:2e-4'
        )
    return rates


def spread_out(rows: Iterable[Row], grid: Sequence[Rates]) -> dict[Row, Rates]:
    """The rows of the search: each row with each pair of rates, whose names end the row."""
    return {(*row, f'g{rates.g:g}_d{rates.d:g}'): rates for row in rows for rates in grid}


def choose(
    results: Iterable[Result], grid: Mapping[Row, Rates], metric: str, *, lower: bool
) -> dict[Row, Rates]:
    """The rates of the best score for each row.

    Args:
      results: of the cells of the search.
      grid: from `spread_out`.
      metric: the score to compare.
      lower: whether the lower score is the better one.

    Raises:
      ValueError: if no rates of a row have a score.
    """
    scores: dict[Row, dict[Rates, float]] = {}
    for row, group in by_row(results).items():
        own = scores.setdefault(row[:-1], {})
        found = tables.spread(r.metrics[metric] for r in finished(group) if metric in r.metrics)
        if found is not None:
            own[grid[row]] = found.mean if lower else -found.mean
    for row, own in scores.items():
        if not own:
            raise ValueError(f'no rates of --rates have a {metric} for {" ".join(row)}')
    return {row: min(own, key=lambda rates: own[rates]) for row, own in scores.items()}
