"""Images in files of any kind, told by what is in them."""

import os

from osgan_jax.data import array_files, folder, originals, parquet, zipped
from osgan_jax.data.archive import Archive
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.reading import Reading
from osgan_jax.io import paths
from osgan_jax.io.messages import printable

_HDF5 = b'\x89HDF\r\n\x1a\n'


def kind_of(path: str) -> str:
    """'folder', 'zip', 'npz', 'npy', 'parquet', 'hdf5', 'idx' or 'cifar'; '' for another file.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: it is neither a file nor a folder.
    """
    shown = printable(path) or "''"
    if not os.path.exists(path):
        raise FileNotFoundError(f'no file or folder {shown}')
    if os.path.isdir(path):
        return originals.kind_of(path) or ('parquet' if parquet.find(path) else 'folder')
    # Opening a pipe would wait for ever.
    if not os.path.isfile(path):
        raise ValueError(
            f'{shown} is not a regular file: give the path of a folder or of a file of images'
        )
    with open(path, 'rb') as file:
        head = file.read(8)
    if head[:2] == b'PK':
        return 'npz' if path.lower().endswith('.npz') or _holds_arrays(path) else 'zip'
    for signature, kind in ((b'\x93NUMPY', 'npy'), (parquet.MAGIC, 'parquet'), (_HDF5, 'hdf5')):
        if head.startswith(signature):
            return kind
    return ''


def _holds_arrays(path: str) -> bool:
    """Whether an archive begins with an array, as numpy's do; its directory may be large."""
    with open(path, 'rb') as file:
        head = file.read(30)
        length = int.from_bytes(head[26:28], 'little')
        return file.read(length).endswith(b'.npy')


def read(path: str | os.PathLike, reading: Reading, split: str) -> ImageFolder | Archive:
    """Reads what a path holds.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: it is not images of a known kind, or as the reader of its kind.
    """
    path = os.path.abspath(paths.expand(path))
    kind = kind_of(path)
    if kind in ('folder', 'zip'):
        return (folder if kind == 'folder' else zipped).scan(path, reading, split)
    if kind == 'parquet':
        return parquet.read(parquet.find(path) if os.path.isdir(path) else [path], reading, split)
    if kind in ('idx', 'cifar'):
        return originals.read(path, reading, split)
    readers = {
        'npz': array_files.read_npz,
        'npy': array_files.read_npy,
        'hdf5': array_files.read_hdf5,
    }
    if kind in readers:
        return readers[kind](path, reading, split)
    ending = os.path.splitext(path)[1].lower()
    if ending == '.npz':
        return array_files.read_npz(path, reading, split)
    if ending == '.zip':
        return zipped.scan(path, reading, split)
    if path.lower().endswith(('.tar', '.tgz', '.tar.gz')):
        raise ValueError(f'{printable(path)} is a tar archive: unpack it, and give its folder')
    raise ValueError(
        f'{printable(path)} is a file that is not read: give the folder that holds the images, a '
        'zip of one, .npz, .npy, .parquet or .hdf5; or unpack it first'
    )
