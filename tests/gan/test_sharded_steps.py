"""Steps of a state that devices divide among themselves, against the same of a whole one."""

import types

import chex
import jax
import pytest

from osgan_jax.core.collectives import collectives_over
from osgan_jax.engine import nonfinite
from osgan_jax.gan import model, updates
from osgan_jax.layers import backend
from osgan_jax.runtime import parallel, shards
from tests.support import models, small
from tests.support.marks import slow_but

# A bias in front of a normalisation has a gradient of rounding alone: with a small epsilon Adam
# would make a full step of it, and no two programs agree on its direction.
STEADY = {'adam_epsilon': 1.0, 'learning_rate_g': 0.1, 'learning_rate_d': 0.1}

CASES = {
    'one pullback': {'method': 'lsgan', 'ema_decay': 0.9},
    'two updates, lazy penalties': {
        'method': 'sngan',
        'scheme': 'two_stage',
        'r1': 1.0,
        'penalty_every': 2,
        'd_steps': 2,
        'accumulate': 2,
    },
    'penalties of every step': {'method': 'relgan', 'r1': 1.0, 'r2': 1.0},
    'two pullbacks, lookahead': {
        'method': 'lsgan',
        'scheme': 'shared_forward',
        'optimizer': 'optimistic_adam',
        'lookahead': 2,
        'ema_decay': 0.9,
    },
    'penalties of G': {'method': 'lsgan', 'path_length': 1.0, 'orthogonal': 1e-2},
    'lazy penalties of both': {
        'method': 'lsgan',
        'r1': 1.0,
        'penalty_every': 2,
        'path_length': 1.0,
        'path_length_every': 2,
    },
    'lazy penalties, optimism': {
        'method': 'lsgan',
        'optimizer': 'optimistic_adam',
        'r1': 1.0,
        'penalty_every': 2,
        'lookahead': 2,
        'freeze': ('discriminator:0',),
    },
    'clipped, frozen': {'method': 'wgan', 'ema_decay': 0.9, 'freeze': ('discriminator:0',)},
    'two steps a call': {'method': 'lsgan', 'steps_per_call': 2},
}


@pytest.fixture(autouse=True)
def divide_small_tensors(monkeypatch):
    monkeypatch.setattr(shards, 'LEAST_SIZE', 64)


def run(shard_state, **fields):
    """The state after two calls, as it came from the step, and the same whole; metrics."""
    gan, state, update, devices = small.build(4, shard_state=shard_state, **STEADY, **fields)
    count = fields.get('steps_per_call', 1)
    for index in range(2):
        batches = [small.step_batch(gan, count * index + i) for i in range(count)]
        batch = batches if count > 1 else batches[0]
        state, metrics = update(state, parallel.put_batch(batch, devices))
    return state, parallel.collect(state, devices), metrics


@pytest.mark.parametrize('name', slow_but(CASES, 'one pullback'))
def test_a_divided_state_takes_the_steps_of_a_whole_one(name):
    _, whole, metrics = run(False, **CASES[name])
    divided, found, metrics_of_divided = run(True, **CASES[name])
    for field in ('params_g', 'params_d', 'opt_g', 'opt_d', 'ema_g', 'slow'):
        tree = getattr(divided, field)
        assert shards.has_any(tree) == bool(jax.tree.leaves(tree)), field
        assert models.relative_error(getattr(found, field), getattr(whole, field)) < 1e-5, field
    chex.assert_trees_all_equal_shapes_and_dtypes(found, whole)
    chex.assert_trees_all_close(metrics_of_divided, metrics, rtol=1e-4, atol=1e-6)


def test_all_devices_skip_a_step_for_a_number_of_one():
    gan, state, _, devices = small.build(4, shard_state=True)
    collectives = collectives_over(devices)
    update = updates.make_update(gan, 'one_stage', None, collectives)

    def spoil(state, batch):
        new, metrics = update(state, batch)
        kernel = new.params_d['Conv_1']['kernel']
        mine = jax.lax.axis_index(collectives.axis_name) == 2
        value = jax.numpy.where(mine & batch['spoilt'][0], jax.numpy.nan, kernel.value)
        conv = {**new.params_d['Conv_1'], 'kernel': shards.Shard(value, kernel.axis)}
        return new.replace(params_d={**new.params_d, 'Conv_1': conv}), metrics

    guarded = nonfinite.skipping(spoil, collectives)
    compiled = parallel.compile_update(guarded, devices, state=state)
    before = jax.device_get(parallel.collect(state, devices).params_g)
    for spoilt in (True, False):
        batch = {**small.batch(), 'spoilt': jax.numpy.full(small.BATCH, spoilt)}
        state, metrics = compiled(state, parallel.put_batch(jax.device_get(batch), devices))
        assert float(metrics['skipped']) == spoilt
        assert nonfinite.describe(state) == ''
        if spoilt:
            after = jax.device_get(parallel.collect(state, devices).params_g)
            chex.assert_trees_all_equal(after, before)


def test_tensors_are_named_as_in_a_whole_state():
    _, state, _, devices = small.build(4, shard_state=True)
    assert shards.has_any(state)
    assert nonfinite.names(state) == nonfinite.names(parallel.collect(state, devices))


def test_what_is_divided_is_asked_for_or_worth_it(monkeypatch):
    def divided(devices, **fields):
        return model.divided(small.resolve(small.make_config(**fields)), devices, state)

    _, state, *_ = small.build()
    devices = jax.local_devices()
    hosts = [types.SimpleNamespace(process_index=index // 2) for index in range(4)]
    assert divided(devices) == ()
    assert divided(devices, shard_state=True) == model.DIVIDED
    assert divided(devices[:1], shard_state=True) == ()
    with backend.tracing_for('tpu'):
        assert divided(devices) == model.DIVIDED
        assert divided(devices, shard_state=False) == ()
        assert divided(hosts) == ()
        assert divided(hosts, shard_state=True) == model.DIVIDED
        assert divided(hosts[1:3], shard_state=True) == ()  # one device each
        # No tensor is large enough, or of a size that divides.
        assert divided([types.SimpleNamespace(process_index=0)] * 5) == ()
        monkeypatch.setattr(shards, 'LEAST_SIZE', 2**16)
        assert divided(devices) == ()
