"""Exported networks: files of weights that others read, and the description that a run needs.

An export is a folder. `export.json` says what it is (`FORMAT`), holds the run's configuration and
facts, and names its files with their checksums. Weights are arrays by path, such as
`params/Dense_0/kernel`.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from osgan_jax.engine import checkpoints, runs
from osgan_jax.io import atomic, messages, weights

FORMATS = ('safetensors', 'npz')
GENERATOR, DISCRIMINATOR = 'generator', 'discriminator'
DESCRIPTION = 'export.json'
FORMAT = 'osgan_jax export 1'

_MOST_BYTES = 1 << 24

_R = TypeVar('_R')


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
    return _described(folder, lambda run: runs.from_json(run, folder, *kinds))


def peek(
    folder: str | os.PathLike[str],
) -> tuple[tuple[dict[str, Any], tuple[str, ...]], Mapping[str, Any]]:
    """As `osgan_jax.engine.runs.peek`, of an export, and all that its description says.

    Raises:
      ValueError: the description is damaged, or of another version.
    """
    return _described(folder, runs.contents)


def _described(
    folder: str | os.PathLike[str], read_run: Callable[[Any], _R]
) -> tuple[_R, Mapping[str, Any]]:
    path = pathlib.Path(folder) / DESCRIPTION
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError('it is larger than any description')
        body = json.loads(path.read_bytes())
        if body['format'] != FORMAT:
            raise ValueError(f'its format is {messages.quote(body["format"])}, expected {FORMAT!r}')
        if type(body['step']) is not int or not isinstance(body['files'], dict):
            raise ValueError('step or files are not what they should be')
        return read_run(body['run']), body
    except runs.OtherKindError:
        raise
    except runs.DAMAGE as error:
        raise ValueError(
            f'{messages.printable(path)} cannot be used ({messages.reason(error)}): export again'
        ) from None


def read(
    folder: str | os.PathLike[str],
    description: Mapping[str, Any],
    like: Any,
    network: str = GENERATOR,
) -> Any:
    """The variables of an exported network, to the bit.

    Args:
      folder: the export.
      description: of `read_description`.
      like: variables of arrays or `jax.ShapeDtypeStruct`, whose names, shapes and types those in
        the file must have.
      network: `GENERATOR` or `DISCRIMINATOR`.

    Raises:
      FileNotFoundError: the file is not there.
      ValueError: the export does not hold the weights; the file is damaged or holds other arrays.
    """
    path, arrays = _arrays(folder, description, network)
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


def stored(folder: str | os.PathLike[str], description: Mapping[str, Any]) -> checkpoints.Stored:
    """The networks of an export as a checkpoint has them, by the names of a state's leaves.

    Args:
      folder: the export.
      description: of `read_description`.

    Returns:
      G, and D where the export has it: no optimisers, and no average beside G's weights, which may
      be averages themselves.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: the export holds no weights, or a file is damaged.
    """
    found = {}
    for network in (GENERATOR, DISCRIMINATOR):
        if network == GENERATOR or _file(description, network):
            letter = network[0]
            for name, array in _arrays(folder, description, network)[1].items():
                kind, _, rest = name.partition('/')
                own = f'params_{letter}/{rest}' if kind == 'params' else f'stats_{letter}/{name}'
                found[own] = array
    described = {
        name: {'shape': list(array.shape), 'dtype': str(array.dtype)}
        for name, array in found.items()
    }
    return checkpoints.Stored(description['step'], found, described, b'', {})


def _file(description: Mapping[str, Any], network: str) -> str | None:
    """The name of the file with a network's weights; None without."""
    names = [f'{network}.{ending}' for ending in FORMATS]
    return next((name for name in names if name in description['files']), None)


def _arrays(
    folder: str | os.PathLike[str], description: Mapping[str, Any], network: str
) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
    """The file with a network's weights, and its arrays by name."""
    name = _file(description, network)
    if name is None and _file(description, GENERATOR):
        raise ValueError(
            f'{messages.printable(folder)} is an export without its {network}: export again with '
            f'--{network}'
        )
    if name is None:
        raise ValueError(
            f'{messages.printable(folder)} holds a compiled generator and no weights: call it as '
            'its README.txt says, or export with --format=safetensors'
        )
    path = pathlib.Path(folder) / name
    weights.verify(path, str(description['files'][name]))
    return path, weights.read(path)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')
