"""The cells of a study, their records in files, and the results read from these."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.evaluation import score_log
from osgan_jax.io import atomic
from osgan_jax.reporting import metrics_log, timing

_FILE = 'cell.json'
_FIELDS = ('status', 'reason', 'step', 'seconds', 'budget', 'metrics', 'about', 'asked')

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
      row: names of the row of the table, such as ('lsgan', 'one_stage').
      seed: seed of the run.
    """

    row: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """The cell's directory: lsgan-one_stage-0."""
        return '-'.join((*self.row, str(self.seed)))


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a cell.

    Attributes:
      cell: the cell.
      status: 'finished', 'failed' or 'missing'.
      reason: reason of a failure.
      step: steps made.
      seconds: seconds of training, without evaluations.
      pace: seconds a step: the median over the lines of the cell's timing.jsonl.
      metrics: scores of the last checkpoint, by name.
      about: facts that the scores depend on, see `osgan_jax.evaluation.evaluators`.
      evaluations: lines of the cell's evaluations.jsonl.
      samples: the cell's last sample grid.
      image_size: pixels.
    """

    cell: Cell
    status: str = 'missing'
    reason: str = ''
    step: int | None = None
    seconds: float | None = None
    pace: float | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluations: Sequence[Mapping[str, Any]] = ()
    samples: pathlib.Path | None = None
    image_size: ImageSize | None = None


AnyResult = TypeVar('AnyResult', bound=Result)


def finished(results: Iterable[AnyResult]) -> list[AnyResult]:
    """The results of the cells that finished."""
    return [result for result in results if result.status == 'finished']


def by_row(results: Iterable[AnyResult]) -> dict[tuple[str, ...], list[AnyResult]]:
    """Results by row, in the order in which the rows first occur."""
    groups: dict[tuple[str, ...], list[AnyResult]] = {}
    for result in results:
        groups.setdefault(result.cell.row, []).append(result)
    return groups


def read(directory: pathlib.Path) -> Record | None:
    """A cell's record; None for a cell that has neither finished nor failed."""
    path = directory / _FILE
    try:
        record = json.loads(path.read_text())
        missing = [name for name in _FIELDS if name not in record]
        if missing:
            raise ValueError(f'it lacks {", ".join(missing)}')
        return record
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'{path} cannot be used ({error}): remove it to evaluate the cell again'
        ) from error


def write(directory: pathlib.Path, record: Record) -> None:
    """Writes a cell's record atomically."""
    with atomic.replacing(directory / _FILE) as file:
        file.write((json.dumps(record, indent=2) + '\n').encode())


def finished_record(
    step: int, seconds: float | None, budget: float | None, **scores: Any
) -> Record:
    """The record of a cell that finished.

    Args:
      step: steps made.
      seconds: seconds of training.
      budget: seconds the cell was given; None without a limit.
      **scores: `metrics` by name, `about` (what they depend on, a `fingerprint` among it), and
        `asked`, the metrics asked for.
    """
    head = {'status': 'finished', 'reason': '', 'budget': budget}
    return {**head, 'step': step, 'seconds': seconds, **scores}


def failed_record(error: Exception, budget: float | None) -> Record:
    """The record of a cell whose numbers are no longer finite."""
    # The first sentence says what and when; the rest is advice for a single run.
    reason = str(error).split('. ')[0].rstrip('.')
    empty = {'step': None, 'seconds': None, 'metrics': {}, 'about': {}, 'asked': []}
    return {'status': 'failed', 'reason': reason, 'budget': budget, **empty}


def load(cell: Cell, workdir: pathlib.Path, is_scored: Callable[[Record], bool]) -> dict[str, Any]:
    """Reads the fields of a cell's `Result` from its directory.

    Args:
      cell: the cell.
      workdir: the study's directory.
      is_scored: whether a record has the scores asked for; a cell without them counts as missing.
    """
    directory = workdir / cell.name
    record, known = read(directory), {}
    if record is not None and record['status'] == 'failed':
        known = {'status': 'failed', 'reason': record['reason']}
    elif record is not None and is_scored(record):
        known = {name: record[name] for name in ('status', 'step', 'seconds', 'metrics', 'about')}
    grids = sorted((directory / 'samples').glob('step_*.png'))
    lines = score_log.read(directory) if directory.is_dir() else []
    # A run that was killed may have come further before than after it resumed.
    last = known.get('step')
    lines = [line for line in lines if last is None or line['step'] <= last]
    return {
        'cell': cell,
        **known,
        'evaluations': lines,
        'pace': _pace(directory / timing.FILE),
        'samples': grids[-1] if grids else None,
    }


def _pace(path: pathlib.Path) -> float | None:
    """The median of the seconds a step between the lines of a timing log."""
    if not path.is_file():
        return None
    columns = metrics_log.read(path)
    steps, seconds = (np.diff(columns.get(name, [])) for name in ('step', 'seconds'))
    # A run that was killed and resumed has made some steps twice.
    forward = steps > 0
    return float(np.median(seconds[forward] / steps[forward])) if forward.any() else None
