"""20,000 steps: what a run holds in memory, open and on disk does not grow with its length."""

import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from osgan_jax.reporting import metrics_log
from tests.support import ROOT

STEPS = 20_000
LOG_EVERY, SAMPLE_EVERY, SAVE_EVERY, EVAL_EVERY = 10, 1000, 500, 4000
KEEP, KEEP_SAMPLES = 2, 8
FLAGS = [
    '--dataset=npz',
    '--image_size=16',
    '--width=2',
    '--latent_dim=2',
    '--batch_size=2',
    '--num_samples=4',
    '--num_devices=1',
    # So slow that the smallest GAN stays finite.
    '--learning_rate_g=1e-5',
    '--learning_rate_d=1e-5',
    '--eval_samples=8',
    f'--num_steps={STEPS}',
    f'--log_every={LOG_EVERY}',
    f'--sample_every={SAMPLE_EVERY}',
    f'--save_every={SAVE_EVERY}',
    f'--eval_every={EVAL_EVERY}',
    f'--keep={KEEP}',
    f'--keep_samples={KEEP_SAMPLES}',
]

# What 10,000 steps may add. Before curves freed their figures, 53 were seen.
MIB_PER_10_000_STEPS = 8.0
SLOWER = 1.5  # the last quarter's median step over the second's
BYTES_A_LINE = 400


def observe(pid, log):
    """Returns step, MiB of memory, open files and threads of a process, None before its steps.

    And, last, the time in seconds.
    """
    process = pathlib.Path('/proc') / str(pid)
    try:
        with open(log, 'rb') as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
            lines = file.read().split(b'\n')[1:-1]
        pages = int((process / 'statm').read_text().split()[1])
        counts = [len(os.listdir(process / name)) for name in ('fd', 'task')]
    except (FileNotFoundError, ProcessLookupError):
        return None
    if not lines:
        return None
    step = int(lines[-1].split(b',')[0].split(b':')[1])
    return step, pages * os.sysconf('SC_PAGE_SIZE') / 2**20, *counts, time.monotonic()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The run's directory, and what was observed of its process: `[observations, 5]`."""
    folder = tmp_path_factory.mktemp('long')
    workdir = folder / 'run'
    labels = np.arange(40) % 4
    images = np.random.default_rng(0).integers(0, 60, (40, 16, 16, 1)) + 60 * labels.reshape(
        -1, 1, 1, 1
    )
    np.savez(folder / 'data.npz', images=images.astype(np.uint8), labels=labels)
    with open(folder / 'out', 'w') as out:
        process = subprocess.Popen(
            [
                *(sys.executable, '-m', 'experiments.train', f'--workdir={workdir}'),
                *(f'--data_dir={folder}/data.npz', *FLAGS),
            ],
            cwd=ROOT,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        seen = []
        while process.poll() is None:
            seen.append(observe(process.pid, workdir / 'timing.jsonl'))
            time.sleep(0.1)
    assert process.returncode == 0, (folder / 'out').read_text()
    return workdir, np.array([row for row in seen if row])


def later(seen):
    """Observations after the first quarter, when all that is made once has been made."""
    return seen[(seen[:, 0] >= STEPS / 4) & (seen[:, 0] < STEPS)]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not pathlib.Path('/proc/self/statm').exists(), reason='needs Linux /proc'),
]


def test_memory_does_not_grow(run):
    step, memory, *_ = later(run[1]).T
    slope = np.polyfit(step, memory, 1)[0] * 10_000
    assert abs(slope) < MIB_PER_10_000_STEPS, (slope, memory.min(), memory.max())


@pytest.mark.parametrize(
    ('column', 'what', 'spread'),
    # Idle threads of libraries' pools come and go; one lost a save would be thirty.
    [(2, 'open files', 0), (3, 'threads', 2)],
)
def test_open_files_and_threads_are_flat(run, column, what, spread):
    seen = later(run[1])
    # A save or an evaluation has its own for a moment; between two, all must be as before.
    part = (seen[:, 0] // EVAL_EVERY).astype(int)
    least = [seen[part == index, column].min() for index in np.unique(part)]
    assert len(least) >= 4
    assert max(least) - min(least) <= spread, (what, least)


def test_steps_do_not_get_slower(run):
    timing = metrics_log.read(run[0] / 'timing.jsonl')
    took = np.diff(timing['seconds'])
    quarters = np.array_split(took, 4)
    assert np.median(quarters[3]) < SLOWER * np.median(quarters[1])


def test_nor_does_all_that_goes_on_beside_them(run):
    """Samples, curves, scores and saves too, whose time the log leaves out."""
    step, *_, now = run[1].T
    at = [now[np.argmax(step >= quarter * STEPS / 4)] for quarter in (1, 2, 3)] + [now[-1]]
    second, _, last = np.diff(at)
    assert last < SLOWER * second


def test_what_is_kept_is_bounded(run):
    workdir, _ = run
    grids = sorted(path.name for path in (workdir / 'samples').iterdir())
    # Every fourth, because every second would be eleven.
    assert grids == [f'step_{step:07d}.png' for step in range(0, STEPS + 1, 4 * SAMPLE_EVERY)]
    checkpoints = {path.name for path in (workdir / 'checkpoints').iterdir() if path.is_dir()}
    assert checkpoints == {str(STEPS - SAVE_EVERY), str(STEPS)}
    assert len(list((workdir / 'tensorboard').iterdir())) == 1
    for name in ('metrics.jsonl', 'timing.jsonl'):
        log = (workdir / name).read_bytes()
        # All of them are kept: what a step costs on disk is known.
        assert log.count(b'\n') == STEPS // LOG_EVERY
        assert len(log) < BYTES_A_LINE * STEPS // LOG_EVERY
    assert (workdir / 'evaluations.jsonl').read_text().count('\n') == STEPS // EVAL_EVERY
    # Nothing temporary is left lying about.
    known = {'best', 'checkpoints', 'config.json', 'curves.png', 'diversity.jsonl'}
    known |= {
        'evaluations.jsonl',
        'evaluations.png',
        'metrics.jsonl',
        'samples',
        'tensorboard',
        'timing.jsonl',
    }
    locks = {'.lock', '.evaluations.lock'}
    assert {path.name for path in workdir.iterdir()} - locks == known
