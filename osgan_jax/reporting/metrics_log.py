"""A metrics log of one JSON object a line, the same file after any number of interruptions.

A line is `{"step": 200, "loss_d": 0.51, ...}`. What depends on the clock would differ between an
interrupted and an uninterrupted run, so it belongs in a second log (`filename='timing.jsonl'`).
A log has at most `MAX_LINES`: one that would grow longer keeps every second of its lines.
JSON has no NaN: non-finite values are written as the strings "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from osgan_jax.io import atomic, json_numbers
from osgan_jax.reporting import thinning

MAX_LINES = 100_000
"""Lines of a log, some 20 MB; a curve cannot show more."""


class MetricsLog:
    """Appends metrics to `workdir/filename`; each line is flushed when it is written.

    Args:
      workdir: the run's directory, created.
      filename: which log.
      resume_step: the step that the run goes on from, 0 for a fresh one. Lines of later steps are
        removed: they will be written again. None keeps every whole line. A last line torn by a kill
        is always removed.
      every: steps between two lines; None if they are not known, and the log has no bound.
      at_most: lines, at least 2. A full log keeps half of its lines, those at twice the distance,
        and takes further ones at that distance alone.

    Raises:
      OSError: the file cannot be read or written.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        resume_step: int | None = None,
        *,
        filename: str = 'metrics.jsonl',
        every: int | None = None,
        at_most: int = MAX_LINES,
    ):
        self.path = pathlib.Path(workdir) / filename
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._every, self._at_most = every, at_most
        self._apart = every
        _rewrite(self.path, lambda step: resume_step is None or step <= resume_step)
        self._open()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, step: int, metrics: Mapping[str, Any]) -> bool:
        """Appends one line, unless it lies between those that a long log keeps.

        Args:
          step: number of finished updates.
          metrics: scalars by name: numbers, or arrays of one element (on device or not).

        Returns:
          Whether the line was appended.

        Raises:
          ValueError: a metric is called 'step' or is not a scalar.
          OSError: the disk is full.
        """
        if 'step' in metrics:
            raise ValueError("a metric cannot be called 'step'; that is the first argument.")
        line = {'step': int(step), **{name: _plain(name, v) for name, v in metrics.items()}}
        if not self._keeps(step):
            return False
        self._file.write(json.dumps(line, allow_nan=False) + '\n')
        self._file.flush()
        return True

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        self._file.close()

    def _open(self) -> None:
        self._file = open(self.path, 'a', encoding='utf-8')  # noqa: SIM115 (closed in close)

    def _keeps(self, step: int) -> bool:
        """Whether the line of a step is one to keep, and thins the log where they now lie apart."""
        if self._every is None:
            return True
        # It depends on the step alone, so that an interrupted run leaves what a whole one leaves.
        # The distance counts step 0, which has no line.
        apart = thinning.distance(step, self._every, self._at_most + 1)
        if apart != self._apart:
            self._file.close()
            _rewrite(self.path, lambda kept: kept % apart == 0)
            self._open()
            self._apart = apart
        return apart == self._every or step % apart == 0


def read(path: str | os.PathLike[str], at_most: int | None = None) -> dict[str, np.ndarray]:
    """Reads a log into one array per name.

    Args:
      path: a file written by `MetricsLog`; it may be being written.
      at_most: lines of a longer log to parse, which is what takes time: every k-th, at most so
        many, and the last. At least 1; None parses all.

    Returns:
      `{'step': int64 [lines], name: float64 [lines], ...}`. NaN where a line lacks that name.
      `{'step': []}` where there is no line.

    Raises:
      FileNotFoundError: there is no such file.
    """
    lines = [record for _, record in _lines(pathlib.Path(path), at_most)]
    names = dict.fromkeys(name for record in lines for name in record if name != 'step')
    columns = {'step': np.array([record['step'] for record in lines], np.int64)}
    for name in names:
        columns[name] = np.array([float(record.get(name, math.nan)) for record in lines])
    return columns


def _plain(name: str, value: Any) -> int | float | str:
    """A JSON value: int, finite float, or the name of a non-finite one."""
    array = np.asarray(value)
    if array.size != 1 or (array.dtype.kind not in 'biuf' and array.dtype.name != 'bfloat16'):
        raise ValueError(f'the metric {name} must be one number, got {array.dtype}{array.shape}.')
    array = array.reshape(())
    if array.dtype.kind in 'biu':
        return int(array)
    number = float(array)
    if not math.isfinite(number):
        return json_numbers.encoded(number)
    # The shortest decimal that reads back as the same float32, instead of its float64 expansion.
    return float(str(np.float32(number))) if array.dtype == np.float32 else number


def _lines(
    path: pathlib.Path, at_most: int | None = None
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yields the whole lines of a log with what they hold; passes over unreadable ones."""
    with open(path, 'rb') as file:
        for raw in file if at_most is None else _spread(file, at_most):
            if not raw.endswith(b'\n'):
                return  # torn
            try:
                record = json.loads(raw)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get('step'), int):
                numbers = (int, float)
                if all(isinstance(v, numbers) or v in json_numbers.NAMES for v in record.values()):
                    yield raw, record


def _spread(file: BinaryIO, at_most: int) -> Iterator[bytes]:
    """Yields every k-th line, from the first on, and the last."""
    count = sum(1 for _ in file)
    file.seek(0)
    every = max(1, -(-count // at_most))
    for index, raw in enumerate(file):
        if index % every == 0 or index == count - 1:
            yield raw


def _rewrite(path: pathlib.Path, keeps: Callable[[int], bool]) -> None:
    """Rewrites the log without torn and unreadable lines, and those of steps not to keep."""
    if not path.exists():
        return
    kept = b''.join(raw for raw, record in _lines(path) if keeps(record['step']))
    if len(kept) != path.stat().st_size:
        with atomic.replacing(path) as file:
            file.write(kept)
