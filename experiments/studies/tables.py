"""Tables of a study's results: means over seeds, as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.studies.records import Result, finished


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1 below the root; None of a single value)."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        size = max(abs(self.mean), self.std or 0.0)
        # Four digits, so that scores of any scale can be read and compared.
        digits = 2 if not 0 < size < math.inf else 3 - math.floor(math.log10(size))
        return self.text(min(max(digits, 0), 6))

    def text(self, digits: int) -> str:
        """Mean and deviation with so many decimals."""
        text = f'{self.mean:.{digits}f}'
        return text if self.std is None else f'{text} ± {self.std:.{digits}f}'


def spread(values: Iterable[float]) -> Spread | None:
    """Mean and deviation of numbers; None without any."""
    values = np.array(list(values), np.float64)
    if not values.size:
        return None
    std = float(values.std(ddof=1)) if values.size > 1 else None
    return Spread(float(values.mean()), std, values.size)


def row(columns: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f'| {" | ".join(columns)} |'


def head(columns: Sequence[str], names: int) -> list[str]:
    """The first two lines of a Markdown table; all but the first `names` columns are numbers."""
    return [row(columns), row(['---'] * names + ['---:'] * (len(columns) - names))]


def paragraphs(notes: Iterable[str]) -> list[str]:
    """The lines of some paragraphs, each followed by an empty one."""
    return [line for note in notes for line in (note, '')]


def cells_note(results: Sequence[Result], setting: str) -> str:
    """The numbers of cells that finished and failed, and the setting of all."""
    failed = sum(r.status == 'failed' for r in results)
    text = f'{len(finished(results))} of {len(results)} cells finished'
    return f'{text}{f", {failed} failed" if failed else ""}. {setting}'.strip()


def failures(results: Iterable[Result]) -> list[str]:
    """Lines on failed cells, after an empty one; empty without any."""
    lines = [f'* {r.cell.name} failed: {r.reason}' for r in results if r.status == 'failed']
    return ['', *lines] if lines else []


def seeds(group: Sequence[Result]) -> str:
    """The numbers of a row's seeds that finished and failed."""
    done, failed = len(finished(group)), sum(r.status == 'failed' for r in group)
    text = f'{done}' if done == len(group) else f'{done} of {len(group)}'
    return f'{text}, {failed} failed' if failed else text


def extent(values: Iterable[float | None], show: Callable[[float], str] = '{:,.0f}'.format) -> str:
    """The least and the greatest number, as one if both look alike; - for none."""
    values = [value for value in values if value is not None]
    if not values:
        return '-'
    low, high = show(min(values)), show(max(values))
    return low if low == high else f'{low} to {high}'


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with a line of names; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(columns)
    writer.writerows(['' if value is None else value for value in row] for row in rows)
    return text.getvalue()
