"""What a run's directory says of its images."""

import dataclasses
import json

import pytest

from osgan_jax.data import identity
from osgan_jax.engine import runs
from osgan_jax.gan.config import TrainConfig
from tests.support import small


def test_images_are_recorded_and_read_back(tmp_path):
    dataset = small.dataset()
    config = small.resolve(small.make_config())
    source = identity.identify(dataset)
    run = runs.Run(config, small.CLASSES, (), len(dataset), source)
    runs.write(tmp_path, run)
    assert runs.read(tmp_path, TrainConfig) == run
    # Runs from before that have none.
    older = dataclasses.replace(run, source=None)
    runs.write(tmp_path, older)
    assert 'source' not in json.loads((tmp_path / 'config.json').read_text())['dataset']
    assert runs.read(tmp_path, TrainConfig) == older
    runs.write(tmp_path, dataclasses.replace(run, source={**run.source, 'num_images': '40'}))
    with pytest.raises(ValueError, match=r'num_images=.*: expected int.*choose another workdir'):
        runs.read(tmp_path, TrainConfig)
