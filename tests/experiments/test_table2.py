"""experiments.table2 as a person runs it: a tiny table, run again, and stopped and resumed."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support import ROOT

TABLE = [
    *('--dataset=npz', '--test_split=train', '--teacher_steps=4', '--algorithms=kd,one_stage'),
    *('--seeds=0', '--batch_size=8', '--recipe=teacher.batch_size=8', '--num_devices=1'),
    *('--generator_width=4', '--log_every=1'),
]
FILES = ['figure.png', 'samples.png', 'table2.csv', 'table2.md']


def start(workdir, *flags):
    return subprocess.Popen(
        [sys.executable, '-m', 'experiments.table2', f'--workdir={workdir}', *flags],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(workdir, *flags):
    process = start(workdir, *flags)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def rows(workdir):
    return list(csv.DictReader((workdir / 'table2.csv').read_text().splitlines()))


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """Images whose brightness tells their class, to train on and to measure on."""
    flags = []
    for seed, (name, count) in enumerate({'data_dir': 40, 'test_data_dir': 12}.items()):
        path = tmp_path_factory.mktemp('data') / f'{name}.npz'
        rng, labels = np.random.default_rng(seed), np.arange(count) % 4
        pixels = rng.integers(0, 60, (count, 32, 32, 1)) + 60 * labels[:, None, None, None]
        np.savez(path, images=pixels.astype(np.uint8), labels=labels)
        flags.append(f'--{name}={path}')
    return flags


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--algorithms=kd,gan'], "algorithms='gan'"),
        (['--seeds=0,x'], 'seeds: invalid literal'),
        (['--student_updates=5', '--fraction=0.5'], '--student_updates or --fraction'),
        (['--recipe=zskt.seed=1'], 'recipe=zskt.seed=1: expected a field of'),
        (['--teacher=nowhere'], '--teacher_steps: the teacher of --teacher is trained already'),
        (['--algorithm=kd'], "Unknown command line flag 'algorithm'"),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, parts, flags, message):
    code, out, err = launch(tmp_path / 'table', *TABLE, *parts, *flags)
    assert code == 1
    assert message in err
    assert 'Traceback' not in err + out
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / 'table').exists()


@pytest.mark.slow  # five processes that compile
def test_table_runs_once_and_resumes_what_was_stopped(tmp_path, parts):
    flags = [*TABLE, *parts, '--student_updates=400', '--eval_updates=200']
    process = start(tmp_path, *flags)
    log = tmp_path / 'one_stage-0' / 'metrics.jsonl'
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= 8:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert 'Stopped (one_stage-0, 1 of 2 cells done)' in out
    code, out, err = launch(tmp_path, *flags)
    assert (code, err) == (0, '')
    assert 'resumed' in out
    assert '| One-stage (one) | lenet5_half |' in out
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == FILES
    done = rows(tmp_path)
    assert [row['status'] for row in done] == ['finished'] * 3
    assert [row['step'] for row in done] == ['4', '400', '400']
    assert done[0]['num_samples'] == '12'

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    code, out, err = launch(tmp_path, *flags)
    assert (code, err) == (0, '')
    assert '\ncell ' not in out
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before

    # The teacher serves another table, in which one cell diverges.
    flags = ['--algorithms=dfad,one_stage', '--seeds=1', '--student_updates=30', '--batch_size=8']
    flags += [f'--teacher={tmp_path}/teacher', '--recipe=one_stage.learning_rate=1e30']
    code, out, err = launch(tmp_path / 'other', *flags, '--num_devices=1', '--generator_width=4')
    assert code == 1
    assert '1 of 2 cells failed: one_stage-1' in err
    assert 'Traceback' not in err + out
    assert [row['status'] for row in rows(tmp_path / 'other')] == ['finished', 'finished', 'failed']
