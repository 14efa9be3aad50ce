"""Animated files as Pillow reads them back."""

import numpy as np
import pytest
from PIL import Image

from osgan_jax.editing import animation


def cells(rows=3, frames=5, channels=3):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (rows, frames, 2, 2, channels), np.uint8)
    return coarse.repeat(8, 2).repeat(8, 3)


def read(path):
    with Image.open(path) as image:
        loop, pictures, durations = image.info['loop'], [], []
        for index in range(image.n_frames):
            image.seek(index)
            pictures.append(np.asarray(image.convert('RGB')).astype(int))
            durations.append(image.info['duration'])
    return loop, pictures, durations


@pytest.mark.parametrize('channels', [1, 3])
def test_an_animation_goes_there_and_back(tmp_path, channels):
    made = cells(channels=channels)
    pictures = animation.frames(made, scale=2)
    # Three images in two columns and two rows.
    assert len(pictures) == 5
    assert pictures[0].shape == (2 * 34 + 2, 2 * 34 + 2, channels)
    np.testing.assert_array_equal(pictures[3][2:34:2, 36:68:2], made[1, 3])
    path = tmp_path / 'new' / f'path{animation.SUFFIX}'
    assert animation.save(path, pictures, fps=16) == 8
    loop, found, durations = read(path)
    assert loop == 0  # for ever
    assert sum(durations) == 8 * 1000 / 16
    assert {min(durations), max(durations)} == {62, 63}
    order = [0, 1, 2, 3, 4, 3, 2, 1]
    assert len(found) == len(order)
    for picture, index in zip(found, order, strict=True):
        expected = np.broadcast_to(pictures[index], picture.shape)
        assert np.abs(picture - expected).mean() < 4


def test_two_frames_are_a_loop(tmp_path):
    path = tmp_path / 'two.webp'
    assert animation.save(path, animation.frames(cells(frames=2)), fps=10) == 2
    assert read(path)[2] == [100, 100]


def test_bad_animations_are_refused(tmp_path):
    pictures = animation.frames(cells())
    for some, fps, message in [
        (pictures[:1], 10, 'expected 2 pictures'),
        (pictures, 0, 'frames a second'),
        (pictures, 200, 'frames a second'),
        ([np.zeros((1, 16384, 3), np.uint8)] * 2, 10, '16384 x 1 pixels is too large'),
    ]:
        with pytest.raises(ValueError, match=message):
            animation.save(tmp_path / 'a.webp', some, fps=fps)
    assert not list(tmp_path.iterdir())
