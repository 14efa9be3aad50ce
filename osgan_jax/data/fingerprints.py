"""Fingerprints of images as they are stored, which tell one folder or file from another.

They cost little for any number of images: of files the names below their folder, all sizes in
bytes, and the contents of 64 spread evenly; of arrays in memory every image up to 256 MB, and above
that every k-th. What does not change the images does not change them: where the folder lies, the
order in which the system lists files, times, or the version of what decodes images.

A fingerprint begins with its kind and version, such as `files-1:`. Those of one kind can be
compared; others say nothing of one another.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from osgan_jax.io import checked_npz

_SAMPLED = 64  # files whose contents are read
_MOST_BYTES = 2**28  # of arrays
_CHUNK_BYTES = 2**24


def of_source(source: Any) -> str | None:
    """The fingerprint of a source of images, by its method `fingerprint`; None without one."""
    return source.fingerprint() if hasattr(source, 'fingerprint') else None


def comparable(first: str | None, second: str | None) -> bool:
    """Whether two fingerprints are of the same kind and version."""
    if first is None or second is None:
        return False
    return first.partition(':')[0] == second.partition(':')[0]


def of_files(
    names: Sequence[str],
    sizes: Sequence[int],
    labels: np.ndarray,
    read: Callable[[int], bytes],
    frames: np.ndarray | None = None,
) -> str:
    """The fingerprint of image files.

    Args:
      names: of the files, relative to their folder, with '/'; in the order of the images.
      sizes: in bytes.
      labels: `[M]`.
      read: `index -> content`.
      frames: `[M]`, which frame of its file each image is.
    """
    frames = np.zeros(len(names), int) if frames is None else frames
    parts = [
        list(names),
        [int(size) for size in sizes],
        np.asarray(labels, np.int32),
        np.asarray(frames, np.int32),
    ]
    for index in spread(len(names), _SAMPLED):
        parts += [index, hashlib.sha256(read(index)).hexdigest()]
    return f'files-1:{checked_npz.digest(*parts)}'


def of_arrays(images: np.ndarray, labels: np.ndarray, *, as_served: bool = True) -> str:
    """The fingerprint of images in memory.

    Args:
      images: `[M, H, W, C]` uint8.
      labels: `[M]`.
      as_served: whether the dataset has them as they are, rather than resized.
    """
    every = max(1, -(-images.nbytes // _MOST_BYTES))
    total = hashlib.sha256()
    rows = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes)) * every
    for start in range(0, len(images), rows):
        total.update(np.ascontiguousarray(images[start : start + rows : every]).tobytes())
    kind = 'arrays-1' if as_served else 'stored-1'
    facts = list(images.shape), every, total.hexdigest(), np.asarray(labels, np.int32)
    return f'{kind}:{checked_npz.digest(*facts)}'


def spread(count: int, sampled: int) -> list[int]:
    """At most `sampled` positions, evenly from the first to the last of `count`."""
    return np.unique(np.linspace(0, count - 1, sampled).round().astype(int)).tolist()
