"""The user's cache."""

import os
import pathlib


def cache_dir() -> pathlib.Path:
    """The folder for what can be made again; it may not exist yet.

    That is `$OSGAN_JAX_CACHE`, or `osgan_jax` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    if path := os.environ.get('OSGAN_JAX_CACHE'):
        return pathlib.Path(path).expanduser()
    base = os.environ.get('XDG_CACHE_HOME')
    return (pathlib.Path(base) if base else pathlib.Path.home() / '.cache') / 'osgan_jax'
