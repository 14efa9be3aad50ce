"""Curves of Table 2's students, and a sheet of their generators' images."""

import os
from collections.abc import Sequence

from experiments.studies import figures
from experiments.studies.records import finished
from experiments.table2.report import TITLES, Result, by_algorithm, teacher_of
from osgan_jax import reporting

# Okabe and Ito's colours, which people of any colour vision tell apart.
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
# Beyond this ratio of the longest curve's end to the shortest's the axis is logarithmic.
_LINEAR = 8
_SAMPLE_ROWS = 2  # of each grid, in the sheet


def save_figure(results: Sequence[Result], path: str | os.PathLike[str], title: str) -> bool:
    """Draws the accuracy against seconds, the student's updates and FLOPs.

    Means over the finished seeds of each algorithm, with their deviation as a band; the teacher's
    accuracy is a line.

    Returns:
      False where there is nothing to draw yet; no file is written then.
    """
    groups = {name: finished(group) for name, group in by_algorithm(results).items()}
    kind = next((figures.kind(r.about) for r in results if r.about), None)
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
    figure = reporting.figures.new_figure((14, 5))
    panels = figure.subplots(1, len(_AXES), sharey=True)
    teacher = teacher_of(results)
    for axis, (name, label) in zip(panels, _AXES.items(), strict=True):
        for row, found in curves[name].items():
            figures.draw_curve(axis, found, TITLES.get(row, row), _COLOURS.get(row, '#666666'))
        if teacher is not None:
            axis.axhline(
                teacher.accuracy, color='#666666', linestyle='--', linewidth=1.2, label='Teacher'
            )
        ends = [places[-1] for places, _, _ in curves[name].values()]
        if ends and 0 < _LINEAR * min(ends) < max(ends):
            axis.set_xscale('log')
        figures.style_axis(axis, label)
    panels[0].set_ylabel('accuracy')
    lines = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        lines.values(), lines, loc='outside lower center', ncols=len(lines), frameon=False
    )
    figure.suptitle(
        f'{title}: accuracy on {kind[1]:,} test images, mean and deviation over seeds', fontsize=12
    )
    reporting.figures.save_figure(figure, path)
    return True


def save_samples(results: Sequence[Result], path: str | os.PathLike[str]) -> bool:
    """Puts the first rows of the generators' last sample grids below each other.

    Of several seeds the first one with a grid is shown.

    Returns:
      False where there is no grid yet; no file is written then.
    """
    tops = {
        name: figures.first_rows(group, _SAMPLE_ROWS)
        for name, group in by_algorithm(results).items()
    }
    rows = [
        [(f'{TITLES.get(name, name)}, seed {top[0]}', top[1])]
        for name, top in tops.items()
        if top is not None
    ]
    if rows:
        figures.save_sheet(path, rows)
    return bool(rows)
