"""Where things are kept that cost time to make and can be made again."""

import hashlib
import os
import pathlib
import platform

import jax

# Shorter compilations are not worth a file.
_LEAST_SECONDS = 0.5


def default_dir() -> pathlib.Path:
    """The user's cache: `$OSGAN_JAX_CACHE`, or `osgan_jax` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if path := os.environ.get('OSGAN_JAX_CACHE'):
        return pathlib.Path(path).expanduser()
    base = os.environ.get('XDG_CACHE_HOME')
    return (pathlib.Path(base) if base else pathlib.Path.home() / '.cache') / 'osgan_jax'


def keep_compiled(directory: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """Lets jax keep compiled programs in a directory and find them there in later runs.

    A program found there is the one that was compiled: results stay the same to the bit. Call it
    before jax compiles anything.

    Args:
      directory: created; by default in the user's cache.

    Returns:
      The directory, in which each kind of processor has its own; None where it cannot be written.
    """
    path = pathlib.Path(directory) if directory else default_dir() / 'compiled'
    # Programs for a CPU hold its own instructions, and home directories are shared.
    path = path / _processor()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(path, os.W_OK):
        return None
    jax.config.update('jax_compilation_cache_dir', str(path))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _LEAST_SECONDS)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    return path


def _processor() -> str:
    text = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        text += next(line for line in lines if line.startswith(('flags', 'Features')))
    except (OSError, StopIteration):
        pass  # not Linux: what Python says of the machine must do
    return hashlib.sha256(text.encode()).hexdigest()[:12]
