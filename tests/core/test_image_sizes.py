"""Sizes of images: their one form, the shapes that networks may have, and refusals."""

import numpy as np
import pytest

from osgan_jax.core import image_sizes


def test_a_size_has_one_form():
    forms = {
        64: (64, '64', '64x64', (64, 64), [64, 64], np.int64(64), 64.0),
        '64x128': ('64x128', (64, 128), [64, 128], tuple(np.int64([64, 128]))),
        '1x9': ('1x9', '01x9'),
    }
    for expected, given in forms.items():
        for value in given:
            found = image_sizes.parse(value)
            assert found == expected
            assert type(found) is type(expected)


@pytest.mark.parametrize(
    'value', ['', 'x', '64x', 'x64', '64X128', '64x128x3', '-64', '6.4', ' 64', '1' * 10, 6.4, None]
)
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match='expected pixels, as 64 for squares or 64x128 for height'):
        image_sizes.parse(value)


@pytest.mark.parametrize('value', [(64,), (64, 64, 3), ('64', '64'), float('nan'), float('inf')])
def test_other_types_are_refused(value):
    with pytest.raises(ValueError, match=r'image_size=.*: expected pixels'):
        image_sizes.parse(value)


@pytest.mark.parametrize('value', [0, -3, '0', '0x64', (64, -1)])
def test_sides_have_pixels(value):
    with pytest.raises(ValueError, match=r'expected (at least 1 pixel|pixels)'):
        image_sizes.parse(value)


def test_squares_alone():
    assert image_sizes.square('32') == 32
    with pytest.raises(
        ValueError, match=r'image_size=32x64: only squares are possible here.*--image_size=32'
    ):
        image_sizes.square((32, 64))


def test_numbers_of_a_size():
    assert image_sizes.sides(64) == (64, 64)
    assert image_sizes.sides('64x128') == (64, 128)
    assert [image_sizes.short(size) for size in (64, '64x128', '128x64')] == [64] * 3
    assert image_sizes.text(64) == '64x64'
    # The grids of a network that doubles four times, from the first to the image.
    grids = [image_sizes.grid('64x80', side) for side in (4, 8, 16, 32, 64)]
    assert grids == [(4, 5), (8, 10), (16, 20), (32, 40), (64, 80)]
    assert image_sizes.grid('128x64') == (8, 4)


def test_the_nearest_size_of_a_network():
    squares = (16, 32, 64)
    # By the rule: each side a doubling of one first grid, 4 by 4 to 16.
    valid = {
        image_sizes.of(*pair)
        for doublings in (2, 3, 4)
        for longer in range(4, 17)
        for pair in ((4 << doublings, longer << doublings), (longer << doublings, 4 << doublings))
    }
    for size in valid:
        assert image_sizes.nearest(size, squares) == size
    assert image_sizes.nearest('64x100', squares) == '64x96'
    assert image_sizes.nearest('30x60', squares) == '32x64'
    assert image_sizes.nearest('16x400', squares) == '64x256'
    assert image_sizes.nearest(40, squares) == 32
    assert image_sizes.nearest('32x64', squares, oblong=False) == 32
    for size in ('63x65', '16x65', '70x100'):
        assert image_sizes.nearest(size, squares) in valid


def test_the_size_of_a_shape():
    assert image_sizes.like(64, '218x178') == '80x64'
    assert image_sizes.like(32, '100x200') == '32x64'
    assert image_sizes.like(32, '100x104') == 32
    assert image_sizes.like(32, '10x900') == '32x128'
    assert image_sizes.largest(100, 40, '64x128') == '40x80'
    assert image_sizes.largest(49, 60, 60) == 49
