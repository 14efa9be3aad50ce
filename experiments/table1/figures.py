"""Figure 4 and a sheet of samples from the results of cells."""

import math
import os
from collections.abc import Sequence

from experiments.studies import figures
from experiments.studies.records import Result, by_row
from experiments.table1 import report
from osgan_jax import reporting
from osgan_jax.gan import methods

_COLOURS = {'one_stage': '#0072B2', 'two_stage': '#D55E00', 'shared_forward': '#009E73'}
_STYLES = {'adam': '-', 'optimistic_adam': '--', 'rmsprop': ':', 'sgd': '-.'}
_SAMPLE_ROWS = 4  # of each cell's grid, in the sheet


def save_figure(results: Sequence[Result], path: str | os.PathLike[str], title: str) -> bool:
    """Draws the headline metric against seconds and steps, a row of panels a method.

    Returns:
      False where there is nothing to draw yet; no file is written then.
    """
    metric = report.headline(results)
    kind = figures.commonest_kind(results, metric)
    if kind is None:
        return False
    groups = by_row(results)
    rows = list(dict.fromkeys(method for method, *_ in groups))
    figure = reporting.figures.new_figure((10, 0.6 + 2.6 * len(rows)))
    panels = figure.subplots(len(rows), 2, squeeze=False, sharey='row')
    for (method, scheme, *optimizer), group in groups.items():
        style = _STYLES.get(optimizer[0], '-') if optimizer else '-'
        label, colour = ' '.join((scheme, *optimizer)), _COLOURS.get(scheme, '#666666')
        for axis, name in zip(panels[rows.index(method)], ('seconds', 'step'), strict=True):
            found = figures.curve(group, metric, name, kind)
            if found is not None:
                figures.draw_curve(axis, found, label, colour, style)
    for method, row in zip(rows, panels, strict=True):
        row[0].set_ylabel(metric)
        low, high = row[0].dataLim.intervaly
        for axis, label in zip(row, ('seconds of training', 'step'), strict=True):
            axis.set_title(methods.get(method).title, fontsize=10)
            figures.style_axis(axis, label)
            if 0 < 10 * low < high < math.inf:
                axis.set_yscale('log')
            if axis.get_legend_handles_labels()[0]:
                axis.legend(frameon=False, fontsize=9)
    samples = f'{kind[1]:,} samples' if kind[1] else 'unknown number of samples'
    figure.suptitle(f'{title}: {metric} of {samples}, mean and deviation over seeds', fontsize=12)
    reporting.figures.save_figure(figure, path)
    return True


def save_samples(results: Sequence[Result], path: str | os.PathLike[str]) -> bool:
    """Puts the first rows of sample grids side by side: a row a method, a column a variant.

    Of several seeds the first one with a grid is shown.

    Returns:
      False where there is no grid yet; no file is written then.
    """
    tops = {row: figures.first_rows(group, _SAMPLE_ROWS) for row, group in by_row(results).items()}
    if not any(tops.values()):
        return False
    rows = list(dict.fromkeys(method for method, *_ in tops))
    variants = list(dict.fromkeys(tuple(variant) for _, *variant in tops))

    def tile(method, variant):
        text = f'{methods.get(method).title}, {" ".join(variant)}'
        top = tops.get((method, *variant))
        return (f'{text}, seed {top[0]}', top[1]) if top else (f'{text}: no samples yet', None)

    figures.save_sheet(path, [[tile(method, variant) for variant in variants] for method in rows])
    return True
