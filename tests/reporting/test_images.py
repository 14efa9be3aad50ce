"""Grids and PNG files; expected pixels by hand."""

import os

import numpy as np
import pytest
from PIL import Image

from osgan_jax.reporting import images


def test_to_uint8():
    # (x + 1) * 127.5 rounded: -1 -> 0, 0 -> 127.5 -> 128 (ties to even), 1 -> 255.
    values = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, -7.0, 7.0, np.nan, np.inf, -np.inf])
    expected = [0, 64, 128, 191, 255, 0, 255, 128, 128, 128]
    assert images.to_uint8(values).tolist() == expected
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.to_uint8(every / np.float32(127.5) - 1.0), every)
    assert images.to_uint8(every) is every
    with pytest.raises(ValueError, match='int64'):
        images.to_uint8(np.arange(3))


def test_grid_by_hand():
    # Three 1x2 grey images, two a row, lines of one pixel.
    tiles = np.array([[[10, 20]], [[30, 40]], [[50, 60]]], np.uint8)[..., None]
    w = 255
    expected = [
        [w, w, w, w, w, w, w],
        [w, 10, 20, w, 30, 40, w],
        [w, w, w, w, w, w, w],
        [w, 50, 60, w, w, w, w],
        [w, w, w, w, w, w, w],
    ]
    assert images.grid(tiles, padding=1)[..., 0].tolist() == expected
    assert images.grid(tiles, columns=9, padding=0)[..., 0].tolist() == [[10, 20, 30, 40, 50, 60]]
    twice = images.grid(tiles[:1], padding=0, scale=2)[..., 0]
    assert twice.tolist() == [[10, 10, 20, 20]] * 2


@pytest.mark.parametrize(
    ('count', 'columns', 'shape'),
    [(1, None, (36, 36)), (10, None, (104, 138)), (6, 2, (104, 70)), (5, 5, (36, 172))],
)
def test_grid_shape(count, columns, shape):
    tiles = np.zeros((count, 32, 32, 3), np.float32)
    assert images.grid(tiles, columns=columns).shape == (*shape, 3)


@pytest.mark.parametrize(
    'arguments',
    [
        {'images': np.zeros((3, 4, 4))},
        {'images': np.zeros((3, 4, 4, 2))},
        {'images': np.zeros((0, 4, 4, 3))},
        {'images': np.zeros((3, 4, 4, 3)), 'columns': 0},
        {'images': np.zeros((3, 4, 4, 3)), 'scale': 0},
        {'images': np.zeros((3, 4, 4, 3)), 'padding': -1},
    ],
)
def test_grid_refuses(arguments):
    with pytest.raises(ValueError, match='expected'):
        images.grid(**arguments)


def test_visible_scale():
    assert [images.visible_scale(size) for size in (8, 28, 32, 64, 128)] == [8, 3, 2, 1, 1]


def test_png_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(256, size=(5, 4, 3), dtype=np.uint8)
    path = tmp_path / 'new' / 'colour.png'
    images.save_png(path, colour)
    with Image.open(path) as image:
        assert image.mode == 'RGB'
        np.testing.assert_array_equal(np.asarray(image), colour)
    grey = np.array([[-1.0, np.nan], [0.5, 1.0]])
    for shaped in (grey, grey[..., None]):
        images.save_png(path, shaped, scale=3)
        with Image.open(path) as image:
            assert image.mode == 'L'
            assert np.asarray(image)[::3, ::3].tolist() == [[0, 128], [191, 255]]
            assert image.size == (6, 6)
    assert os.listdir(tmp_path / 'new') == ['colour.png']
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(ValueError, match=r'\(2, 2, 4\)'):
        images.save_png(path, np.zeros((2, 2, 4)))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    images.save_png(path, np.zeros((2, 2)))
    before = path.read_bytes()

    def fail(self, file, format):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Image.Image, 'save', fail)
    with pytest.raises(OSError, match='No space'):
        images.save_png(path, np.ones((2, 2)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['a.png']
