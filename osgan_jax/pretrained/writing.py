"""Writing the directory of a run whose weights others trained: config.json and a checkpoint."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from osgan_jax.engine import checkpoints, runs
from osgan_jax.io import messages, weights


def check_free(workdir: pathlib.Path) -> None:
    """Raises ValueError if a directory already holds a run."""
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        steps = saved.steps()
    if steps or runs.kind_of(workdir) is not None:
        raise ValueError(f'{messages.printable(workdir)} already holds a run: give another workdir')


def write(
    workdir: pathlib.Path,
    run: runs.Run,
    state: Any,
    paths: Sequence[str | os.PathLike[str]],
    **about: Any,
) -> None:
    """Writes a run's directory, with a checkpoint of step 0.

    Args:
      workdir: the directory, made if it is not there.
      run: the run.
      state: of the checkpoint.
      paths: the files of weights, whose digests the checkpoint keeps.
      **about: what else its metadata has.

    Raises:
      ValueError: if the directory holds a run.
      osgan_jax.engine.checkpoints.CheckpointError: if saving is impossible, or another run holds
        the directory.
    """
    metadata = {
        'config': dataclasses.asdict(run.config),
        'weights': {os.path.basename(path): weights.verify(path, '') for path in paths},
        **about,
    }
    with (
        checkpoints.lock(workdir),
        checkpoints.Checkpoints(workdir, keep=run.config.keep) as saved,
    ):
        check_free(workdir)
        saved.save(0, state, metadata=metadata, wait=True)
        # Last: a directory with a config.json is a run.
        runs.write(workdir, run)
