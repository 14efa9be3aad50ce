"""experiments.compress as a person runs it."""

import os
import subprocess
import sys

import pytest

from osgan_jax.gan import trainer
from tests.support import ROOT, small


def launch(*flags):
    # Slower machine code that compiles sooner, as for all tests.
    env = {**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'}
    return subprocess.run(
        [sys.executable, '-m', 'experiments.compress', *flags],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_teacher_a_student_and_the_same_again(tmp_path):
    config = small.make_config(
        method='dcgan', num_steps=2, dataset='digits', channels=None, batch_size=8
    )
    trainer.train(config, tmp_path / 'teacher')
    flags = [
        f'--teacher={tmp_path / "teacher"}',
        f'--workdir={tmp_path / "student"}',
        '--stage_one_kimg=0.016',
        '--stage_two_kimg=0.016',
        '--num_devices=1',
    ]
    first = launch(*flags)
    assert first.returncode == 0, first.stderr
    for words in ('dgl, 1/2 of the channels', '2 steps without the teacher', 'Done: '):
        assert words in first.stdout
    again = launch(*flags)
    assert again.returncode == 0, again.stderr
    assert 'Already at step 4' in again.stdout
    other = launch(*flags, '--weight=0.3')
    assert other.returncode == 1
    assert 'weight is 0.1 there and 0.3 now' in other.stderr
    assert len(other.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--workdir=WORKDIR', '--channel_multiplier=1/0'], 'expected a number above 0'),
        ([], 'give --workdir'),
    ],
)
def test_one_sentence_and_nothing_left(tmp_path, flags, message):
    workdir = tmp_path / 'run'
    done = launch(*[flag.replace('WORKDIR', str(workdir)) for flag in flags])
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not workdir.exists()
