"""Converts images of any kind that is read into our .npz, or into a zip archive of StyleGAN's kind.

    python -m osgan_jax.data.convert --data_dir=cifar-10-batches-py --to=cifar10_train.npz
    python -m osgan_jax.data.convert --data_dir=~/photos --image_size=64 --to=photos.zip

What --data_dir holds is told by its content: a folder or zip of images, .npz, .npy, .parquet, HDF5,
or MNIST's and CIFAR's own files; --dataset=NAME takes another dataset. Images keep their size where
all are of one and --image_size is not given, and are written without loss. The .npz holds PNG files
end to end, labels and their names; the zip holds PNG files and dataset.json.
"""

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Iterator

import numpy as np

from osgan_jax.data import describe, images
from osgan_jax.data.dataset import Dataset
from osgan_jax.io import atomic, paths

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
    """Writes a dataset as StyleGAN's tools do: PNG files in blocks, and dataset.json."""
    labels = dataset.labels().tolist() if dataset.num_classes else None
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
        print('\n'.join(describe.lines(dataset)), flush=True)
        _WRITERS[ending](path, dataset)
        name = 'npz' if ending == '.npz' else 'folder'
        print(f'Written: {path}; read it by --dataset={name} --data_dir={path}')
        if ending == '.zip' and dataset.num_classes:
            print('StyleGAN zips hold numbers and no names of classes.')

    return describe.report_errors(act)


if __name__ == '__main__':
    sys.exit(main())
