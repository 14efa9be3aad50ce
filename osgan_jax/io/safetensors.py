"""Tensors of a .safetensors file (https://github.com/huggingface/safetensors).

Eight bytes with the length of the header, little-endian; the header, a JSON object with the type,
the shape and the bytes of every tensor by name; the bytes.
"""

import json
import math
import struct
from typing import Any, BinaryIO

import numpy as np

from osgan_jax.io import checks


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Reads a file of `size` bytes; see `osgan_jax.io.weights.read`, which words the errors."""
    if size < 8:
        raise ValueError('it is too short to be a .safetensors file')
    (length,) = struct.unpack('<Q', file.read(8))
    if length > size - 8:
        raise ValueError(f'its header claims {length} bytes and the file has {size}')
    header = json.loads(file.read(length), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError('its header is no JSON object')
    header.pop('__metadata__', None)
    end = size - 8 - length
    entries = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or not {'dtype', 'shape', 'data_offsets'} <= entry.keys():
            raise ValueError(f'its header does not describe {checks.quote(name)}')
        if entry['dtype'] not in checks.TYPES:
            raise ValueError(
                f'{checks.quote(name)} is of type {checks.quote(entry["dtype"])}; '
                f'known are {", ".join(checks.TYPES)}'
            )
        shape, offsets = (checks.sizes(entry[key], name) for key in ('shape', 'data_offsets'))
        if len(offsets) != 2 or not offsets[0] <= offsets[1] <= end:
            raise ValueError(f'{checks.quote(name)} exceeds the file, which may be cut short')
        needed = math.prod(shape) * checks.TYPES[entry['dtype']].itemsize
        if offsets[1] - offsets[0] != needed:
            raise ValueError(
                f'{checks.quote(name)} needs {needed} bytes and has {offsets[1] - offsets[0]}'
            )
        entries[name] = entry['dtype'], shape, offsets
    # The format leaves no room between tensors either, where anything could hide.
    reached = 0
    for name, (_, _, offsets) in sorted(entries.items(), key=lambda item: item[1][2]):
        if offsets[0] != reached:
            what = 'overlaps another tensor' if offsets[0] < reached else 'follows a gap'
            raise ValueError(f'{checks.quote(name)} {what}')
        reached = offsets[1]
    if reached != end:
        raise ValueError(f'{end - reached} bytes at its end belong to no tensor')
    content = memoryview(file.read(end))
    return {
        name: checks.numbers(content[slice(*offsets)], kind).reshape(shape)
        for name, (kind, shape, offsets) in entries.items()
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object, of which a name may occur once."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('its header has a name twice')
    return found
