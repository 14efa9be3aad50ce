"""Oblong images: fitted as Pillow fits them, sizes kept or refused, and what is said of them."""

import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import convert, describe, fitting, images
from tests.support import prepared

BILINEAR = Image.Resampling.BILINEAR
SIZES = (16, 32, 64)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(root, shapes):
    root.mkdir(parents=True)
    for index, shape in enumerate(shapes):
        Image.fromarray(noise(*shape, 3, seed=index)).save(root / f'{index}.png')
    return root


def notes(dataset):
    return dict(dataset.remarks())


# Height and width of images and of results: wider, narrower, of the same shape, turned, extreme.
CASES = [
    ((100, 200), (32, 64)),
    ((100, 300), (32, 64)),
    ((90, 100), (32, 64)),
    ((64, 128), (128, 32)),
    ((32, 70), (32, 64)),
    ((7, 3), (32, 64)),
    ((6, 900), (20, 16)),
]


@pytest.mark.parametrize(('own', 'size'), CASES)
def test_fits_are_pillows(own, size):
    (high, wide), (height, width) = own, size
    image = Image.fromarray(noise(high, wide, 3))
    name = f'{height}x{width}'
    np.testing.assert_array_equal(
        fitting.fit(image, name, 'stretch'), np.asarray(image.resize((width, height), BILINEAR))
    )
    # Pad: the whole image, as large as fits, in the middle of a colour.
    factor = min(height / high, width / wide)
    inner = (max(1, round(wide * factor)), max(1, round(high * factor)))
    expected = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    whole = np.asarray(image.resize(inner, BILINEAR))
    expected[top : top + inner[1], left : left + inner[0]] = whole
    np.testing.assert_array_equal(fitting.fit(image, name, 'pad'), expected)
    # Crop: the part of the middle that has the shape, resized; pixels of a grid that may lie half a
    # pixel apart, so that smooth images show whether it is that part.
    smooth = Image.fromarray(noise(2, 2, 3)).resize((wide, high), BILINEAR)
    factor = max(height / high, width / wide)
    box_wide, box_high = width / factor, height / factor
    box = ((wide - box_wide) / 2, (high - box_high) / 2)
    box = (*box, box[0] + box_wide, box[1] + box_high)
    near = np.asarray(smooth.resize((width, height), BILINEAR, box=box), np.int16)
    found = fitting.fit(smooth, name, 'crop').astype(np.int16)
    assert found.shape == (height, width, 3)
    assert np.abs(found - near).max() <= 255 / min(size) + 1


def test_crop_keeps_pixels_of_the_size():
    array = noise(40, 64, 3)
    found = images.load(images.to_png(array), image_size='32x64', channels=3)
    np.testing.assert_array_equal(found, array[4:36])
    assert fitting.share_cropped(64, 40, '32x64') == pytest.approx(0.2)
    with pytest.raises(images.UnreadableImageError, match='smaller than the requested 41x20'):
        images.load(images.to_png(array), image_size='41x20', channels=3, upscale=False)


def test_images_of_one_shape_keep_it(tmp_path):
    root = write(tmp_path / 'wide', [(70, 140)] * 3)
    found = data.load('folder', data_dir=root, sizes=SIZES)
    assert found.image_size == '64x128'
    assert found[0]['image'].shape == (64, 128, 3)
    assert notes(found) == {
        'size': '64x128, the shape of all images, which are 70x140; --image_size=64 makes squares '
        'of them'
    }
    # Not the exact shape: a quarter of the shorter side is the unit, and the rest is cropped.
    faces = write(tmp_path / 'faces', [(218, 178)] * 2)
    found = data.load('folder', data_dir=faces, sizes=SIZES)
    assert found.image_size == '80x64'
    assert 'all pixels go, at most 2%' in notes(found)['fit']
    for images_of, options in (
        (root, {'oblong': False}),
        (root, {'image_size': 64}),
        (root, {'fit': 'pad'}),
        (write(tmp_path / 'mixed', [(70, 140), (70, 141)]), {}),
        (write(tmp_path / 'nearly', [(70, 72)]), {}),
    ):
        assert data.load('folder', data_dir=images_of, sizes=SIZES, **options).image_size == 64


def test_files_of_images_keep_their_own_size(tmp_path):
    np.savez(tmp_path / 'a.npz', images=noise(3, 24, 40, 1), labels=[0, 1, 0])
    found = data.load('npz', data_dir=tmp_path / 'a.npz')
    np.testing.assert_array_equal(found[2]['image'], noise(3, 24, 40, 1)[2])
    assert notes(found)['size'] == '24x40, as all images are; --image_size=24 makes squares of them'
    for_network = data.load('npz', data_dir=tmp_path / 'a.npz', sizes=SIZES)
    assert for_network.image_size == '32x56'
    assert data.load('npz', data_dir=tmp_path / 'a.npz', oblong=False).image_size == 24
    asked = data.load('npz', data_dir=tmp_path / 'a.npz', image_size=(40, 24), fit='stretch')
    assert asked[0]['image'].shape == (40, 24, 1)
    assert (
        notes(asked)['fit'] == 'stretch: 3 of 3 images (image 0) are distorted, at most 2.8 times'
    )


def test_smaller_images_are_refused_with_a_size_that_works(tmp_path):
    root = write(tmp_path / 'small', [(70, 140), (40, 60)])
    said = re.escape(
        'small is smaller than 64x128, the smallest is 1.png with 40x60 pixels: --upscale '
        'enlarges them to 64x128, --image_size=16x32 makes all of them 16x32'
    )
    with pytest.raises(ValueError, match=said):
        data.load('folder', data_dir=root, image_size='64x128', sizes=SIZES)
    assert data.load('folder', data_dir=root, image_size='16x32').image_size == '16x32'
    with pytest.raises(ValueError, match='--image_size=30x60 makes all'):
        data.load('folder', data_dir=root, image_size='64x128')
    large = data.load('folder', data_dir=root, image_size='64x128', upscale=True)
    assert notes(large)['enlarged'] == ('1 of 2 images (1.png), the smallest from 40x60 to 64x128')
    with pytest.raises(ValueError, match='image_size=64x128x: expected pixels'):
        data.load('folder', data_dir=root, image_size='64x128x')


def test_arrays_of_any_shape():
    array = noise(4, 12, 20, 3)
    found = data.from_arrays(array)
    assert found.image_size == '12x20'
    np.testing.assert_array_equal(found[3]['image'], array[3])
    smaller = data.from_arrays(array, image_size='6x10')
    expected = Image.fromarray(array[1]).resize((10, 6), BILINEAR)
    np.testing.assert_array_equal(smaller[1]['image'], np.asarray(expected))
    assert data.from_arrays(array, image_size=8, fit='stretch')[0]['image'].shape == (8, 8, 3)
    batch = next(data.batches(found, 2, seed=0))
    assert batch['image'].shape == (2, 12, 20, 3)


def test_digits_and_stacked_digits_are_fitted():
    crop, pad = (data.load('digits', image_size='16x32', fit=how) for how in ('crop', 'pad'))
    square = data.load('digits', image_size=32)[0]['image']
    np.testing.assert_array_equal(crop[0]['image'], square[8:24])
    assert notes(crop)['fit'].startswith('crop: the centre is kept, 50% of the pixels go')
    assert np.all(pad[0]['image'][:, :8] == 255)
    assert notes(pad)['fit'].startswith('pad: ')
    assert 'fit' not in notes(data.load('digits'))
    stacked = data.load('stacked_digits', image_size='16x32')
    assert stacked[0]['image'].shape == (16, 32, 3)


def test_tfds_images_of_a_known_shape_keep_it(tmp_path):
    examples = [{'image': images.to_png(noise(20, 40, 3, seed=index))} for index in range(3)]
    features = lambda features: {'image': features.Image(shape=(20, 40, 3))}  # noqa: E731
    prepared.write(tmp_path, 'panoramas', features, examples)
    found = data.load('tfds:panoramas', data_dir=tmp_path)
    assert found[0]['image'].shape == (32, 64, 3)
    assert notes(found)['size'] == '32x64, of images that are 20x40; --image_size'
    assert 'fit' not in notes(found)
    tall = data.load('tfds:panoramas', data_dir=tmp_path, image_size='40x20')
    assert notes(tall)['fit'].startswith('crop: the centre is kept, 75% of the pixels go')
    assert data.load('tfds:panoramas', data_dir=tmp_path, oblong=False).image_size == 32
    with pytest.raises(ValueError, match='20x40 pixels, smaller than the requested 32x40: --upsc'):
        data.load('tfds:panoramas', data_dir=tmp_path, image_size='32x40', upscale=False)


def test_describe_and_convert(tmp_path, capsys):
    root = write(tmp_path / 'photos', [(8, 12)] * 10)
    flags = ['--data_dir', str(root)]
    assert describe.main([*flags, '--image_size=8x12', '--sheet', str(tmp_path / 's.png')]) == 0
    assert '10 images, 8x12x3' in capsys.readouterr().out
    with Image.open(tmp_path / 's.png') as sheet:
        assert sheet.size == (8 * (12 * 8 + 2), 2 * (8 * 8 + 2))
    for name, kind in (('a.zip', 'folder'), ('a.npz', 'npz')):
        assert convert.main([*flags, '--to', str(tmp_path / name)]) == 0
        # Without loss, in the same order and shape.
        back = data.load(kind, data_dir=tmp_path / name, own_size=True)
        assert back.image_size == '8x12'
        for index in range(10):
            np.testing.assert_array_equal(back[index]['image'], noise(8, 12, 3, seed=index))
    with zipfile.ZipFile(tmp_path / 'a.zip') as archive:
        assert json.loads(archive.read('dataset.json')) == {'labels': None}
    assert describe.main([*flags, '--image_size=8by12']) == 1
    assert 'error: image_size=8by12: expected pixels, as 64' in capsys.readouterr().err
