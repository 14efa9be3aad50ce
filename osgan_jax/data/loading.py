"""Opening a dataset by its name."""

import dataclasses
import os

import numpy as np

from osgan_jax.data import archive, catalogue, digits, folder, stacked, tfds_source, zipped
from osgan_jax.data.dataset import Dataset, MemorySource, Source

# Datasets of small images are kept decoded when they take less than this many bytes.
MAX_MEMORY = 2 * 2**30


def load(
    name: str,
    *,
    split: str = 'train',
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    flip: bool = False,
    upscale: bool | None = None,
) -> Dataset:
    """Opens a dataset.

    Args:
      name: one of `names()`, or `tfds:NAME` for any tfds dataset of images, where NAME may hold
        a config and a version: `tfds:lsun/bedroom:3.1.0`.
      split: its part; tfds's slices such as `train[:10%]` work where tfds reads.
      data_dir: the folder of images or a zip archive of one (`folder`, `ffhq`), the file (`npz`),
        or the root of tfds datasets, by default tfds's own. Digits need none, and do not look at
        it.
      image_size: height and width in pixels; by default the dataset's. The shorter side is
        resized to it (bilinear, antialiased), then the centre is cropped.
      channels: 1 or 3; by default the dataset's. Grey is repeated, colour is turned to luma.
      flip: whether batches mirror images at random.
      upscale: whether images smaller than `image_size` are enlarged. False refuses them, with an
        error. By default refused in folders, celeb_a and lsun_church, and enlarged elsewhere.

    Returns:
      A `Dataset`.

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
    opened = _OPEN[entry.kind](
        name,
        entry,
        split=split,
        data_dir=data_dir,
        image_size=image_size or entry.image_size,
        channels=channels or entry.channels,
        upscale=entry.upscale if upscale is None else upscale,
    )
    source = opened.source
    # A file that cannot be read is named here rather than by a worker process.
    source[0]
    if entry.in_memory and not isinstance(source, MemorySource):
        source = _in_memory(source, opened.image_size, opened.channels)
    return dataclasses.replace(opened, flip=flip, source=source)


def _open_digits(name, entry, *, split, data_dir, image_size, channels, upscale) -> Dataset:
    del entry, data_dir
    stored, labels = digits.arrays(split)
    _check_size(name, stored.shape[1:3], image_size, upscale)
    return Dataset(
        name=name,
        split=split,
        image_size=image_size,
        channels=channels,
        num_classes=10,
        class_names=tuple('0123456789'),
        source=archive.ArraySource(stored, labels, image_size=image_size, channels=channels),
    )


def _open_stacked(name, entry, *, split, data_dir, image_size, channels, upscale) -> Dataset:
    if channels != stacked.DEPTH:
        raise ValueError(
            f'{name}: a digit a channel, three in all, got channels={channels}: '
            'leave --channels out'
        )
    single = _open_digits(
        name,
        entry,
        split=split,
        data_dir=data_dir,
        image_size=image_size,
        channels=1,
        upscale=upscale,
    )
    base = _in_memory(single.source, image_size, 1)
    if not isinstance(base, MemorySource):
        raise ValueError(f'{name}: images of {image_size} pixels are too large to stack')
    numbers = range(single.num_classes**stacked.DEPTH)
    return Dataset(
        name=name,
        split=split,
        image_size=image_size,
        channels=channels,
        num_classes=len(numbers),
        class_names=tuple(f'{number:0{stacked.DEPTH}d}' for number in numbers),
        source=stacked.stack(base, split, digits.NUM_TRAIN, single.num_classes),
        stack_of=dataclasses.replace(single, name='digits', source=base),
    )


def _open_tfds(name, entry, *, split, data_dir, image_size, channels, upscale) -> Dataset:
    prepared = tfds_source.find(
        entry.tfds_name,
        dataset=name,
        data_dir=data_dir,
        label_path=entry.label_path,
        class_names=entry.class_names,
    )
    height, width, depth = prepared.image_shape
    known = height is not None and width is not None
    if image_size is None:
        image_size = 32 if known and min(height, width) <= 32 else 64
    if known:
        _check_size(name, (height, width), image_size, upscale)
    channels = channels or (1 if depth == 1 else 3)
    source = tfds_source.TfdsSource(
        prepared, split, image_size=image_size, channels=channels, upscale=upscale
    )
    return Dataset(
        name=name,
        split=split,
        image_size=image_size,
        channels=channels,
        num_classes=len(prepared.class_names),
        class_names=prepared.class_names,
        source=source,
    )


def _open_folder(name, entry, *, split, data_dir, image_size, channels, upscale) -> Dataset:
    _check_whole(split, 'a folder')
    if data_dir is None:
        raise ValueError(f'{name} is a folder of images: pass its path as --data_dir')
    kind = zipped if zipped.is_zip(data_dir) else folder
    found = kind.scan(data_dir, labelled=entry.labelled)
    source = zipped.ZipSource if kind is zipped else folder.FolderSource
    if not upscale:
        folder.check_sizes(found, image_size)
    return Dataset(
        name=name,
        split=split,
        image_size=image_size,
        channels=channels,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        source=source(found, image_size=image_size, channels=channels),
        report=found.report,
    )


def _open_npz(name, entry, *, split, data_dir, image_size, channels, upscale) -> Dataset:
    _check_whole(split, 'an .npz file')
    if data_dir is None:
        raise ValueError('npz: pass the path of the .npz file as --data_dir')
    found = archive.read(data_dir)
    image_size = image_size or min(found.first_shape[:2])
    channels = channels or found.first_shape[2]
    _check_size(os.fspath(data_dir), found.first_shape[:2], image_size, upscale)
    return Dataset(
        name=name,
        split=split,
        image_size=image_size,
        channels=channels,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        source=found.source(image_size=image_size, channels=channels, upscale=upscale),
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


def _check_size(name: str, shape: tuple[int, int], image_size: int, upscale: bool) -> None:
    if not upscale and min(shape) < image_size:
        raise ValueError(
            f'{name}: its images are {shape[1]}x{shape[0]} pixels, smaller than the '
            f'{image_size}x{image_size} asked for; ask for --image_size={min(shape)} or less, '
            'or allow upscaling'
        )


def _check_whole(split: str, what: str) -> None:
    if split not in ('train', 'all'):
        raise ValueError(f"{what} has one split, 'train', got {split!r}")
