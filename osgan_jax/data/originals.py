"""The files in which MNIST and CIFAR are published: idx, also gzipped, and python pickles.

Pickles are read by a reader that makes arrays and nothing else (`osgan_jax.io.pickled_arrays`).
"""

import gzip
import math
import os
import re

import numpy as np

from osgan_jax.data import archive
from osgan_jax.data.archive import Archive
from osgan_jax.data.array_files import asked_labels
from osgan_jax.data.labelling import part_of
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io import checks, pickled_arrays
from osgan_jax.io.messages import printable, reason

_MOST_BYTES = 2**31
_IDX = re.compile(r'(?P<head>.*?)(?P<part>train|t10k|test)-images[-.]idx3-ubyte(?:\.gz)?$')
_CIFAR10 = {'train': [f'data_batch_{number}' for number in range(1, 6)], 'test': ['test_batch']}
_CIFAR100 = {'train': ['train'], 'test': ['test']}


def kind_of(folder: str) -> str | None:
    """'idx' or 'cifar' for a folder with such files, None for another."""
    names = set(os.listdir(folder))
    if any(map(_IDX.match, names)):
        return 'idx'
    is_file = lambda name: os.path.isfile(os.path.join(folder, name))  # noqa: E731
    if names >= {'data_batch_1', 'test_batch'} or (
        names >= {'train', 'test', 'meta'} and all(map(is_file, ('train', 'test', 'meta')))
    ):
        return 'cifar'
    return None


def read(folder: str, reading: Reading, split: str = 'train') -> Archive:
    """Reads a part, 'train', 'test' or 'all', of the files in a folder.

    Raises:
      ValueError: files are damaged or missing, or there is no such part.
    """
    wanted = part_of(split)
    if wanted not in ('train', 'test', 'all'):
        raise ValueError(f"{printable(folder)} has the parts 'train' and 'test', got {split!r}")
    read_part = _read_idx if kind_of(folder) == 'idx' else _read_cifar
    parts = ('train', 'test') if wanted == 'all' else (wanted,)
    found = [read_part(folder, part) for part in parts]
    images, labels = (np.concatenate([part[place] for part in found]) for place in (0, 1))
    labels = asked_labels(reading, labels)
    return archive.of_arrays(
        printable(folder), images, labels, reading, class_names=found[0][2], notes=found[0][3]
    )


def _read_idx(folder: str, part: str) -> tuple[np.ndarray, np.ndarray, None, tuple[Note, ...]]:
    matches = [m for m in map(_IDX.match, sorted(os.listdir(folder))) if m]
    heads = sorted({m['head'] for m in matches})
    if len(heads) > 1:
        raise ValueError(
            f'{printable(folder)} holds the files of {", ".join(map(printable, heads))}: keep '
            'those of one dataset in a folder'
        )
    of_part = [m[0] for m in matches if (m['part'] == 'train') == (part == 'train')]
    if not of_part:
        raise ValueError(f'{printable(folder)} holds no images of part {part!r}')
    name = of_part[0]
    images = read_idx(os.path.join(folder, name))
    labels = read_idx(os.path.join(folder, _labels_of(folder, name)))
    notes: tuple[Note, ...] = ()
    if 'emnist' in name:
        images = images.transpose(0, 2, 1)
        notes = (('arrays', "EMNIST's images lie on their sides, and are turned upright"),)
    return images, labels, None, notes


def _labels_of(folder: str, name: str) -> str:
    wanted = name.replace('-images', '-labels').replace('idx3', 'idx1')
    for each in (wanted, wanted.removesuffix('.gz'), f'{wanted}.gz'):
        if os.path.exists(os.path.join(folder, each)):
            return each
    raise ValueError(f'{printable(folder)} holds {printable(name)} and not {printable(wanted)}')


def read_idx(path: str) -> np.ndarray:
    """Reads an idx file of bytes, gzipped or not.

    Raises:
      ValueError: it is damaged, or holds something else.
    """
    try:
        with open(path, 'rb') as file:
            zipped = file.read(2) == b'\x1f\x8b'
        with gzip.open(path) if zipped else open(path, 'rb') as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f'it has more than {_MOST_BYTES:,} bytes')
        if content[:3] != b'\0\0\x08' or len(content) < 4:
            raise ValueError('it is not an idx file of bytes')
        axes = content[3]
        shape = np.frombuffer(content, '>u4', axes, 4).tolist()
        if len(content) != 4 + 4 * axes + math.prod(shape):
            raise ValueError(f'it claims {shape} bytes and has {len(content):,}')
    except (*checks.DAMAGE, gzip.BadGzipFile) as error:
        raise ValueError(f'{printable(path)}: {reason(error)}') from None
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _read_cifar(
    folder: str, part: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[Note, ...]]:
    files = _CIFAR10 if os.path.exists(os.path.join(folder, 'data_batch_1')) else _CIFAR100
    found = [_unpickle(folder, name) for name in files[part]]
    key = next((k for k in ('labels', 'fine_labels') if k in found[0]), None)
    meta, names = 'batches.meta' if files is _CIFAR10 else 'meta', None
    if os.path.exists(os.path.join(folder, meta)):
        about = _unpickle(folder, meta)
        listed = about.get('label_names', about.get('fine_label_names'))
        if isinstance(listed, list):
            names = np.asarray([n.decode('latin1') if isinstance(n, bytes) else n for n in listed])
    try:
        rows = np.concatenate([each['data'] for each in found])
        labels = np.concatenate([np.asarray(each[key], np.int64) for each in found])
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
            raise ValueError(f'its data are {rows.dtype} {list(rows.shape)}')
    except checks.DAMAGE as error:
        raise ValueError(f'{printable(folder)} is not CIFAR: {reason(error)}') from None
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels, names, ()


def _unpickle(folder: str, name: str) -> dict:
    path = os.path.join(folder, name)
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise ValueError(f'it has more than {_MOST_BYTES:,} bytes')
        with open(path, 'rb') as file:
            return pickled_arrays.read(file.read())
    except checks.DAMAGE as error:
        raise ValueError(f'{printable(path)}: {reason(error)}') from None
