"""The record of a cell that has come to its end: what was trained, and how it scored."""

import dataclasses
import json
import pathlib
from typing import Any

from osgan_jax.evaluation.features import extractors
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import atomic

_FILE = 'cell.json'
_FIELDS = ('status', 'reason', 'step', 'seconds', 'budget', 'metrics', 'about', 'asked')


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How cells are evaluated.

    Attributes:
      metrics: names in `osgan_jax.evaluation.evaluators.METRICS`.
      num_samples: generated images.
      seed: of their latents, the same for all cells.
    """

    metrics: tuple[str, ...] = ('fid',)
    num_samples: int = 10_000
    seed: int = 0


def read(directory: pathlib.Path) -> dict[str, Any] | None:
    """A cell's record; None where it has not come to its end."""
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
            f'{path} cannot be used ({error}): remove it, and the cell is evaluated again'
        ) from error


def write(directory: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a cell's record, whole."""
    with atomic.replacing(directory / _FILE) as file:
        file.write((json.dumps(record, indent=2) + '\n').encode())


def is_scored(record: dict[str, Any], extractor: extractors.Extractor, scoring: Scoring) -> bool:
    """Whether a record's scores are those that are asked for."""
    about = record['about']
    same = (about.get('fingerprint'), about.get('num_samples'), about.get('seed'))
    asked = (extractor.fingerprint, scoring.num_samples, scoring.seed)
    return same == asked and set(scoring.metrics) <= set(record['asked'])


def is_done(
    directory: pathlib.Path, config: TrainConfig, extractor: extractors.Extractor, scoring: Scoring
) -> bool:
    """Whether nothing is left to do for a cell; `config` is its resolved configuration."""
    record = read(directory)
    if record is None or record['status'] == 'failed':
        # A failure would repeat itself: a run is the same whenever it is made.
        return record is not None
    long_enough = (
        record['step'] >= config.num_steps
        if config.max_seconds is None
        else record['budget'] == config.max_seconds
    )
    return long_enough and is_scored(record, extractor, scoring)
