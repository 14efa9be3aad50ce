"""Experiment modules as commands, in this process or one of their own, and what runs leave on disk.

Nothing in here looks into a run: moments are recognised by what a run writes, and two finished
runs are compared file by file. Checkpoints are read by orbax alone, not by the code under test.
"""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import orbax.checkpoint as ocp

from osgan_jax.runtime import settings
from tests.support import ROOT, commands, small

SECONDS = 120.0
"""How long anything awaited may take, on a slow and busy machine."""

FIELDS = {
    'dataset': 'npz',
    'image_size': small.SIZE,
    'channels': 1,
    'width': 4,
    'latent_dim': 6,
    'optimizer_d': 'optimistic_adam',  # the state of both kinds of Adam
    # Numbers of the step, and slow weights.
    **{'schedule': 'cosine', 'schedule_steps': 1000, 'beta2_final': 0.9, 'lookahead': 3},
    'batch_size': small.BATCH,
    'num_samples': 4,
    'num_devices': 1,
    'collapse_alarm': False,
    'log_every': 1,
    # At every other grid the run also saves, afterwards.
    'sample_every': 20,
    'save_every': 40,
    'keep': 2,
}
"""Flags of a run of experiments.train that makes hundreds of steps in seconds."""


class Done(NamedTuple):
    """What became of a command: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def call(module: str, *flags: object) -> Done:
    """Calls `main` of `experiments.<module>` with flags, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        # It would last as long as the process, and keep what other tests free.
        mock.patch.object(settings, 'keep_pages'),
    ):
        code = commands.find(module)([str(flag) for flag in flags])
    return Done(code, out.getvalue(), err.getvalue())


def run(module: str, *flags: object) -> Done:
    """Runs `python -m experiments.<module>` with flags, in a process of its own."""
    done = subprocess.run(
        [sys.executable, '-m', f'experiments.{module}', *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(module: str, workdir: pathlib.Path, *flags: str, **fields) -> subprocess.Popen:
    """Starts `experiments.<module>`; both its streams are one pipe.

    It is the first of a group of processes, so that a test can signal it as a terminal does.
    """
    given = [f'--{name}={value}' for name, value in {**fields, 'workdir': workdir}.items()]
    return subprocess.Popen(
        [sys.executable, '-m', f'experiments.{module}', *flags, *given],
        cwd=ROOT,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """Returns what the process said, once it has ended with this code."""
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, out
    return out


def wait_until(process: subprocess.Popen, happened: Callable[[], bool], what: str) -> None:
    """Returns as soon as something happened, within a millisecond where a core is free."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert process.poll() is None, f'ended before {what}: {process.communicate()[0]}'
        assert time.monotonic() < deadline, f'waited {SECONDS:g} s for {what}'
        time.sleep(0.0005)


def whole_lines(workdir: pathlib.Path) -> list[bytes]:
    """The metrics log without a last line that is being written."""
    path = workdir / 'metrics.jsonl'
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b'\n')]


def logged(workdir: pathlib.Path) -> int:
    """The last step in the metrics log of a run that logs each."""
    return len(whole_lines(workdir))


def unfinished(workdir: pathlib.Path) -> set[int]:
    """Steps whose saves have begun and not ended."""
    names = _names(workdir / 'checkpoints')
    return {int(name.split('.')[0]) for name in names if '.orbax-checkpoint-tmp' in name}


def finished(workdir: pathlib.Path) -> list[int]:
    """Steps whose checkpoints have their final names, ascending."""
    return sorted(int(name) for name in _names(workdir / 'checkpoints') if name.isdigit())


def _names(directory: pathlib.Path) -> list[str]:
    return os.listdir(directory) if directory.is_dir() else []


def contents(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray | list[str]]:
    """A checkpoint's arrays by name, and where its batches stand."""
    directory = workdir / 'checkpoints' / str(step)
    body = json.loads((directory / 'manifest' / 'metadata').read_text())['body']
    names = [name for name, leaf in body['leaves'].items() if 0 not in leaf['stored_shape']]
    args = ocp.args.PyTreeRestore(
        item=dict.fromkeys(names, 0),
        restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names},
    )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        arrays = reader.restore(directory / 'arrays', args=args)
    return {**arrays, 'iterator_states': body['iterator_states']}


def assert_same_checkpoint(workdir: pathlib.Path, whole: pathlib.Path, step: int) -> None:
    """Fails unless two runs saved the same at a step, to the bit."""
    one, other = contents(workdir, step), contents(whole, step)
    assert one.keys() == other.keys()
    # By bytes: NaN equals itself then, and -0 does not equal 0.
    differing = [
        name
        for name, value in one.items()
        if np.asarray(value).dtype != np.asarray(other[name]).dtype
        or np.asarray(value).tobytes() != np.asarray(other[name]).tobytes()
    ]
    assert not differing, f'step {step}: {differing[:5]} of {len(one)}'


def assert_on_its_way(workdir: pathlib.Path, whole: pathlib.Path) -> None:
    """Fails unless all that an ended process left is what the whole run had at those steps."""
    lines = whole_lines(workdir)
    assert lines == whole_lines(whole)[: len(lines)]
    for path in (workdir / 'samples').glob('*.png'):
        assert path.read_bytes() == (whole / 'samples' / path.name).read_bytes(), path.name
    # Older ones may be half deleted.
    for step in set(finished(workdir)[-FIELDS['keep'] :]) & set(finished(whole)):
        assert_same_checkpoint(workdir, whole, step)


def assert_same_end(workdir: pathlib.Path, whole: pathlib.Path) -> None:
    """Fails unless two finished runs are the same: parameters, metrics, samples; and tidy."""
    assert (workdir / 'metrics.jsonl').read_bytes() == (whole / 'metrics.jsonl').read_bytes()
    assert sorted(_names(workdir / 'samples')) == sorted(_names(whole / 'samples'))
    assert not unfinished(workdir)
    assert not list(workdir.rglob('.*.tmp'))
    assert finished(workdir)[-1] == finished(whole)[-1]
    assert_on_its_way(workdir, whole)
