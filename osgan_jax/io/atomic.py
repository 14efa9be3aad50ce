"""Writing a file so that a reader, or a kill, never finds half of one."""

import contextlib
import os
import pathlib
import tempfile
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
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
    except OSError as error:
        # Nobody asked for the temporary file, or for a part of the path.
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, 'wb') as file:
            yield file
            # Or a machine that loses its power may have the new name with nothing in it.
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; give this one what open() would have given it.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `replacing(path)` that a kill left.

    Args:
      path: its last part may be a pattern, as `step_*.png`.
    """
    path = pathlib.Path(path)
    for temporary in path.parent.glob(f'.{path.name}.*.tmp'):
        temporary.unlink(missing_ok=True)
