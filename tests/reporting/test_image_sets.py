"""Sets of images as others read them, and what an interruption leaves."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.reporting.image_sets import KINDS, ImageSet
from tests.support import holding

COUNT, SIZE = 5, 4
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1], np.int32)


def open_set(folder, kind, labels=LABELS, **about):
    return ImageSet(
        folder,
        'set',
        kind,
        shape=IMAGES.shape,
        file_name=lambda i: f'image_{i:05d}.png',
        labels=labels,
        about={'step': 3, 'options': (1, 2), **about},
    )


def contents(path):
    """Images and labels, in the order of the files' names."""
    if path.suffix == '.npz':
        with np.load(path) as arrays:
            return arrays['arr_0'], arrays.get('arr_1')
    if path.suffix == '.zip':
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            archive.extractall(path.with_suffix('.unpacked'))
        path = path.with_suffix('.unpacked')
    images = []
    for file in sorted(path.glob('*.png')):
        with Image.open(file) as image:
            images.append(np.asarray(image))
    body = path / 'dataset.json'
    if not body.exists():
        return np.stack(images), None
    rows = json.loads(body.read_text())['labels']
    assert [name for name, _ in rows] == sorted(file.name for file in path.glob('*.png'))
    return np.stack(images), [label for _, label in rows]


@pytest.mark.parametrize('labels', [LABELS, None])
@pytest.mark.parametrize('kind', KINDS)
def test_a_set_is_whole_or_unfinished_and_goes_on(tmp_path, kind, labels):
    made = open_set(tmp_path / 'new', kind, labels)
    assert made.begin() == 0
    made.put(0, IMAGES[:2])
    made.put(2, IMAGES[2:4] if kind != 'npz' else IMAGES[2:3])
    assert not made.path.exists()
    # An image that a kill cut short.
    (work,) = (tmp_path / 'new').iterdir()
    if kind == 'npz':
        with open(work / 'pixels.npy', 'ab') as file:
            file.write(b'x')
    else:
        path = work / 'image_00003.png'
        path.write_bytes(path.read_bytes()[:-1])
        (work / 'writing.0123.tmp').write_bytes(b'x')
    again = open_set(tmp_path / 'new', kind, labels)
    assert again.begin() == 3
    again.put(2, IMAGES[2:])
    again.finish()
    images, found = contents(again.path)
    np.testing.assert_array_equal(images, IMAGES)
    assert found is None if labels is None else np.array_equal(found, LABELS)
    names = {path.name for path in (tmp_path / 'new').iterdir() if path.suffix != '.unpacked'}
    assert names == {again.path.name, f'{again.path.name}.json'}
    assert open_set(tmp_path / 'new', kind, labels).begin() == COUNT


@pytest.mark.parametrize('kind', KINDS)
def test_other_images_of_the_name_are_left_alone(tmp_path, kind):
    made = open_set(tmp_path, kind)
    made.begin()
    made.put(0, IMAGES)
    with pytest.raises(ValueError, match='unfinished already exists and holds other images'):
        open_set(tmp_path, kind, step=4).begin()
    made.finish()
    with pytest.raises(ValueError, match=r'set\S* already exists and holds other images: delete'):
        open_set(tmp_path, kind, step=4).begin()
    np.testing.assert_array_equal(contents(made.path)[0], IMAGES)


@pytest.mark.process
@pytest.mark.parametrize('kind', KINDS)
def test_one_process_at_a_time_draws_a_set(tmp_path, kind):
    made = open_set(tmp_path, kind)
    lock = tmp_path / f'{made.path.name}.unfinished' / '.lock'
    lock.parent.mkdir()
    with holding.held(lock), pytest.raises(ValueError, match=r'another process is drawing .*set'):
        made.begin()
    assert made.begin() == 0
    made.put(0, IMAGES)
    made.finish()
    assert not lock.exists()
    assert not (made.path / '.lock').exists()


@pytest.mark.parametrize('kind', KINDS)
def test_sets_are_datasets(tmp_path, kind):
    made = open_set(tmp_path, kind)
    made.begin()
    made.put(0, IMAGES)
    made.finish()
    name = 'npz' if kind == 'npz' else 'folder'
    dataset = data.load(name, data_dir=str(made.path), image_size=SIZE, channels=3)
    np.testing.assert_array_equal(dataset.labels(), LABELS)
    np.testing.assert_array_equal([dataset[i]['image'] for i in range(COUNT)], IMAGES)
