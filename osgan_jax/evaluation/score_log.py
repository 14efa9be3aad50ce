"""The scores in a run's directory: evaluations.jsonl, an evaluation of a checkpoint a line.

Numbers that are not finite are written as strings, for JSON does not have them, see
`osgan_jax.io.json_numbers`.
"""

import json
import os
import pathlib
from typing import Any

from osgan_jax.io import atomic, json_numbers, locks
from osgan_jax.reporting import timing

FILE = 'evaluations.jsonl'
_LOCK = '.evaluations.lock'

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
_FACTS = {'fake', *_KEY}
_NO_METRIC = {'seconds', 'flops', 'halves', 'per_class', *_FACTS}


def metric_names(entry: dict[str, Any]) -> list[str]:
    """The metrics among an entry's fields, without their standard deviations."""
    return [name for name in entry if name not in _NO_METRIC and not name.endswith('_std')]


def write(workdir: str | os.PathLike[str], entry: dict[str, Any]) -> None:
    """Adds a line, or extends the line of the same evaluation; lines are in the order of steps.

    Several processes may do so at once. Lines that `read` skips, as a newer version may write them,
    are kept as they are, after the others.

    Args:
      workdir: the run's directory.
      entry: step, seconds of training until then or None (which leaves a known number, or else
        asks the run's log), scores, and the `about` of an `Evaluator`, with its `halves`, or of a
        `PathLength` or another measure.

    Raises:
      ValueError: if the entry lacks a field by which `read` knows a line.
      OSError: if the file cannot be written; the old one stays intact.
    """
    if not _is_line(entry):
        raise ValueError(f'a score needs {", ".join(_NEEDED)} and a count, got {", ".join(entry)}')
    same = lambda other: all(other.get(key) == entry.get(key) for key in _KEY)  # noqa: E731
    path = pathlib.Path(workdir) / FILE
    with locks.take(path.with_name(_LOCK)):
        lines, others = _read(path)
        before = next((line for line in lines if same(line)), {})
        merged = _merged(before, entry)
        if merged.get('seconds', 0) is None:
            known = before.get('seconds')
            if known is None:
                known = timing.seconds_until(workdir, entry['step'])
            merged['seconds'] = known
        lines = [line for line in lines if not same(line)] + [merged]
        lines.sort(key=lambda line: line['step'])
        texts = (json.dumps(json_numbers.encoded(line), allow_nan=False) for line in lines)
        with atomic.replacing(path) as file:
            file.writelines(line + b'\n' for line in (*map(str.encode, texts), *others))


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Both, also within 'halves' and 'per_class'; where both say something, the second does."""
    merged = {**before, **after}
    for key in before.keys() & after.keys():
        if isinstance(before[key], dict) and isinstance(after[key], dict):
            merged[key] = _merged(before[key], after[key])
    return merged


def read(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All evaluations of a run, by step; unreadable lines are skipped."""
    return _read(pathlib.Path(workdir) / FILE)[0]


def _read(path: pathlib.Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """All evaluations of a file, by step, and the lines that are something else."""
    found, others = [], []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and _is_line(entry):
            # A name may be one of a number.
            found.append(
                {k: v if k in _FACTS else json_numbers.decoded(v) for k, v in entry.items()}
            )
        else:
            others.append(line)
    return sorted(found, key=lambda entry: entry['step']), others


def _is_line(entry: dict[str, Any]) -> bool:
    needed = all(key in entry for key in _NEEDED) and bool(COUNTS.keys() & entry.keys())
    return needed and isinstance(entry['step'], int)


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
