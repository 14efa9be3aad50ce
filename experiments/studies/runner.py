"""Runs a study: every cell is a training run in a directory of its own, scored at its end.

Whatever interrupts a study, the same call continues it: finished cells are skipped, and the cell
that was training resumes at its last checkpoint.
"""

import abc
import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.studies import records
from experiments.studies.records import Cell, Record, Result
from osgan_jax import reporting
from osgan_jax.engine import nonfinite, resuming, runs
from osgan_jax.io import atomic
from osgan_jax.runtime import stopping


@dataclasses.dataclass
class Progress:
    """How a study prints its progress and learns of signals.

    Attributes:
      say: prints a line.
      check: raises `stopping.Abandoned` after a signal; work that takes long calls it.
      current: name of the work under way.
    """

    say: Callable[[str], None]
    check: Callable[[], None]
    current: str = 'preparing'


class Study(abc.ABC):
    """The definition of a study: its cells, and how one is trained and scored.

    Attributes:
      cells: cells in the order they are run.
      workdir: the study's directory.
    """

    cells: Sequence[Cell]
    workdir: pathlib.Path

    @abc.abstractmethod
    def prepare(self, progress: Progress) -> Mapping[Cell, Any]:
        """Prepares everything that the first cell needs.

        Returns:
          The resolved configuration of every cell.

        Raises:
          ValueError: for a cell that cannot be trained or scored, before any is.
        """

    @abc.abstractmethod
    def is_scored(self, record: Record) -> bool:
        """Whether a finished cell's scores are those asked for."""

    @abc.abstractmethod
    def train(self, cell: Cell, progress: Progress) -> Record:
        """Trains or resumes a cell and scores it.

        Raises:
          osgan_jax.engine.nonfinite.NonFiniteError: if the run's numbers are no longer finite.
        """

    @abc.abstractmethod
    def describe(self, record: Record) -> str:
        """A finished cell's result, in a few words."""

    @abc.abstractmethod
    def tabulate(self) -> list[Result]:
        """Writes all tables and figures; returns the results they show."""


def run(study: Study, *, say: Callable[[str], None] = print) -> list[Result]:
    """Trains and scores the cells that are left; tables are written after every cell.

    A cell whose numbers are no longer finite is recorded as failed, and the others are run.

    Args:
      study: the study.
      say: called with a line after every cell.

    Returns:
      The results that `study.tabulate` returns.

    Raises:
      ValueError: for cells that cannot be trained, or that were trained with another configuration.
      osgan_jax.runtime.stopping.Stopped: after SIGINT or SIGTERM; calling again continues.
    """
    cells, done, trained = study.cells, 0, 0
    with stopping.Signals() as signals:
        progress = Progress(say, signals.check)
        try:
            configs = study.prepare(progress)
            waiting = [cell for cell in cells if not _is_done(study, cell, configs[cell])]
            began = time.monotonic()
            for done, cell in enumerate(cells):
                if cell not in waiting:
                    continue
                progress.current = cell.name
                signals.check()
                try:
                    record = study.train(cell, progress)
                    text = study.describe(record)
                except nonfinite.NonFiniteError as error:
                    record = records.failed_record(error, configs[cell].max_seconds)
                    text = f'failed: {record["reason"]}'
                records.write(study.workdir / cell.name, record)
                trained += 1
                study.tabulate()
                if left := len(waiting) - trained:
                    seconds = (time.monotonic() - began) / trained * left
                    text += f'; about {reporting.progress.duration(seconds)} left'
                say(f'cell {done + 1} of {len(cells)}: {cell.name} {text}')
            done, progress.current = len(cells), 'writing tables'
            return study.tabulate()
        except (stopping.Stopped, stopping.Abandoned) as stopped:
            raise stopping.Stopped(
                f'Stopped ({progress.current}, {done} of {len(cells)} cells done). Run the same '
                'command again to go on.',
                signals.received or stopped.signum,
            ) from None


def check_saved(directory: pathlib.Path, run: runs.Run) -> None:
    """Checks a cell's run against what its directory holds.

    Raises:
      ValueError: if another run lives there, or one that was trained longer.
    """
    config, saved = run.config, runs.read(directory, type(run.config))
    if saved is not None:
        resuming.check_same(directory, saved, run)
    record = records.read(directory)
    if record is None or record['status'] == 'failed':
        return
    budget, before = config.max_seconds, record['budget'] or record['seconds'] or 0.0
    shorter = config.num_steps < record['step']
    if budget is not None:
        shorter = budget < before and config.num_steps > record['step']
    if shorter:
        raise ValueError(
            f'{directory} was already trained for {record["step"]} steps and {before:g} s, '
            'longer than this command asks for: ask for at least as much, or give another '
            '--workdir'
        )


def make_cells(rows: Sequence[tuple[str, ...]], seeds: Sequence[int]) -> list[Cell]:
    """The cells of a study in the order they are run: a seed of all rows before the next seed.

    So an interrupted study compares all rows, on fewer seeds.
    """
    check_once('seeds', seeds)
    return [Cell(row, seed) for seed in seeds for row in rows]


def check_once(name: str, values: Sequence[Any]) -> None:
    """Raises ValueError for repeated values, or none."""
    if not values or len(set(values)) < len(values):
        raise ValueError(f'{name}={list(values)}: expected at least one, and each once')


def write_texts(workdir: pathlib.Path, texts: Mapping[str, str]) -> None:
    """Writes files of a study, by name, each atomically."""
    for name, text in texts.items():
        with atomic.replacing(workdir / name) as file:
            file.write(text.encode())


def conclude(study: Study, results: Sequence[Result], files: Sequence[str], advice: str) -> None:
    """Prints a study's table and how many cells finished.

    Args:
      study: the study.
      results: the results of its cells, perhaps among others.
      files: names of the written files, the table's Markdown first.
      advice: how to try failed cells again.

    Raises:
      ValueError: if a cell failed.
    """
    print((study.workdir / files[0]).read_text(encoding='utf-8'), flush=True)
    failed, count = [r.cell.name for r in results if r.status == 'failed'], len(study.cells)
    print(
        f'Done: {count - len(failed)} of {count} cells; {", ".join(files[:-1])} and {files[-1]} '
        f'are in {study.workdir}.',
        flush=True,
    )
    if failed:
        raise ValueError(f'{len(failed)} of {count} cells failed: {", ".join(failed)}. {advice}')


def _is_done(study: Study, cell: Cell, config: Any) -> bool:
    record = records.read(study.workdir / cell.name)
    if record is None or record['status'] == 'failed':
        # A failure would repeat itself: a run is the same whenever it is made.
        return record is not None
    return is_long_enough(record, config) and study.is_scored(record)


def is_long_enough(record: Record, config: Any) -> bool:
    """Whether a finished run was trained for as long as a resolved configuration says."""
    in_time = config.max_seconds is not None and record['budget'] == config.max_seconds
    return in_time or record['step'] >= config.num_steps
