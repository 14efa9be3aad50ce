"""Errors of checkpoints, in sentences for a person."""

import errno
import os

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
# Errors that say nothing of a file's content and may be gone the next time.
_PASSING = (
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
)


class CheckpointError(RuntimeError):
    """Saving or restoring is impossible; the message is one sentence for a person."""


class DamagedError(Exception):
    """One checkpoint cannot be trusted; another may be."""


def is_passing(error: BaseException) -> bool:
    """Whether reading failed for a reason outside of the file: no permission, no memory."""
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or getattr(error, 'errno', None) in _PASSING:
            return True
        # Buried in tensorstore's half page of context.
        if any(os.strerror(code) in text for code in _PASSING):
            return True
        error = error.__cause__
    return False


def reason(error: BaseException) -> str:
    """The innermost cause in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, KeyError):
        return f'{error} is missing'
    text = str(error)
    for code in _DISK_ERRORS:  # buried in tensorstore's half page of context
        if os.strerror(code) in text or getattr(error, 'errno', None) == code:
            return os.strerror(code)
    lines = text.strip().splitlines()
    first = lines[0].rstrip('.') if lines else type(error).__name__
    return first if len(first) <= 160 else first[:157] + '...'
