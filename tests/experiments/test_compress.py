"""experiments.compress as a person runs it."""

import pytest

from tests.support import launching


@pytest.mark.slow
def test_a_teacher_a_student_and_the_same_again(tmp_path):
    flags = [
        '--teacher=pretrained:digits',
        '--batch_size=8',
        '--num_samples=4',
        f'--workdir={tmp_path / "student"}',
        '--stage_one_kimg=0.016',
        '--stage_two_kimg=0.016',
        '--num_devices=1',
    ]
    first = launching.call('compress', *flags)
    assert first.code == 0, first.err
    reading = 'Reading the teacher in pretrained:digits'
    for words in (reading, 'dgl, 1/2 of the channels', '2 steps without the teacher', 'Done: '):
        assert words in first.out
    again = launching.call('compress', *flags)
    assert again.code == 0, again.err
    assert 'Already at step 4' in again.out
    other = launching.call('compress', *flags, '--weight=0.3')
    assert other.code == 1
    assert 'weight is 0.1 there and 0.3 now' in other.err
    assert len(other.err.splitlines()) == 1


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--workdir=WORKDIR', '--channel_multiplier=1/0'], 'expected a number above 0'),
        ([], 'give --workdir'),
    ],
)
def test_one_sentence_and_nothing_left(tmp_path, flags, message):
    workdir = tmp_path / 'run'
    done = launching.call('compress', *[flag.replace('WORKDIR', str(workdir)) for flag in flags])
    assert done.code == 1
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not workdir.exists()
