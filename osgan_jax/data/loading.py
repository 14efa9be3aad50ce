"""Opening a dataset by its name."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from osgan_jax.data import (
    archive,
    catalogue,
    collection,
    digits,
    folder,
    stacked,
    survey,
    tfds_source,
    zipped,
)
from osgan_jax.data.dataset import Dataset, MemorySource, Source
from osgan_jax.data.reading import Reading

# Datasets of small images are kept decoded when they take less than this many bytes.
MAX_MEMORY = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The arguments of `load`, where the catalogue has its say."""

    name: str
    entry: catalogue.Entry
    split: str
    data_dir: str | os.PathLike | None
    image_size: int | None
    channels: int | None
    upscale: bool
    sizes: Sequence[int]
    reading: Reading


def load(
    name: str,
    *,
    split: str = 'train',
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    flip: bool = False,
    upscale: bool | None = None,
    sizes: Sequence[int] = (),
    **reading: Any,
) -> Dataset:
    """Opens a dataset.

    Args:
      name: one of `names()`, or `tfds:NAME` for any tfds dataset of images, where NAME may hold
        a config and a version: `tfds:lsun/bedroom:3.1.0`.
      split: its part; tfds's slices such as `train[:10%]` work where tfds reads.
      data_dir: the folder of images or a zip archive of one (`folder`, `ffhq`), the file (`npz`),
        or the root of tfds datasets, by default tfds's own. Digits need none, and do not look at
        it.
      image_size: height and width in pixels; by default the dataset's.
      channels: 1 or 3; by default the dataset's: one where all images of a folder or file are
        grey. Grey is repeated, colour is turned to luma.
      flip: whether batches mirror images at random.
      upscale: whether images smaller than `image_size` are enlarged. False refuses them, with an
        error. By default refused in folders, celeb_a and lsun_church, and enlarged elsewhere.
      sizes: image sizes that whatever uses the images has, for advice and for the default.
      **reading: attributes of `osgan_jax.data.reading.Reading`: how images become squares, what is
        behind transparent ones, frames, white of 16 bits, labels.

    Returns:
      A `Dataset`, whose `remarks()` say what was inferred.

    Raises:
      ValueError: unknown name or split, a missing argument or library, images smaller than asked.
      FileNotFoundError: no such file or folder, or a tfds dataset that is not prepared yet; the
        message says how to prepare it.
    """
    entry = catalogue.entry(name)
    if image_size is not None and image_size < 1:
        raise ValueError(f'image_size: expected at least 1 pixel, got {image_size}')
    if channels not in (None, 1, 3):
        raise ValueError(f'channels: expected 1 (grey) or 3 (colour), got {channels}')
    asked = _Asked(
        name=name,
        entry=entry,
        split=split,
        data_dir=data_dir,
        image_size=image_size or entry.image_size,
        channels=channels or entry.channels,
        upscale=entry.upscale if upscale is None else upscale,
        sizes=sizes,
        reading=Reading(**reading),
    )
    opened = _OPEN[entry.kind](asked)
    source = opened.source
    # A file that cannot be read is named here rather than by a worker process.
    source[0]
    if entry.in_memory and not isinstance(source, MemorySource):
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
        source=archive.ArraySource(stored, labels, **size),
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
        own = f'{width}x{height}' if known else 'of several sizes'
        notes.append(('size', f'{image_size}x{image_size}, of images that are {own}; --image_size'))
        asked = dataclasses.replace(asked, image_size=image_size)
    if known:
        _check_size(asked, (height, width))
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


def _open_folder(asked: _Asked) -> Dataset:
    if asked.data_dir is None:
        raise ValueError(f'{asked.name} is a folder of images: pass its path as --data_dir')
    kind = zipped if zipped.is_zip(asked.data_dir) else folder
    reading = asked.reading
    if not asked.entry.labelled and reading.labels is None:
        reading = dataclasses.replace(reading, labels='none')
    found = kind.scan(asked.data_dir, reading, asked.split)
    if not asked.upscale:
        survey.check_sizes(found.root, found.survey, asked.image_size, asked.sizes)
    size = {
        'image_size': asked.image_size,
        'channels': asked.channels or found.survey.channels(),
    }
    source = zipped.ZipSource if kind is zipped else folder.FolderSource
    return Dataset(
        name=asked.name,
        split=asked.split,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        source=source(found, **size, **reading.of_files()),
        report=found.report,
        notes=(*found.notes, *survey.notes(found.survey, reading, **size)),
        **size,
    )


def _open_npz(asked: _Asked) -> Dataset:
    collection.check_whole(asked.split, 'an .npz file')
    if asked.data_dir is None:
        raise ValueError('npz: pass the path of the .npz file as --data_dir')
    found = archive.read(asked.data_dir, asked.reading)
    image_size, notes = asked.image_size, list(found.notes)
    if image_size is None:
        image_size = found.survey.size()
        if asked.sizes and image_size not in asked.sizes:
            own = image_size
            larger = [size for size in asked.sizes if size >= own and asked.upscale]
            image_size = min(larger, default=max(asked.sizes, key=lambda s: (s <= own, s)))
            notes.append(
                ('size', f'{image_size}x{image_size}, which the network has; most images are {own}')
            )
        asked = dataclasses.replace(asked, image_size=image_size)
    if not asked.upscale:
        survey.check_sizes(found.name, found.survey, image_size, asked.sizes)
    size = {'image_size': image_size, 'channels': asked.channels or found.survey.channels()}
    return Dataset(
        name=asked.name,
        split=asked.split,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        source=found.source(upscale=asked.upscale, reading=asked.reading, **size),
        notes=(*notes, *survey.notes(found.survey, asked.reading, decoded=False, **size)),
        **size,
    )


_OPEN = {
    'digits': _open_digits,
    'stacked': _open_stacked,
    'tfds': _open_tfds,
    'folder': _open_folder,
    'npz': _open_npz,
}


def _in_memory(source: Source, image_size: int, channels: int) -> Source:
    """Keeps decoded images, unless they would take more than `MAX_MEMORY`."""
    shape = (len(source), image_size, image_size, channels)
    if np.prod(shape, dtype=np.int64) > MAX_MEMORY:
        return source
    # Pages of an empty array take memory when they are first written to.
    return MemorySource(np.empty(shape, np.uint8), np.empty(len(source), np.int32), source)


def _check_size(asked: _Asked, shape: tuple[int, int]) -> None:
    if not asked.upscale and min(shape) < asked.image_size:
        size = asked.image_size
        raise ValueError(
            f'{asked.name}: its images are {shape[1]}x{shape[0]} pixels, smaller than the '
            f'{size}x{size} asked for: {survey.advise(min(shape), size, asked.sizes)}'
        )
