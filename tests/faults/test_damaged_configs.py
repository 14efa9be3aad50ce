"""Damaged and crafted config.json: refused in a sentence, before memory is taken for anything."""

import json
import os
import resource
import shutil

import pytest

from osgan_jax.engine import checkpoints, runs
from osgan_jax.gan import model, sampling
from osgan_jax.gan.config import TrainConfig
from tests.support import small
from tests.support.damaging import JUNK

CONFIGS = [
    b'',
    b'{',
    JUNK,
    b'[]',
    b'null',
    b'3',
    b'[' * 100_000,
    b'{"config": {}}',
    b'{"config": [], "dataset": []}',
    b'{"config": 3, "dataset": {"num_classes": 0, "class_names": [], "num_examples": 0}}',
]
FIELDS = [
    {'width': 'x'},
    {'width': 1.5},
    {'width': [4]},
    {'width': True},
    {'image_size': {}},
    {'channels': 10**12},
    {'optimizer': 5},
    {'decay_epochs': [1, 'x']},
    {'learning_rate_g': 'x'},
    {'method': None},
    {'dataset': ['x' * 1000]},
    {'x' * 1000: 1},
    {'num_examples': -1},
    {'num_examples': 1e999},
    {'num_classes': 10**15},
    {'num_classes': '3'},
    {'class_names': 3},
]


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A run of no steps with one checkpoint."""
    folder = tmp_path_factory.mktemp('saved')
    config = small.resolve(small.make_config())
    run = runs.Run(config, small.CLASSES, tuple('abcd'), small.EXAMPLES)
    runs.write(folder, run)
    gan = model.build(config, num_classes=run.num_classes, steps_per_epoch=run.steps_per_epoch)
    with checkpoints.Checkpoints(folder) as opened:
        opened.save(0, model.create(gan, config.seed), wait=True)
    return folder


@pytest.fixture
def workdir(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / 'run')


def edit_config(workdir, fields):
    path = workdir / 'config.json'
    body = json.loads(path.read_text())
    for name, value in fields.items():
        body['dataset' if name in body['dataset'] else 'config'][name] = value
    path.write_text(json.dumps(body))


@pytest.mark.parametrize('content', [*CONFIGS, *FIELDS], ids=lambda content: str(content)[:40])
def test_damaged_configurations(workdir, content):
    path = workdir / 'config.json'
    path.write_bytes(content) if isinstance(content, bytes) else edit_config(workdir, content)
    for read in (lambda path: runs.read(path, TrainConfig), sampling.Sampler):
        with pytest.raises(ValueError, match='cannot be used') as caught:
            read(workdir)
        assert f'{path} cannot be used (' in str(caught.value)
        assert '\n' not in str(caught.value)
        assert len(str(caught.value)) < 500 + len(str(path))


def test_configurations_that_are_no_files(tmp_path):
    path = tmp_path / 'config.json'

    def unusable(message):
        with pytest.raises(ValueError, match=message):
            runs.read(tmp_path, TrainConfig)
        assert runs.kind_of(tmp_path) is None

    path.mkdir()
    unusable('it is not a file')
    path.rmdir()
    os.mkfifo(path)
    unusable('it is not a file')
    path.unlink()
    path.touch()
    os.truncate(path, 100 << 20)
    unusable('has 104857600 bytes, more than any run writes')


@pytest.mark.parametrize(
    ('fields', 'error', 'message'),
    [
        ({'width': 10**9}, checkpoints.CheckpointError, r'holds another state: .*\[2000000000\]'),
        ({'latent_dim': 10**9}, checkpoints.CheckpointError, 'holds another state'),
        ({'latent_dim': 10**12}, ValueError, 'expected a number of at most'),
        ({'width': 10**40}, ValueError, 'expected a number of at most'),
        ({'batch_size': None}, ValueError, 'describes no networks that can be built'),
        ({'image_size': 10**9}, ValueError, 'has no 1000000000-pixel networks'),
        ({'network': 'os.system'}, ValueError, "unknown network 'os.system'"),
    ],
)
def test_configurations_of_enormous_networks_take_no_memory(workdir, fields, error, message):
    edit_config(workdir, fields)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error, match=message) as caught:
        sampling.Sampler(workdir)
    assert '\n' not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
