"""Checkpoints: bit-identical round trips, and every kind of damage that is detected."""

import contextlib
import gc
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax import checkpoints
from osgan_jax.checkpoints import leaves, manifest, quiet_orbax


class State(NamedTuple):
    step: Any
    params: Any
    optimiser: Any
    ema: Any
    key: Any
    keys: Any


def make_state(seed: int = 0, width: int = 7) -> State:
    key = jax.random.key(seed)
    params = {
        'Dense_0': {
            'kernel': jax.random.normal(key, (width, 5)),
            'bias': jax.random.normal(key, (5,), jnp.bfloat16),
        },
        'empty': jnp.zeros((0, 3)),
        # Values that a detour through text or another type would lose.
        'odd': jnp.array([jnp.nan, jnp.inf, -0.0, 1e-45, 1 / 3]),
    }
    return State(
        step=jnp.int32(seed),
        params=params,
        optimiser=optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params),
        ema=None,
        key=jax.random.fold_in(key, 1),
        keys=jax.random.split(jax.random.key(seed, impl='rbg'), 3),
    )


def bits(tree):
    """Bytes and types of every leaf."""
    out = []
    for leaf in jax.tree.leaves(tree):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        data = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        out.append((str(leaf.dtype), data.shape, data.tobytes()))
    return out


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert bits(a) == bits(b)


def save_steps(workdir, steps, **kwargs):
    with checkpoints.Checkpoints(workdir, **kwargs) as saved:
        for step in steps:
            saved.save(step, make_state(step), iterator_state=b'at %d' % step)


@pytest.fixture
def opened(tmp_path):
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        saved.warnings = warnings
        yield saved


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
        checkpoints.CheckpointError, match=r'no checkpoint of step 7 in .*; there are 2, 3, 4'
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


def files_of(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in directory.rglob('*') if p.is_file() and p.stat().st_size)


def truncate(directory):
    path = max(files_of(directory), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_data(directory):
    max(files_of(directory / 'arrays'), key=lambda p: p.stat().st_size).unlink()


def lose_manifest(directory):
    (directory / 'manifest' / 'metadata').unlink()


def edit_manifest(directory):
    path = directory / 'manifest' / 'metadata'
    path.write_text(path.read_text().replace('"at ', '"at 1').replace('"step":', '"step": 1'))


def empty(directory):
    for path in files_of(directory):
        path.write_bytes(b'')


@pytest.mark.parametrize('damage', [truncate, lose_data, lose_manifest, edit_manifest, empty])
def test_damaged_newest_is_reported_and_passed_over(tmp_path, damage, caplog, capfd):
    save_steps(tmp_path, [1, 2])
    damage(tmp_path / 'checkpoints' / '2')
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        with pytest.raises(checkpoints.CheckpointError, match=r'2 is damaged .* another step'):
            saved.restore(make_state(), step=2)
        restored = saved.restore(make_state())
        assert (restored.step, restored.iterator_state) == (1, b'at 1')
        assert_same(restored.state, make_state(1))
        (line,) = warnings
        assert 'checkpoints/2 is damaged' in line
        assert 'step 1 instead' in line
        assert '\n' not in line
        # Training reaches step 2 once more and can save it.
        assert saved.save(2, make_state(2))
        saved.wait()
        assert saved.restore(make_state()).step == 2
    assert (tmp_path / 'checkpoints_damaged' / '2').is_dir()
    gc.collect()
    assert caplog.records == []
    assert capfd.readouterr() == ('', '')


@pytest.mark.slow
def test_no_flipped_byte_is_believed(tmp_path):
    """Each byte of a stride over all files is flipped: the old state or an error, never another."""
    save_steps(tmp_path, [1])
    rng = np.random.default_rng(0)
    detected = 0
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        for path in files_of(tmp_path / 'checkpoints'):
            good = path.read_bytes()
            for position in rng.integers(len(good), size=6):
                bad = bytearray(good)
                bad[position] ^= 1 << int(rng.integers(8))
                path.write_bytes(bad)
                try:
                    assert_same(saved.restore(make_state()).state, make_state(1))
                except checkpoints.CheckpointError:
                    detected += 1
            path.write_bytes(good)
    assert detected >= 12


def test_checksum_finds_what_the_format_does_not(tmp_path, monkeypatch):
    save_steps(tmp_path, [1, 2])
    read = quiet_orbax.load().CheckpointManager.restore

    def flipping(self, step, args):
        result = read(self, step, args=args)
        if step == 2 and 'arrays' in result:
            result['arrays']['params/odd'].view(np.uint8)[7] ^= 1
        return result

    monkeypatch.setattr(quiet_orbax.load().CheckpointManager, 'restore', flipping)
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        assert saved.restore(make_state()).step == 1
    assert 'params/odd does not match its checksum' in warnings[0]


def test_nothing_good_left_is_an_error_not_a_restart(tmp_path):
    save_steps(tmp_path, [1, 2])
    for step in '12':
        truncate(tmp_path / 'checkpoints' / step)
    with checkpoints.Checkpoints(tmp_path) as saved:
        with pytest.raises(checkpoints.CheckpointError, match='none of the 2 checkpoints'):
            saved.restore(make_state())
        assert saved.steps() == [1, 2]


def test_no_checkpoint(tmp_path, opened):
    with pytest.raises(checkpoints.CheckpointError, match='there is no checkpoint in'):
        opened.restore(make_state())
    with checkpoints.Checkpoints(tmp_path / 'none', read_only=True) as saved:
        assert saved.steps() == []
        with pytest.raises(checkpoints.CheckpointError, match='there is no checkpoint in'):
            saved.restore(make_state())
    assert not (tmp_path / 'none').exists()


def test_another_structure_is_named(opened):
    opened.save(1, make_state(), wait=True)
    with pytest.raises(
        checkpoints.CheckpointError,
        match=r'Dense_0/kernel is float32\[7, 5\] in the checkpoint and float32\[8, 5\] here.*'
        r'nu/Dense_0/kernel',
    ):
        opened.restore(make_state(width=8))
    with pytest.raises(checkpoints.CheckpointError, match=r'ema is absent .* and float32\[2\]'):
        opened.restore(make_state()._replace(ema=jnp.zeros(2)))
    other_key = make_state()._replace(key=jax.random.key(0, impl='rbg'))
    with pytest.raises(checkpoints.CheckpointError, match=r'key is key<fry>\[\] .* key<rbg>\[\]'):
        opened.restore(other_key)
    assert opened.steps() == [1]


def test_newer_format_is_refused(opened, monkeypatch):
    monkeypatch.setattr(manifest, 'FORMAT', 2)
    opened.save(1, make_state(), wait=True)
    monkeypatch.undo()
    with pytest.raises(checkpoints.CheckpointError, match=r'has format 2 .* reads up to 1'):
        opened.restore(make_state())


def test_leftovers_of_an_interrupted_save_are_ignored_and_removed(tmp_path):
    save_steps(tmp_path, [1])
    directory = tmp_path / 'checkpoints'
    left = directory / '2.orbax-checkpoint-tmp'
    os.rename(directory / '1', left)
    save_steps(tmp_path, [1])
    (directory / 'notes.txt').write_text('mine')
    with checkpoints.Checkpoints(tmp_path) as saved:
        assert saved.steps() == [1]
        assert saved.restore(make_state()).step == 1
    assert sorted(os.listdir(directory)) == ['1', 'notes.txt']


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond 64 kB, as if the disk were full; works for root too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def large_state():
    return {'x': jnp.asarray(np.random.default_rng(0).random(100_000, np.float32))}


def test_full_disk(tmp_path, opened):
    opened.save(1, {'x': jnp.zeros(3)}, wait=True)
    with (
        full_disk(),
        pytest.raises(
            checkpoints.CheckpointError, match=rf'{tmp_path}/.*: File too large; .*earlier'
        ),
    ):
        opened.save(2, large_state(), wait=True)
    assert os.listdir(tmp_path / 'checkpoints') == ['1']
    assert opened.restore({'x': jnp.zeros(3)}).step == 1
    # Someone frees space.
    assert opened.save(2, large_state(), wait=True)
    assert_same(opened.restore(large_state()).state, large_state())


def test_failure_in_the_background_is_raised_by_the_next_call(tmp_path):
    with full_disk():
        saved = checkpoints.Checkpoints(tmp_path)
        saved.save(1, large_state())
        with pytest.raises(checkpoints.CheckpointError, match='could not save'):
            saved.save(2, large_state())
        saved.save(3, large_state())
        with pytest.raises(checkpoints.CheckpointError, match='File too large'):
            saved.close()
    saved.close()
    assert os.listdir(tmp_path / 'checkpoints') == []


def test_unwritable_workdir(tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('')
    with pytest.raises(checkpoints.CheckpointError, match=f'cannot use {blocked}/checkpoints'):
        checkpoints.Checkpoints(blocked)
    with (
        pytest.raises(checkpoints.CheckpointError, match=f'cannot write in {blocked}'),
        checkpoints.lock(blocked),
    ):
        pass


KILLED = """
import sys, numpy as np, jax
from osgan_jax import checkpoints
from osgan_jax.checkpoints import leaves, manifest, quiet_orbax
state = lambda s: {'x': np.float32(s) + np.arange(6_000_000, dtype=np.float32) % 977}
with checkpoints.lock(sys.argv[1]), checkpoints.Checkpoints(sys.argv[1]) as saved:
    saved.save(1, state(1), wait=True)
    print('saved', flush=True)
    for step in range(2, 1000):
        saved.save(step, state(step))
        print('saving', flush=True)
"""


def test_kill_during_a_save_leaves_the_one_before(tmp_path):
    child = subprocess.Popen(
        [sys.executable, '-c', KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == 'saved\n'
    with (
        pytest.raises(checkpoints.CheckpointError, match=f'in use by another run.*{child.pid}'),
        checkpoints.lock(tmp_path),
    ):
        pass
    assert child.stdout.readline() == 'saving\n'
    time.sleep(0.02)
    child.kill()
    child.wait()
    child.stdout.close()
    warnings = []
    with (
        checkpoints.lock(tmp_path),  # the dead process no longer holds it
        checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved,
    ):
        assert not list((tmp_path / 'checkpoints').glob('*tmp*'))
        like = {'x': np.zeros(6_000_000, np.float32)}
        restored = saved.restore(like)
        np.testing.assert_array_equal(
            restored.state['x'], np.float32(restored.step) + np.arange(6_000_000) % 977
        )
    assert warnings == []


def test_lock_within_one_process(tmp_path):
    with checkpoints.lock(tmp_path / 'run'):
        with (
            pytest.raises(checkpoints.CheckpointError, match='already in use by this process'),
            checkpoints.lock(tmp_path / 'run'),
        ):
            pass
        with checkpoints.lock(tmp_path / 'other'):
            pass
    with checkpoints.lock(tmp_path / 'run'):
        pass


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
