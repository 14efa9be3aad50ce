"""experiments.table2 as a person runs it: a tiny table, run again, and stopped and resumed."""

import signal
import time

import pytest

from experiments.table2 import __main__
from osgan_jax.distillation.config import DistillConfig
from tests.support import launching
from tests.support.tables import contents, launch, refuses, rows, write_images

TABLE = [
    *('--dataset=npz', '--test_split=train', '--teacher_steps=4', '--algorithms=kd,one_stage'),
    *('--seeds=0', '--batch_size=8', '--recipe=teacher.batch_size=8', '--num_devices=1'),
    *('--generator_width=4', '--log_every=1'),
]
FILES = ['figure.png', 'samples.png', 'table2.csv', 'table2.md']


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """Images whose brightness tells their class, to train on and to measure on."""
    flags = []
    for seed, (name, count) in enumerate({'data_dir': 40, 'test_data_dir': 12}.items()):
        path = tmp_path_factory.mktemp('data') / f'{name}.npz'
        write_images(path, count, 32, seed)
        flags.append(f'--{name}={path}')
    return flags


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--algorithms=kd,gan'], "algorithms='gan'"),
        (['--seeds=0,x'], 'seeds: invalid literal'),
        (['--student_updates=5', '--fraction=0.5'], '--student_updates and --fraction'),
        (['--fraction=0'], 'fraction=0.0: expected a number above 0'),
        (['--fraction=nan'], 'expected a finite number'),
        (['--student_updates=0'], 'student_updates=0: expected a number of at least 1'),
        (['--eval_updates=0'], 'eval_updates=0: expected a number of at least 1'),
        (['--recipe=zskt.seed=1'], 'recipe=zskt.seed=1: expected a field of'),
        (['--teacher=nowhere'], '--teacher_steps: the teacher of --teacher is trained already'),
        (['--algorithm=kd'], "Unknown command line flag 'algorithm'"),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, parts, flags, message):
    refuses('table2', tmp_path / 'table', *TABLE, *parts, *flags, message=message)


def test_the_teacher_is_trained_where_and_how_the_students_are():
    how = {'lock': False, 'skip_nonfinite': True, 'deterministic': True, 'precision': 'bfloat16'}
    trained = __main__.TrainedTeacherConfig()
    teacher = __main__._teacher(None, trained, DistillConfig(**how))
    assert {name: getattr(teacher, name) for name in how} == how


@pytest.mark.slow  # five processes that compile
def test_table_runs_once_and_resumes_what_was_stopped(tmp_path, parts):
    flags = [*TABLE, *parts, '--student_updates=400', '--eval_updates=200']
    process = launching.start('table2', tmp_path, *flags)
    log = tmp_path / 'one_stage-0' / 'metrics.jsonl'
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= 8:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert 'Stopped (one_stage-0, 1 of 2 cells done)' in out
    code, out, err = launch('table2', tmp_path, *flags)
    assert (code, err) == (0, '')
    assert 'resumed' in out
    assert '| One-stage (one) | lenet5_half |' in out
    assert sorted(contents(tmp_path)) == FILES
    done = rows(tmp_path / 'table2.csv')
    assert [row['status'] for row in done] == ['finished'] * 3
    assert [row['step'] for row in done] == ['4', '400', '400']
    assert done[0]['num_samples'] == '12'

    before = contents(tmp_path)
    code, out, err = launch('table2', tmp_path, *flags)
    assert (code, err) == (0, '')
    assert '\ncell ' not in out
    assert contents(tmp_path) == before

    # The teacher serves another table, in which one cell diverges.
    flags = ['--algorithms=dfad,one_stage', '--seeds=1', '--student_updates=30', '--batch_size=8']
    flags += [f'--teacher={tmp_path}/teacher', '--recipe=one_stage.learning_rate=1e30']
    code, out, err = launch(
        'table2', tmp_path / 'other', *flags, '--num_devices=1', '--generator_width=4'
    )
    assert code == 1
    assert '1 of 2 cells failed: one_stage-1' in err
    assert 'Traceback' not in err + out
    assert [row['status'] for row in rows(tmp_path / 'other' / 'table2.csv')] == [
        'finished',
        'finished',
        'failed',
    ]
