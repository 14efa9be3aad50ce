"""What readers of untrusted files share: sizes held against sizes, and names made printable."""

import zipfile
from typing import Any

import numpy as np

# How tensors are stored, by the names of safetensors. numpy has no bfloat16: its bits are read as
# integers, and become the upper half of a float32.
TYPES = {
    'F64': np.dtype('<f8'),
    'F32': np.dtype('<f4'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype('<u2'),
    'I64': np.dtype('<i8'),
    'I32': np.dtype('<i4'),
    'U8': np.dtype('u1'),
}

_MOST_AXES = 32
_MOST_EXPANSION = 50  # times the size of an archive; weights hardly compress at all
_SMALL = 1 << 20  # bytes an archive of any size may unpack to


def numbers(content: Any, kind: str) -> np.ndarray:
    """Returns bytes as a vector of numbers."""
    numbers = np.frombuffer(content, TYPES[kind]) if len(content) else np.empty(0, TYPES[kind])
    return (numbers.astype('<u4') << 16).view('<f4') if kind == 'BF16' else numbers


def members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Lists the members of an archive after holding their sizes against that of the file."""
    infos = archive.infolist()
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError('it has two members of one name')
    if sum(info.compress_size for info in infos) > size:
        raise ValueError('its members overlap or exceed the file, which may be cut short')
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(_MOST_EXPANSION * size, _SMALL):
        raise ValueError(f'its {size} bytes would unpack to {unpacked}, which no weights do')
    return members


def sizes(found: Any, name: str) -> tuple[int, ...]:
    """Checks a few sizes: integers, not negative."""
    if not isinstance(found, list | tuple) or len(found) > _MOST_AXES:
        raise ValueError(f'{quote(name)} is described without sizes, or with too many')
    if any(type(size) is not int or not 0 <= size < 1 << 63 for size in found):
        raise ValueError(f'{quote(name)} is described by sizes that are none')
    return tuple(found)


def quote(found: Any) -> str:
    """Returns a name from a file for a message: one line, printable, not long."""
    text = found if isinstance(found, str) else f'<{type(found).__name__}>'
    return ascii(text if len(text) <= 100 else f'{text[:97]}...')
