"""Where this package keeps what it prepares, and how it writes there."""

import contextlib
import os
import pathlib
import tempfile


def cache_dir() -> pathlib.Path:
    """Returns the folder for prepared data: `$OSGAN_JAX_DATA`, or one in the user's cache.

    That is `$XDG_CACHE_HOME/osgan_jax`, by default `~/.cache/osgan_jax`. It may not exist yet.
    """
    chosen = os.environ.get('OSGAN_JAX_DATA')
    if chosen:
        return pathlib.Path(chosen).expanduser()
    base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return pathlib.Path(base) / 'osgan_jax'


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, meets the old content or the new one whole.

    Raises:
      OSError: the folder cannot be written to, or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix='.tmp')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def printable(path: str | os.PathLike) -> str:
    """Returns a path, or any text, as any terminal or log accepts it, whatever it holds."""
    text = os.fsdecode(path)
    return ''.join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # A byte of a file name that is no text becomes a lone surrogate in Python.
    byte = ord(char) - 0xDC00
    return f'\\x{byte:02x}' if 0x80 <= byte <= 0xFF else repr(char)[1:-1]
