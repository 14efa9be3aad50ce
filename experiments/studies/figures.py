"""Curves of a study's scores, and sheets of its samples."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.studies.records import Result
from osgan_jax.core import image_sizes
from osgan_jax.reporting import images

_HEADING = 24  # pixels
_GAP = 12  # pixels

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def kind(evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
    """(fingerprint, num_samples, ...): evaluations of another kind do not compare."""
    evenly = evaluation.get('label_policy') == 'uniform'
    names = ('fingerprint', 'num_samples', 'content')
    return (*map(evaluation.get, names), evenly)


def commonest_kind(results: Sequence[Result], metric: str) -> tuple[Any, ...] | None:
    """The kind of evaluations to compare results by; None where none has the metric.

    Fewer samples give another expectation: a curve is made of evaluations of one kind, the
    commonest, or the one of most samples.
    """
    kinds = [kind(e) for r in results for e in r.evaluations if e.get(metric) is not None]
    return max(kinds, key=lambda k: (kinds.count(k), k[1] or 0), default=None)


def curve(
    results: Sequence[Result], metric: str, axis: str, wanted: tuple[Any, ...]
) -> Curve | None:
    """A metric along training, averaged over seeds.

    Seeds are evaluated at different seconds, and at different last steps: there they are
    interpolated linearly, over the range that all of them cover.

    Args:
      results: results of one row.
      metric: name of the metric.
      axis: the evaluations' field to draw against, such as 'seconds' or 'step'.
      wanted: kind of the evaluations to use.

    Returns:
      Places, means and sample deviations (0 for a single seed), each `[n]`; None without any.
    """
    lines = []
    for result in results:
        points = {
            line[axis]: line[metric]
            for line in result.evaluations
            if kind(line) == wanted and None not in (line.get(axis), line.get(metric))
        }
        if points:
            lines.append(tuple(np.array(v, np.float64) for v in zip(*sorted(points.items()))))  # noqa: B905
    if not lines:
        return None
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if first > last:
        # Single evaluations at different places: all that can be shown is their mean.
        places = np.array([np.mean([x.mean() for x, _ in lines])])
        values = np.array([[y.mean()] for _, y in lines])
    else:
        within = [x[(x >= first) & (x <= last)] for x, _ in lines]
        places = within[0]
        if any(x.tolist() != places.tolist() for x in within):
            places = np.linspace(first, last, max(2, *map(len, within)))
        values = np.array([np.interp(places, x, y) for x, y in lines])
    std = values.std(0, ddof=1) if len(lines) > 1 else np.zeros(len(places))
    return places, values.mean(0), std


def draw_curve(axis: Any, found: Curve, label: str, colour: str, style: str = '-') -> None:
    """Draws means as a line, of one of matplotlib's styles, and their deviation as a band.

    Points of dashed and dotted lines are hollow, so curves of a single point can be told apart.
    """
    places, mean, std = found
    line = {'color': colour, 'linestyle': style, 'linewidth': 1.6, 'label': label}
    face = colour if style == '-' else 'white'
    axis.plot(places, mean, marker='o', markersize=4, markerfacecolor=face, **line)
    if len(places) == 1:
        axis.errorbar(places, mean, std, color=colour, capsize=3)
    else:
        axis.fill_between(places, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


def style_axis(axis: Any, label: str) -> None:
    """Labels a panel's horizontal axis and gives it a light grid."""
    axis.set_xlabel(label)
    axis.grid(True, color='#DDDDDD', linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)


def first_rows(results: Sequence[Result], rows: int) -> tuple[int, Any] | None:
    """The top of the first sample grid among the results of a row.

    Args:
      results: results of one row.
      rows: rows of the grid to keep.

    Returns:
      Its seed and the image; None where there is no grid yet.
    """
    from PIL import Image

    shown = next((r for r in results if r.samples is not None), None)
    if shown is None:
        return None
    with Image.open(shown.samples) as image:
        # As `osgan_jax.reporting.grid` lays it out.
        height, _ = image_sizes.sides(shown.image_size)
        row = height * images.visible_scale(shown.image_size) + 2
        height = min(image.height, rows * row + 2)
        return shown.cell.seed, image.convert('RGB').crop((0, 0, image.width, height))


def save_sheet(path: str | os.PathLike[str], rows: Sequence[Sequence[tuple[str, Any]]]) -> None:
    """Writes images in rows and columns, each below a heading.

    Args:
      path: the file.
      rows: rows of as many pairs of heading and image; the image may be None.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = _GAP + max(tile.width for row in rows for _, tile in row if tile is not None)
    heights = [
        _HEADING + _GAP + max([tile.height for _, tile in row if tile is not None] or [0])
        for row in rows
    ]
    size = _GAP + width * max(map(len, rows)), _GAP + sum(heights)
    sheet = Image.new('RGB', size, 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, row in enumerate(rows):
        top = _GAP + sum(heights[:i])
        for j, (heading, tile) in enumerate(row):
            left = _GAP + j * width
            draw.text((left, top), heading, 'black', font)
            if tile is not None:
                sheet.paste(tile, (left, top + _HEADING))
    images.save_png(path, np.asarray(sheet))
