"""The experiment modules as commands, on damaged directories, full disks and each other's."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.support import forked, launching
from tests.support.damaging import cut, newest, put_a_file

SCHEDULE = {'num_steps': 4, 'log_every': 1, 'sample_every': 2, 'save_every': 2}
READERS = {
    'sample': ['--grid=4'],
    'edit': ['--sheet=interpolate_z', '--rows=1', '--columns=2', '--frames=2'],
    'evaluate': ['--num_samples=32', '--metrics=fid'],
    'compress': [],
    'train': [],
}


@pytest.fixture(scope='module')
def launcher(tmp_path_factory):
    with forked.Launcher(tmp_path_factory.mktemp('streams'), JAX_NUM_CPU_DEVICES='1') as launcher:
        yield launcher


def flags(npz, **fields):
    fields = {**launching.FIELDS, **SCHEDULE, 'data_dir': npz, **fields}
    return [f'--{name}={value}' for name, value in fields.items()]


@pytest.fixture(scope='module')
def trained(launcher, npz, tmp_path_factory):
    """A finished run of the command."""
    workdir = tmp_path_factory.mktemp('trained')
    done = launcher.run('train', [*flags(npz), f'--workdir={workdir}'], workdir)
    assert done.code == 0, done.err
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize('module', READERS)
def test_commands_on_a_damaged_run(launcher, trained, npz, tmp_path, module):
    workdir = shutil.copytree(trained, tmp_path / 'run')

    def command():
        own = flags(npz) if module == 'train' else []
        place = f'--workdir={workdir}'
        if module == 'compress':
            student = tmp_path / 'student'
            own = [f'--teacher={workdir}', '--channel_multiplier=1/2', f'--data_dir={npz}']
            own += ['--stage_one_kimg=0.016', '--stage_two_kimg=0.016', '--num_devices=1']
            place = f'--workdir={student}'
        return launcher.run(module, [*READERS[module], *own, place], tmp_path)

    cut(newest(workdir))
    done = command()
    said = done.out + done.err
    assert done.code == 0, said
    assert f'the checkpoint {newest(workdir)} is damaged (' in said
    assert 'going on from step 2 instead' in said
    assert 'Traceback' not in said
    for step in launching.finished(workdir):
        put_a_file(workdir / 'checkpoints' / str(step))
    shutil.rmtree(tmp_path / 'student', ignore_errors=True)
    done = command()
    assert done.code == 1
    assert done.err.startswith('error: none of the ')
    assert done.err.count('\n') == 1
    assert 'Traceback' not in done.out


@pytest.mark.slow
def test_a_second_run_is_refused_and_the_first_unharmed(launch, uninterrupted, tmp_path):
    first = launch(tmp_path, num_steps=60)
    launching.wait_until(first, lambda: launching.logged(tmp_path) > 0, 'the first step')
    os.kill(first.pid, signal.SIGSTOP)  # so that it is still there, however fast it is
    out = launching.finish(launch(tmp_path, num_steps=60), 1)
    os.kill(first.pid, signal.SIGCONT)
    assert f'{tmp_path} is in use by another run (process {first.pid} on ' in out
    assert 'Traceback' not in out
    launching.finish(first)
    launching.assert_same_end(tmp_path, uninterrupted(60))


@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(launcher, trained, npz, tmp_path):
    workdir = tmp_path / 'small'
    workdir.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=200k', 'none', str(workdir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('nothing can be mounted here')
    try:
        command = [*flags(npz), f'--workdir={workdir}']
        done = launcher.run('train', command, tmp_path)
        assert done.code == 1
        assert 'No space left on device' in done.err
        assert done.err.count('error: ') == 1
        assert 'Traceback' not in done.out + done.err
        subprocess.run(['mount', '-o', 'remount,size=9m', str(workdir)], check=True)
        done = launcher.run('train', command, tmp_path)
        assert done.code == 0, done.err
        launching.assert_same_end(workdir, trained)
    finally:
        subprocess.run(['umount', '--lazy', str(workdir)], check=True)
