"""Files of arrays: .npz, .npy and HDF5.

An .npz holds images and labels, under one of the names that people give them (`array_names`), or
`jpeg` uint8, image files end to end, with `offset` `[M + 1]`: image i is
`jpeg[offset[i]:offset[i + 1]]`, in any format that `images.decode` knows. `class_names` names the
labels. Nothing is ever unpickled, and what a file claims of its arrays is held against its size
before memory is taken for them.
"""

import os

import numpy as np

from osgan_jax.data import archive, array_names, labelling
from osgan_jax.data.archive import Archive
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io import checks, messages, npz, paths

_FILES = ('jpeg', 'offset', 'class_names')

# The most that a file may unpack to, times its size: images of one colour come near it, and a
# thousand times is possible. Up to _SMALL bytes any file may unpack to.
_MOST_EXPANSION = 200
_SMALL = 2**28


def read_npz(path: str, reading: Reading, split: str = 'train') -> Archive:
    """Reads an .npz file.

    Raises:
      ValueError: not an .npz file, or its arrays are not those this module's docstring names.
    """
    name = messages.printable(path)
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            names = npz.names(file)
            images, labels, parts = array_names.choose(names, split)
            wanted = [each for each in (images, labels, *_FILES) if each is not None]
            encoded = 'jpeg' in names and 'offset' in names
            if encoded:
                images, parts = None, ()
            found = npz.read(
                file,
                size,
                wanted=wanted,
                kinds=npz.NUMBERS + npz.TEXT,
                most_bytes=max(_MOST_EXPANSION * size, _SMALL),
            )
    except checks.DAMAGE as error:
        raise ValueError(
            f'{name} cannot be read as an .npz file: {messages.reason(error)}'
        ) from None
    if images is None and not encoded:
        if parts:
            raise ValueError(
                f'{name} has no part {split!r}, only {", ".join(parts)}: choose by --split'
            )
        shown = messages.shorten([messages.printable(each) for each in names]) or '(none)'
        raise ValueError(
            f'{name} holds the arrays {shown}; expected images, or jpeg and offset, and labels: '
            'save them by numpy.savez(path, images=images, labels=labels)'
        )
    more = {'class_names': found.get('class_names'), 'notes': _said(images, labels, parts, split)}
    given = asked_labels(reading, found.get(labels) if labels else None)
    if encoded:
        return archive.of_files(name, found['jpeg'], found['offset'], given, reading, **more)
    terms = (images, labels or 'labels')
    return archive.of_arrays(name, found[images], given, reading, terms=terms, **more)


def read_npy(path: str, reading: Reading, split: str = 'train') -> Archive:
    """Reads an .npy file of images; labels may be another, in `reading.labels`.

    Raises:
      ValueError: not such a file.
    """
    name = messages.printable(path)
    labelling.check_whole(split, 'an .npy file')
    stored = _read_npy(path)
    return archive.of_arrays(
        name, stored, asked_labels(reading, None), reading, terms=('the array', 'labels')
    )


def read_hdf5(path: str, reading: Reading, split: str = 'train') -> Archive:
    """Reads an HDF5 file with images and labels at its top, such as BigGAN's; needs h5py.

    Raises:
      ValueError: h5py is not installed, or the file is not such a file.
    """
    name = messages.printable(path)
    try:
        import h5py
    except ImportError:
        raise ValueError(
            f'{name} is read with h5py, not installed here: pip install h5py'
        ) from None
    try:
        with h5py.File(path, 'r') as file:
            names = [each for each in file if hasattr(file[each], 'shape')]
            images, labels, parts = array_names.choose(names, split)
            if images is None:
                raise ValueError(
                    f'it holds the arrays {messages.shorten(names) or "(none)"}; expected images '
                    'and labels'
                )
            stored = np.asarray(file[images])
            given = None if labels is None else np.asarray(file[labels])
    except checks.DAMAGE as error:
        raise ValueError(f'{name} cannot be read as HDF5: {messages.reason(error)}') from None
    return archive.of_arrays(
        name,
        stored,
        asked_labels(reading, given),
        reading,
        terms=(images, labels or 'labels'),
        notes=_said(images, labels, parts, split),
    )


def _said(
    images: str | None, labels: str | None, parts: tuple[str, ...], split: str
) -> tuple[Note, ...]:
    """Which arrays were taken, where their names are not ours.

    Raises:
      ValueError: for a file without parts, if the split is neither train nor all.
    """
    notes = []
    if parts:
        notes.append(('split', f'{split}, of {", ".join(parts)}'))
    else:
        labelling.check_whole(split, 'a file without parts train, val or test')
    if images not in (None, 'images') or labels not in (None, 'label', 'labels'):
        text = f'images are {images!r}, ' if images else ''
        notes.append(('arrays', text + (f'labels are {labels!r}' if labels else 'without labels')))
    return tuple(notes)


def asked_labels(reading: Reading, given: np.ndarray | None) -> np.ndarray | None:
    """Labels from the file that --labels names, or those that there are."""
    asked = reading.labels
    if asked in (None, labelling.NONE):
        return given
    if not asked.endswith('.npy'):
        raise ValueError(
            f'--labels={asked} is for images in folders: images in one array take labels from an '
            '.npy file, in their order'
        )
    return _read_npy(paths.expand(asked))


def _read_npy(path: str) -> np.ndarray:
    name = messages.printable(path)
    try:
        with open(path, 'rb') as file:
            return npz.read_npy(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise FileNotFoundError(f'no file {name}') from None
    except checks.DAMAGE as error:
        raise ValueError(
            f'{name} cannot be read as an .npy file: {messages.reason(error)}'
        ) from None
