"""Collectives and the placement of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core import losses
from osgan_jax.core.collectives import AXIS, Collectives
from osgan_jax.runtime import parallel
from tests.support import small


def test_batches_are_split_and_stacked_in_order():
    devices = jax.local_devices()
    batch = {'image': np.arange(8 * 3).reshape(8, 3).astype(np.float32)}
    split = parallel.put_batch(batch, devices)['image']
    assert split.shape == (4, 2, 3)
    np.testing.assert_array_equal(np.asarray(split).reshape(8, 3), batch['image'])
    stacked = parallel.put_batch([batch, {'image': -batch['image']}], devices)['image']
    assert stacked.shape == (4, 2, 2, 3)
    np.testing.assert_array_equal(np.asarray(stacked)[:, 1].reshape(8, 3), -batch['image'])
    # Steps of several batches, several a call.
    steps = [[{'image': (10 * i + j) * batch['image']} for j in range(3)] for i in range(2)]
    nested = np.asarray(parallel.put_batch(steps, devices)['image'])
    assert nested.shape == (4, 2, 3, 2, 3)
    np.testing.assert_array_equal(nested[:, 1, 2].reshape(8, 3), 12 * batch['image'])
    alone = np.asarray(parallel.put_batch(steps, devices[:1])['image'])
    np.testing.assert_array_equal(alone[1, 2], 12 * batch['image'])


@pytest.mark.parametrize('count', [1, 4])
def test_shapes_are_those_of_what_is_placed(count):
    devices = jax.local_devices()[:count]
    state = {'w': jnp.ones((3, 2)), 'key': jax.random.key(0)}
    batch = {'image': np.zeros((8, 3), np.float32), 'label': np.zeros(8, np.int32)}
    for steps in (batch, [batch] * 3, [[batch] * 2] * 3):
        found = parallel.shapes(state, steps, devices)
        placed = parallel.replicate(state, devices), parallel.put_batch(steps, devices)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
            lambda x: (x.shape, x.dtype), placed
        )


def test_loss_over_devices_gives_the_global_losss_cotangents():
    # Fisher couples every sample with every other: the hardest case.
    loss = losses.get('fisher', rho=0.3)
    s_real, s_fake = jax.random.normal(jax.random.key(0), (2, 8))
    state = losses.FisherState(jnp.float32(0.7))
    expected = jax.grad(loss.discriminator, argnums=(0, 1))(s_real, s_fake, state)
    collectives = Collectives(AXIS, 4)
    mapped = jax.pmap(
        lambda r, f: jax.grad(collectives.loss(loss).discriminator, argnums=(0, 1))(r, f, state),
        axis_name=AXIS,
    )
    got = mapped(s_real.reshape(4, 2), s_fake.reshape(4, 2))
    for part, whole in zip(got, expected, strict=True):
        np.testing.assert_allclose(part.reshape(8), whole, rtol=1e-6)


def test_own_parts_make_up_the_whole():
    collectives = Collectives(AXIS, 4)
    whole = jnp.arange(8.0)
    parts = jax.pmap(lambda _: collectives.own_part(whole), axis_name=AXIS)(jnp.zeros(4))
    np.testing.assert_array_equal(parts.reshape(8), whole)


def test_devices_asked_for_are_checked():
    with pytest.raises(ValueError, match='num_devices=9: this machine has 4'):
        parallel.local_devices(9, 18)
    with pytest.raises(ValueError, match='batch_size=6 does not divide among 4'):
        parallel.local_devices(None, 6)
    assert len(parallel.local_devices(2, 6)) == 2


def test_state_comes_back_where_it_went():
    _, state, update, devices = small.build(4)
    new, _ = update(state, parallel.put_batch(small.batch(), devices))
    assert new.step.sharding.is_fully_replicated
    assert len(new.step.sharding.device_set) == 4
