"""What is published: commands, versions, and a wheel that works away from the checkout."""

import configparser
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest
from packaging.version import Version

import osgan_commands
import osgan_jax
from experiments import cli
from osgan_jax.io import packaged
from tests.support import ROOT, commands


def entry_points():
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    lines = parser['options.entry_points']['console_scripts'].split('\n')
    return dict(re.split(r'\s*=\s*', line) for line in lines if line)


def test_every_module_is_a_command():
    found = entry_points()
    assert sorted(found) == sorted(f'osgan-{module}' for module in commands.MODULES)
    assert {pkgutil.resolve_name(target) for target in found.values()} == {osgan_commands.main}
    for name in found:
        assert isinstance(commands.find(name.removeprefix('osgan-')), cli.Command)


@pytest.mark.process
@pytest.mark.parametrize('module', ['train', 'table1'])
def test_a_command_ignores_another_package_called_experiments(tmp_path, module):
    other = tmp_path / 'experiments'
    other.mkdir()
    (other / '__init__.py').write_text('raise ImportError("not this one")')
    script = tmp_path / f'osgan-{module}'
    script.write_text('import sys, osgan_commands\nsys.exit(osgan_commands.main())')
    ran = subprocess.run(
        [sys.executable, str(script), '--help'],
        cwd=tmp_path,
        env=environment(tmp_path, ROOT),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert f'python -m experiments.{module}' in ran.stdout


def test_the_version_is_the_changelogs_newest():
    newest = re.search(r'^## (\S+?)[,\s]', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert Version(newest[1]) == Version(osgan_jax.__version__)
    cited = re.search(r'^version: (\S+)', (ROOT / 'CITATION.cff').read_text(), re.MULTILINE)
    assert cited[1] == osgan_jax.__version__


def environment(*paths):
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    return {**env, 'PYTHONPATH': os.pathsep.join(map(str, paths)), 'JAX_PLATFORMS': 'cpu'}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A source distribution of the tracked files, and the wheel that it makes."""
    for name in ('build', 'setuptools'):
        if not importlib.util.find_spec(name):
            pytest.skip(f'{name} is not installed (docs/requirements.txt)')
    if Version(importlib.metadata.version('setuptools')) < Version('77'):
        pytest.skip('setuptools is too old (docs/requirements.txt)')
    folder = tmp_path_factory.mktemp('built')
    tracked = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split('\0')
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            copy = folder / 'source' / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--outdir', 'dist', 'source'],
        cwd=folder,
        check=True,
        capture_output=True,
        env=environment(),
    )
    return folder / 'dist'


@pytest.mark.slow
@pytest.mark.process
def test_wheel_and_source_hold_the_code_alone(built):
    (wheel,), (source,) = built.glob('*.whl'), built.glob('*.tar.gz')
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split('/')[0] for name in names}
    info = f'osgan_jax-{osgan_jax.__version__}.dist-info'
    assert tops == {'osgan_jax', 'experiments', 'osgan_commands.py', info}
    code = {
        path.relative_to(ROOT).as_posix()
        for folder in ('osgan_jax', 'experiments')
        for path in (ROOT / folder).rglob('*.py')
    }
    models = {
        path.relative_to(ROOT).as_posix() for path in packaged.FOLDER.rglob('*') if path.is_file()
    }
    assert len(models) >= 4
    assert code | models | {'osgan_jax/py.typed'} <= set(names)
    with tarfile.open(source) as archive:
        inside = {name.partition('/')[2] for name in archive.getnames()}
    assert code | models | {'README.md', 'LICENSE', 'setup.cfg', 'pyproject.toml'} <= inside


@pytest.mark.slow
@pytest.mark.process
def test_the_wheel_trains_from_another_directory(built, tmp_path):
    (wheel,) = built.glob('*.whl')
    there = tmp_path / 'installed'
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index']
    subprocess.run([*pip, '--target', str(there), str(wheel)], check=True, env=environment())
    # A project of somebody's that has a folder of this name, too.
    (tmp_path / 'experiments').mkdir()
    (tmp_path / 'experiments' / '__init__.py').touch()
    flags = ['--dataset=digits', '--image_size=16', '--width=8', '--batch_size=8']
    flags += ['--num_steps=2', '--num_samples=4', '--num_devices=1', '--workdir=run']
    command = there / 'bin' / 'osgan-train'
    ran = subprocess.run(
        [sys.executable, str(command), *flags],
        cwd=tmp_path,
        env=environment(there),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / 'run' / 'config.json').exists()
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    for source in ('--workdir=../run', '--pretrained=digits'):
        said = subprocess.run(
            [sys.executable, '-m', 'experiments.sample', source, '--grid=4'],
            cwd=elsewhere,
            env=environment(there),
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
    assert (elsewhere / 'pretrained-digits' / 'generated' / 'grid.png').exists()
    where = subprocess.run(
        [sys.executable, '-c', 'import osgan_jax; print(osgan_jax.__file__)'],
        cwd=elsewhere,
        env=environment(there),
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(there))
