"""Reading one checkpoint without trusting it.

A checkpoint may be damaged, or come from a stranger. Nothing in it is followed out of its own
directory, and what it claims is held against what lies there before memory is taken for it.
"""

import json
import math
import os
import pathlib
import stat
from typing import Any

import jax
import numpy as np

from osgan_jax.engine.checkpoints import errors, leaves, manifest, quiet_orbax

ARRAYS, MANIFEST = 'arrays', 'manifest'
"""The two items of a checkpoint, directories of it."""

MANIFEST_FILE = 'metadata'
"""The only file of the manifest's directory that is read."""

# Descriptions, all JSON: a large network's have less than one MB.
_DESCRIPTIONS = (MANIFEST_FILE, '_METADATA', '_CHECKPOINT_METADATA')
_MOST_TEXT = 1 << 25  # bytes

# The file of an older layout, msgpack: orbax reads it wherever it lies, whatever else is there.
_AGGREGATE = 'checkpoint'

# Arrays lie compressed. Half of a state may be zeros, such as moments before the first step; a file
# that unpacks to more than this many times its size is a bomb.
_MOST_EXPANSION = 100
_SMALL = 1 << 26  # bytes a checkpoint of any size may unpack to


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """Reads and verifies a checkpoint's manifest.

    Args:
        directory: the checkpoint, `checkpoints/<step>`.

    Returns:
        Its body, see `manifest.build`.

    Raises:
        DamagedError: it is not what was written, or the directory is not one that a save leaves.
        CheckpointError: a newer version of this program wrote it, or it cannot be read just now.
    """
    _size(directory)
    try:
        text = (directory / MANIFEST / MANIFEST_FILE).read_bytes()
        stored = json.loads(text, object_pairs_hook=_unique)
    except FileNotFoundError as error:
        raise errors.DamagedError('its manifest is missing') from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _unread(directory, 'its manifest cannot be read', error) from error
    try:
        body = manifest.verify(stored)
    except errors.CheckpointError as error:
        raise errors.CheckpointError(f'the checkpoint {directory} {error}.') from error
    if str(body['step']) != directory.name:
        raise errors.DamagedError(f'it is that of step {body["step"]}, renamed')
    return body


def read_arrays(
    manager: Any, directory: pathlib.Path, described: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Reads a checkpoint's arrays and compares them with its manifest.

    Args:
        manager: orbax's, of all checkpoints.
        directory: the checkpoint, `checkpoints/<step>`.
        described: the leaves of its manifest.

    Returns:
        Arrays by leaf name, see `leaves.to_host`.

    Raises:
        DamagedError: they cannot be read, are not those of the manifest, or claim what the files
            cannot hold.
        CheckpointError: they cannot be read just now.
    """
    ocp = quiet_orbax.load()
    step = int(directory.name)
    stored = {name: leaf for name, leaf in described.items() if 0 not in leaf['stored_shape']}
    args = ocp.args.PyTreeRestore(
        item={name: 0 for name in stored},
        restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in stored},
    )
    try:
        found = manager.item_metadata(step)[ARRAYS].tree
        _check_claims(found, stored, _size(directory))
        restored = manager.restore(step, args=ocp.args.Composite(**{ARRAYS: args}))[ARRAYS]
        empty = {
            name: np.zeros(leaf['stored_shape'], jax.numpy.dtype(leaf['stored_dtype']))
            for name, leaf in described.items()
            if name not in stored
        }
    # Of jax: another process is gone, or a device is full.
    except (errors.DamagedError, errors.CheckpointError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # whatever a broken file makes orbax or tensorstore raise
        raise _unread(directory, 'its arrays cannot be read', error) from error
    arrays = {**restored, **empty}
    for name, leaf in described.items():
        array = arrays[name]
        if str(array.dtype) != leaf['stored_dtype'] or leaves.crc(array) != leaf['crc32']:
            raise errors.DamagedError(f'{name} does not match its checksum')
    return arrays


def _size(directory: pathlib.Path) -> int:
    """The bytes of a checkpoint's files, after a look at what they are."""
    if directory.is_symlink() or not directory.is_dir():
        raise errors.DamagedError('it is no directory')
    total = 0
    try:
        for folder, folders, files in os.walk(directory, onerror=_raise):
            for name in (*folders, *files):
                info = os.lstat(os.path.join(folder, name))
                if name == _AGGREGATE:
                    raise errors.DamagedError(f"{name!a} in it is none of a save's files")
                if stat.S_ISREG(info.st_mode):
                    total += info.st_size
                elif not stat.S_ISDIR(info.st_mode):
                    # A link leads elsewhere; a pipe would be waited for.
                    raise errors.DamagedError(f'{name[:100]!a} in it is no file')
                if name in _DESCRIPTIONS and info.st_size > _MOST_TEXT:
                    raise errors.DamagedError(
                        f'{name} in it has {info.st_size} bytes, more than any save writes'
                    )
    except OSError as error:
        raise _unread(directory, 'its files cannot be listed', error) from error
    return total


def _unread(directory: pathlib.Path, what: str, error: Exception) -> Exception:
    """What to raise where reading failed: a checkpoint that may be good is not passed over."""
    if errors.is_passing(error):
        return errors.CheckpointError(
            f'the checkpoint {directory} cannot be read just now ({errors.reason(error)}): it may '
            'be good; permit reading it, or free memory, and run the same command again.'
        )
    return errors.DamagedError(f'{what}: {errors.reason(error)}')


def _check_claims(found: dict[str, Any], stored: dict[str, Any], size: int) -> None:
    """Holds what the stored arrays say of themselves against manifest and size of the files."""
    claimed = 0
    for name, leaf in stored.items():
        shape, dtype = tuple(found[name].shape), jax.numpy.dtype(found[name].dtype)
        if list(shape) != leaf['stored_shape'] or str(dtype) != leaf['stored_dtype']:
            raise errors.DamagedError(f'{name} has another shape or type than its manifest says')
        # A chunk is unpacked as a whole, however little of it is within the array.
        chunk = found[name].storage.chunk_shape
        if len(chunk) != len(shape) or any(c > n for c, n in zip(chunk, shape, strict=True)):
            raise errors.DamagedError(f'{name} is stored in chunks larger than itself')
        claimed += math.prod(shape) * dtype.itemsize
    if claimed > max(_MOST_EXPANSION * size, _SMALL):
        raise errors.DamagedError(
            f'its {size} bytes would unpack to {claimed}, which no state does'
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object, of which a name may occur once."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('it has a name twice')
    return found


def _raise(error: OSError) -> None:
    raise error
