"""Checkpoints on full and read-only disks, and killed while they are written."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from tests.support.saving import assert_same


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
from osgan_jax.engine import checkpoints
from osgan_jax.engine.checkpoints import leaves, manifest, quiet_orbax
state = lambda s: {'x': np.float32(s) + np.arange(6_000_000, dtype=np.float32) % 977}
with checkpoints.lock(sys.argv[1]), checkpoints.Checkpoints(sys.argv[1]) as saved:
    saved.save(1, state(1), wait=True)
    print('saved', flush=True)
    for step in range(2, 1000):
        saved.save(step, state(step))
        print('saving', flush=True)
"""


@pytest.mark.process
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


@contextlib.contextmanager
def mounted(path, *arguments):
    """Mounts something on a directory, where this process may."""
    path.mkdir(exist_ok=True)
    command = ['mount', *arguments, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip('there is no mount here')
    if done.returncode:
        pytest.skip(f'nothing can be mounted here: {done.stderr.strip()}')
    try:
        yield path
    finally:
        subprocess.run(['umount', '--lazy', str(path)], check=True)


def remount(path, options):
    subprocess.run(['mount', '-o', f'remount,{options}', str(path)], check=True)


@pytest.mark.process
def test_a_disk_that_is_full(tmp_path):
    def fill():
        for step in range(2, 5):
            saved.save(step, large_state(), wait=True)

    with (
        mounted(tmp_path / 'small', '-t', 'tmpfs', '-o', 'size=600k', 'none') as workdir,
        checkpoints.Checkpoints(workdir) as saved,
    ):
        saved.save(1, {'x': jnp.zeros(3)}, wait=True)
        with pytest.raises(checkpoints.CheckpointError, match=r'No space left on .*; .*earlier'):
            fill()
        assert saved.restore({'x': jnp.zeros(3)}, 1).step == 1
        assert not list((workdir / 'checkpoints').glob('*tmp*'))
        remount(workdir, 'size=9m')
        assert saved.save(9, large_state(), wait=True)


def is_busy(thread):
    """Whether a thread would be waited for at the end: not one of a pool that has no work."""
    frame = sys._current_frames().get(thread.ident)
    return not thread.daemon and frame is not None and frame.f_code.co_name != '_worker'


@pytest.mark.process
def test_a_disk_that_is_read_only(tmp_path):
    state = {'x': jnp.zeros(3)}
    with checkpoints.Checkpoints(tmp_path / 'run') as saved:
        saved.save(1, state, wait=True)
    with mounted(tmp_path / 'seen', '--bind', str(tmp_path / 'run')) as workdir:
        remount(workdir, 'ro,bind')
        with (
            pytest.raises(checkpoints.CheckpointError, match='Read-only file system; choose a'),
            checkpoints.lock(workdir),
        ):
            pass
        with checkpoints.Checkpoints(workdir, read_only=True) as saved:
            assert saved.restore(state).step == 1
        with checkpoints.Checkpoints(workdir) as saved:
            assert saved.restore(state).step == 1
            before = set(threading.enumerate())
            with pytest.raises(checkpoints.CheckpointError, match='Read-only file system; free'):
                saved.save(2, state, wait=True)
            # A thread that waits for what never comes would keep the process from ending.
            deadline = time.monotonic() + 10
            while busy := [t for t in set(threading.enumerate()) - before if is_busy(t)]:
                assert time.monotonic() < deadline, busy
                time.sleep(0.01)
