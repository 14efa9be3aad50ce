"""Exported networks: files of weights that others read, and the description that a run needs.

An export is a folder. `export.json` says what it is (`FORMAT`), holds the run's configuration and
facts, and names its files with their checksums. Weights are arrays by path, such as
`params/Dense_0/kernel`.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from osgan_jax.engine import runs
from osgan_jax.io import atomic, messages, weights

FORMATS = ('safetensors', 'npz')
GENERATOR = 'generator'
DESCRIPTION = 'export.json'
FORMAT = 'osgan_jax export 1'

_MOST_BYTES = 1 << 24


def flatten(variables: Any) -> dict[str, Any]:
    """The leaves of nested dicts by path."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def write_weights(path: pathlib.Path, variables: Any) -> None:
    """Writes variables to an .npz or .safetensors file, whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    arrays = {name: np.array(leaf, order='C') for name, leaf in flatten(variables).items()}
    with atomic.replacing(path) as file:
        if path.suffix == '.npz':
            np.savez(file, **arrays)
        else:
            import safetensors.numpy

            file.write(safetensors.numpy.save(arrays))


def is_export(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an export."""
    return (pathlib.Path(folder) / DESCRIPTION).is_file()


def describe(run: runs.Run) -> dict[str, Any]:
    """What an export says of its run; `read` needs it."""
    return {'format': FORMAT, 'run': runs.to_json(run)}


def digest(path: pathlib.Path) -> str:
    """The sha256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def read_description(
    folder: str | os.PathLike[str], *kinds: type[Any]
) -> tuple[runs.Run, Mapping[str, Any]]:
    """The run of an export, and all that its description says.

    Args:
      folder: the export.
      *kinds: the classes that the run's configuration may be of.

    Raises:
      ValueError: the description is damaged, or of another version, or the run is of another kind.
    """
    path = pathlib.Path(folder) / DESCRIPTION
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError('it is larger than any description')
        body = json.loads(path.read_bytes())
        if body['format'] != FORMAT:
            raise ValueError(f'its format is {messages.quote(body["format"])}, expected {FORMAT!r}')
        if type(body['step']) is not int or not isinstance(body['files'], dict):
            raise ValueError('step or files are not what they should be')
        return runs.from_json(body['run'], folder, *kinds), body
    except runs.OtherKindError:
        raise
    except runs.DAMAGE as error:
        raise ValueError(
            f'{messages.printable(path)} cannot be used ({messages.reason(error)}): export again'
        ) from None


def read(folder: str | os.PathLike[str], description: Mapping[str, Any], like: Any) -> Any:
    """The variables of an exported generator, to the bit.

    Args:
      folder: the export.
      description: of `read_description`.
      like: variables of arrays or `jax.ShapeDtypeStruct`, whose names, shapes and types those in
        the file must have.

    Raises:
      FileNotFoundError: the file is not there.
      ValueError: the export holds no weights; the file is damaged or holds other arrays.
    """
    names = [f'{GENERATOR}.{ending}' for ending in FORMATS]
    name = next((name for name in names if name in description['files']), None)
    if name is None:
        raise ValueError(
            f'{messages.printable(folder)} holds a compiled generator and no weights: call it as '
            'its README.txt says, or export with --format=safetensors'
        )
    path = pathlib.Path(folder) / name
    weights.verify(path, str(description['files'][name]))
    arrays = weights.read(path)
    want = {key: (leaf.shape, str(leaf.dtype)) for key, leaf in flatten(like).items()}
    have = {key: (array.shape, str(array.dtype)) for key, array in arrays.items()}
    if have != want:
        wrong = sorted(key for key in {*have, *want} if have.get(key) != want.get(key))
        raise ValueError(
            f'{messages.printable(path)} does not hold the weights of its configuration: they '
            f'differ in {messages.shorten([messages.quote(key) for key in wrong])}'
        )
    return jax.tree_util.tree_map_with_path(
        lambda key, _: jax.numpy.asarray(arrays[_name(key)]), like
    )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')
