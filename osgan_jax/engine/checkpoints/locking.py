"""One run in one directory."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

from osgan_jax.engine.checkpoints import errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_MAX_HOLDER = 200  # bytes that name the holder

_locked: set[str] = set()


@contextlib.contextmanager
def lock(workdir: str | os.PathLike[str], *, can_go_without: bool = False) -> Iterator[None]:
    """Holds `workdir` for this run; the operating system frees it however the process ends.

    In a multi-process run only one process takes it. Runs of several machines see each other's
    locks where the file system keeps them for all: NFS 4, Lustre mounted with `flock`, GPFS.

    Args:
      workdir: the directory, created.
      can_go_without: whether whoever asks has `--nolock`, which a refusal may name.

    Raises:
      CheckpointError: another run holds it, the directory cannot be written, or its file system or
        the operating system keeps no locks.
    """
    otherwise = ', or give --nolock and use it for one run at a time' if can_go_without else ''
    if fcntl is None:
        raise errors.CheckpointError(
            f'cannot lock {workdir}: this operating system has no record locks, which keep two '
            f'runs from overwriting each other: choose another machine{otherwise}.'
        )
    path = pathlib.Path(workdir).absolute() / '.lock'
    key = os.path.realpath(path)
    if key in _locked:
        raise errors.CheckpointError(f'{path.parent} is already in use by this process.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link: in a stranger's directory it could have any file emptied below.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise errors.CheckpointError(
            f'cannot write in {path.parent}: {errors.reason(error)}; choose a workdir that can be '
            'written.'
        ) from error
    try:
        _take(file, path.parent, otherwise)
        # Only for the message to a second run: a full disk must not matter.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        _locked.add(key)
        try:
            yield
        finally:
            _locked.discard(key)
    finally:
        os.close(file)  # this unlocks


def _take(file: int, directory: pathlib.Path, otherwise: str) -> None:
    try:
        # A record lock, not flock: forked data workers that outlive a killed run inherit the
        # latter and would keep the directory shut.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = ''
        with contextlib.suppress(OSError):
            holder = os.read(file, _MAX_HOLDER).decode(errors='replace')
        holder = ''.join(c for c in ' '.join(holder.split()) if c.isprintable())
        raise errors.CheckpointError(
            f'{directory} is in use by another run ({holder or "another process"}); wait for it to '
            'end, stop it, or choose another workdir.'
        ) from error
    except OSError as error:
        raise errors.CheckpointError(
            f'cannot lock {directory}: {errors.reason(error)}; its file system does not support '
            'locks, which keep two runs from overwriting each other: choose a workdir on '
            f'another file system{otherwise}.'
        ) from error
