"""SIGKILL at any moment, then the same command again: as if nothing had happened.

A kill is compared twice. What it left on disk is what the uninterrupted run had at those steps, to
the bit; and what the run comes to in the end, after all kills, is what that one came to.
"""

import collections
import contextlib
import os
import pathlib
import signal
import time

import numpy as np
import pytest

from tests.support import launching

SHORT, LONG = 60, 560
SAVE_EVERY, SAMPLE_EVERY = launching.FIELDS['save_every'], launching.FIELDS['sample_every']


def is_save(step):
    """Whether the run draws samples there and saves afterwards."""
    return step % SAVE_EVERY == 0


def is_sample(step):
    """Whether the run draws samples there and does not save."""
    return step % SAMPLE_EVERY == 0 and not is_save(step)


def next_step(after, is_one):
    return next(step for step in range(after + 1, LONG + 1) if is_one(step))


class Moments:
    """Waits for moments of a kind, each a little random.

    Args:
      process: the run.
      workdir: of the run.
      before: the last step in its log when it was started.
      rng: the seed's generator.
    """

    def __init__(self, process, workdir, before, rng):
        self._process, self._workdir = process, workdir
        self._before, self._rng = before, rng

    def wait(self, kind):
        getattr(self, kind)()

    def starting(self):
        """While it restores and compiles, once the directory is its own."""
        lock, own = self._workdir / '.lock', f'process {self._process.pid} '
        launching.wait_until(
            self._process, lambda: lock.exists() and own in lock.read_text(), 'the lock'
        )
        time.sleep(self._rng.uniform(0, 0.5))

    def stepping(self):
        """In steps so long after a save that its files are written."""
        sampled = next_step(self._before, is_sample)
        self._until_logged(sampled + int(self._rng.integers(2, SAMPLE_EVERY - 5)))

    def any(self):
        """Whatever it does at some time after its start."""
        self._until_logged(self._before + 1)
        time.sleep(self._rng.uniform(0, 0.5))

    def between(self):
        """After the steps before a save, which begins when the curves are drawn."""
        step = next_step(self._before, is_save)
        path = self._workdir / 'samples' / f'step_{step:07d}.png'
        launching.wait_until(self._process, path.exists, f'the samples of step {step}')
        time.sleep(self._rng.uniform(0, 0.05))

    def saving(self):
        """While a thread writes a checkpoint."""
        step = next_step(self._before, is_save)
        launching.wait_until(
            self._process,
            lambda: step in launching.unfinished(self._workdir),
            f'the save of step {step}',
        )
        time.sleep(self._rng.uniform(0, 0.02))

    def sampling(self):
        """While it draws samples or curves."""
        self._until_logged(next_step(self._before, is_sample))
        time.sleep(self._rng.uniform(0, 0.05))

    def _until_logged(self, step):
        launching.wait_until(
            self._process, lambda: launching.logged(self._workdir) >= step, f'step {step}'
        )


def moments_hit(workdir, before):
    """The kinds of moment that a kill has hit, by what it left: a save goes on beside others."""
    step, begun = launching.logged(workdir), launching.unfinished(workdir)
    if step <= before:
        return {'starting'}
    kinds = {'saving'} if begun else set()
    # Metrics are read one step late, but for those that samples or a save are waiting for.
    if is_save(step) and step not in begun and step not in launching.finished(workdir):
        return kinds | {'between'}
    if is_sample(step):
        return kinds | {'sampling'}
    return kinds or {'stepping'}


def kill(process):
    process.send_signal(signal.SIGKILL)
    launching.finish(process, -signal.SIGKILL)


@pytest.mark.slow
def test_killed_during_a_save_and_resumed(tmp_path, launch, uninterrupted):
    process = launch(tmp_path, num_steps=SHORT)
    Moments(process, tmp_path, 0, np.random.default_rng(0)).wait('saving')
    kill(process)
    assert moments_hit(tmp_path, 0) == {'saving'}
    # What a kill leaves while such a file is written, a moment too short to hit.
    for name in ('.config.json.x.tmp', '.curves.png.x.tmp', 'samples/.step_0000040.png.x.tmp'):
        (tmp_path / name).touch()
    out = launching.finish(launch(tmp_path, num_steps=SHORT))
    assert 'resumed' not in out  # it was the first save
    launching.assert_same_end(tmp_path, uninterrupted(SHORT))


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(3))
def test_killed_ten_times(tmp_path, launch, uninterrupted, seed):
    # Thirty kills in all, in three runs: a start costs far more than the steps between two kills.
    whole = uninterrupted(LONG)
    rng = np.random.default_rng(seed)
    # In two of them the one that starts was killed just before: twice in a row.
    kinds = ['saving'] * 3 + ['stepping', 'between'] * 2 + ['sampling', 'starting', 'any']
    hits = collections.Counter()
    for kind in rng.permutation(kinds):
        before = launching.logged(tmp_path)
        process = launch(tmp_path, num_steps=LONG)
        Moments(process, tmp_path, before, rng).wait(kind)
        kill(process)
        hits.update(moments_hit(tmp_path, before))
        launching.assert_on_its_way(tmp_path, whole)
    launching.finish(launch(tmp_path, num_steps=LONG))
    launching.assert_same_end(tmp_path, whole)
    assert len(launching.finished(tmp_path)) == launching.FIELDS['keep']
    # A moment between two others is short, and now and then one of the two is hit instead.
    assert {'starting', 'stepping', 'saving'} <= hits.keys(), hits
    assert hits.keys() & {'between', 'sampling'}, hits


def children(pid):
    """The processes that a process has started, and those that they have."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
            for child in map(int, path.read_text().split()):
                found += [child, *children(child)]
    return found


def is_alive(pid):
    try:
        state = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'  # dead, and not yet asked about


def shared_memory(pids):
    """Files in memory that processes share."""
    found = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines():
                path = line.split(maxsplit=5)[-1]
                if path.startswith('/dev/shm/') and not path.endswith('(deleted)'):
                    found.add(pathlib.Path(path))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path('/proc/self/task').is_dir(), reason='asks Linux for processes')
def test_worker_processes_do_not_outlive_a_kill(tmp_path, launch, uninterrupted, folder):
    fields = {'num_steps': SHORT, 'dataset': 'folder', 'data_dir': folder, 'num_workers': 2}
    workdir = tmp_path / 'run'
    process = launch(workdir, **fields)
    launching.wait_until(process, lambda: launching.logged(workdir) >= 33, 'step 33')
    workers = children(process.pid)
    assert len(workers) >= 2
    segments = shared_memory([process.pid, *workers])
    kill(process)
    deadline = time.monotonic() + 30
    while any(map(is_alive, workers)) or any(path.exists() for path in segments):
        assert time.monotonic() < deadline, 'something was left behind'
        time.sleep(0.05)
    launching.assert_on_its_way(workdir, uninterrupted(SHORT))
    # Files read by processes that were killed, read again without: as from one array.
    launching.finish(launch(workdir, **{**fields, 'num_workers': 0}))
    launching.assert_same_end(workdir, uninterrupted(SHORT))


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path('/proc/self/task').is_dir(), reason='asks Linux for processes')
def test_a_worker_process_is_killed(tmp_path, launch, uninterrupted, folder):
    """As Linux does where memory is short."""
    fields = {'num_steps': SHORT, 'dataset': 'folder', 'data_dir': folder, 'num_workers': 2}
    workdir = tmp_path / 'run'
    process = launch(workdir, **fields)
    launching.wait_until(process, lambda: launching.logged(workdir) >= 13, 'step 13')
    for pid in children(process.pid):
        if b'spawn_main' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes():
            os.kill(pid, signal.SIGKILL)
    out = launching.finish(process, 1)
    assert 'error: a worker process that read folder ended (' in out
    assert 'Traceback' not in out
    assert launching.finished(workdir)[-1] >= 13
    launching.assert_on_its_way(workdir, uninterrupted(SHORT))
    launching.finish(launch(workdir, **fields))
    launching.assert_same_end(workdir, uninterrupted(SHORT))


@pytest.mark.slow
def test_a_student_is_killed(tmp_path, launch):
    teacher = tmp_path / 'teacher'
    shared = {'num_devices': 1, 'log_every': 1}
    launching.finish(launch(teacher, 'teacher', batch_size=50, num_steps=20, **shared))
    fields = {
        'teacher': teacher,
        'dataset': 'none',
        'batch_size': 8,
        'generator_width': 4,
        'num_steps': 60,
        'sample_every': 20,
        'save_every': 20,
        **shared,
    }
    launching.finish(launch(tmp_path / 'whole', 'distill', **fields))
    workdir = tmp_path / 'killed'
    process = launch(workdir, 'distill', **fields)
    launching.wait_until(process, lambda: launching.logged(workdir) >= 33, 'step 33')
    kill(process)
    launching.assert_on_its_way(workdir, tmp_path / 'whole')
    launching.finish(launch(workdir, 'distill', **fields))
    launching.assert_same_end(workdir, tmp_path / 'whole')
