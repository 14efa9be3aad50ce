"""Checkpoints that survive kills, full disks and damaged files.

`Checkpoints` wraps orbax's `CheckpointManager`: a save copies the state to host memory and
returns, the files are written by a background thread into a temporary directory that is renamed
when complete, and the newest few are kept. Added here:

* a manifest beside the arrays with each leaf's name, shape, type and CRC-32, so that a flipped
  byte is noticed whichever file it is in, and a state of another shape is refused by name;
* restoring walks from the newest checkpoint to the oldest good one and says what it skipped. It
  never starts again from nothing when there was something;
* `lock`, which keeps two runs out of one directory.

On disk: `workdir/checkpoints/<step>/arrays` (orbax PyTree, one flat dict from leaf name to array;
typed PRNG keys as their uint32 words) and `workdir/checkpoints/<step>/manifest` (JSON). Nothing in
either is code: nothing is unpickled.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

FORMAT = 1
"""Version of the layout above. A reader refuses a newer one."""

_DIRECTORY = 'checkpoints'
_DAMAGED = 'checkpoints_damaged'
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
_SHOWN = 3  # differing leaves named in an error


class CheckpointError(RuntimeError):
    """Saving or restoring is impossible; the message is one sentence for a person."""


class Restored(NamedTuple):
    """What `Checkpoints.restore` returns."""

    state: Any
    iterator_state: bytes
    step: int


class _DamagedError(Exception):
    """One checkpoint cannot be trusted; another may be."""


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
        self._manager = None
        if read_only and not self.directory.is_dir():
            return  # nothing to see, and nothing may be created
        ocp = _orbax()
        try:
            if not read_only:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._remove_unfinished()  # what a killed run left half written
            self._manager = ocp.CheckpointManager(
                self.directory,
                item_handlers={
                    'arrays': ocp.PyTreeCheckpointHandler(),
                    'manifest': ocp.JsonCheckpointHandler(),
                },
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=ocp.checkpoint_managers.LatestN(keep),
                    read_only=read_only,
                    # A directory that has its final name is complete.
                    atomicity_options=ocp.options.AtomicityOptions(
                        mode=ocp.options.AtomicityMode.ATOMIC_RENAME
                    ),
                ),
            )
        except OSError as error:
            raise CheckpointError(
                f'cannot use {self.directory} for checkpoints: {_reason(error)}; choose a workdir '
                'that can be written.'
            ) from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps whose checkpoints are complete on disk, ascending."""
        if self._manager is None:
            return []
        return sorted(self._manager.all_steps(read=True))

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
            iterator_state: where the data iterator of this process stands.
            metadata: anything JSON can hold that should travel with the state, e.g. the config.
            wait: return only when the checkpoint is complete on disk.

        Returns:
            False if this step is there already (nothing is written then), else True.

        Raises:
            CheckpointError: this save or the one before failed (disk full, no permission); the
                checkpoints that were complete stay.
            ValueError: `step` is older than the newest checkpoint.
        """
        if self._read_only or self._manager is None:
            raise ValueError(f'{self.directory} was opened read-only, so nothing can be saved.')
        self.wait()
        latest = self.latest_step()
        if latest is not None and step <= latest:
            if step in self.steps():
                return False
            raise ValueError(
                f'cannot save step {step} in {self.directory}, which already holds step {latest}; '
                'move the newer checkpoints away to go on from an older one.'
            )
        ocp = _orbax()
        leaves, arrays = _to_host(state)
        body = {
            'format': FORMAT,
            'step': int(step),
            'leaves': leaves,
            'iterator_states': _all_processes(iterator_state),
            'metadata': {} if metadata is None else json.loads(json.dumps(metadata)),
        }
        with self._errors_of_saving():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeSave(arrays),
                    manifest=ocp.args.JsonSave({'body': body, 'crc32': _json_crc(body)}),
                ),
                force=True,  # when to save is the caller's business
            )
        if wait:
            self.wait()
        return True

    def restore(self, like_state: Any, step: int | None = None) -> Restored:
        """Reads a checkpoint back, bit-identical, PRNG keys included.

        Args:
            like_state: a pytree of the same structure, shapes and types: concrete arrays, whose
                devices the result gets, or `jax.ShapeDtypeStruct`.
            step: which checkpoint; None is the newest good one. Damaged ones newer than it are
                reported and moved to `workdir/checkpoints_damaged`, so that their steps can be
                saved again.

        Returns:
            `(state, iterator_state, step)`.

        Raises:
            CheckpointError: there is no checkpoint, none is good, the one asked for is damaged, a
                newer version of this program wrote it, or it holds another structure.
        """
        expected = _expected(like_state)
        steps = self.steps()
        if not steps:
            raise CheckpointError(f'there is no checkpoint in {self.directory}.')
        if step is not None:
            if step not in steps:
                raise CheckpointError(
                    f'there is no checkpoint of step {step} in {self.directory}; there are '
                    f'{", ".join(map(str, steps))}.'
                )
            steps = [step]
        damaged: list[tuple[int, str]] = []
        for candidate in reversed(steps):
            try:
                body = self._manifest(candidate)
                self._compare(candidate, body['leaves'], expected)
                arrays = self._arrays(candidate, body['leaves'])
            except _DamagedError as error:
                damaged.append((candidate, str(error)))
                continue
            for bad, why in damaged:
                self._warn(
                    f'the checkpoint {self.directory / str(bad)} is damaged ({why}); going on from '
                    f'step {candidate} instead.'
                )
            self._set_aside([bad for bad, _ in damaged])
            state = _to_devices(like_state, arrays)
            return Restored(state, self._own_iterator_state(candidate, body), candidate)
        if step is not None:
            raise CheckpointError(
                f'the checkpoint {self.directory / str(step)} is damaged ({damaged[0][1]}); choose '
                'another step.'
            )
        raise CheckpointError(
            f'none of the {len(damaged)} checkpoints in {self.directory} can be read (newest, step '
            f'{damaged[0][0]}: {damaged[0][1]}); restore them from a copy, or choose another '
            'workdir to start from step 0.'
        )

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """What was passed to `save` as metadata, of `step` or of the newest readable checkpoint.

        Raises:
            CheckpointError: no such checkpoint, or its manifest is damaged.
        """
        steps = self.steps() if step is None else [step]
        why = 'there is no checkpoint'
        for candidate in reversed(steps):
            try:
                return self._manifest(candidate)['metadata']
            except _DamagedError as error:
                why = str(error)
        raise CheckpointError(f'no metadata can be read from {self.directory}: {why}.')

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
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                with self._errors_of_saving():
                    manager.wait_until_finished()
            finally:
                manager.close()

    @contextlib.contextmanager
    def _errors_of_saving(self) -> Iterator[None]:
        """Turns whatever a save raises, now or in its thread, into a CheckpointError."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many types
            self._remove_unfinished()  # it must not fill the disk further
            if self._manager is not None:
                self._manager.reload()
            raise CheckpointError(
                f'could not save a checkpoint in {self.directory}: {_reason(error)}; free space or '
                'permit writing there and run the same command again (earlier checkpoints are '
                'intact).'
            ) from error

    def _remove_unfinished(self) -> None:
        if jax.process_index() == 0:
            for path in self.directory.glob('*.orbax-checkpoint-tmp*'):
                shutil.rmtree(path, ignore_errors=True)

    def _manifest(self, step: int) -> dict[str, Any]:
        """Reads and verifies the manifest of `step`.

        Raises:
            _DamagedError: it is not what was written.
            CheckpointError: a newer version of this program wrote it.
        """
        ocp = _orbax()
        try:
            args = ocp.args.Composite(manifest=ocp.args.JsonRestore())
            stored = self._manager.restore(step, args=args).manifest
            body, crc = stored['body'], stored['crc32']
            version = body['format']
        except Exception as error:  # whatever a broken file makes orbax raise
            raise _DamagedError(f'its manifest cannot be read: {_reason(error)}') from error
        if _json_crc(body) != crc:
            raise _DamagedError('its manifest does not match its checksum')
        if version > FORMAT:
            raise CheckpointError(
                f'the checkpoint {self.directory / str(step)} has format {version} and this '
                f'version of osgan_jax reads up to {FORMAT}; upgrade osgan_jax.'
            )
        return body

    def _arrays(self, step: int, leaves: dict[str, Any]) -> dict[str, np.ndarray]:
        """Reads the arrays of `step` and compares them with its manifest."""
        ocp = _orbax()
        stored = {name: leaf for name, leaf in leaves.items() if 0 not in leaf['stored_shape']}
        try:
            # Sizes are compared before memory is taken for them.
            with _abandoned_reads_are_silent():
                found = self._manager.item_metadata(step)['arrays'].tree
            for name, leaf in stored.items():
                if list(found[name].shape) != leaf['stored_shape']:
                    raise ValueError(f'{name} has another shape than its manifest says')
            args = ocp.args.PyTreeRestore(
                item={name: 0 for name in stored},
                restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in stored},
            )
            with _abandoned_reads_are_silent():
                restored = self._manager.restore(step, args=ocp.args.Composite(arrays=args))
            arrays = restored.arrays
        except Exception as error:  # whatever a broken file makes orbax or tensorstore raise
            raise _DamagedError(f'its arrays cannot be read: {_reason(error)}') from error
        for name, leaf in leaves.items():
            dtype = jax.numpy.dtype(leaf['stored_dtype'])
            array = arrays.setdefault(name, np.zeros(leaf['stored_shape'], dtype))
            if array.dtype != dtype or _crc(array) != leaf['crc32']:
                raise _DamagedError(f'{name} does not match its checksum')
        return arrays

    def _compare(
        self, step: int, stored: dict[str, Any], expected: dict[str, tuple[tuple[int, ...], str]]
    ) -> None:
        """Raises CheckpointError naming the first leaves that differ."""
        have = {name: (tuple(leaf['shape']), leaf['dtype']) for name, leaf in stored.items()}
        if have == expected:
            return
        differences = []
        for name in [*expected, *(name for name in have if name not in expected)]:
            a, b = _describe(have.get(name)), _describe(expected.get(name))
            if a != b:
                differences.append(f'{name} is {a} in the checkpoint and {b} here')
        more = len(differences) - _SHOWN
        raise CheckpointError(
            f'the checkpoint {self.directory / str(step)} holds another state: '
            f'{"; ".join(differences[:_SHOWN])}{f"; and {more} more" if more > 0 else ""}. Use the '
            'options it was trained with, or another workdir.'
        )

    def _own_iterator_state(self, step: int, body: dict[str, Any]) -> bytes:
        """The iterator state this process saved."""
        states = body['iterator_states']
        if len(states) != jax.process_count():
            # Reading a many-process run on one machine (to sample from it) is fine, going on with
            # its data is not: no state of one process describes the shards of another count.
            self._warn(
                f'the checkpoint {self.directory / str(step)} was written by {len(states)} '
                f'processes and this is a run of {jax.process_count()}: its data position is lost.'
            )
            return b''
        return base64.b64decode(states[jax.process_index()])

    def _set_aside(self, steps: list[int]) -> None:
        """Moves damaged checkpoints away, so that their steps can be written again."""
        if self._read_only or not steps:
            return
        if jax.process_index() == 0:
            try:
                for step in steps:
                    target = self.directory.parent / _DAMAGED / str(step)
                    target.parent.mkdir(exist_ok=True)
                    shutil.rmtree(target, ignore_errors=True)
                    os.replace(self.directory / str(step), target)
            except OSError as error:
                raise CheckpointError(
                    f'cannot move damaged checkpoints out of {self.directory}: {_reason(error)}; '
                    'permit writing there or remove them.'
                ) from error
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices('osgan_jax_checkpoints_set_aside')
        self._manager.reload()


_locked: set[str] = set()


@contextlib.contextmanager
def lock(workdir: str | os.PathLike[str]) -> Iterator[None]:
    """Holds `workdir` for this run; the operating system frees it however the process ends.

    In a multi-process run only one process takes it.

    Raises:
        CheckpointError: another run holds it, or the directory cannot be written.
    """
    path = pathlib.Path(workdir).absolute() / '.lock'
    key = os.path.realpath(path)
    if key in _locked:
        raise CheckpointError(f'{path.parent} is already in use by this process.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, 'a+')  # noqa: SIM115 (closed below: closing is what unlocks)
    except OSError as error:
        raise CheckpointError(
            f'cannot write in {path.parent}: {_reason(error)}; choose a workdir that can be '
            'written.'
        ) from error
    with file:
        try:
            # A record lock, not flock: forked data workers that outlive a killed run inherit the
            # latter and would keep the directory shut.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            raise CheckpointError(
                f'{path.parent} is in use by another run ({holder}); wait for it to end, stop it, '
                'or choose another workdir.'
            ) from error
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        _locked.add(key)
        try:
            yield
        finally:
            _locked.discard(key)


def _orbax() -> Any:
    """Imports orbax and keeps its running commentary off the screen."""
    import orbax.checkpoint as ocp
    from absl import logging

    logger = logging.get_absl_logger()
    if _not_from_orbax not in logger.filters:
        logger.addFilter(_not_from_orbax)
    return ocp


def _not_from_orbax(record: Any) -> bool:
    """Its failures reach the caller as exceptions; the log would only repeat them."""
    return f'{os.sep}orbax{os.sep}' not in record.pathname


@contextlib.contextmanager
def _abandoned_reads_are_silent() -> Iterator[None]:
    """Hides what the other reads say when one fails.

    Orbax reads all arrays at once on an event loop that it closes at the first failure; each read
    still under way then prints that the loop is closed, from a thread of tensorstore.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != 'Event loop is closed':
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    except Exception:
        time.sleep(0.05)  # they end within milliseconds, and cannot be waited for
        raise
    finally:
        sys.unraisablehook = before


def _absl_warning(message: str) -> None:
    from absl import logging

    logging.warning('%s', message)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/') or 'state'


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Flattens `tree` to a dict from leaf names like `params_g/Dense_0/kernel`."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(path)
        if name in named:
            raise ValueError(f'two leaves of the state are both called {name}; rename one.')
        named[name] = leaf
    return named


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, 'dtype') and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, 'dtype'):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def _expected(like_state: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: _shape_and_dtype(leaf) for name, leaf in _named_leaves(like_state).items()}


def _describe(shape_and_dtype: tuple[tuple[int, ...], str] | None) -> str:
    if shape_and_dtype is None:
        return 'absent'
    shape, dtype = shape_and_dtype
    return f'{dtype}[{", ".join(map(str, shape))}]'


def _to_host(state: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Copies a state to host memory that nobody else writes to.

    Returns:
        `(leaves, arrays)`: the manifest's entry and the values of each leaf by name. Empty arrays,
        which orbax refuses, are only in the manifest.
    """
    named = _named_leaves(state)
    data = {k: jax.random.key_data(v) if _is_key(v) else v for k, v in named.items()}
    for name, leaf in data.items():
        if not isinstance(leaf, jax.Array):
            continue
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            raise ValueError(f'{name} is split over processes; only replicated states are saved.')
        leaf.copy_to_host_async()  # all transfers run while the first is waited for
    # A plain conversion is a view of the device's own buffer on CPU, which a donation may overwrite
    # while the background thread still writes it out: copy.
    arrays = {name: np.array(leaf) for name, leaf in data.items()}
    leaves = {}
    for name, array in arrays.items():
        shape, dtype = _shape_and_dtype(named[name])
        leaves[name] = {
            'shape': list(shape),
            'dtype': dtype,
            'stored_shape': list(array.shape),
            'stored_dtype': str(array.dtype),
            'crc32': _crc(array),
        }
    return leaves, {name: array for name, array in arrays.items() if array.size}


def _to_devices(like_state: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Puts host arrays where the leaves of `like_state` are, in its structure."""

    def put(path: tuple[Any, ...], like: Any) -> Any:
        value: Any = arrays[_name(path)]
        if isinstance(like, np.ndarray | np.generic):
            return value
        if not hasattr(like, 'dtype'):
            return type(like)(value.item())
        if _is_key(like):
            value = jax.random.wrap_key_data(value, impl=_key_impl(like))
        # Uncommitted arrays stay so: pinned to device 0 they could not enter a computation over
        # several devices.
        committed = getattr(like, 'committed', True)
        sharding = getattr(like, 'sharding', None) if committed else None
        return jax.device_put(value, sharding, may_alias=False)

    return jax.tree_util.tree_map_with_path(put, like_state)


def _key_impl(like: Any) -> Any:
    """The generator of a typed key or of a ShapeDtypeStruct of one."""
    if isinstance(like, jax.ShapeDtypeStruct):
        return like.dtype._impl.name  # no public accessor takes an abstract key
    return jax.random.key_impl(like)


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _json_crc(body: Any) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _all_processes(own: bytes) -> list[str]:
    """Base64 of every process's bytes, in process order."""
    if jax.process_count() == 1:
        return [base64.b64encode(own).decode()]
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.int32(len(own)))
    padded = np.zeros(int(np.max(sizes)), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [
        base64.b64encode(row[:n].tobytes()).decode() for row, n in zip(rows, sizes, strict=True)
    ]


def _reason(error: BaseException) -> str:
    """What happened, in a few words, from the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    for code in _DISK_ERRORS:  # buried in tensorstore's half page of context
        if os.strerror(code) in text or getattr(error, 'errno', None) == code:
            return os.strerror(code)
    lines = text.strip().splitlines()
    first = lines[0].rstrip('.') if lines else type(error).__name__
    return first if len(first) <= 200 else first[:197] + '...'
