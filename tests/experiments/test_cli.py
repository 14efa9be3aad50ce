"""The experiment modules as a person runs them: flags in, files or one sentence out."""

import re

import pytest
from absl import flags
from PIL import Image

from experiments import outcomes
from tests.support import commands, launching

SMALL = [
    '--image_size=16',
    '--width=4',
    '--batch_size=8',
    '--num_steps=2',
    '--num_samples=4',
    '--num_devices=1',
]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('run')
    done = launching.run('train', f'--workdir={workdir}', f'--data_dir={workdir}/data', *SMALL)
    assert done.code == 0, done.err
    return workdir, done


def test_train_says_what_it_does_and_leaves_clean_streams(run):
    _, done = run
    assert 'least_squares' in done.out
    assert 'Done' in done.out
    # Nothing but the run's own words: no library's log lines.
    assert done.err == ''


def test_sample_writes_grid_images_and_interpolations(run):
    workdir, _ = run
    done = launching.call(
        'sample', f'--workdir={workdir}', '--grid=4', '--count=3', '--interpolate=2', '--steps=5'
    )
    assert done.code == 0, done.err
    folder = workdir / 'generated' / 'step_2-seed_0-3_images'
    names = sorted(p.name for p in (workdir / 'generated').iterdir())
    assert names == [
        'grid.png',
        'interpolations.png',
        'sheets.json',
        folder.name,
        f'{folder.name}.json',
    ]
    with Image.open(workdir / 'generated' / 'interpolations.png') as image:
        assert image.size == (5 * 66 + 2, 2 * 66 + 2)
    assert sorted(p.name for p in folder.iterdir()) == [f'image_{i:05d}.png' for i in range(3)]
    with Image.open(folder / 'image_00000.png') as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize(
    ('module', 'argv', 'message'),
    [
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
        ('sample', ['--label=1', '--label_policy=data'], 'exclude each other'),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, module, argv, message):
    workdir = tmp_path / 'run'
    small = SMALL if module == 'train' else []
    done = launching.call(module, f'--workdir={workdir}', *small, *argv)
    assert done.code != 0
    assert message in done.err
    assert 'Traceback' not in done.err + done.out
    assert done.err.count('error:') == 1
    assert len(done.err.strip().splitlines()) == 1
    assert not workdir.exists()


@pytest.mark.parametrize('module', commands.MODULES)
def test_a_wrong_flag_ends_every_process_in_one_sentence(module):
    done = launching.run(module, '--nosuch')
    assert done.code == 1
    assert done.out == ''
    assert done.err == "error: Unknown command line flag 'nosuch' (--help lists the flags)\n"


@pytest.mark.parametrize(
    'module', sorted(set(commands.MODULES) - {'benchmark', 'compress', 'evaluate'})
)
def test_workdir_is_asked_for(module):
    done = launching.call(module)
    assert done.code == 1
    assert re.fullmatch(r'error: give --workdir.* \(--help lists the flags\)\n', done.err)


def test_an_interruption_is_no_error(capsys):
    def interrupt():
        raise KeyboardInterrupt

    common = outcomes.CommonConfig(compilation_cache='off')
    assert outcomes.of(interrupt, [], common) == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_flags_are_afterwards_what_they_were_before():
    before = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    for module in ('sample', 'train', 'sample'):
        assert launching.call(module, '--workdir=run', '--seed=-1', '--verbosity=1').code == 1
    assert {name: flags.FLAGS[name].value for name in flags.FLAGS} == before


def test_flags_may_stand_in_a_file(tmp_path):
    (tmp_path / 'flags').write_text('--workdir=/nowhere\n--seed=3\n')
    done = launching.call('sample', f'--flagfile={tmp_path}/flags')
    assert (done.code, done.out) == (1, '')
    assert done.err.startswith('error: /nowhere holds no run')


def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('not a directory')
    done = launching.call('train', f'--workdir={blocked}/run', f'--data_dir={tmp_path}', *SMALL)
    assert done.code == 1
    assert str(blocked) in done.err
    assert 'Traceback' not in done.err
    assert blocked.read_text() == 'not a directory'


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="method='gan': expected one of"):
        launching.call('train', f'--workdir={tmp_path}/run', '--method=gan', '--debug')
