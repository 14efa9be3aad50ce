"""Converts images of any kind that is read into our .npz, or into a zip archive of StyleGAN's kind.

    python -m osgan_jax.data.convert --data_dir=cifar-10-batches-py --to=cifar10_train.npz
    python -m osgan_jax.data.convert --data_dir=~/photos --image_size=64 --to=photos.zip

What --data_dir holds is told by its content: a folder or zip of images, .npz, .npy, .parquet, HDF5,
or MNIST's and CIFAR's own files; --dataset=NAME takes another dataset. Images keep their size where
all are of one and --image_size is not given, and are written without loss. The .npz holds PNG files
end to end, labels and their names; the zip holds PNG files and dataset.json, whose labels are
numbers: those that classes are named by, or those of the classes of all parts.
"""

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from osgan_jax.data import classes, describe, images, labelling
from osgan_jax.data.dataset import MAX_CLASSES, Dataset
from osgan_jax.io import atomic, messages, paths

_BLOCK = 1_000  # images a folder of the zip


def write_npz(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Writes a dataset as an .npz of PNG files, which `load('npz', data_dir=path)` reads."""
    # One copy of all files, not a list of them and another.
    content, offset = bytearray(), [0]
    for file in _pngs(dataset):
        content += file
        offset.append(len(content))
    arrays = {
        'jpeg': np.frombuffer(content, np.uint8),
        'offset': np.asarray(offset, np.int64),
    }
    if dataset.num_classes:
        arrays |= {'label': dataset.labels(), 'class_names': np.asarray(dataset.class_names)}
    with atomic.replacing(path) as file:
        np.savez(file, **arrays)


def write_zip(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Writes a dataset as StyleGAN's tools do: PNG files in blocks, and dataset.json.

    Classes that are named by numbers keep these as labels.
    """
    labels = None
    if dataset.num_classes:
        numbers = _numbers(dataset.class_names) or range(dataset.num_classes)
        labels = [numbers[label] for label in dataset.labels().tolist()]
    rows = []
    with (
        atomic.replacing(path) as file,
        zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive,
    ):
        for index, content in enumerate(_pngs(dataset)):
            name = f'{index // _BLOCK:05d}/img{index:08d}.png'
            archive.writestr(name, content)
            rows.append(None if labels is None else [name, labels[index]])
        body = {'labels': None if labels is None else rows}
        archive.writestr('dataset.json', json.dumps(body))


def _pngs(dataset: Dataset) -> Iterator[bytes]:
    for row in dataset:
        yield images.to_png(row['image'])


def _numbers(class_names: Sequence[str]) -> list[int] | None:
    """The numbers that classes are named by, None where they have other names."""
    if not all(name.isdecimal() and len(name) <= len(str(MAX_CLASSES)) for name in class_names):
        return None
    numbers = [int(name) for name in class_names]
    fit = len(set(numbers)) == len(numbers) and max(numbers) < MAX_CLASSES
    return numbers if fit else None


def _numbered_by_all_parts(dataset: Dataset, flags: argparse.Namespace, **how: Any) -> Dataset:
    """The dataset with the class numbers of all parts, one of which may lack classes."""
    try:
        whole = describe.open_dataset(argparse.Namespace(**{**vars(flags), 'split': 'all'}), **how)
        return classes.align(dataset, whole.class_names, 'all parts')
    except ValueError as error:
        print(
            'warning: the parts cannot be read together, so that another one may get other '
            f'numbers for these classes: {messages.one_line(str(error))}',
            file=sys.stderr,
        )
        return dataset


_WRITERS = {'.npz': write_npz, '.zip': write_zip}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(prog='python -m osgan_jax.data.convert', description=__doc__)
    describe.add_flags(parser)
    parser.add_argument('--to', required=True, help='.npz or .zip file to write')
    flags = parser.parse_args(arguments)

    def act() -> None:
        path = paths.expand(flags.to)
        ending = os.path.splitext(path)[1].lower()
        if ending not in _WRITERS:
            raise ValueError(f'--to={flags.to}: expected a file that ends in .npz or .zip')
        # Of a folder too: its own size, and not that of training.
        own_size = flags.image_size is None and flags.dataset == 'folder'
        dataset = describe.open_dataset(flags, own_size=own_size)
        named = dataset.num_classes and _numbers(dataset.class_names) is None
        if ending == '.zip' and named and labelling.part_of(flags.split) != 'all':
            dataset = _numbered_by_all_parts(dataset, flags, own_size=own_size)
        print('\n'.join(describe.lines(dataset)), flush=True)
        _WRITERS[ending](path, dataset)
        name = 'npz' if ending == '.npz' else 'folder'
        print(f'Written: {path}; read it by --dataset={name} --data_dir={path}')
        if ending == '.zip' and named:
            pairs = ', '.join(f'{number} {name}' for number, name in enumerate(dataset.class_names))
            print(f'The zip holds numbers in place of the names of classes: {pairs}')
            print(
                'Another folder or file that lacks some of these classes gets other numbers: '
                'convert its parts from one folder, by --split.'
            )

    return describe.report_errors(act)


if __name__ == '__main__':
    sys.exit(main())
