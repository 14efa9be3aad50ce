"""The scores in a run's directory: evaluations.jsonl, a checkpoint a line, and a plot."""

import json
import os
import pathlib
from typing import Any

from osgan_jax.io import atomic
from osgan_jax.reporting import figures

FILE = 'evaluations.jsonl'
PLOT = 'evaluations.png'

# Fields of every line, beside one of the counts.
_NEEDED = ('step', 'fingerprint', 'seed')
_COUNTS = {'num_samples': 'samples', 'num_pairs': 'pairs'}
# Fields of path lengths, which have lines of their own.
_PATH = ('space', 'sampling', 'epsilon', 'crop')
# What is compared with, and by what.
_REAL = ('dataset', 'split', 'content', 'num_real')
_MEASURE = ('extractor', 'convention', 'distance', 'label_policy')
# Two lines that agree in these (a missing field agrees with a missing one) are one evaluation.
_KEY = (*_NEEDED, *_COUNTS, *_PATH, *_REAL, *_MEASURE)
_NO_METRIC = {'seconds', 'flops', 'halves', *_KEY}


def metric_names(entry: dict[str, Any]) -> list[str]:
    """The metrics among an entry's fields, without their standard deviations."""
    return [name for name in entry if name not in _NO_METRIC and not name.endswith('_std')]


def write(workdir: str | os.PathLike[str], entry: dict[str, Any]) -> None:
    """Adds a line, or extends the line of the same evaluation; lines are in the order of steps.

    Args:
      workdir: the run's directory.
      entry: step, seconds of training until then or None, scores, and the `about` of an
        `Evaluator`, with its `halves`, or of a `PathLength`.

    Raises:
      OSError: if the file cannot be written; the old one stays intact.
    """
    same = lambda other: all(other.get(key) == entry.get(key) for key in _KEY)  # noqa: E731
    lines = read(workdir)
    before = next((line for line in lines if same(line)), {})
    merged = {**before, **entry}
    if 'halves' in merged:
        merged['halves'] = {**before.get('halves', {}), **entry.get('halves', {})}
    lines = [line for line in lines if not same(line)] + [merged]
    lines.sort(key=lambda line: line['step'])
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    with atomic.replacing(pathlib.Path(workdir) / FILE) as file:
        file.write(text.encode())


def read(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All evaluations of a run, by step; unreadable lines are skipped."""
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and all(key in entry for key in _NEEDED):
            found += [entry] if _COUNTS.keys() & entry.keys() else []
    return sorted(found, key=lambda entry: entry['step'])


def scores(
    workdir: str | os.PathLike[str], metric: str, about: dict[str, Any]
) -> list[tuple[int, float]]:
    """Steps and values of a metric, from the lines that agree with `about`."""
    return [
        (line['step'], line[metric])
        for line in read(workdir)
        if metric in line and all(line.get(key) == value for key, value in about.items())
    ]


def plot(workdir: str | os.PathLike[str]) -> pathlib.Path | None:
    """Draws a panel a metric, against the step; returns None where there are no scores."""
    entries = read(workdir)
    names = list(dict.fromkeys(name for entry in entries for name in metric_names(entry)))
    if not names:
        return None
    down = -(-len(names) // 2)
    figure = figures.new_figure((9, 0.6 + 2.8 * down), dpi=100)
    for index, name in enumerate(names):
        axis = figure.add_subplot(down, min(2, len(names)), index + 1)
        series: dict[tuple, list] = {}
        for entry in entries:
            if name in entry:
                key = (count(entry), *(entry.get(key) for key in _KEY if key != 'step'))
                series.setdefault(key, []).append((entry['step'], entry[name]))
        for (counted, *_), points in series.items():
            axis.plot(*zip(*points, strict=True), marker='o', ms=3, label=counted)
        axis.set_xlabel('step')
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
        if len(series) > 1:
            axis.legend(frameon=False, fontsize=8)
    path = pathlib.Path(workdir) / PLOT
    figures.save_figure(figure, path)
    return path


def count(entry: dict[str, Any]) -> str:
    """The number of samples or pairs of a line, in words."""
    return next(f'{entry[name]:,} {what}' for name, what in _COUNTS.items() if name in entry)
