"""Paths as people write them, and the user's cache."""

import os
import pathlib
import re

from osgan_jax.io import packaged

# Two letters and more: C:/ is a drive of Windows.
_URL = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:/')
_VARIABLE = re.compile(r'\$(\w+|\{[^}]*\})')


def expand(path: str | os.PathLike[str], *, pretrained: bool = False) -> str:
    """Returns a path with `~` and `$VAR` expanded, as a shell would.

    That is also done in `--flag=~/a`, which shells leave alone.

    Args:
      path: as it was written.
      pretrained: whether `pretrained:NAME` is taken, as the folder of that model.

    Raises:
      ValueError: the path is a URL, or names a variable, a user or a model that does not exist, or
        a model where none is taken.
    """
    path = os.fspath(path)
    if packaged.is_named(path):
        name = path.removeprefix(packaged.PREFIX)
        if not pretrained:
            raise ValueError(
                f'{path} is a model of this package, not a folder: --pretrained={name} reads it '
                'in place of a --workdir; to write, give a folder'
            )
        return os.fspath(packaged.folder(name))
    if _URL.match(path):
        scheme, _, rest = path.partition(':')
        if scheme.lower() == 'file':
            raise ValueError(f'{path} is a URL: write it as a path, /{rest.lstrip("/")}')
        raise ValueError(
            f'{path} is a URL, but runs and data must be in local or mounted folders: mount the '
            'bucket or copy it, and give its path'
        )
    # A path that is there as it is written is meant as it is written.
    if os.path.lexists(path):
        return path
    found = os.path.expandvars(os.path.expanduser(path))
    if missing := _VARIABLE.search(found):
        raise ValueError(f'{path}: the variable {missing[0]} is not set')
    if path.startswith('~') and found.startswith('~') and len(path.split('/')[0]) > 1:
        raise ValueError(f'{path}: there is no user {path.split("/")[0][1:]}')
    return found


def cache_dir() -> pathlib.Path:
    """The folder for what can be made again; it may not exist yet.

    That is `$OSGAN_JAX_CACHE`, or `osgan_jax` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    if path := os.environ.get('OSGAN_JAX_CACHE'):
        return pathlib.Path(expand(path))
    base = os.environ.get('XDG_CACHE_HOME')
    return pathlib.Path(expand(base or '~/.cache')) / 'osgan_jax'
