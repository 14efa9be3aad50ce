"""Checkpoints: bit-identical round trips."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from osgan_jax.engine.checkpoints import leaves, quiet_orbax
from tests.support.saving import assert_same, bits, make_state, save_steps


def test_round_trip_is_bit_identical(tmp_path, opened):
    state = make_state(3)
    assert opened.latest_step() is None
    assert opened.save(5, state, iterator_state=b'\x00\xffabc', metadata={'loss': 'hinge'})
    opened.wait()
    for like in (make_state(0), jax.eval_shape(lambda: make_state(0))):
        restored = opened.restore(like)
        assert_same(restored.state, state)
        assert restored.iterator_state == b'\x00\xffabc'
        assert restored.step == 5
    # The keys are usable, not only equal.
    assert bits(jax.random.normal(restored.state.key, (3,))) == bits(
        jax.random.normal(state.key, (3,))
    )
    assert opened.metadata() == {'loss': 'hinge'}
    with checkpoints.Checkpoints(tmp_path, read_only=True) as looking:
        assert_same(looking.restore(make_state(0)).state, state)
    assert opened.warnings == []


def test_a_new_run_loads_orbax_when_it_saves(tmp_path, monkeypatch):
    """A launch waits for its import otherwise."""

    def load():
        raise OSError('imported')

    monkeypatch.setattr(quiet_orbax, 'load', load)
    with checkpoints.Checkpoints(tmp_path) as new:
        assert new.steps() == []
        with pytest.raises(checkpoints.CheckpointError, match='imported'):
            new.save(1, make_state(0))
    with pytest.raises(ValueError, match='closed'):
        new.save(1, make_state(0))
    assert new.steps() == []


def test_leaves_keep_their_place():
    device = jax.devices()[0]
    like = {
        'free': jnp.zeros(2),
        'pinned': jax.device_put(jnp.zeros(2), device),
        'numpy': np.zeros(2, np.float32),
        'number': 1,
    }
    described, arrays = leaves.to_host(like)
    assert described['number']['shape'] == []
    put = leaves.to_devices(like, arrays)
    assert not put['free'].committed
    assert put['pinned'].committed
    assert isinstance(put['numpy'], np.ndarray)
    assert put['number'] == 1


def test_keeps_the_newest_and_no_step_twice(opened):
    for step in (1, 2, 3, 4):
        assert opened.save(step, make_state(step))
    assert not opened.save(4, make_state(9))
    opened.wait()
    assert opened.steps() == [2, 3, 4]
    assert_same(opened.restore(make_state()).state, make_state(4))
    assert_same(opened.restore(make_state(), step=2).state, make_state(2))
    with pytest.raises(ValueError, match=r'cannot save step 1 .* already holds step 4'):
        opened.save(1, make_state())
    with pytest.raises(
        checkpoints.CheckpointError,
        match=r'no checkpoint of step 7 in .*; the saved steps are 2, 3, 4',
    ):
        opened.restore(make_state(), step=7)


def test_donated_buffers_are_safe(opened):
    overwrite = jax.jit(lambda x: jnp.full_like(x, -1.0), donate_argnums=0)
    state = {'x': jnp.arange(3_000_000.0)}
    expected = np.array(state['x'])
    opened.save(1, state)
    for _ in range(3):
        state['x'] = overwrite(state['x']).block_until_ready()
    opened.wait()
    np.testing.assert_array_equal(opened.restore(state).state['x'], expected)


def test_another_structure_is_named(opened):
    opened.save(1, make_state(), wait=True)
    with pytest.raises(
        checkpoints.CheckpointError,
        match=r'Dense_0/kernel is float32\[7, 5\] there and float32\[8, 5\] here.*'
        r'nu/Dense_0/kernel',
    ):
        opened.restore(make_state(width=8))
    with pytest.raises(checkpoints.CheckpointError, match=r'ema is absent .* and float32\[2\]'):
        opened.restore(make_state()._replace(ema=jnp.zeros(2)))
    other_key = make_state()._replace(key=jax.random.key(0, impl='rbg'))
    with pytest.raises(checkpoints.CheckpointError, match=r'key is key<fry>\[\] .* key<rbg>\[\]'):
        opened.restore(other_key)
    assert opened.steps() == [1]


def test_orbax_is_silent(tmp_path, capfd):
    save_steps(tmp_path, [1, 2, 3, 4, 5], keep=2)
    with checkpoints.Checkpoints(tmp_path) as saved:
        saved.restore(make_state())
    assert capfd.readouterr() == ('', '')


def test_bad_arguments(tmp_path, opened):
    with pytest.raises(ValueError, match='at least 1'):
        checkpoints.Checkpoints(tmp_path, keep=0)
    with pytest.raises(ValueError, match='both called a/b'):
        opened.save(1, {'a/b': 1, 'a': {'b': 2}})
    with pytest.raises(ValueError, match='read-only'):
        checkpoints.Checkpoints(tmp_path, read_only=True).save(1, {'x': 1})


def test_manifest_is_plain_json(tmp_path):
    save_steps(tmp_path, [1])
    stored = json.loads((tmp_path / 'checkpoints/1/manifest/metadata').read_text())
    leaf = stored['body']['leaves']['params/Dense_0/bias']
    assert leaf['shape'] == [5]
    assert leaf['dtype'] == 'bfloat16'
    assert stored['body']['leaves']['key']['dtype'] == 'key<fry>'
