"""experiments.teacher and experiments.distill as a person runs them."""

import json

import pytest

from tests.support import launching


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('runs') / 'teacher'
    done = launching.call(
        'teacher', '--batch_size=50', '--num_steps=8', '--num_devices=1', f'--workdir={workdir}'
    )
    assert done.code == 0, done.err
    assert done.err == ''
    for words in ('lenet5, 61.7 k parameters', 'digits (test)', 'accuracy', 'Done: '):
        assert words in done.out
    return workdir


def test_a_student_learns_without_data_and_goes_on(taught, tmp_path):
    command = ['distill', f'--teacher={taught}', f'--workdir={tmp_path}', '--num_steps=4']
    command += ['--batch_size=8', '--generator_width=4', '--num_devices=1']
    first = launching.call(*command)
    assert first.code == 0, first.err
    assert first.err == ''
    for words in ('one_stage', 'lenet5_half, 15.7 k parameters', '1 of the generator', 'Done: '):
        assert words in first.out
    lines = (tmp_path / 'evaluations.jsonl').read_text().splitlines()
    accuracies = [json.loads(line) for line in lines]
    assert [line['step'] for line in accuracies] == [1, 2, 3, 4]
    again = launching.call(*command)
    assert again.code == 0, again.err
    assert 'Already at step 4' in again.out
    other = launching.call(*command, '--disagreement=kl')
    assert other.code == 1
    assert "disagreement is 'l1' there and 'kl' now" in other.err
    assert len(other.err.splitlines()) == 1


@pytest.mark.parametrize(
    ('module', 'flags', 'message'),
    [
        ('distill', [], 'give --teacher'),
        ('distill', ['--teacher=/nowhere'], '/nowhere holds no run'),
        ('distill', ['--teacher=TAUGHT', '--algorithm=gan'], 'should be one of'),
        # Of all fields, in tests/distillation/test_runs.py.
        pytest.param(
            'distill',
            ['--teacher=TAUGHT', '--algorithm=zskt', '--student=resnet18'],
            'whose stages have equal grids',
            marks=pytest.mark.slow,
        ),
        ('teacher', ['--mean=0.5,0.5'], 'a number for each of 1 channels'),
        ('teacher', ['--mean=grey'], "mean: could not convert string to float: 'grey'"),
    ],
)
def test_one_sentence_and_nothing_left(taught, tmp_path, module, flags, message):
    workdir = tmp_path / 'run'
    flags = [flag.replace('TAUGHT', str(taught)) for flag in flags]
    done = launching.call(module, f'--workdir={workdir}', *flags)
    assert done.code == 1
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (workdir / 'config.json').exists()
