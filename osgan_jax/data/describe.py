"""Describes a dataset: classes and their counts, sizes, channels, a sheet of images, what is odd.

    python -m osgan_jax.data.describe --dataset=folder --data_dir=~/photos [--sheet=photos.png]

Nothing is trained. Flags that decide how images and labels are read are those of experiments.train:
--split, --image_size, --channels, --labels, --fit, --background, --white_level, --frames.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.data import images, loading
from osgan_jax.data.dataset import Dataset
from osgan_jax.data.reading import Reading
from osgan_jax.io import atomic, messages, paths

_MOST_CLASSES = 200  # that are listed
_ROWS, _COLUMNS = 8, 8
_VISIBLE = 64  # pixels on screen
_TYPES = {'white_level': int}
_HELP = 'see python -m experiments.train --help'


def lines(dataset: Dataset) -> list[str]:
    """What a dataset holds, a line each."""
    size = f'{image_sizes.text(dataset.image_size)}x{dataset.channels}'
    found = [f'{dataset.name} ({dataset.split}): {len(dataset):,} images, {size}']
    found += [f'  {what}: {said}' for what, said in dataset.remarks()]
    if not dataset.num_classes:
        return [*found, '  no classes']
    counts = dataset.class_counts()
    width = max(len(name) for name in dataset.class_names[:_MOST_CLASSES])
    found.append('  images of each class, by number and name:')
    for number, name in enumerate(dataset.class_names[:_MOST_CLASSES]):
        found.append(f'  {number:>5}  {name:<{width}}  {counts[number]:>9,}')
    if rest := dataset.num_classes - _MOST_CLASSES:
        found += [f'  and {rest:,} more classes'] * (rest > 0)
    if counts.max() > 10 * counts.min():
        names = dataset.class_names
        least, most = int(counts.argmin()), int(counts.argmax())
        found.append(
            f'  uneven: {names[most]} has {messages.counted(int(counts[most]), "image")} and '
            f'{names[least]} {counts[least]:,}'
        )
    return found


def sheet(dataset: Dataset) -> np.ndarray:
    """A sheet of images, uint8 `[H, W, 1 or 3]`: a row a class, or images spread evenly."""
    if dataset.num_classes:
        labels = dataset.labels()
        classes = np.unique(np.linspace(0, dataset.num_classes - 1, _ROWS).round().astype(int))
        of_class = [np.flatnonzero(labels == label)[:_COLUMNS] for label in classes]
        # The last image again, where a class has few.
        chosen = np.concatenate([np.resize(each, _COLUMNS) for each in of_class if len(each)])
    else:
        last = len(dataset) - 1
        chosen = np.linspace(0, last, min(_ROWS * _COLUMNS, last + 1)).round().astype(int)
    columns = min(_COLUMNS, len(chosen))
    scale = max(1, _VISIBLE // image_sizes.short(dataset.image_size))
    edge = ((1, 1), (1, 1), (0, 0))
    tiles = [
        np.pad(
            dataset[int(i)]['image'].repeat(scale, 0).repeat(scale, 1), edge, constant_values=255
        )
        for i in chosen
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which dataset is meant, and how it is read."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--dataset', default='folder', help='a dataset by name; by default folder')
    parser.add_argument('--data_dir', help='directory or file of the dataset')
    parser.add_argument('--split', default='train', help='part of the dataset; by default train')
    parser.add_argument(
        '--image_size', help="pixels, as 64 or 64x128 (height x width); by default the dataset's"
    )
    parser.add_argument('--channels', type=int, help="1 or 3; by default the dataset's")
    for each in dataclasses.fields(Reading):
        if each.name != 'layout':
            kind = _TYPES.get(each.name, str)
            parser.add_argument(f'--{each.name}', type=kind, default=each.default, help=_HELP)


def open_dataset(flags: argparse.Namespace, **more: Any) -> Dataset:
    """The dataset that flags of `add_flags` mean; smaller images are enlarged."""
    reading = {
        each.name: getattr(flags, each.name, each.default) for each in dataclasses.fields(Reading)
    }
    if reading['labels'] not in (None, 'none', 'folders'):
        reading['labels'] = paths.expand(reading['labels'])
    return loading.load(
        flags.dataset,
        split=flags.split,
        data_dir=flags.data_dir,
        image_size=flags.image_size,
        channels=flags.channels,
        upscale=True,
        **reading,
        **more,
    )


def report_errors(act: Callable[[], None]) -> int:
    """Runs a command and returns its exit status; what it refuses is one line on stderr."""
    try:
        act()
    except (ValueError, OSError) as error:
        print(f'error: {messages.one_line(str(error))}', file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(prog='python -m osgan_jax.data.describe', description=__doc__)
    add_flags(parser)
    parser.add_argument('--sheet', help='PNG file to write a sheet of images to')
    flags = parser.parse_args(arguments)

    def act() -> None:
        dataset = open_dataset(flags)
        print('\n'.join(lines(dataset)))
        if flags.sheet:
            path = paths.expand(flags.sheet)
            with atomic.replacing(path) as file:
                file.write(images.to_png(sheet(dataset)))
            print(f'Written: {path}')

    return report_errors(act)


if __name__ == '__main__':
    sys.exit(main())
