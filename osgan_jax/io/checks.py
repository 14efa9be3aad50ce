"""What readers of untrusted files share: sizes held against sizes, and names made printable.

Also what makes variables of their tensors: names and shapes held against those of a network.
"""

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
_NAMED = 5  # tensors that a message names


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


def select(
    tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], whose: str
) -> dict[str, np.ndarray]:
    """Holds tensors against the names and shapes that are expected, and makes them float32.

    Args:
      tensors: arrays by name.
      shapes: those expected, all of them and no others.
      whose: weights they should be, for the message.

    Returns:
      Arrays in the order of `shapes`.

    Raises:
      ValueError: tensors are missing, unknown, of another shape or type, or not finite; it names a
        few of each.
    """
    arrays, misshapen, unfit = {}, [], []
    for name in shapes.keys() & tensors.keys():
        array, shape = np.asarray(tensors[name]), shapes[name]
        if array.shape != shape:
            misshapen.append(f'{quote(name)} {list(array.shape)} for {list(shape)}')
        elif array.dtype.kind != 'f':
            unfit.append(f'{quote(name)} {array.dtype}')
        else:
            with np.errstate(over='ignore'):
                arrays[name] = np.asarray(array, np.float32)
            if not np.isfinite(arrays[name]).all():
                unfit.append(quote(name))
    faults = {
        'missing': [quote(name) for name in shapes if name not in tensors],
        'unknown': [quote(name) for name in tensors if name not in shapes],
        'of another shape': sorted(misshapen),
        'of another type, or not finite': sorted(unfit),
    }
    if any(faults.values()):
        raise ValueError(
            f'these are not {whose}, whose sizes, widths and classes must be those of the '
            f'published network: {listing(faults)}'
        )
    return {name: arrays[name] for name in shapes}


def listing(faults: dict[str, list[str]]) -> str:
    """Lists faults for a message: of each kind that there is, how many and a few names.

    Args:
      faults: names that are fit to print, by what is wrong with them.
    """
    return '; '.join(
        f'{len(names)} {what}: {shorten(names)}' for what, names in faults.items() if names
    )


def shorten(names: list[str]) -> str:
    """Returns a few names that are fit to print, and how many more there are."""
    rest = len(names) - _NAMED
    return ', '.join(names[:_NAMED]) + (f' and {rest} more' if rest > 0 else '')
