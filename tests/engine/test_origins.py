"""Forks: what a run takes from another, and what cannot differ."""

import dataclasses
import json
import pathlib
import shutil

import chex
import jax
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.engine import checkpoints, origins, runs
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from tests.support import small


def arrays_of(state):
    return jax.device_get(dataclasses.replace(state, key=jax.random.key_data(state.key)))


def files_of(directory: pathlib.Path):
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob('*'))
        if path.is_file()
    }


def restored(workdir, step):
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        return saved.read(step)


FIELDS = {'num_steps': 4, 'save_every': 2, 'log_every': 1, 'ema_decay': 0.9}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('source')
    trainer.train(small.make_config(**FIELDS), workdir, dataset=small.dataset())
    return workdir


def test_a_fork_goes_on_with_everything(source, tmp_path, capsys):
    before = files_of(source)
    asked = TrainConfig(fork=f'{source}@2', save_every=5)
    result = trainer.train(asked, tmp_path / 'same', dataset=small.dataset())
    whole, again = restored(source, 4), restored(tmp_path / 'same', 4)
    chex.assert_trees_all_equal(again.arrays, whole.arrays)
    assert again.iterator_state == whole.iterator_state
    assert int(result.state.step) == 4
    assert files_of(source) == before
    out = capsys.readouterr().out
    assert f'from {source}, step 2' in out
    assert 'save_every 2 -> 5' in out
    run = runs.read(tmp_path / 'same', TrainConfig)
    assert run.origin == {'how': 'fork', 'workdir': str(source), 'step': 2}
    # It resumes without its source, and is asked for by the same words.
    shutil.copytree(tmp_path / 'same', tmp_path / 'moved')
    asked = dataclasses.replace(run.config, fork=asked.fork)
    asked = TrainConfig(fork=asked.fork)
    trainer.train(asked, tmp_path / 'moved', dataset=small.dataset())
    assert runs.read(tmp_path / 'moved', TrainConfig).origin == run.origin


def test_a_fork_has_other_values(source, tmp_path, capsys):
    asked = TrainConfig(
        fork=str(source), num_steps=5, learning_rate_g=0.0, lookahead=2, beta1=0.3, batch_size=4
    )
    result = trainer.train(asked, tmp_path, dataset=small.dataset())
    chex.assert_trees_all_equal(
        jax.device_get(result.state.params_g), at(source, 4, 'params_g', result.state.params_g)
    )
    out = capsys.readouterr().out
    for words in ('beta1_g 0.5 -> 0.3', 'batch_size 8 -> 4', 'begun anew slow', 'in a new order'):
        assert words in ' '.join(out.split())
    assert restored(tmp_path, 4).step == 4  # saved at once


def at(workdir, step, part, like):
    found = restored(workdir, step).arrays
    paths = jax.tree_util.tree_leaves_with_path(like)
    names = [f'{part}/{jax.tree_util.keystr(p, simple=True, separator="/")}' for p, _ in paths]
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in names])


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'width': 8}, r'forked with width=8 \(4 there\): params_g/'),
        ({'optimizer': 'sgd'}, r'forked with optimizer=sgd \(optimistic_adam there\): opt_'),
        ({'method': 'wgan'}, 'method=wgan: a fork keeps what the method of its source, lsgan'),
        ({'fork': '{source}@3'}, 'no checkpoint of step 3 .* the saved steps are 2, 4'),
        ({'fork': '{source}@best'}, 'has no best checkpoint'),
        ({'fork': '{source}@x'}, 'expected RUN, RUN@STEP or RUN@best'),
        ({'fork': '{source}/samples'}, 'holds no run'),
    ],
)
def test_what_cannot_be_forked_is_named(source, tmp_path, fields, words):
    fields = {'fork': str(source), **fields}
    fields['fork'] = fields['fork'].format(source=source)
    with pytest.raises((ValueError, checkpoints.CheckpointError), match=words):
        trainer.train(TrainConfig(**fields), tmp_path / 'new', dataset=small.dataset())
    assert not (tmp_path / 'new').exists()


def test_a_run_is_not_forked_into_itself(source):
    with pytest.raises(ValueError, match=r'another configuration: fork is None there'):
        trainer.train(TrainConfig(fork=str(source)), source, dataset=small.dataset())


def test_a_damaged_source_is_left_as_it_is(source, tmp_path):
    broken = tmp_path / 'broken'
    shutil.copytree(source, broken)
    for path in (broken / 'checkpoints' / '4').rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    before = files_of(broken)
    with pytest.raises(checkpoints.CheckpointError, match='damaged'):
        origins.read(origins.place(f'{broken}@4'))
    assert origins.read(origins.place(str(broken))).step == 2
    assert files_of(broken) == before
    shutil.rmtree(broken / 'checkpoints')
    with pytest.raises(checkpoints.CheckpointError, match='there is no checkpoint'):
        origins.read(origins.place(str(broken)))


def test_other_images_are_accepted_when_they_are_asked_for(source, tmp_path, capsys):
    shutil.copytree(source, tmp_path / 'run')
    base = small.dataset()
    images = np.stack([255 - base[i]['image'] for i in range(30)])
    labels = [int(base[i]['label']) for i in range(30)]
    other = data.from_arrays(images, labels, name='small')
    fork = TrainConfig(num_steps=6, fork=f'{source}@2')
    for name, config in (('run', TrainConfig(num_steps=6)), ('new', fork)):
        with pytest.raises(ValueError, match=r'40 images there and has 30 now.*data_changed'):
            trainer.train(config, tmp_path / name, dataset=other)
    trainer.train(TrainConfig(num_steps=6, data_changed=True), tmp_path / 'run', dataset=other)
    assert '40 images there and has 30 now' in capsys.readouterr().out
    run = runs.read(tmp_path / 'run', TrainConfig)
    assert (run.num_examples, run.config.data_changed) == (30, False)
    assert [each['step'] for each in run.earlier] == [4]
    assert run.earlier[0]['source'] == runs.read(source, TrainConfig).source
    body = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert body['dataset']['source']['num_images'] == 30
    # Accepted once: not for ever.
    with pytest.raises(ValueError, match='30 images there and has 40 now'):
        trainer.train(TrainConfig(num_steps=8), tmp_path / 'run', dataset=small.dataset())
