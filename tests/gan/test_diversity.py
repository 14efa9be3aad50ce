"""Diversity against all pairs and nearest ones; real images are varied, a few in turn are not."""

import itertools

import numpy as np
import pytest

from osgan_jax.data import digits
from osgan_jax.gan import diversity

RNG = np.random.default_rng(0)
IMAGES, LABELS = digits.arrays('all')
IMAGES = IMAGES / 127.5 - 1
OF_CLASS = [np.flatnonzero(label == LABELS) for label in range(10)]
REFERENCE = diversity.Reference(IMAGES[::7][:256], LABELS[::7][:256])


def test_diversity_is_the_mean_over_all_pairs():
    images = RNG.uniform(-1, 1, (7, 8, 8, 3))  # cells of one pixel
    pairs = [((a - b) ** 2).mean() for a, b in itertools.combinations(images, 2)]
    assert diversity.diversity(images) == pytest.approx(np.mean(pairs), rel=1e-12)


@pytest.mark.parametrize('size', [5, 8, 28, 64])
def test_cells_are_averages(size):
    """Images of one value each: whatever the grid, their distance is that of the values."""
    values = np.array([-1.0, 0.0, 0.5])
    images = np.broadcast_to(values[:, None, None, None], (3, size, size, 1))
    expected = np.mean([(a - b) ** 2 for a, b in itertools.combinations(values, 2)])
    assert diversity.diversity(images) == pytest.approx(expected, rel=1e-12)


def test_noise_over_one_image_is_little_variety():
    one = RNG.uniform(-1, 1, (1, 64, 64, 3))
    noisy = one + 0.3 * RNG.normal(size=(16, 64, 64, 3))
    # 2 * 0.3^2 a pixel, over 64 pixels a cell.
    assert diversity.diversity(noisy) == pytest.approx(2 * 0.09 / 64, rel=0.05)


def test_one_image_has_none():
    with pytest.raises(ValueError, match='at least 2 images'):
        diversity.diversity(np.zeros((1, 8, 8, 1)))


def test_nearest_is_the_least_of_all_pairs():
    points = RNG.normal(size=(9, 5))
    distances = np.mean((points[:, None] - points) ** 2, axis=-1) + np.diag(np.full(9, np.inf))
    np.testing.assert_allclose(diversity.nearest(points), distances.min(axis=1), rtol=1e-10)
    np.testing.assert_allclose(diversity.nearest(points[[0, 0, 1, 1]]), 0, atol=1e-12)


@pytest.mark.parametrize('count', [16, 64, 80, 256])
def test_real_images_are_varied(count):
    """Classes in turn, as in a grid, and any images; the margins are a half of what was seen."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(IMAGES), count, replace=False)
        if seed % 2:
            of_class = [rng.permutation(rows) for rows in OF_CLASS]
            rows = np.array([of_class[i % 10][i // 10] for i in range(count)])
        compared = REFERENCE.compare(IMAGES[rows], LABELS[rows])
        assert compared.fault() is None
        assert compared.diversity > 0.4
        assert compared.doubles <= compared.real_doubles + 0.05
        assert all(value > 0.2 for value in compared.class_diversity.values())


def _grid(rows, count=80):
    """The images of `rows` in turn."""
    return IMAGES[np.resize(rows, count)]


ONE_A_CLASS = np.array([rows[0] for rows in OF_CLASS])
IN_TURN = np.arange(80) % 10
VARIED = RNG.permutation(len(IMAGES))[:80]


@pytest.mark.parametrize(
    ('images', 'labels', 'fault'),
    [
        (_grid([5]), None, 'their diversity is 0.0% of'),
        (_grid([0, 3]), None, '100% of them have a double among the others, of real images 0%'),
        (_grid(VARIED[:20]), None, '100% of them have a double'),
        (_grid(ONE_A_CLASS), IN_TURN, '100% of them have a double'),
        # A third draws two images, the rest are as varied as real ones.
        (np.concatenate([_grid([0, 3], 27), IMAGES[VARIED[:53]]]), None, '34% of them have'),
    ],
    ids=['one', 'two', 'twenty', 'one_a_class', 'a_third'],
)
def test_a_few_images_in_turn_are_alike(images, labels, fault):
    assert REFERENCE.compare(images, labels).fault().startswith(fault)


@pytest.mark.parametrize('kept', [1, 2])
def test_a_class_that_draws_few_images_is_named(kept):
    rows = np.array([OF_CLASS[i % 10][i // 10] for i in range(80)])
    threes = IN_TURN == 3
    rows[threes] = np.resize(OF_CLASS[3][:kept], threes.sum())
    compared = REFERENCE.compare(IMAGES[rows], IN_TURN)
    assert compared.fault() == '1 of 10 classes hardly vary: 3'
    assert compared.fault(tuple('abcdefghij')) == '1 of 10 classes hardly vary: d'
    assert compared.doubles == pytest.approx(0.1, abs=0.02)
    values = compared.values()
    assert 0.8 < values['diversity'] < 1.2
    assert (values['class_diversity_least'] < 0.01) == (kept == 1)
    assert values['class_diversity'] > 0.6


def test_classes_of_unlabelled_real_images_are_told_apart_by_doubles():
    reference = diversity.Reference(IMAGES[::7][:256])
    rows = np.concatenate([rows[:8] for rows in OF_CLASS])
    rows[:8] = rows[0]
    compared = reference.compare(IMAGES[rows], LABELS[rows])
    assert compared.fault() == '1 of 10 classes hardly vary: 0'
    assert not compared.class_diversity


def test_real_images_that_come_in_pairs_are_no_measure_of_doubles():
    pairs = np.repeat(IMAGES[:40], 2, axis=0)
    assert diversity.Reference(pairs).compare(pairs).fault() is None


@pytest.mark.parametrize(('share', 'alarms'), [(0.1, True), (0.3, False)])
def test_a_class_that_begins_to_vary_has_not_collapsed(share, alarms):
    """As early in training: each class is a blur whose images hardly differ."""
    rows = np.array([OF_CLASS[i % 10][i // 10] for i in range(80)])
    images, means = IMAGES[rows], np.stack([IMAGES[each].mean(0) for each in OF_CLASS])[IN_TURN]
    compared = REFERENCE.compare(means + share * (images - means), IN_TURN)
    assert compared.values()['class_diversity'] == pytest.approx(share**2, rel=0.4)
    assert (compared.fault() is not None) == alarms
