"""Diversity against all pairs, and an alarm that is heard once."""

import itertools

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.gan import collapse, trainer
from tests.support import small

RNG = np.random.default_rng(0)


def test_diversity_is_the_mean_over_all_pairs():
    images = RNG.uniform(-1, 1, (7, 8, 8, 3))  # cells of one pixel
    pairs = [((a - b) ** 2).mean() for a, b in itertools.combinations(images, 2)]
    assert collapse.diversity(images) == pytest.approx(np.mean(pairs), rel=1e-12)


@pytest.mark.parametrize('size', [5, 8, 28, 64])
def test_cells_are_averages(size):
    """Images of one value each: whatever the grid, their distance is that of the values."""
    values = np.array([-1.0, 0.0, 0.5])
    images = np.broadcast_to(values[:, None, None, None], (3, size, size, 1))
    expected = np.mean([(a - b) ** 2 for a, b in itertools.combinations(values, 2)])
    assert collapse.diversity(images) == pytest.approx(expected, rel=1e-12)


def test_noise_over_one_image_is_little_variety():
    one = RNG.uniform(-1, 1, (1, 64, 64, 3))
    noisy = one + 0.3 * RNG.normal(size=(16, 64, 64, 3))
    # 2 * 0.3^2 a pixel, over 64 pixels a cell.
    assert collapse.diversity(noisy) == pytest.approx(2 * 0.09 / 64, rel=0.05)


def test_one_image_has_none():
    with pytest.raises(ValueError, match='at least 2 images'):
        collapse.diversity(np.zeros((1, 8, 8, 1)))


def _real(count: int = 8) -> np.ndarray:
    dataset = small.dataset()
    return np.stack([dataset[i]['image'] for i in range(count)]) / 127.5 - 1


def test_collapse_is_said_once_and_after_a_while():
    alarm = collapse.Alarm(small.dataset(), patience=3)
    collapsed = np.repeat(_real(1), 8, axis=0)
    assert alarm(10, collapsed) is None
    assert alarm(20, collapsed) is None
    message = alarm(30, collapsed)
    assert message.startswith('samples have been far more alike than real images since step 10')
    assert '--learning_rate_g' in message
    assert alarm(40, collapsed) is None
    assert alarm.is_low
    assert alarm(50, _real()) is None
    assert not alarm.is_low


def test_varied_samples_are_no_reason():
    alarm = collapse.Alarm(small.dataset(), patience=2)
    collapsed = np.repeat(_real(1), 8, axis=0)
    for step in range(0, 50, 10):
        assert alarm(step, _real()) is None
        assert alarm(step + 5, collapsed) is None  # a moment is not long


def test_a_set_without_variety_raises_no_alarm():
    grey = data.from_arrays(np.full((6, 8, 8, 1), 90, np.uint8), name='grey')
    alarm = collapse.Alarm(grey, patience=1)
    assert alarm.real == pytest.approx(0, abs=1e-12)
    assert alarm(10, np.zeros((4, 8, 8, 1))) is None


@pytest.mark.parametrize('alarm', [True, False])
def test_a_run_says_that_its_generator_collapsed(tmp_path, capsys, alarm):
    """A generator that hardly learns draws grey squares; the real ones differ."""
    config = small.make_config(
        learning_rate_g=1e-12, num_steps=7, sample_every=1, log_every=1, collapse_alarm=alarm
    )
    trainer.train(config, tmp_path, dataset=small.dataset())
    assert capsys.readouterr().out.count('far more alike than real images') == alarm
