"""The experiment modules as a person runs them: flags in, files or one sentence out."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.support import ROOT

SMALL = [
    '--image_size=16',
    '--width=4',
    '--batch_size=8',
    '--num_steps=2',
    '--num_samples=4',
    '--num_devices=1',
]


def launch(module, *flags):
    return subprocess.run(
        [sys.executable, '-m', f'experiments.{module}', *flags],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('run')
    done = launch('train', f'--workdir={workdir}', f'--data_dir={workdir}/data', *SMALL)
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_train_says_what_it_does_and_leaves_clean_streams(run):
    _, done = run
    assert 'least_squares' in done.stdout
    assert 'Done' in done.stdout
    # Nothing but the run's own words: no library's log lines.
    assert done.stderr == ''


def test_sample_writes_grid_images_and_interpolations(run):
    workdir, _ = run
    done = launch(
        'sample', f'--workdir={workdir}', '--grid=4', '--count=3', '--interpolate=2', '--steps=5'
    )
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in (workdir / 'generated').iterdir())
    images = [f'image_{i:05d}.png' for i in range(3)]
    assert names == ['grid.png', *images, 'interpolations.png']
    with Image.open(workdir / 'generated' / 'interpolations.png') as image:
        assert image.size == (5 * 66 + 2, 2 * 66 + 2)
    with Image.open(workdir / 'generated' / images[0]) as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize(
    ('module', 'flags', 'message'),
    [
        ('train', ['--nosuch=1'], "Unknown command line flag 'nosuch'"),
        ('train', ['--num_steps=x'], 'num_steps'),
        ('train', ['--scheme=three'], 'scheme'),
        ('train', ['--method=gan'], "method='gan': expected one of dcgan_sym"),
        ('train', ['stray'], "unexpected argument 'stray'"),
        ('train', ['--decay_epochs=a,b'], 'decay_epochs: invalid literal'),
        ('train', ['--dataset=folder'], '--data_dir'),
        ('train', ['--dataset=folder', '--data_dir=/nowhere/at/all'], '/nowhere/at/all'),
        ('train', ['--dataset=atlantis'], 'atlantis'),
        ('train', ['--discriminator_norm=batch'], 'shared_forward'),
        ('train', ['--loss=hinge', '--loss_options=rho=1'], 'hinge: unknown hyperparameter rho'),
        ('sample', [], 'holds no run'),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, module, flags, message):
    workdir = tmp_path / 'run'
    small = SMALL if module == 'train' else []
    done = launch(module, f'--workdir={workdir}', *small, *flags)
    assert done.returncode != 0
    assert message in done.stderr
    assert 'Traceback' not in done.stderr + done.stdout
    assert done.stderr.count('error:') == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert not workdir.exists()


def test_workdir_is_asked_for():
    done = launch('train')
    assert done.returncode != 0
    assert '--workdir' in done.stderr


def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('not a directory')
    done = launch('train', f'--workdir={blocked}/run', f'--data_dir={tmp_path}', *SMALL)
    assert done.returncode == 1
    assert str(blocked) in done.stderr
    assert 'Traceback' not in done.stderr
    assert blocked.read_text() == 'not a directory'


def test_debug_shows_the_traceback(tmp_path):
    done = launch('train', f'--workdir={tmp_path}/run', '--method=gan', '--debug')
    assert done.returncode != 0
    assert 'Traceback' in done.stderr
