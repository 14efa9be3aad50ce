"""Loss and metric curves as one PNG, drawn from the metrics log."""

import gc
import math
import os
import pathlib

import numpy as np

from osgan_jax.reporting import figures, metrics_log

_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')  # Okabe-Ito
_NAMES = {
    'loss_d': 'discriminator',
    'loss_g': 'generator',
    'gamma': 'mean of the batch',
    'logit_real': 'real',
    'logit_fake': 'fake',
    'teacher_real': "real, teacher's D",
    'teacher_fake': "fake, teacher's D",
    'margin': 'D',
    'teacher_margin': "teacher's D",
}
_LABELS = {
    'accuracy_d': 'pairs that D ranks rightly',
    'augment_probability': 'probability of augmentations',
    'overfitting': "mean sign of D's real logits",
    'margin': 'mean logit of real minus fake',
}
# Metrics that share a panel: those that begin so. Both discriminators of a student are compared at
# the same images (Figures 4, 7 and 8 of Tian et al. 2024).
_SHARED = {
    'loss': ('loss_',),
    'gamma': ('gamma',),
    'logit': ('logit_', 'teacher_real', 'teacher_fake'),
    'margin': ('margin', 'teacher_margin'),
}
_STAGE = 'stage'
_QUANTILES = ('gamma_q05', 'gamma_q50', 'gamma_q95')
_NOT_DRAWN = ('step', 'epoch', 'stage')
_MAX_PANELS = 12
_MAX_LINES = 4000  # of the log: more than there are pixels, and no more work at the millionth step
_TICKS = 5  # labels of an axis, at most about so many


def save_curves(
    workdir: str | os.PathLike[str], *, filename: str = 'curves.png', title: str | None = None
) -> pathlib.Path | None:
    """Draws `workdir/metrics.jsonl` to `workdir/filename`, replacing it whole.

    One panel for everything called `loss_*`, one for `gamma*`, one for `logit_*` and a teacher's,
    one for both margins, one for each further metric. The step at which a `stage` 2 begins is a
    dotted line. Raw values are faint under their running average. Of gamma the median is drawn
    over the band from its 5% to its 95% quantile; of logs without quantiles, a running median of
    the batches' means. An axis is logarithmic where positive values span more than two decades, and
    beyond the usual values where some stick far out. Of more than 4,000 lines every k-th is drawn,
    at most that many, and the last.

    Args:
      workdir: the run's directory.
      filename: the PNG's name in it.
      title: over the figure; None is the name of the run's directory.

    Returns:
      The file, or None where the log has nothing to draw yet.

    Raises:
      FileNotFoundError: there is no metrics log.
      OSError: the file cannot be written.
    """
    workdir = pathlib.Path(workdir)
    columns = metrics_log.read(workdir / 'metrics.jsonl', _MAX_LINES)
    panels = _panels(columns)
    if not panels:
        return None
    path = workdir / filename
    # A figure is a knot of references of some MB. Python looks for such only when there are a
    # quarter more objects than before, in a process of a million objects after many figures. Not
    # to search a million for it, nothing grows old while it is drawn: its knot is among the young.
    collects = gc.isenabled()
    gc.disable()
    try:
        _save(path, panels, columns, title or workdir.absolute().name)
    finally:
        if collects:
            gc.enable()
    gc.collect(0)
    return path


def smooth(values: np.ndarray, length: float) -> np.ndarray:
    """Exponential running average over about `length` values, unbiased at the start.

    Args:
      values: `[n]`; NaN and Inf are passed over.
      length: at least 1; 1 returns the values.

    Returns:
      `[n]`: sum of decay**(i - j) * values[j] over j <= i, over the sum of the weights; NaN before
      the first finite value.
    """
    decay = 1.0 - 1.0 / max(1.0, length)
    total = weight = 0.0
    out = np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = total * decay, weight * decay
        if np.isfinite(value):
            total, weight = total + value, weight + 1.0
        out[i] = total / weight if weight else np.nan
    return out


def running_median(values: np.ndarray, length: int, points: int = 400) -> tuple[np.ndarray, ...]:
    """Medians of windows of `length` values, for curves whose outliers would swamp an average.

    Args:
      values: `[n]`, finite.
      length: values a window, fewer at the start.
      points: at most how many windows, evenly spread, the last one at the end.

    Returns:
      Positions of the windows' ends `[p]`, and their medians `[p]`.
    """
    ends = np.unique(np.linspace(0, len(values) - 1, points).round().astype(int))
    return ends, np.array([np.median(values[max(0, e + 1 - length) : e + 1]) for e in ends])


def _save(
    path: pathlib.Path,
    panels: list[tuple[str, list[str]]],
    columns: dict[str, np.ndarray],
    title: str,
) -> None:
    """Draws panels to a file."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = figures.new_figure((5.6 * across, 3.4 * down))
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (label, names) in zip(axes, panels, strict=False):
        _draw(axis, label, names, columns)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=12)
    figures.save_figure(figure, path)


def _panels(columns: dict[str, np.ndarray]) -> list[tuple[str, list[str]]]:
    """Axis label and metrics of each panel."""
    names = [n for n, v in columns.items() if n not in _NOT_DRAWN and np.isfinite(v).any()]
    # A share that never left zero has nothing to show.
    names = [name for name in names if name != 'floored' or np.any(columns[name])]
    panels: dict[str, list[str]] = {label: [] for label in _SHARED}
    for name in names:
        shared = (label for label, begins in _SHARED.items() if name.startswith(begins))
        panels.setdefault(next(shared, name), []).append(name)
    return [panel for panel in panels.items() if panel[1]][:_MAX_PANELS]


def _draw(axis, label: str, names: list[str], columns: dict[str, np.ndarray]) -> None:
    """Fills one panel."""
    from matplotlib import ticker

    if set(_QUANTILES) <= set(names):
        drawn, usual = _draw_band(axis, columns)
    else:
        drawn, usual = _draw_lines(axis, names, columns)
    scale = _scale(drawn, usual)
    if scale == 'symlog':
        # Linear as far as most values go, so that only what sticks out is squeezed.
        axis.set_yscale('symlog', linthresh=3.0 * usual)
        axis.yaxis.set_major_locator(ticker.FixedLocator(_symlog_ticks(drawn, 3.0 * usual)))
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    elif scale == 'log':
        axis.set_yscale('log')
        axis.yaxis.get_major_locator().set_params(numticks=_TICKS)
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        axis.yaxis.set_major_locator(ticker.MaxNLocator(_TICKS))
    second = columns['step'][columns[_STAGE] == 2] if _STAGE in columns else ()
    if len(second) and second[0] > columns['step'][0]:
        axis.axvline(second[0], color='#444444', linestyle=':', linewidth=1, label='stage II')
    axis.xaxis.set_major_locator(ticker.MaxNLocator(_TICKS, integer=True))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
    axis.set_xlabel('step')
    axis.set_ylabel(_LABELS.get(label, label))
    axis.grid(True, color='#DDDDDD', linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    if axis.get_legend_handles_labels()[1] and (len(names) > 1 or names[0] in _NAMES):
        axis.legend(frameon=False, fontsize=9)


def _draw_lines(axis, names: list[str], columns: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Draws metrics and their running averages; returns all values and their usual size."""
    drawn = []
    for name, colour in zip(names, _COLOURS * (1 + len(names) // len(_COLOURS)), strict=False):
        finite = np.isfinite(columns[name])
        steps, values = columns['step'][finite], columns[name][finite]
        drawn.append(values)
        shown = _NAMES.get(name, name)
        if len(values) < 20:
            axis.plot(steps, values, color=colour, marker='o', markersize=3, label=shown)
            continue
        axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        if name.startswith('gamma'):
            # Near c_d = 0 single samples carry ratios of any size: the mean has no mean.
            at, average = running_median(values, max(1, len(values) // 20))
            axis.plot(steps[at], average, color=colour, linewidth=1.6, label='running median')
        else:
            average = smooth(values, len(values) / 40)
            axis.plot(steps, average, color=colour, linewidth=1.6, label=shown)
    drawn = np.concatenate(drawn)
    return drawn, float(np.median(np.abs(drawn)))


def _draw_band(axis, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Draws gamma's quantiles, smoothed by running medians; returns them and their usual size."""
    quantiles = np.stack([columns[name] for name in _QUANTILES])
    finite = np.isfinite(quantiles).all(axis=0)
    steps, quantiles = columns['step'][finite], quantiles[:, finite]
    length = max(1, len(steps) // 40)
    at = running_median(quantiles[0], length)[0]
    low, middle, high = (running_median(values, length)[1] for values in quantiles)
    axis.fill_between(steps[at], low, high, color=_COLOURS[0], alpha=0.2, label='5% to 95%')
    axis.plot(steps[at], middle, color=_COLOURS[0], linewidth=1.6, label='median')
    return np.concatenate([low, middle, high]), float(np.median(np.abs(middle)))


def _symlog_ticks(values: np.ndarray, threshold: float) -> list[float]:
    """0 and powers of ten beyond the linear part, within which labels would overprint."""
    top = math.floor(math.log10(np.abs(values).max()))
    bottom = min(top, math.ceil(math.log10(threshold)))
    apart = -(-(top - bottom + 1) // 2)  # two a side
    powers = [10.0**exponent for exponent in range(top, bottom - 1, -apart)]
    return [0.0, *powers, *(-power for power in powers)]


def _scale(values: np.ndarray, usual: float) -> str:
    """'log' or 'symlog' where a linear axis would flatten the values of the usual size."""
    largest = np.abs(values).max()
    if values.min() > 0:
        return 'log' if largest > 100 * values.min() else 'linear'
    return 'symlog' if largest > 30 * usual > 0 else 'linear'
