"""States that devices divide among themselves."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core.collectives import AXIS, Collectives, Shard
from osgan_jax.runtime import parallel, shards

DEVICES = 4


def make_state():
    """A state with tensors that are divided, and with others that are not, each for its reason."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {
        'params': {'kernel': draw(3, 3, 80, 128), 'odd': draw(2**16 + 1), 'bias': draw(64)},
        'params_of_another': {'kernel': draw(512, 256)},
        'count': jnp.arange(shards.LEAST_SIZE),
        'key': jax.random.key(3),
        'opt': ({'mu': {'kernel': draw(3, 3, 80, 128)}}, None),
    }


DIVIDED = ('params', 'count', 'key', 'opt/0/mu')


def equal(found, expected):
    unkeyed = lambda tree: {**tree, 'key': jax.random.key_data(tree['key'])}  # noqa: E731
    chex.assert_trees_all_equal(unkeyed(found), unkeyed(expected))


def test_large_floats_of_the_named_parts_are_divided_along_their_longest_axis():
    divided = shards.divide(make_state(), DEVICES, DIVIDED)
    for node in (divided['params']['kernel'], divided['opt'][0]['mu']['kernel']):
        assert isinstance(node, Shard)
        assert node.axis == 3
        assert node.value.shape == (3, 3, 80, 4, 32)
    # 65,537 is a prime; the other network is not named by a longer name.
    whole = make_state()
    equal(
        {**divided, 'params': {**divided['params'], 'kernel': 0}, 'opt': 0},
        {**whole, 'params': {**whole['params'], 'kernel': 0}, 'opt': 0},
    )
    equal(shards.join(divided), whole)
    assert shards.has_any(divided)
    assert not shards.has_any(whole)


def test_each_device_holds_its_part_and_whole_tensors_come_back():
    devices = jax.local_devices()
    placed = parallel.place(make_state(), devices, DIVIDED)
    kernel = placed['params']['kernel'].value
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(3, 3, 80, 1, 32)}
    assert {shard.device for shard in kernel.addressable_shards} == set(devices)
    assert placed['params']['bias'].sharding.is_fully_replicated
    whole = parallel.collect(placed, devices)
    equal(whole, make_state())
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(whole))
    # One device, or nothing to be divided.
    for alone in (parallel.place(make_state(), devices[:1], DIVIDED), whole):
        assert parallel.collect(alone, devices) is alone


def test_shapes_are_those_of_what_is_placed():
    devices = jax.local_devices()
    batch = {'image': np.zeros((8, 3), np.float32)}
    found = parallel.shapes(make_state(), batch, devices, DIVIDED)
    placed = parallel.place(make_state(), devices, DIVIDED), parallel.put_batch(batch, devices)
    of = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert of(found) == of(placed)


def test_sums_are_divided_as_what_they_are_added_to():
    collectives, devices = Collectives(AXIS, DEVICES), jax.local_devices()
    state = make_state()['params']
    expected = jax.tree.map(lambda x: x + jnp.sin(x) - 10 * x, state)
    placed = parallel.place({'params': state}, devices, ('params',))
    grads = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x, 4 * x]), state)

    def descend(placed, grads):
        params = placed['params']
        whole = collectives.gather(params)
        chex.assert_trees_all_equal_shapes(whole, state)
        # What every device computes alike, and what each computes from its images.
        alike = collectives.shard(jax.tree.map(jnp.sin, whole), params)
        summed = collectives.sum_into(grads, params)
        new = jax.tree.map(lambda p, a, s: p + a - s, params, alike, summed)
        return {'params': new}, ()

    step = parallel.compile_update(descend, devices, state=placed)
    new, _ = step(placed, grads)
    assert isinstance(new['params']['kernel'], Shard)
    found = parallel.collect(new, devices)['params']
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_flag_is_set_if_it_is_on_every_device():
    collectives = Collectives(AXIS, DEVICES)
    every = jax.pmap(collectives.every, axis_name=AXIS)
    for flags in ([True] * 4, [True, True, False, True]):
        assert every(jnp.array(flags)).tolist() == [all(flags)] * 4


@pytest.mark.parametrize(('count', 'fields'), [(3, ('params',)), (4, ('opt',))])
def test_a_state_is_whole_where_nothing_divides(count, fields):
    state = {'params': {'kernel': jnp.zeros((4, shards.LEAST_SIZE))}}
    assert shards.has_any(shards.divide(state, 4, ('params',)))
    divided = shards.divide(state, count, fields)
    assert not shards.has_any(divided)
    assert shards.axes(divided) is None
