"""What the devices of a step exchange."""

import jax
import jax.numpy as jnp

from osgan_jax.core.collectives import ONE_DEVICE, Collectives


def test_the_mean_over_devices_is_of_floats_alone():
    tree = {'mean': jnp.array([1.0, 3.0]), 'count': jnp.array([4, 6])}
    found = jax.vmap(Collectives('devices', 2).mean, axis_name='devices')(tree)
    assert found['mean'].tolist() == [2.0, 2.0]
    assert found['count'].tolist() == [4, 6]
    assert ONE_DEVICE.mean(tree) is tree
