"""Directions found in made-up latents, and their files."""

import numpy as np
import pytest

from osgan_jax.editing import directions


def latents(count=2000, size=16, seed=0):
    """Correlated, off the origin and small, as w may be."""
    rng = np.random.default_rng(seed)
    return 0.3 + 0.1 * rng.normal(size=(count, size)) @ rng.normal(size=(size, size))


def unit(size=16, seed=1):
    normal = np.random.default_rng(seed).normal(size=size)
    return normal / np.linalg.norm(normal)


def known(normal, codes):
    return directions.Direction(
        np.float32(normal), float(np.std(codes @ normal)), 'w', {'target': 1}
    )


@pytest.mark.parametrize('share', [0.5, 0.1])
def test_a_known_direction_is_found(share):
    codes, normal = latents(), unit()
    along = codes @ normal
    found = directions.fit(codes, along > np.quantile(along, 1 - share), 'w', seed=3)
    assert found.normal @ normal > 0.95
    assert np.linalg.norm(found.normal) == pytest.approx(1, abs=1e-6)
    assert found.deviation == pytest.approx(np.std(codes @ found.normal), rel=1e-5)
    assert found.about['accuracy'] > 0.95
    assert found.about['held_out'] == 400
    again = directions.fit(codes, along > np.quantile(along, 1 - share), 'w', seed=3)
    np.testing.assert_array_equal(again.normal, found.normal)


def test_random_labels_give_chance_accuracy():
    codes = latents()
    rare = np.random.default_rng(5).random(len(codes)) < 0.1
    # Saying always the same would be right in 90% of the samples.
    assert directions.fit(codes, rare, 'w').about['accuracy'] == pytest.approx(0.5, abs=0.12)


def test_moves_are_in_deviations():
    codes, normal = latents(50), unit()
    direction = known(normal, codes)
    moved = direction.moved(codes, [-2, 0, 1])
    assert moved.shape == (50, 3, 16)
    np.testing.assert_allclose(moved[:, 1], codes, atol=1e-6)
    steps = (moved - codes[:, None]) @ normal / np.std(codes @ normal)
    np.testing.assert_allclose(steps, np.tile([-2, 0, 1], (50, 1)), atol=1e-4)


def test_a_conditional_direction_is_orthogonal_to_all_others():
    codes = latents()
    one, two = unit(seed=2), unit(seed=3)
    direction = known(unit(), codes)
    # The second and the third are nearly the same.
    others = [known(normal, codes) for normal in (one, two, two)]
    left = direction.without(others, codes)
    assert abs(left.normal @ one) < 1e-5
    assert abs(left.normal @ two) < 1e-5
    assert np.linalg.norm(left.normal) == pytest.approx(1, abs=1e-6)
    assert left.deviation == pytest.approx(np.std(codes @ left.normal), rel=1e-5)
    # No more is taken out than needs be: what is left lies in the plane of all three.
    assert left.normal @ direction.normal == pytest.approx(
        np.linalg.norm(
            direction.normal
            - np.linalg.lstsq(np.c_[one, two], direction.normal, rcond=None)[0]
            @ np.stack([one, two])
        ),
        abs=1e-5,
    )
    with pytest.raises(ValueError, match='no direction remains'):
        direction.without([known(-unit(), codes)], codes)


def test_a_direction_is_read_back(tmp_path):
    direction = known(unit(), latents())
    path = tmp_path / 'new' / 'smile.npz'
    direction.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays['normal'], direction.normal)
        assert all(arrays[name].dtype.kind in 'fu' for name in arrays.files)
    found = directions.load(path, 'w', 16)
    np.testing.assert_array_equal(found.normal, direction.normal)
    assert (found.deviation, found.about) == (direction.deviation, direction.about)
    for space, size in (('z', 16), ('w', 8)):
        with pytest.raises(
            ValueError, match=f'16 numbers in w, but this run has {size} in {space}'
        ):
            directions.load(path, space, size)


def test_files_without_a_direction_are_refused(tmp_path):
    path = tmp_path / 'direction.npz'
    with pytest.raises(FileNotFoundError, match=r'direction\.npz'):
        directions.load(path, 'w', 16)
    known(unit(), latents()).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match='is damaged'):
        directions.load(path, 'w', 16)
    np.savez(path, normal=unit())
    with pytest.raises(ValueError, match='expected the direction of an edit'):
        directions.load(path, 'w', 16)


def test_bad_samples_are_refused():
    codes = latents(20)
    with pytest.raises(ValueError, match='4 samples have the requested label and 16 do not'):
        directions.fit(codes, np.arange(20) < 4, 'w')
    with pytest.raises(ValueError, match='not all finite'):
        directions.fit(np.full((20, 3), np.nan), np.arange(20) < 10, 'w')
    with pytest.raises(ValueError, match='no direction separates the two labels'):
        directions.fit(np.ones((20, 3)), np.arange(20) < 10, 'w')
