"""Checks that readers of untrusted files share: what a file claims, held against its size."""

import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

try:
    from safetensors import SafetensorError
except ModuleNotFoundError:  # nothing in its format is read then; training steps need none
    SafetensorError = ValueError

# The errors of zipfile, numpy, pickle and others at damaged bytes, depending on which ones they
# are: lengths that lie, unknown compression, a password that was never set, malformed headers.
DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)

_MOST_AXES = 32
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that numpy writes


def members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Lists the members of an archive by name.

    Args:
      archive: the archive.
      size: of its file, in bytes.

    Raises:
      ValueError: a name occurs twice, a member is compressed in an unusual way, or members claim
        more bytes than the file has.
    """
    infos = archive.infolist()
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError('it has two members of one name')
    if any(info.compress_type not in _COMPRESSIONS for info in infos):
        raise ValueError('its members are compressed in a way that is not supported')
    if sum(info.compress_size for info in infos) > size:
        raise ValueError('its members overlap or exceed the file, which may be cut short')
    return members


def expansion(sizes: Iterable[int], most: int) -> None:
    """Raises a ValueError if members of these sizes would unpack to more than `most` bytes."""
    unpacked = sum(sizes)
    if unpacked > most:
        raise ValueError(f'it would unpack to {unpacked:,} bytes, expected at most {most:,}')


def sizes(found: Any, name: str) -> tuple[int, ...]:
    """Returns a shape, strides or the like as a tuple of counts.

    Raises:
      ValueError: it is not a list of at most 32 integers from 0 to 2**63 - 1.
    """
    if not isinstance(found, list | tuple) or len(found) > _MOST_AXES:
        raise ValueError(f'{name} is described without sizes, or with too many')
    if any(type(size) is not int or not 0 <= size < 1 << 63 for size in found):
        raise ValueError(f'{name} is described by sizes that are not counts')
    return tuple(found)
