"""Curves of Table 2's students, and a sheet of what their generators make."""

import os
from collections.abc import Sequence

import numpy as np

from experiments.table1 import figures
from experiments.table2.report import TITLES
from experiments.table2.results import Result, by_algorithm, finished
from osgan_jax.io import atomic
from osgan_jax.reporting import images

# Okabe and Ito's colours, which all kinds of eyes tell apart.
_COLOURS = {
    'one_stage': '#0072B2',
    'dfad': '#D55E00',
    'zskt': '#009E73',
    'kd': '#CC79A7',
    'one_stage_kl': '#56B4E9',
    'supervised': '#E69F00',
}
_AXES = {
    'seconds': 'seconds of training',
    'updates': "the student's updates",
    'flops': 'FLOPs',
}
# Where one method's curve ends so many times further than another's, both are seen on a
# logarithmic axis only.
_LINEAR = 8
_SAMPLE_ROWS = 2  # of each grid, in the sheet
_HEADING = 24  # pixels
_GAP = 12  # pixels


def save_figure(results: Sequence[Result], path: str | os.PathLike[str], title: str) -> bool:
    """Draws the accuracy against seconds, the student's updates and FLOPs.

    Means over the finished seeds of each algorithm, with their deviation as a band; the teacher's
    accuracy is a line.

    Returns:
      False where there is nothing to draw yet; no file is written then.
    """
    groups = {name: finished(group) for name, group in by_algorithm(results).items()}
    kind = next(
        ((r.about['fingerprint'], r.about['num_samples']) for r in results if r.about), None
    )
    curves = {
        axis: {
            name: found
            for name, group in groups.items()
            if (found := figures.curve(group, 'accuracy', axis, kind)) is not None
        }
        for axis in _AXES
    }
    if kind is None or not any(curves.values()):
        return False
    # The object interface: no global backend is chosen and no display is needed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(_AXES), sharey=True)
    teacher = next((r.accuracy for r in results if r.algorithm == 'teacher'), None)
    for axis, (name, label) in zip(panels, _AXES.items(), strict=True):
        for algorithm, found in curves[name].items():
            _draw(axis, *found, algorithm)
        if teacher is not None:
            axis.axhline(teacher, color='#666666', linestyle='--', linewidth=1.2, label='Teacher')
        ends = [places[-1] for places, _, _ in curves[name].values()]
        if ends and 0 < _LINEAR * min(ends) < max(ends):
            axis.set_xscale('log')
        axis.set_xlabel(label)
        axis.grid(True, color='#DDDDDD', linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylabel('accuracy')
    lines = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        lines.values(), lines, loc='outside lower center', ncols=len(lines), frameon=False
    )
    figure.suptitle(
        f'{title}: accuracy on {kind[1]:,} test images, mean and deviation over seeds', fontsize=12
    )
    with atomic.replacing(path) as file:
        # No date or version in the file: the same results give the same bytes.
        figure.savefig(file, format='png', metadata={'Software': None})
    return True


def save_samples(results: Sequence[Result], path: str | os.PathLike[str]) -> bool:
    """Puts the first rows of the generators' last sample grids below each other.

    Of several seeds the first one with a grid is shown.

    Returns:
      False where there is no grid yet; no file is written then.
    """
    from PIL import Image, ImageDraw, ImageFont

    tiles = []
    for name, group in by_algorithm(results).items():
        shown = next((r for r in group if r.samples is not None), None)
        if shown is not None:
            with Image.open(shown.samples) as image:
                side = shown.image_size * images.visible_scale(shown.image_size) + 2
                height = min(image.height, _SAMPLE_ROWS * side + 2)
                tile = image.convert('RGB').crop((0, 0, image.width, height))
            tiles.append((f'{TITLES.get(name, name)}, seed {shown.seed}', tile))
    if not tiles:
        return False
    width = max(tile.width for _, tile in tiles)
    height = sum(_HEADING + tile.height + _GAP for _, tile in tiles)
    sheet = Image.new('RGB', (width + 2 * _GAP, height + _GAP), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    top = _GAP
    for text, tile in tiles:
        draw.text((_GAP, top), text, 'black', font)
        sheet.paste(tile, (_GAP, top + _HEADING))
        top += _HEADING + tile.height + _GAP
    images.save_png(path, np.asarray(sheet))
    return True


def _draw(axis, places: np.ndarray, mean: np.ndarray, std: np.ndarray, algorithm: str) -> None:
    colour = _COLOURS.get(algorithm, '#666666')
    label = TITLES.get(algorithm, algorithm)
    axis.plot(places, mean, color=colour, linewidth=1.6, marker='o', markersize=3, label=label)
    if len(places) == 1:
        axis.errorbar(places, mean, std, color=colour, capsize=3)
    else:
        axis.fill_between(places, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
