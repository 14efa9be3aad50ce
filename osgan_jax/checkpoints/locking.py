"""One run in one directory."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from osgan_jax.checkpoints import errors

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
        raise errors.CheckpointError(f'{path.parent} is already in use by this process.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, 'a+')  # noqa: SIM115 (closed below: closing is what unlocks)
    except OSError as error:
        raise errors.CheckpointError(
            f'cannot write in {path.parent}: {errors.reason(error)}; choose a workdir that can be '
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
            raise errors.CheckpointError(
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
