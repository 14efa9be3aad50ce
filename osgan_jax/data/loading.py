"""Opening a dataset by its name."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import (
    archive,
    catalogue,
    digits,
    folder,
    places,
    stacked,
    survey,
    tfds_source,
    zipped,
)
from osgan_jax.data.archive import Archive
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.dataset import Dataset, MemorySource, Source
from osgan_jax.data.reading import Note, Reading

# Datasets of small images are kept decoded when they take less than this many bytes.
MAX_MEMORY = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The arguments of `load`, with the catalogue's defaults filled in."""

    name: str
    entry: catalogue.Entry
    split: str
    data_dir: str | os.PathLike | None
    image_size: ImageSize | None
    channels: int | None
    upscale: bool
    sizes: Sequence[int]
    oblong: bool
    reading: Reading
    given_size: ImageSize | None
    given_upscale: bool | None
    own_size: bool

    @property
    def keeps_shape(self) -> bool:
        """Whether images of one oblong shape keep it."""
        # A way of fitting that somebody chose is meant to be used.
        return self.oblong and self.given_size is None and self.reading.fit == Reading().fit


def load(
    name: str,
    *,
    split: str = 'train',
    data_dir: str | os.PathLike | None = None,
    image_size: ImageSize | tuple[int, int] | None = None,
    channels: int | None = None,
    flip: bool = False,
    upscale: bool | None = None,
    sizes: Sequence[int] = (),
    oblong: bool = True,
    own_size: bool = False,
    **reading: Any,
) -> Dataset:
    """Opens a dataset.

    Args:
      name: one of `names()`, or `tfds:NAME` for any tfds dataset of images, where NAME may hold
        a config and a version: `tfds:lsun/bedroom:3.1.0`.
      split: its part; tfds's slices such as `train[:10%]` work where tfds reads.
      data_dir: the folder or file of images (`folder`, `ffhq`, `npz`), whose format is recognised
        by its content: a folder, a zip archive of one, .npz, .npy, .parquet, HDF5, or the original
        files of MNIST and CIFAR; or the root of tfds datasets, by default tfds's own. `digits`
        ignores it.
      image_size: in pixels, 64 for squares or '64x128' (or a pair) for height and width; by default
        the dataset's. Images of files that all have one oblong shape then keep it, as closely as
        the network allows, unless `fit` is pad or stretch.
      channels: 1 or 3; by default the dataset's: one where all images of a folder or file are
        grey. Grey is repeated, colour is turned to luma.
      flip: whether batches mirror images at random.
      upscale: whether images smaller than `image_size` are enlarged. False refuses them, with an
        error. By default refused in folders, celeb_a and lsun_church, and enlarged elsewhere.
      sizes: squares that whatever uses the images has, for advice and for the default.
      oblong: whether it has oblongs too.
      own_size: whether images of files keep the size that most of them have, where `image_size` is
        not given, also in a folder.
      **reading: attributes of `osgan_jax.data.reading.Reading`: how images become that size, what
        is behind transparent ones, frames, white of 16 bits, labels.

    Returns:
      A `Dataset`, whose `remarks()` say what was inferred.

    Raises:
      ValueError: unknown name or split, a missing argument or library, images smaller than asked.
      FileNotFoundError: no such file or folder, or a tfds dataset that is not prepared yet; the
        message says how to prepare it.
    """
    entry = catalogue.entry(name)
    if image_size is not None:
        image_size = image_sizes.parse(image_size)
    if channels not in (None, 1, 3):
        raise ValueError(f'channels: expected 1 (grey) or 3 (colour), got {channels}')
    asked = _Asked(
        name=name,
        entry=entry,
        split=split,
        data_dir=data_dir,
        image_size=image_size or (None if own_size else entry.image_size),
        channels=channels or entry.channels,
        upscale=entry.upscale if upscale is None else upscale,
        sizes=sizes,
        oblong=oblong,
        reading=Reading(**reading),
        given_size=image_size,
        given_upscale=upscale,
        own_size=own_size,
    )
    opened = _OPEN[entry.kind](asked)
    source = opened.source
    # A file that cannot be read is named here rather than by a worker process.
    source[0]
    # Images of one file by what was found: `folder` may be such a file, and `npz` a folder.
    in_memory = entry.in_memory or isinstance(source, archive.ArraySource | archive.EncodedSource)
    if in_memory and not isinstance(source, MemorySource):
        source = _in_memory(source, opened.image_size, opened.channels)
    return dataclasses.replace(opened, flip=flip, source=source)


def _open_digits(asked: _Asked) -> Dataset:
    stored, labels = digits.arrays(asked.split)
    _check_size(asked, stored.shape[1:3])
    size = {'image_size': asked.image_size, 'channels': asked.channels}
    return Dataset(
        name=asked.name,
        split=asked.split,
        num_classes=10,
        class_names=tuple('0123456789'),
        source=archive.ArraySource(stored, labels, **size, **asked.reading.of_arrays()),
        notes=tuple(_shape_notes(asked, stored.shape[1:3])),
        **size,
    )


def _open_stacked(asked: _Asked) -> Dataset:
    name, image_size = asked.name, asked.image_size
    if asked.channels != stacked.DEPTH:
        raise ValueError(
            f'{name}: a digit a channel, three in all, got channels={asked.channels}: '
            'leave --channels out'
        )
    single = _open_digits(dataclasses.replace(asked, channels=1))
    base = _in_memory(single.source, image_size, 1)
    if not isinstance(base, MemorySource):
        raise ValueError(f'{name}: images of {image_size} pixels are too large to stack')
    numbers = range(single.num_classes**stacked.DEPTH)
    return Dataset(
        name=name,
        split=asked.split,
        image_size=image_size,
        channels=asked.channels,
        num_classes=len(numbers),
        class_names=tuple(f'{number:0{stacked.DEPTH}d}' for number in numbers),
        source=stacked.stack(base, asked.split, digits.NUM_TRAIN, single.num_classes),
        stack_of=dataclasses.replace(single, name='digits', source=base),
    )


def _open_tfds(asked: _Asked) -> Dataset:
    entry = asked.entry
    prepared = tfds_source.find(
        entry.tfds_name,
        dataset=asked.name,
        data_dir=asked.data_dir,
        label_path=entry.label_path,
        class_names=entry.class_names,
    )
    height, width, depth = prepared.image_shape
    known = height is not None and width is not None
    notes = []
    if asked.image_size is None:
        image_size = 32 if known and min(height, width) <= 32 else 64
        own = 'of several sizes'
        if known:
            own = f'{height}x{width}'
            if asked.keeps_shape:
                image_size = image_sizes.like(image_size, own)
        size = image_sizes.text(image_size)
        notes.append(('size', f'{size}, of images that are {own}; --image_size'))
        asked = dataclasses.replace(asked, image_size=image_size)
    if known:
        _check_size(asked, (height, width))
        notes += _shape_notes(asked, (height, width))
    size = {'image_size': asked.image_size, 'channels': asked.channels or (1 if depth == 1 else 3)}
    source = tfds_source.TfdsSource(
        prepared, asked.split, upscale=asked.upscale, **asked.reading.of_files(), **size
    )
    return Dataset(
        name=asked.name,
        split=asked.split,
        num_classes=len(prepared.class_names),
        class_names=prepared.class_names,
        source=source,
        notes=tuple(notes),
        **size,
    )


def _open_files(asked: _Asked) -> Dataset:
    if asked.data_dir is None:
        what = 'is a folder of images' if asked.entry.kind == 'folder' else 'is a file of images'
        raise ValueError(f'{asked.name} {what}: pass its path as --data_dir')
    reading = asked.reading
    if not asked.entry.labelled and reading.labels is None:
        reading = dataclasses.replace(reading, labels='none')
    found = places.read(asked.data_dir, reading, asked.split)
    asked = dataclasses.replace(asked, reading=reading)
    in_folder = isinstance(found, ImageFolder)
    if in_folder != (asked.entry.kind == 'folder'):
        # The defaults of what was found, not of the name it was asked for by.
        other = catalogue.CATALOGUE['folder' if in_folder else 'npz']
        asked = dataclasses.replace(
            asked,
            image_size=asked.given_size or (None if asked.own_size else other.image_size),
            upscale=other.upscale if asked.given_upscale is None else asked.given_upscale,
        )
    where = found.root if in_folder else found.name
    image_size, notes = _size(asked, found)
    if not asked.upscale:
        survey.check_sizes(where, found.survey, image_size, asked.sizes)
    size = {'image_size': image_size, 'channels': asked.channels or found.survey.channels()}
    if not in_folder:
        source = found.source(upscale=asked.upscale, reading=reading, **size)
    else:
        kind = folder.FolderSource if os.path.isdir(found.root) else zipped.ZipSource
        source = kind(found, **size, **reading.of_files())
    said = survey.notes(found.survey, reading, decoded=in_folder, **size)
    return Dataset(
        name=asked.name,
        split=asked.split,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        source=source,
        report=found.report,
        notes=(*found.notes, *notes, *said),
        **size,
    )


def _size(asked: _Asked, found: ImageFolder | Archive) -> tuple[ImageSize, list[Note]]:
    """The size that is asked for; else that of the images, or the one of the network near it."""
    if asked.given_size is not None:
        return asked.given_size, []
    side, notes = _side(asked, found)
    shape = found.survey.shape() if asked.keeps_shape else None
    if shape is None or image_sizes.is_square(shape):
        return side, notes
    size = shape
    if asked.sizes or side != image_sizes.short(shape):
        size = image_sizes.like(side, shape)
    if image_sizes.is_square(size):
        return side, notes
    of_all = f'the shape of all images, which are {shape}' if size != shape else 'as all images are'
    return size, [('size', f'{size}, {of_all}; --image_size={side} makes squares of them')]


def _side(asked: _Asked, found: ImageFolder | Archive) -> tuple[int, list[Note]]:
    """The side of a square, or the shorter one of an oblong."""
    if asked.image_size is not None:
        return image_sizes.short(asked.image_size), []
    own = found.survey.size()
    if not asked.sizes or own in asked.sizes:
        return own, []
    larger = [size for size in asked.sizes if size >= own and asked.upscale]
    size = min(larger, default=max(asked.sizes, key=lambda s: (s <= own, s)))
    return size, [('size', f'{size}x{size}, which the network has; most images are {own}')]


_OPEN = {
    'digits': _open_digits,
    'stacked': _open_stacked,
    'tfds': _open_tfds,
    'folder': _open_files,
    'npz': _open_files,
}


def _in_memory(source: Source, image_size: ImageSize, channels: int) -> Source:
    """Keeps decoded images, unless they would take more than `MAX_MEMORY`."""
    shape = (len(source), *image_sizes.sides(image_size), channels)
    if np.prod(shape, dtype=np.int64) > MAX_MEMORY:
        return source
    # Pages of an empty array take memory when they are first written to.
    return MemorySource(np.empty(shape, np.uint8), np.empty(len(source), np.int32), source)


def _shape_notes(asked: _Asked, shape: tuple[int, int]) -> list[Note]:
    """What becomes of the shape of images that are all of one, as notes."""
    if image_sizes.is_square(asked.image_size):
        return []
    return survey.notes_of_shape(asked.name, shape, asked.reading.fit, asked.image_size)


def _check_size(asked: _Asked, shape: tuple[int, int]) -> None:
    height, width = image_sizes.sides(asked.image_size)
    if not asked.upscale and (shape[0] < height or shape[1] < width):
        advice = survey.advise(shape[::-1], asked.image_size, asked.sizes)
        raise ValueError(
            f'{asked.name}: its images are {shape[0]}x{shape[1]} pixels, smaller than the '
            f'requested {height}x{width}: {advice}'
        )
