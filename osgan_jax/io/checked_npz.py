"""Files of arrays that are checked whenever they are read.

One file is an .npz: the arrays, and under the name `about` a JSON text with what the file is, its
format, what its writer says of it, and a checksum over all of this. Nothing is ever unpickled.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from osgan_jax.io import atomic, checks, npz
from osgan_jax.io.messages import printable, reason

T = TypeVar('T')

_ABOUT = 'about'


def write(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    about: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Writes a file in one piece: an interruption leaves the old one, or none.

    Args:
      path: the file; its folder is created.
      kind: its content in words, such as 'statistics of real images'.
      version: of the content's layout; a reader refuses any other.
      about: anything JSON can hold.
      arrays: by name; none may be called 'about'.

    Raises:
      OSError: it cannot be written there.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    header = {'kind': kind, 'version': version, 'about': dict(about)}
    text = json.dumps({**header, 'sha256': digest_named(header, arrays)})
    with atomic.replacing(path) as file:
        np.savez(file, **{_ABOUT: np.frombuffer(text.encode(), np.uint8)}, **arrays)


def read(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write` wrote.

    Args:
      path: the file.
      kind: as it must have been written.
      version: likewise.

    Returns:
      `(about, arrays)`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, holds something else, or has another version.
    """
    name = printable(path)
    try:
        with open(path, 'rb') as file:
            arrays = npz.read(file, os.fstat(file.fileno()).st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f'no file {name}') from None
    except PermissionError as error:
        raise ValueError(f'{name} cannot be read: {reason(error)}') from None
    except checks.DAMAGE as error:
        raise ValueError(f'{name} is damaged, or not an .npz file: {reason(error)}') from None
    try:
        header = json.loads(arrays.pop(_ABOUT).tobytes())
        expected = header.pop('sha256')
        found_kind, found_version, about = header['kind'], header['version'], header['about']
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(
            f'{name} was not written by osgan_jax: expected the {kind}, found an .npz file without '
            'a description that can be read'
        ) from None
    if found_kind != kind:
        raise ValueError(f'{name} holds the {found_kind}; expected the {kind}')
    if found_version != version:
        what = 'a newer' if str(found_version) > str(version) else 'another'
        raise ValueError(
            f'{name} was written by {what} version of osgan_jax: it has format {found_version}, '
            f'this version reads format {version}'
        )
    if digest_named(header, arrays) != expected:
        raise ValueError(f'{name} is damaged: its content does not match its checksum')
    return about, arrays


def reuse(
    path: str | os.PathLike[str],
    *,
    load: Callable[[], T],
    build: Callable[[], T],
    save: Callable[[T], None],
    warn: Callable[[str], None] | None = None,
) -> T:
    """Returns the content of a file if it can be used; else builds it and writes the file.

    Several processes may do so at once: files are written whole, and the first one stays.

    Args:
      path: the file, for messages.
      load: reads it; FileNotFoundError where there is none, ValueError or OSError where it cannot
        be used.
      build: makes its content anew.
      save: writes it; OSError where that is impossible.
      warn: called with a sentence about a file that was passed over or could not be written; by
        default they go to standard error.
    """
    warn = to_stderr if warn is None else warn
    try:
        return load()
    except FileNotFoundError:
        pass
    except (ValueError, OSError) as error:
        warn(f'{reason(error)}; computing it again.')
    value = build()
    with contextlib.suppress(ValueError, OSError):
        # Another process may have been faster. All of them go on with what is in the file, even
        # where two devices build it a little differently.
        return load()
    try:
        save(value)
    except OSError as error:
        warn(
            f'cannot write {printable(path)} ({reason(error)}), so that it will be '
            'computed again next time; choose a cache folder that can be written.'
        )
    return value


def to_stderr(message: str) -> None:
    """Prints a warning."""
    print(f'warning: {message}', file=sys.stderr, flush=True)


class Blocks(NamedTuple):
    """An array for `digest` that is not in memory as a whole: its blocks of rows, in order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]


def digest(*parts: Any) -> str:
    """Returns the sha256, hexadecimal, of arrays (dtype, shape and bytes) and of JSON values."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = Blocks(part.shape, part.dtype, [part])
        if isinstance(part, Blocks):
            # Bytes alone do not tell arrays of other shapes or types apart.
            total.update(f'{part.dtype.str}{part.shape}'.encode())
            for block in part.blocks:
                total.update(
                    memoryview(np.ascontiguousarray(block)).cast('B') if block.size else b''
                )
        else:
            total.update(json.dumps(part, sort_keys=True).encode() + b'\n')
    return total.hexdigest()


def digest_named(about: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the sha256, hexadecimal, of a JSON value and of arrays with their names."""
    return digest(about, *(part for name in sorted(arrays) for part in (name, arrays[name])))
