"""Paths as people write them."""

import pathlib

import pytest

from osgan_jax import data
from osgan_jax.gan import config, sampling, trainer
from osgan_jax.io import paths
from tests.support import commands, launching


def test_cache(monkeypatch, tmp_path):
    monkeypatch.delenv('OSGAN_JAX_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert paths.cache_dir() == tmp_path / 'osgan_jax'
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / 'own'))
    assert paths.cache_dir() == tmp_path / 'own'


def test_paths_are_expanded_as_shells_do(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.setenv('DATA', '/mnt/data')
    monkeypatch.delenv('NOWHERE', raising=False)
    for written, meant in [
        ('~/runs/a', '/home/me/runs/a'),
        ('~', '/home/me'),
        ('$DATA/cats', '/mnt/data/cats'),
        ('${DATA}/cats', '/mnt/data/cats'),
        ('a~b/~c', 'a~b/~c'),
        ('a:b/c', 'a:b/c'),
        ('C:/data', 'C:/data'),
        (pathlib.Path('~/a'), '/home/me/a'),
    ]:
        assert paths.expand(written) == meant
    with pytest.raises(ValueError, match=r'\$NOWHERE/a: the variable \$NOWHERE is not set'):
        paths.expand('$NOWHERE/a')
    with pytest.raises(ValueError, match='no user nobody-of-that-name'):
        paths.expand('~nobody-of-that-name/a')
    # What is there as it is written is meant.
    odd = tmp_path / '$NOWHERE'
    odd.mkdir()
    assert paths.expand(odd) == str(odd)


@pytest.mark.parametrize('url', ['gs://bucket/a', 's3://bucket/a', 'https://x.org/a.zip', 'GS:/b'])
def test_urls_are_not_folders(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flag in ('workdir', 'data_dir'):
        done = launching.call(
            'train', *{'workdir': '--workdir=a', flag: f'--{flag}={url}'}.values()
        )
        assert done.code == 1
        assert done.err == (
            f'error: {url} is a URL, but runs and data must be in local or mounted folders: '
            'mount the bucket or copy it, and give its path\n'
        )
    for opens in (
        lambda: trainer.train(config.TrainConfig(), url),
        lambda: data.load('folder', data_dir=url),
        lambda: sampling.Sampler(url),
    ):
        with pytest.raises(ValueError, match='is a URL'):
            opens()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match='write it as a path, /data/a'):
        paths.expand('file:///data/a')


def test_every_flag_that_names_a_place_is_expanded():
    places = ('directory', 'file', 'folder', 'workdir of', 'run of')
    # Not a place, whatever its help speaks of.
    others = {'dataset'}
    for module in commands.MODULES:
        for name, each in commands.find(module).fields.items():
            speaks = any(word in each.help.split(';')[0] for word in places)
            if each.kind is str and not each.choices and name not in others and speaks:
                assert each.path, (module, name)


def test_tilde_in_flags(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    done = launching.call('sample', '--workdir=~/runs/a')
    assert done.err.startswith(f'error: {tmp_path}/runs/a holds no run')
