"""Schedules against closed forms."""

import jax
import numpy as np
import pytest

from osgan_jax.gan.schedules import Schedule

STEPS = np.arange(0, 60)


def values(schedule):
    return np.asarray(jax.jit(jax.vmap(schedule))(STEPS))


@pytest.mark.parametrize('warmup', [0, 10])
@pytest.mark.parametrize('kind', ['linear', 'cosine'])
def test_a_fall_is_the_closed_form(kind, warmup):
    found = values(Schedule(kind, 2e-4, 5e-5, 50, warmup))
    passed = np.clip((STEPS - warmup) / (50 - warmup), 0, 1)
    if kind == 'cosine':
        # R3GAN's: half a period from the start's value to the end's, then constant.
        passed = (1 - np.cos(np.pi * passed)) / 2
    expected = 2e-4 + (5e-5 - 2e-4) * passed
    if warmup:
        expected = expected * np.minimum(1, (STEPS + 1) / warmup)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found[50:] == np.float32(5e-5)).all()
    assert found[warmup] == np.float32(2e-4)


def test_a_rise_from_nothing():
    # Middle of the cosine: half of the end's value.
    found = values(Schedule('cosine', 0.0, 0.55, 50))
    np.testing.assert_allclose(found[[0, 25, 50, 59]], [0, 0.275, 0.55, 0.55], rtol=1e-6)


def test_steps_multiply_from_their_boundaries_on():
    found = values(Schedule('step', 1.0, boundaries=(5, 20), factor=0.1, warmup=2))
    np.testing.assert_allclose(found[[0, 1, 4, 5, 19, 20]], [0.5, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_boundaries_at_one_step_all_count():
    found = values(Schedule('step', 1.0, boundaries=(3, 3, 5), factor=0.5))
    np.testing.assert_allclose(found[[2, 3, 5]], [1, 0.25, 0.125])


def test_stairs_lead_to_the_end_in_equal_parts():
    found = values(Schedule('stairs', 2.0, 0.5, boundaries=(5, 20), warmup=2))
    expected = [1, 2, 2, 1.25, 1.25, 0.5, 0.5]
    np.testing.assert_allclose(found[[0, 1, 4, 5, 19, 20, 59]], expected, rtol=1e-6)
    assert Schedule('stairs', 0.5, 2.0, boundaries=(5,)).greatest == 2
    assert Schedule('stairs', 2.0, 2.0, boundaries=(5,)).is_constant


def test_what_stays_is_known_beforehand():
    assert Schedule('constant', 3.0).is_constant
    assert Schedule('cosine', 3.0, 3.0, 50).is_constant
    assert not Schedule('cosine', 3.0, 0.0, 50).is_constant
    assert not Schedule('constant', 3.0, warmup=5).is_constant
    assert not Schedule('step', 3.0, boundaries=(5,), factor=0.5).is_constant
    assert (values(Schedule('constant', 3.0)) == 3).all()
    # A weight that begins with nothing is a weight all the same.
    assert Schedule('linear', 0.0, 0.5, 50).greatest == 0.5
    assert Schedule('constant', 0.25, end=0.5).greatest == 0.25
