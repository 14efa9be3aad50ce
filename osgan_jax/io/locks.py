"""Locks between processes, as far as the operating system and the file system have any."""

import contextlib
import os
import pathlib

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def take(path: str | os.PathLike[str], *, wait: bool = True) -> contextlib.ExitStack:
    """Locks a file, until the result is closed or the process ends.

    Where locks are not available, as on some file systems, work goes on without one.

    Args:
      path: the file, which is created, and its directory too; it is for the lock alone.
      wait: whether to wait for a process that holds the lock.

    Returns:
      A context, which releases the lock at its end or by its `close`.

    Raises:
      BlockingIOError: another process holds the lock, and `wait` is false.
    """
    held = contextlib.ExitStack()
    if fcntl is None:
        return held
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError:
        return held  # what is written beside it fails likewise, and says why
    held.callback(os.close, file)  # this unlocks
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        held.close()
        if not wait:
            raise BlockingIOError(f'another process holds {path}') from None
    except OSError:
        held.close()
    return held
