"""Arrays of an .npz file, none of them unpickled.

What a header claims is held against the bytes that follow it before memory is taken for the array.
"""

import math
import zipfile
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from osgan_jax.io import checks
from osgan_jax.io.messages import quote

NUMBERS = 'fiub'  # kinds of numpy's dtypes
TEXT = 'SU'

_MOST_EXPANSION = 50  # times the size of a file; numbers hardly compress at all
_SMALL = 1 << 20  # bytes that a file of any size may unpack to

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(
    file: BinaryIO,
    size: int,
    *,
    wanted: Collection[str] | None = None,
    kinds: str = NUMBERS,
    most_bytes: int | None = None,
) -> dict[str, np.ndarray]:
    """Reads the arrays of a file.

    Args:
      file: opened at its start.
      size: of the file, in bytes.
      wanted: names of arrays; others are not looked at. None reads all.
      kinds: the kinds of dtypes to accept, of `NUMBERS` and `TEXT`.
      most_bytes: the most that the arrays may unpack to; by default 50 times `size`, or 1 MiB.

    Returns:
      Arrays by name, in the file's order.

    Raises:
      `osgan_jax.io.checks.DAMAGE`: the file is damaged, lies, or holds something else.
    """
    with zipfile.ZipFile(file) as archive:
        infos = _arrays(archive, size)
        if wanted is not None:
            infos = {name: info for name, info in infos.items() if name in wanted}
        most_bytes = max(_MOST_EXPANSION * size, _SMALL) if most_bytes is None else most_bytes
        checks.expansion((info.file_size for info in infos.values()), most_bytes)
        return {name: _read_array(archive, info, kinds) for name, info in infos.items()}


def read_npy(file: BinaryIO, size: int, kinds: str = NUMBERS + TEXT) -> np.ndarray:
    """Reads the array of an .npy file.

    Args:
      file: opened at its start.
      size: of the file, in bytes.
      kinds: the kinds of dtypes to accept, of `NUMBERS` and `TEXT`.

    Raises:
      `osgan_jax.io.checks.DAMAGE`: the file is damaged, lies, or holds something else.
    """
    _check_header(file, size, 'it', kinds)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def names(file: BinaryIO) -> list[str]:
    """Returns the names of a file's arrays."""
    with zipfile.ZipFile(file) as archive:
        return [member.removesuffix('.npy') for member in archive.namelist()]


def _arrays(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    members = checks.members(archive, size)
    arrays = {member.removesuffix('.npy'): info for member, info in members.items()}
    if len(arrays) != len(members):
        raise ValueError('it has two arrays of one name')
    return arrays


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str) -> np.ndarray:
    member = quote(info.filename)
    with archive.open(info) as opened:
        _check_header(opened, info.file_size, member, kinds)
    with archive.open(info) as opened:
        return np.lib.format.read_array(opened, allow_pickle=False)


def _check_header(opened: BinaryIO, size: int, member: str, kinds: str) -> None:
    """Raises ValueError unless a header claims numbers that are as many bytes as there are."""
    try:
        version = np.lib.format.read_magic(opened)
    except ValueError as error:
        raise ValueError(f'{member} is not an array: {error}') from None
    if version not in _READ_HEADER:
        raise ValueError(f'{member} has version {version} of the .npy format')
    shape, _, dtype = _READ_HEADER[version](opened)
    if dtype.kind not in kinds:
        raise ValueError(f'{member} holds {dtype}, expected numbers')
    claimed = opened.tell() + math.prod(checks.sizes(shape, member)) * dtype.itemsize
    if claimed != size:
        raise ValueError(f'{member} claims {claimed:,} bytes and has {size:,}')
