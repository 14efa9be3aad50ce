"""Reading one checkpoint, which may be damaged.

Damage is told by checksums. Nothing in a checkpoint is executed or leads out of its directory.
"""

import json
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


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """Reads and verifies a checkpoint's manifest.

    Args:
      directory: the checkpoint, `checkpoints/<step>`.

    Returns:
      Its body, see `manifest.build`.

    Raises:
      DamagedError: it is not what was written, or the directory holds links or pipes.
      CheckpointError: a newer version of this program wrote it, or it cannot be read just now.
    """
    _check_files(directory)
    try:
        stored = json.loads((directory / MANIFEST / MANIFEST_FILE).read_bytes())
    except FileNotFoundError as error:
        raise errors.DamagedError('its manifest is missing') from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _unread(directory, 'its manifest cannot be read', error) from error
    try:
        body = manifest.verify(stored)
    except errors.CheckpointError as error:
        raise errors.CheckpointError(f'the checkpoint {directory} {error}.') from error
    if str(body['step']) != directory.name:
        raise errors.DamagedError(f'it belongs to step {body["step"]} and was renamed')
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
      DamagedError: they cannot be read, or are not those of the manifest.
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
        restored = manager.restore(step, args=ocp.args.Composite(**{ARRAYS: args}))[ARRAYS]
        empty = {
            name: np.zeros(leaf['stored_shape'], jax.numpy.dtype(leaf['stored_dtype']))
            for name, leaf in described.items()
            if name not in stored
        }
    # Of jax: another process is gone, or a device is full.
    except jax.errors.JaxRuntimeError:
        raise
    except Exception as error:  # whatever a broken file makes orbax or tensorstore raise
        raise _unread(directory, 'its arrays cannot be read', error) from error
    arrays = {**restored, **empty}
    for name, leaf in described.items():
        array = arrays[name]
        if (list(array.shape), str(array.dtype)) != (leaf['stored_shape'], leaf['stored_dtype']):
            raise errors.DamagedError(f'{name} has another shape or type than its manifest says')
        if leaves.crc(array) != leaf['crc32']:
            raise errors.DamagedError(f'{name} does not match its checksum')
    return arrays


def _check_files(directory: pathlib.Path) -> None:
    """Raises DamagedError unless a checkpoint consists of directories and files alone."""
    if directory.is_symlink() or not directory.is_dir():
        raise errors.DamagedError('it is not a directory')
    try:
        for folder, folders, files in os.walk(directory, onerror=_raise):
            for name in (*folders, *files):
                mode = os.lstat(os.path.join(folder, name)).st_mode
                # A link leads elsewhere; a pipe would be waited for.
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise errors.DamagedError(f'{name[:100]!a} in it is not a file')
    except OSError as error:
        raise _unread(directory, 'its files cannot be listed', error) from error


def _unread(directory: pathlib.Path, what: str, error: Exception) -> Exception:
    """The error to raise where reading failed: a checkpoint that may be good is not passed over."""
    if errors.is_passing(error):
        return errors.CheckpointError(
            f'the checkpoint {directory} cannot be read just now ({errors.reason(error)}): it may '
            'be good; permit reading it, or free memory, and run the same command again.'
        )
    return errors.DamagedError(f'{what}: {errors.reason(error)}')


def _raise(error: OSError) -> None:
    raise error
