"""The scores in a run's directory: evaluations.jsonl, an evaluation of a checkpoint a line."""

import json
import os
import pathlib
from typing import Any

from osgan_jax.io import atomic

FILE = 'evaluations.jsonl'

# Fields of every line, beside one of the counts.
_NEEDED = ('step', 'fingerprint', 'seed')
COUNTS = {'num_samples': 'samples', 'num_pairs': 'pairs'}
# Fields of path lengths, which have lines of their own.
_PATH = ('space', 'sampling', 'epsilon', 'crop')
# What is compared with, and by what.
_REAL = ('dataset', 'split', 'content', 'num_real')
_MEASURE = ('extractor', 'convention', 'distance', 'learner', 'label_policy')
# Two lines that agree in these (a missing field agrees with a missing one) are one evaluation.
_KEY = (*_NEEDED, *COUNTS, *_PATH, *_REAL, *_MEASURE)
FACTS = tuple(key for key in _KEY if key != 'step')
"""Fields that tell evaluations of one checkpoint apart."""
_NO_METRIC = {'seconds', 'flops', 'halves', 'per_class', 'fake', *_KEY}


def metric_names(entry: dict[str, Any]) -> list[str]:
    """The metrics among an entry's fields, without their standard deviations."""
    return [name for name in entry if name not in _NO_METRIC and not name.endswith('_std')]


def write(workdir: str | os.PathLike[str], entry: dict[str, Any]) -> None:
    """Adds a line, or extends the line of the same evaluation; lines are in the order of steps.

    Args:
      workdir: the run's directory.
      entry: step, seconds of training until then or None, scores, and the `about` of an
        `Evaluator`, with its `halves`, or of a `PathLength` or another measure.

    Raises:
      ValueError: if the entry lacks a field by which `read` knows a line.
      OSError: if the file cannot be written; the old one stays intact.
    """
    if not _is_line(entry):
        raise ValueError(f'a score needs {", ".join(_NEEDED)} and a count, got {", ".join(entry)}')
    same = lambda other: all(other.get(key) == entry.get(key) for key in _KEY)  # noqa: E731
    lines = read(workdir)
    before = next((line for line in lines if same(line)), {})
    lines = [line for line in lines if not same(line)] + [_merged(before, entry)]
    lines.sort(key=lambda line: line['step'])
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    with atomic.replacing(pathlib.Path(workdir) / FILE) as file:
        file.write(text.encode())


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Both, also within 'halves' and 'per_class'; where both say something, the second does."""
    merged = {**before, **after}
    for key in before.keys() & after.keys():
        if isinstance(before[key], dict) and isinstance(after[key], dict):
            merged[key] = _merged(before[key], after[key])
    return merged


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
        found += [entry] if isinstance(entry, dict) and _is_line(entry) else []
    return sorted(found, key=lambda entry: entry['step'])


def _is_line(entry: dict[str, Any]) -> bool:
    return all(key in entry for key in _NEEDED) and bool(COUNTS.keys() & entry.keys())


def scores(
    workdir: str | os.PathLike[str], metric: str, about: dict[str, Any]
) -> list[tuple[int, float]]:
    """Steps and values of a metric, from the lines that agree with `about`."""
    return [
        (line['step'], line[metric])
        for line in read(workdir)
        if metric in line and all(line.get(key) == value for key, value in about.items())
    ]


def count(entry: dict[str, Any]) -> str:
    """The number of samples or pairs of a line, in words."""
    return next(f'{entry[name]:,} {what}' for name, what in COUNTS.items() if name in entry)
