"""Writing a file so that a reader, or a kill, never finds half of one."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` that takes its place on success.

    On an exception the old file stays as it was and the temporary one is removed.

    Args:
      path: the file to write; its directory is created.

    Yields:
      A binary file to write to.

    Raises:
      OSError: it cannot be written there; the error names `path`.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(_temporary(path.name, secrets.token_hex(8)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile, whose files are private: the mode is that of any new file.
        file = open(temporary, 'xb')  # noqa: SIM115 (closed below)
    except OSError as error:
        # Nobody asked for the temporary file, or for a part of the path.
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with file:
            yield file
            # Or a machine that loses its power may have the new name with nothing in it.
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `replacing(path)` that a kill left.

    Args:
      path: its last part may be a pattern, as `step_*.png`.
    """
    path = pathlib.Path(path)
    for temporary in path.parent.glob(_temporary(path.name, '*')):
        temporary.unlink(missing_ok=True)


def _temporary(name: str, unique: str) -> str:
    """The name of a temporary file that takes the place of `name`."""
    return f'.{name}.{unique}.tmp'
