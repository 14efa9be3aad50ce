"""Signals that find a table of runs in the middle of reading a checkpoint."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

TRIALS = 40

# In a process of its own, because a read that was left in its middle is one that never ends.
SCRIPT = f"""
import os, pathlib, random, signal, sys, threading, time
import numpy as np
from osgan_jax.engine import checkpoints
from osgan_jax.runtime.stopping import Stopped
from experiments.studies import stopping

workdir = pathlib.Path(sys.argv[1])
state = {{f'leaf{{i}}': np.full((64, 64), i, np.float32) for i in range(200)}}
with checkpoints.Checkpoints(workdir) as saved:
    saved.save(1, state, wait=True)
    saved.save(2, state, wait=True)

def read():
    with checkpoints.Checkpoints(workdir, warn=lambda message: sys.exit(message)) as saved:
        assert saved.restore(state).step == 2

read()
began = time.monotonic()
read()
takes = time.monotonic() - began
generator = random.Random(0)
stopped = 0
for _ in range({TRIALS}):
    moment = generator.uniform(0, takes)
    timer = threading.Timer(moment, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        with stopping.stoppable(lambda: 'reading'):
            timer.start()
            read()
            timer.join()
    except Stopped:
        stopped += 1
assert stopped == {TRIALS}, stopped
names = sorted(path.name for path in workdir.iterdir())
assert names == ['checkpoints'], names
print('well')
"""


@pytest.mark.slow
def test_a_read_ends_before_a_signal_is_heard(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(tmp_path / 'run')],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'well\n'
    assert done.stderr == ''
