"""Figure 4 and a sheet of samples from the results of cells."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.table1 import summary
from experiments.table1.summary import Result
from osgan_jax.gan import methods
from osgan_jax.io import atomic
from osgan_jax.reporting import images

_COLOURS = {'one_stage': '#0072B2', 'two_stage': '#D55E00', 'shared_forward': '#009E73'}
_SAMPLE_ROWS = 4  # of each cell's grid, in the sheet
_HEADING = 24  # pixels
_GAP = 12  # pixels


def curve(
    results: Sequence[Result], metric: str, axis: str, kind: tuple[Any, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A metric along training, averaged over seeds.

    Seeds are evaluated at different seconds, and at different last steps: there they are
    interpolated linearly, over the range that all of them cover.

    Args:
      results: of one method and scheme.
      metric: its name.
      axis: 'seconds' or 'step'.
      kind: (fingerprint, num_samples) of the evaluations to use; others do not compare.

    Returns:
      Places, means and sample deviations (0 for a single seed), each `[n]`; None without any.
    """
    lines = []
    for result in results:
        points = {
            line[axis]: line[metric]
            for line in result.evaluations
            if _kind(line) == kind and None not in (line.get(axis), line.get(metric))
        }
        if points:
            lines.append(tuple(np.array(v, np.float64) for v in zip(*sorted(points.items()))))  # noqa: B905
    if not lines:
        return None
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if first > last:
        # Single evaluations at different places: what there is to say is their mean.
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


def save_figure(results: Sequence[Result], path: str | os.PathLike[str], title: str) -> bool:
    """Draws the headline metric against seconds and steps, a row of panels a method.

    Returns:
      False where there is nothing to draw yet; no file is written then.
    """
    metric = summary.headline(results)
    kinds = [_kind(e) for r in results for e in r.evaluations if e.get(metric) is not None]
    if not kinds:
        return False
    # Fewer samples give another expectation: a curve is made of evaluations of one kind, the one
    # there are most of, or of most samples.
    kind = max(kinds, key=lambda k: (kinds.count(k), k[1] or 0))
    # The object interface: no global backend is chosen and no display is needed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = summary.groups(results)
    rows = list(dict.fromkeys(method for method, _ in groups))
    figure = Figure(figsize=(10, 0.6 + 2.6 * len(rows)), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 2, squeeze=False, sharey='row')
    for (method, scheme), group in groups.items():
        for axis, name in zip(panels[rows.index(method)], ('seconds', 'step'), strict=True):
            found = curve(group, metric, name, kind)
            if found is not None:
                _draw(axis, *found, scheme)
    for method, row in zip(rows, panels, strict=True):
        row[0].set_ylabel(metric)
        low, high = row[0].dataLim.intervaly
        for axis, label in zip(row, ('seconds of training', 'step'), strict=True):
            axis.set_title(methods.get(method).title, fontsize=10)
            axis.set_xlabel(label)
            axis.grid(True, color='#DDDDDD', linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[['top', 'right']].set_visible(False)
            if 0 < 10 * low < high < math.inf:
                axis.set_yscale('log')
            if axis.get_legend_handles_labels()[0]:
                axis.legend(frameon=False, fontsize=9)
    samples = f'{kind[1]:,} samples' if kind[1] else 'unknown number of samples'
    figure.suptitle(f'{title}: {metric} of {samples}, mean and deviation over seeds', fontsize=12)
    with atomic.replacing(path) as file:
        # No date or version in the file: the same results give the same bytes.
        figure.savefig(file, format='png', metadata={'Software': None})
    return True


def save_samples(results: Sequence[Result], path: str | os.PathLike[str]) -> bool:
    """Puts the first rows of sample grids side by side: a row a method, a column a scheme.

    Of several seeds the first one with a grid is shown.

    Returns:
      False where there is no grid yet; no file is written then.
    """
    from PIL import Image, ImageDraw, ImageFont

    groups = summary.groups(results)
    tiles = {}
    for place, group in groups.items():
        shown = next((r for r in group if r.samples is not None), None)
        if shown is not None:
            with Image.open(shown.samples) as image:
                tiles[place] = shown, image.convert('RGB').crop((0, 0, *_crop(image, shown)))
    if not tiles:
        return False
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*groups, strict=True))
    width = _GAP + max(tile.width for _, tile in tiles.values())
    heights = [
        _HEADING + _GAP + max([t.height for (m, _), (_, t) in tiles.items() if m == row] or [0])
        for row in rows
    ]
    sheet = Image.new('RGB', (_GAP + width * len(columns), _GAP + sum(heights)), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, method in enumerate(rows):
        top = _GAP + sum(heights[:i])
        for j, scheme in enumerate(columns):
            left = _GAP + j * width
            text = f'{methods.get(method).title}, {scheme}'
            shown, tile = tiles.get((method, scheme), (None, None))
            text += ': no samples yet' if shown is None else f', seed {shown.seed}'
            draw.text((left, top), text, 'black', font)
            if tile is not None:
                sheet.paste(tile, (left, top + _HEADING))
    images.save_png(path, np.asarray(sheet))
    return True


def _kind(evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
    return evaluation.get('fingerprint'), evaluation.get('num_samples')


def _draw(axis, places: np.ndarray, mean: np.ndarray, std: np.ndarray, scheme: str) -> None:
    colour = _COLOURS.get(scheme, '#666666')
    axis.plot(places, mean, color=colour, linewidth=1.6, marker='o', markersize=3, label=scheme)
    if len(places) == 1:
        axis.errorbar(places, mean, std, color=colour, capsize=3)
    else:
        axis.fill_between(places, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


def _crop(image, result: Result) -> tuple[int, int]:
    """Width and height of the first rows of a sample grid, see `osgan_jax.reporting.grid`."""
    if result.image_size is None:
        return image.width, image.height
    side = result.image_size * images.visible_scale(result.image_size) + 2
    return image.width, min(image.height, _SAMPLE_ROWS * side + 2)
