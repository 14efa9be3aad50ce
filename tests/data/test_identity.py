"""Which images a dataset holds, and its labels without decoding them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import identity, images, loading
from tests.support import prepared

LABELS = [0, 0, 1, 1, 1, 2]


def pictures():
    return np.random.default_rng(0).integers(0, 256, (len(LABELS), 8, 8, 3), np.uint8)


def arrays(tmp_path):
    return data.from_arrays(pictures(), LABELS)


def folder(tmp_path):
    for index, (image, label) in enumerate(zip(pictures(), LABELS, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(label) / f'{index}.png')
    return data.load('folder', data_dir=tmp_path, image_size=8)


def npz(tmp_path):
    files = [np.frombuffer(images.to_png(image), np.uint8) for image in pictures()]
    offset = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / 'a.npz', jpeg=np.concatenate(files), offset=offset, label=LABELS)
    return data.load('npz', data_dir=tmp_path / 'a.npz')


def tfds(tmp_path):
    prepared.write(
        tmp_path,
        'pictures',
        lambda features: {
            'image': features.Image(shape=(8, 8, 3)),
            'label': features.ClassLabel(num_classes=3),
        },
        [
            {'image': images.to_png(image), 'label': label}
            for image, label in zip(pictures(), LABELS, strict=True)
        ],
    )
    return data.load('tfds:pictures', data_dir=tmp_path)


@pytest.mark.parametrize('source', [arrays, folder, npz, tfds])
def test_labels_are_read_without_images(source, tmp_path, monkeypatch):
    dataset = source(tmp_path)
    monkeypatch.setattr(images, 'load', lambda *unused, **options: pytest.fail('decoded'))
    np.testing.assert_array_equal(dataset.labels(), LABELS)
    assert dataset.class_counts().tolist() == [2, 3, 1]


def test_labels_of_any_source_and_of_none():
    class Source:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.zeros((8, 8, 1), np.uint8), index % 2

    dataset = dataclasses.replace(data.from_arrays(np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 0]))
    dataset = dataclasses.replace(dataset, source=Source())
    assert dataset.class_counts().tolist() == [2, 1]
    # Kept in memory, before anything is decoded.
    kept = dataclasses.replace(dataset, source=loading._in_memory(Source(), 8, 1))
    assert kept.labels().tolist() == [0, 1, 0]
    unlabelled = data.from_arrays(np.zeros((3, 8, 8, 1), np.uint8))
    assert unlabelled.labels().tolist() == [0, 0, 0]
    assert unlabelled.class_counts().tolist() == []


def test_datasets_differ_by_number_and_images_whatever_their_names():
    base = data.from_arrays(pictures(), LABELS, name='a')
    known = identity.identify(base)
    changed = pictures()
    changed[3] = 255 - changed[3]
    for other, clause in [
        (data.from_arrays(pictures(), LABELS, name='a'), None),
        (data.from_arrays(pictures(), LABELS, name='b'), None),
        (dataclasses.replace(base, split='test'), None),
        (data.from_arrays(changed, LABELS, name='b'), 'its name was a and is b'),
        (
            dataclasses.replace(data.from_arrays(changed, LABELS, name='a'), split='test'),
            'its split was train and is test',
        ),
        (data.from_arrays(pictures()[:5], LABELS[:5], name='a'), 'it had 6 images and has 5'),
        (data.from_arrays(changed, LABELS, name='a'), 'its images or labels are others'),
        (data.from_arrays(pictures(), LABELS[::-1], name='a'), 'its images or labels are others'),
    ]:
        found = identity.difference(known, identity.identify(other))
        assert found == clause or found.startswith(clause)
