"""Arrays of an .npz file, none of them unpickled."""

import math
import zipfile
from typing import BinaryIO

import numpy as np

from osgan_jax.io import checks


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Reads a file of `size` bytes; see `osgan_jax.io.weights.read`, which words the errors."""
    with zipfile.ZipFile(file) as archive:
        for member, info in checks.members(archive, size).items():
            if not member.endswith('.npy'):
                raise ValueError(f'it holds {checks.quote(member)}, which is no array')
            with archive.open(info) as opened:
                _check_npy(opened, member, info.file_size)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


def _check_npy(opened: BinaryIO, member: str, size: int) -> None:
    """Holds what an array's header claims against the bytes that follow it."""
    version = np.lib.format.read_magic(opened)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(opened)
    else:
        raise ValueError(f'{checks.quote(member)} has version {version} of the .npy format')
    if dtype.kind not in 'fiub':
        raise ValueError(f'{checks.quote(member)} holds {dtype}, expected numbers')
    claimed = opened.tell() + math.prod(checks.sizes(shape, member)) * dtype.itemsize
    if claimed != size:
        raise ValueError(f'{checks.quote(member)} claims {claimed} bytes and has {size}')
