"""A run's directory: what it was made with, written once and checked on every return to it."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from osgan_jax import configuration, reporting
from osgan_jax.config import TrainConfig

_FILE = 'config.json'


@dataclasses.dataclass(frozen=True)
class Run:
    """What is needed to rebuild a run's networks without its data.

    Attributes:
      config: resolved, an `osgan_jax.configuration.RunConfig`.
      num_classes: of the dataset, 0 without labels.
      class_names: of the dataset.
      num_examples: of the dataset, images an epoch; 0 for a run that sees no data.
    """

    config: Any
    num_classes: int
    class_names: tuple[str, ...]
    num_examples: int

    @property
    def steps_per_epoch(self) -> int:
        """Updates an epoch."""
        return self.num_examples // self.config.batch_size


class _OtherKindError(ValueError):
    pass


def write(workdir: str | os.PathLike[str], run: Run) -> None:
    """Writes `workdir/config.json`, whole or not at all."""
    body = {
        'kind': run.config.KIND,
        'config': json.loads(run.config.to_json()),
        'dataset': {
            'num_classes': run.num_classes,
            'class_names': list(run.class_names),
            'num_examples': run.num_examples,
        },
    }
    with reporting.files.replacing(pathlib.Path(workdir) / _FILE) as file:
        file.write((json.dumps(body, indent=2) + '\n').encode())


def read(workdir: str | os.PathLike[str], *kinds: type[configuration.RunConfig]) -> Run | None:
    """Reads `workdir/config.json`; None where there is none.

    Args:
      workdir: the run's directory.
      *kinds: what the run's configuration may be; by default a `TrainConfig`.

    Raises:
      ValueError: if it is damaged, from another version, or of a run of another kind.
    """
    path = pathlib.Path(workdir) / _FILE
    known = {kind.KIND: kind for kind in kinds or (TrainConfig,)}
    try:
        body = json.loads(path.read_text())
        dataset, found = body['dataset'], body.get('kind', TrainConfig.KIND)
        if found not in known:
            raise _OtherKindError(
                f'{workdir} holds a run of experiments.{found}, not of experiments.'
                f'{" or experiments.".join(known)}: give another workdir'
            )
        return Run(
            config=known[found].from_json(json.dumps(body['config'])),
            num_classes=int(dataset['num_classes']),
            class_names=tuple(dataset['class_names']),
            num_examples=int(dataset['num_examples']),
        )
    except FileNotFoundError:
        return None
    except _OtherKindError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} cannot be used ({error}): restore it, or choose another workdir'
        ) from error


def kind_of(workdir: str | os.PathLike[str]) -> str | None:
    """What kind of run a directory holds; None where there is none or nothing can be read."""
    try:
        return json.loads((pathlib.Path(workdir) / _FILE).read_text()).get('kind', TrainConfig.KIND)
    except (OSError, ValueError, AttributeError):
        return None


def check_same(workdir: str | os.PathLike[str], saved: Run, asked: Run) -> None:
    """Raises ValueError naming every field in which a resumed run contradicts the saved one."""
    found = configuration.contradictions(saved.config, asked.config)
    if saved.num_examples != asked.num_examples:
        found.append(
            f'the dataset had {saved.num_examples} images there and has {asked.num_examples} now'
        )
    if found:
        raise ValueError(
            f'{workdir} holds checkpoints of another configuration: {"; ".join(found)}. Give the '
            'same flags to resume it, or another --workdir to start afresh'
        )
