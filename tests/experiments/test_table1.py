"""experiments.table1 as a person runs it: a tiny grid, run again, and killed and resumed."""

import signal
import time

import pytest

from tests.support import launching
from tests.support.tables import contents, launch, refuses, rows, write_images

GRID = [
    '--dataset=npz',
    '--methods=lsgan,wgan',
    '--seeds=0',
    '--image_size=16',
    '--width=4',
    '--batch_size=8',
    '--num_devices=1',
    '--num_samples=16',
    '--eval_samples=16',
    '--log_every=1',
]
FILES = ['figure4.png', 'samples.png', 'table1.csv', 'table1.md']


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Sixty images whose brightness tells their class: a classifier of them trains in moments."""
    path = tmp_path_factory.mktemp('data') / 'small.npz'
    write_images(path, 60, 16)
    return f'--data_dir={path}'


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--methods=lsgan,gan'], "method='gan'"),
        (['--schemes=three'], "schemes='three'"),
        (['--variants=one_stage'], "variants='one_stage': expected some of one_stage:adam"),
        (['--variants=one_stage:adam', '--schemes=one_stage'], '--schemes and --variants exclude'),
        (['--variants=one_stage:adam', '--optimizer_d=sgd'], 'optimizer_d=sgd: --variants names'),
        (['--seeds=0,x'], 'seeds: invalid literal'),
        (['--metrics=fid,psnr'], 'psnr'),
        (['--budget=5', '--num_steps=5'], '--budget or --num_steps'),
        (['--method=lsgan'], "Unknown command line flag 'method'"),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, images, flags, message):
    refuses('table1', tmp_path / 'grid', *GRID, images, *flags, message=message)


@pytest.mark.slow  # six processes that compile
def test_grid_runs_once_and_resumes_what_was_killed(tmp_path, images):
    flags = [*GRID, images, '--num_steps=4', '--eval_every=2', '--metrics=fid,kid,pr']
    code, out, err = launch('table1', tmp_path, *flags)
    assert code == 0, err
    assert err == ''
    assert out.count('\ncell ') == 4
    assert '| LSGAN (asym) | one_stage |' in out
    assert sorted(contents(tmp_path)) == FILES
    done = rows(tmp_path / 'table1.csv')
    assert [row['status'] for row in done] == ['finished'] * 4
    assert all(row['step'] == '4' and float(row['classifier_fd']) > 0 for row in done)
    assert {'classifier_kd', 'classifier_precision', 'classifier_recall'} <= set(done[0])

    before = contents(tmp_path)
    code, out, err = launch('table1', tmp_path, *flags)
    assert (code, err) == (0, '')
    assert '\ncell ' not in out
    assert contents(tmp_path) == before

    # More steps: killed in the first cell, asked to stop in another, and then left alone.
    flags[flags.index('--num_steps=4')] = '--num_steps=400'
    flags[flags.index('--eval_every=2')] = '--eval_every=200'
    for signum, cell in (
        (signal.SIGKILL, 'lsgan-one_stage-0'),
        (signal.SIGTERM, 'wgan-one_stage-0'),
    ):
        process = launching.start('table1', tmp_path, *flags)
        log = tmp_path / cell / 'metrics.jsonl'
        deadline = time.monotonic() + 120
        while len(log.read_text().splitlines()) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signum)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum), out
    assert 'Stopped (wgan-one_stage-0, 2 of 4 cells done)' in out
    assert 'same command' in out
    code, out, err = launch('table1', tmp_path, *flags)
    assert (code, err) == (0, '')
    assert 'resumed' in out
    assert [row['step'] for row in rows(tmp_path / 'table1.csv')] == ['400'] * 4


@pytest.mark.slow  # trains until the losses are no longer finite
def test_a_cell_that_diverges_is_in_the_table_and_the_exit_code(tmp_path, images):
    flags = [*GRID, images, '--num_steps=30', '--learning_rate_d=1e30', '--learning_rate_g=1e30']
    code, out, err = launch('table1', tmp_path, *flags, '--schemes=one_stage')
    assert code == 1
    assert 'lsgan-one_stage-0' in err
    assert 'Traceback' not in err + out
    assert [row['status'] for row in rows(tmp_path / 'table1.csv')].count('failed') >= 1
    assert 'not finite' in out or 'became' in out
