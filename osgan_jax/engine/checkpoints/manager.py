"""Saving and restoring through orbax, with checks.

`Checkpoints` wraps orbax's `CheckpointManager`: a save copies the state to host memory and
returns, the files are written by a background thread into a temporary directory that is renamed
when complete, and the newest few are kept. Added here:

* a manifest beside the arrays with each leaf's name, shape, type and CRC-32, so that a flipped
  byte is noticed whichever file it is in, and a state of another shape is refused by name;
* restoring walks from the newest checkpoint to the newest good one and names those it skipped. A
  run that had checkpoints never starts again from nothing.

On disk: `workdir/checkpoints/<step>/arrays` (orbax PyTree, one flat dict from leaf name to array;
typed PRNG keys as their uint32 words) and `workdir/checkpoints/<step>/manifest` (JSON). Neither
holds code, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from osgan_jax.engine.checkpoints import errors, leaves, manifest, quiet_orbax, reading
from osgan_jax.engine.checkpoints.contents import Restored, Stored

_DIRECTORY = 'checkpoints'
_DAMAGED = 'checkpoints_damaged'
_SHOWN = 3  # differing leaves named in an error


class Checkpoints:
    """The checkpoints of one run.

    All processes of a multi-process run construct it and call its methods together; the files are
    written by process 0 to a directory that all of them see. Leaves must be addressable or
    replicated over all processes.

    Args:
      workdir: the run's directory; the checkpoints go to `workdir/checkpoints`.
      keep: how many of the newest checkpoints stay, at least 1.
      read_only: for looking at a run that may be alive: creates, cleans and moves nothing.
      warn: called with one line about each checkpoint that had to be passed over.

    Raises:
      ValueError: `keep` below 1.
      CheckpointError: the directory cannot be created.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        keep: int = 3,
        read_only: bool = False,
        warn: Callable[[str], None] | None = None,
    ):
        if keep < 1:
            raise ValueError(f'keep must be at least 1 checkpoint, got {keep}.')
        self.directory = pathlib.Path(workdir).absolute() / _DIRECTORY
        self._read_only = read_only
        self._warn = warn or _absl_warning
        self._keep = keep
        self._manager = None
        # Nothing is there to be read, and nothing may be created.
        self._is_open = not read_only or self.directory.is_dir()
        if not self._is_open:
            return
        with self._errors_of_opening():
            if not read_only:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._remove_unfinished()  # of a killed run
        # Several processes make it together, whatever each sees of the directory.
        if jax.process_count() > 1:
            self._load()

    def _load(self) -> None:
        """Makes orbax's manager, which takes a launch's quarter of a second to import."""
        if self._manager is not None or not self._is_open:
            return
        with self._errors_of_opening():
            self._manager = quiet_orbax.open_manager(
                self.directory,
                {
                    reading.ARRAYS: quiet_orbax.array_handler(),
                    reading.MANIFEST: quiet_orbax.load().JsonCheckpointHandler(
                        reading.MANIFEST_FILE
                    ),
                },
                keep=self._keep,
                read_only=self._read_only,
            )

    @contextlib.contextmanager
    def _errors_of_opening(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise errors.CheckpointError(
                f'cannot use {self.directory} for checkpoints: {errors.reason(error)}; choose a '
                'workdir that can be written.'
            ) from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps whose checkpoints are complete on disk, ascending; some may be damaged."""
        if self._manager is None:
            if not (self._is_open and self._has_entries()):
                return []
            self._load()
        steps = set(self._manager.all_steps(read=True))
        # A file or a broken link in the place of a checkpoint counts as a damaged one. Orbax does
        # not see it, and a run that had no other would start again from nothing.
        with contextlib.suppress(FileNotFoundError):
            steps.update(int(name) for name in os.listdir(self.directory) if _is_step(name))
        return sorted(steps)

    def _has_entries(self) -> bool:
        with self._errors_of_opening(), contextlib.suppress(FileNotFoundError):
            return bool(os.listdir(self.directory))
        return False

    def latest_step(self) -> int | None:
        """The newest step, or None where nothing was saved."""
        return max(self.steps(), default=None)

    def save(
        self,
        step: int,
        state: Any,
        *,
        iterator_state: bytes = b'',
        metadata: dict[str, Any] | None = None,
        wait: bool = False,
    ) -> bool:
        """Saves `state` in the background.

        Returns once `state` has been copied to host memory, so its buffers may be donated at once.
        A save still under way is waited for first; if that one failed, its error is raised here.

        Args:
          step: number of finished updates.
          state: any pytree of arrays, typed PRNG keys and numbers.
          iterator_state: of this process. Restored by another number of processes, all of them
            get that of process 0.
          metadata: anything JSON can hold that should travel with the state, e.g. the config.
          wait: return only when the checkpoint is complete on disk.

        Returns:
          False if this step is there already (nothing is written then), else True.

        Raises:
          CheckpointError: this save or the one before failed (disk full, no permission); the
            checkpoints that were complete stay.
          ValueError: `step` is older than the newest checkpoint.
        """
        if self._read_only or not self._is_open:
            raise ValueError(
                f'{self.directory} is closed or was opened read-only: nothing can be saved.'
            )
        self.wait()
        latest = self.latest_step()
        if latest is not None and step <= latest:
            if step in self.steps():
                return False
            raise ValueError(
                f'cannot save step {step} in {self.directory}, which already holds step '
                f'{latest}; move the newer checkpoints away to continue from an older one.'
            )
        self._load()
        ocp = quiet_orbax.load()
        described, arrays = leaves.to_host(state)
        about = manifest.build(step, described, iterator_state, metadata)
        with self._errors_of_saving():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeSave(arrays), manifest=ocp.args.JsonSave(about)
                ),
                force=True,  # the caller decides when to save
            )
        if wait:
            self.wait()
        return True

    def restore(self, like_state: Any, step: int | None = None, *, whole: bool = True) -> Restored:
        """Reads a checkpoint back, bit-identical, PRNG keys included.

        Args:
          like_state: a pytree of the same structure, shapes and types: concrete arrays, whose
            devices the result gets, or `jax.ShapeDtypeStruct`.
          step: which checkpoint; None is the newest good one. Damaged ones newer than it are
            reported and moved to `workdir/checkpoints_damaged`, so that their steps can be
            saved again.
          whole: whether `like_state` must have all leaves; otherwise the others are left out.

        Returns:
          `(state, iterator_state, step)`.

        Raises:
          CheckpointError: there is no checkpoint, none is good, the one asked for is damaged, a
            newer version of this program wrote it, it holds another structure, or one that
            may be good cannot be read just now.
        """
        expected = leaves.expected(like_state)

        def check(candidate: int, described: dict[str, Any]) -> None:
            if not whole:
                described = {k: v for k, v in described.items() if k in expected}
            self._check_structure(candidate, described, expected)

        found, body, arrays = self._read(step, check)
        state = leaves.to_devices(like_state, arrays)
        return Restored(state, manifest.own_iterator_state(body), found)

    def read(self, step: int | None = None) -> Stored:
        """Reads a checkpoint of any structure.

        Args, raises: as `restore`.
        """
        found, body, arrays = self._read(step, lambda *_: None)
        return Stored(
            found, arrays, body['leaves'], manifest.own_iterator_state(body), body['metadata']
        )

    def _read(
        self, step: int | None, check: Callable[[int, dict[str, Any]], None]
    ) -> tuple[int, dict[str, Any], dict[str, np.ndarray]]:
        """Step, manifest's body and arrays of a checkpoint, see `restore`."""
        steps = self.steps()
        if not steps:
            raise errors.CheckpointError(f'there is no checkpoint in {self.directory}.')
        if step is not None:
            if step not in steps:
                raise errors.CheckpointError(
                    f'there is no checkpoint of step {step} in {self.directory}; the saved steps '
                    f'are {", ".join(map(str, steps))}.'
                )
            steps = [step]
        damaged = []
        for candidate in reversed(steps):
            try:
                body = reading.read_manifest(self._path(candidate))
                check(candidate, body['leaves'])
                arrays = reading.read_arrays(self._manager, self._path(candidate), body['leaves'])
            except errors.DamagedError as error:
                damaged.append((candidate, str(error)))
                continue
            for bad, why in damaged:
                self._warn(
                    f'the checkpoint {self._path(bad)} is damaged ({why}); going on from '
                    f'step {candidate} instead.'
                )
            self._set_aside([bad for bad, _ in damaged])
            return candidate, body, arrays
        if step is not None:
            raise errors.CheckpointError(
                f'the checkpoint {self._path(step)} is damaged ({damaged[0][1]}); choose '
                'another step.'
            )
        if self._read_only and self.steps() != steps:
            return self._read(None, check)  # the run being looked at replaced them meanwhile
        raise errors.CheckpointError(
            f'none of the {len(damaged)} checkpoints in {self.directory} can be read (newest, step '
            f'{damaged[0][0]}: {damaged[0][1]}); restore them from a copy, or choose another '
            'workdir to start from step 0.'
        )

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """The metadata passed to `save`, of `step` or of the newest readable checkpoint.

        Raises:
          CheckpointError: no such checkpoint, or its manifest is damaged.
        """
        steps = self.steps() if step is None else [step]
        why = 'there is no checkpoint'
        for candidate in reversed(steps):
            try:
                return reading.read_manifest(self._path(candidate))['metadata']
            except errors.DamagedError as error:
                why = str(error)
        raise errors.CheckpointError(f'no metadata can be read from {self.directory}: {why}.')

    def wait(self) -> None:
        """Blocks until the save under way is complete on disk.

        Raises:
          CheckpointError: it failed.
        """
        if self._manager is not None:
            with self._errors_of_saving():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then frees the threads. Safe to call twice.

        Raises:
          CheckpointError: the save under way failed.
        """
        manager, self._manager, self._is_open = self._manager, None, False
        if manager is not None:
            try:
                with self._errors_of_saving():
                    manager.wait_until_finished()
            finally:
                manager.close()

    @contextlib.contextmanager
    def _errors_of_saving(self) -> Iterator[None]:
        """Turns any error of a save, now or in its thread, into a CheckpointError."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many types
            self._remove_unfinished()  # it must not fill the disk further
            if self._manager is not None:
                self._manager.reload()
            raise errors.CheckpointError(
                f'could not save a checkpoint in {self.directory}: {errors.reason(error)}; free '
                'space or permit writing there and run the same command again (earlier '
                'checkpoints are intact).'
            ) from error

    def _remove_unfinished(self) -> None:
        if jax.process_index() == 0:
            for path in self.directory.glob('*.orbax-checkpoint-tmp*'):
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _check_structure(
        self, step: int, described: dict[str, Any], expected: dict[str, leaves.ShapeAndDtype]
    ) -> None:
        """Raises CheckpointError naming the first leaves that differ."""
        differences = leaves.differences(described, expected)
        if differences:
            more = len(differences) - _SHOWN
            raise errors.CheckpointError(
                f'the checkpoint {self._path(step)} holds another state: '
                f'{"; ".join(differences[:_SHOWN])}{f"; and {more} more" if more > 0 else ""}. Use '
                'the options it was trained with, or another workdir.'
            )

    def _set_aside(self, steps: list[int]) -> None:
        """Moves damaged checkpoints away, so that their steps can be written again."""
        if self._read_only or not steps:
            return
        if jax.process_index() == 0:
            try:
                for step in steps:
                    os.replace(self._path(step), self._free_place(step))
            except OSError as error:
                raise errors.CheckpointError(
                    f'cannot move damaged checkpoints out of {self.directory}: '
                    f'{errors.reason(error)}; permit writing there or remove them.'
                ) from error
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices('osgan_jax_checkpoints_set_aside')
        self._manager.reload()

    def _free_place(self, step: int) -> pathlib.Path:
        """A free path for a damaged checkpoint of `step`."""
        directory = self.directory.parent / _DAMAGED
        directory.mkdir(exist_ok=True)
        names = itertools.chain([str(step)], (f'{step}.{i}' for i in itertools.count(1)))
        return next(p for p in map(directory.joinpath, names) if not os.path.lexists(p))


def _is_step(name: str) -> bool:
    """Whether a name is that of a step's checkpoint."""
    return name.isascii() and name.isdecimal() and len(name) < 19 and str(int(name)) == name


def _absl_warning(message: str) -> None:
    from absl import logging

    logging.warning('%s', message)
