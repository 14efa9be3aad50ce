"""Reading tensors from files that others wrote, without trusting them.

Three kinds of file: `.npz`, `.safetensors`, and PyTorch's `.pth` or `.pt`, of today (a zip archive)
or from before version 1.6. Nothing in a file is executed: pickled objects are never loaded from an
.npz, and in a .pth only names, numbers and tensors are, see `torch_files`. What a file claims is
compared with its size before memory is taken for it: a few bytes cannot ask for gigabytes.
"""

import hashlib
import os
import stat
from typing import BinaryIO

import numpy as np

from osgan_jax.io import checks, dtypes, npz, torch_files
from osgan_jax.io.messages import printable, quote, reason


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads all tensors of a file.

    Args:
      path: a file whose name ends in .npz, .safetensors, .pth or .pt.

    Returns:
      Arrays by name, as they are stored; bfloat16 becomes float32. They may be read-only, and share
      memory with each other.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      ValueError: it is of another kind, damaged, or asks for anything but tensors.
    """
    name = printable(path) or "''"
    suffix = os.path.splitext(name)[1].lower()
    readers = {
        '.npz': npz.read,
        '.safetensors': _read_safetensors,
        '.pth': torch_files.read,
        '.pt': torch_files.read,
    }
    if suffix not in readers:
        raise ValueError(
            f'cannot read weights from {name}: expected a file ending in {", ".join(readers)}'
        )
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f'no file of weights {name}') from None
    if not stat.S_ISREG(mode):
        raise ValueError(f'cannot read weights from {name}: it is not a regular file')
    with open(path, 'rb') as file:
        try:
            return readers[suffix](file, os.fstat(file.fileno()).st_size)
        except checks.DAMAGE as error:
            raise ValueError(f'cannot read weights from {name}: {reason(error)}') from None


def _read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    del size  # the package holds the header's claims against the bytes it is given
    tensors = {}
    # Here, because training imports this module on machines that have no such library.
    import safetensors

    for name, entry in sorted(safetensors.deserialize(file.read())):
        if entry['dtype'] not in dtypes.DTYPES:
            raise ValueError(
                f'{quote(name)} is of type {entry["dtype"]}; known are {", ".join(dtypes.DTYPES)}'
            )
        shape = checks.sizes(entry['shape'], quote(name))
        tensors[name] = dtypes.decode(entry['data'], entry['dtype']).reshape(shape)
    return tensors


def verify(path: str | os.PathLike[str], sha256_prefix: str) -> str:
    """Checks that a file is the one that was published.

    Args:
      path: the file.
      sha256_prefix: what the hexadecimal sha256 of its content begins with.

    Returns:
      The whole sha256, hexadecimal.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is another one, or damaged.
    """
    try:
        with open(path, 'rb') as file:
            found = hashlib.file_digest(file, 'sha256').hexdigest()
    except FileNotFoundError:
        raise FileNotFoundError(f'no file of weights {printable(path)}') from None
    if not found.startswith(sha256_prefix.lower()):
        raise ValueError(
            f'{printable(path)} is damaged or another file: its sha256 begins with '
            f'{found[: max(8, len(sha256_prefix))]}, not with {sha256_prefix}'
        )
    return found
