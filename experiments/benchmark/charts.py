"""Charts of the measured times, of one call or of the files of several."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.benchmark import report
from experiments.benchmark.turns import StepTiming
from osgan_jax.reporting import figures

_COLOURS = ('#0072B2', '#D55E00', '#E69F00', '#009E73', '#999999', '#CC79A7', '#56B4E9')


def save(path: pathlib.Path, rows: Sequence[tuple[str, Sequence[StepTiming]]], title: str) -> None:
    """Draws bars of each step's time over the first scheme's, one group per case, as a PNG."""
    schemes = list(dict.fromkeys(timing.scheme for _, timings in rows for timing in timings))
    figure = figures.new_figure((8, 1.4 + 0.3 * sum(len(t) + 1 for _, t in rows)))
    axis = figure.subplots()
    at, ticks, in_legend = 0.0, [], set()
    for label, timings in rows:
        start = at
        for timing in timings:
            ratio = timing.seconds / timings[0].seconds
            spread = np.abs(np.array([[timing.low], [timing.high]]) / timings[0].seconds - ratio)
            axis.barh(
                at,
                ratio,
                xerr=spread,
                height=0.9,
                color=_COLOURS[schemes.index(timing.scheme) % len(_COLOURS)],
                ecolor='#555555',
                label=None if timing.scheme in in_legend else timing.scheme,
            )
            ms = 1e3 * timing.seconds
            text = f' {ratio:.2f}   {f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"} ms'
            axis.text(max(ratio, timing.high / timings[0].seconds), at, text, va='center', size=8)
            in_legend.add(timing.scheme)
            at += 1
        ticks.append(((start + at - 1) / 2, label.replace(', ', '\n', 1)))
        at += 0.8
    axis.set_yticks([tick for tick, _ in ticks], [label for _, label in ticks], size=8)
    axis.invert_yaxis()
    axis.set_xlabel(f'time of a step over that of {rows[0][1][0].scheme}')
    axis.set_title(title, size=10)
    axis.spines[['top', 'right']].set_visible(False)
    axis.margins(x=0.18)
    figure.legend(loc='outside lower center', ncols=4, frameon=False, fontsize=8)
    figures.save_figure(figure, path)


def read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], list[tuple[str, list[StepTiming]]]]:
    """The steps in a file that `--out` wrote.

    Returns:
      What all of the file shares, `machine` and `date` among it, and names of cases with their
      timings.

    Raises:
      ValueError: for a file that is not of that kind.
      OSError: if it cannot be read.
    """
    fields = [field.name for field in dataclasses.fields(StepTiming)]
    try:
        body = json.loads(pathlib.Path(path).read_text())
        rows: dict[str, list[StepTiming]] = {}
        for step in body['steps']:
            timings = rows.setdefault(report.name_of(step['case']), [])
            timings.append(StepTiming(**{name: step[name] for name in fields}))
        if not rows or not {'machine', 'date'} <= set(body):
            raise ValueError('it has no steps')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is not a result of experiments.benchmark with steps ({error})'
        ) from error
    return body, list(rows.items())


def draw(paths: Sequence[str], out: pathlib.Path) -> None:
    """Draws the steps of several files as one chart.

    Raises:
      ValueError: for a file without steps, files of different machines, or a chart that is no PNG.
    """
    if out.suffix != '.png':
        raise ValueError(f'out={out}: a chart is a .png file')
    rows, machines, dates = [], [], []
    for path in paths:
        body, found = read(path)
        rows += found
        machines.append(body['machine'])
        dates.append(body['date'])
    for key in ('device', 'cores'):
        if len(seen := {machine.get(key) for machine in machines}) > 1:
            raise ValueError(
                f'these results are of different machines ({key}: '
                f'{", ".join(map(str, sorted(seen, key=str)))}), whose times do not compare'
            )
    span = ' to '.join(sorted({min(dates), max(dates)}))
    versions = ' and '.join(sorted({str(machine.get('jax')) for machine in machines}))
    save(out, rows, f'{machines[0].get("device")}, jax {versions}, {span}')
