"""Runs that go on after a kill, of a job whose step costs nothing."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.engine import loop, recorder, runner, runs
from osgan_jax.engine.job import Job
from osgan_jax.gan import methods
from osgan_jax.gan.config import TrainConfig
from tests.support import small


@flax.struct.dataclass
class State:
    step: jax.Array
    total: jax.Array


def begin():
    return State(jnp.zeros((), jnp.int32), jnp.zeros(()))


def step(state, batch):
    total = state.total + (1 + state.step) * jnp.mean(batch['image'])
    return State(state.step + 1, total), {'loss': total}


class Sum(Job):
    """Adds up the brightness of the batches, each step's weighted, so that their order shows."""

    title, advice = 'sum', 'none'

    def open(self):
        dataset = self.dataset
        config = methods.resolve(
            self.config,
            image_size=small.SIZE,
            channels=1,
            num_classes=2,
            num_examples=len(dataset),
            dataset='digits',
        )
        source = identity.identify(dataset)
        return runs.Run(config, 2, dataset.class_names, len(dataset), source)

    def build(self):
        return jax.eval_shape(begin), step

    def create(self):
        return begin()

    def describe(self, flops):
        return []

    def open_recorder(self, start, flops, check):
        return recorder.Recorder()


def images(count):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (count, small.SIZE, small.SIZE, 1), np.uint8)
    return data.from_arrays(values, np.arange(count) % 2, name='small')


def go(workdir, count, **fields):
    often = {'log_every': 1, 'save_every': 4, 'sample_every': 100}
    config = TrainConfig(num_devices=1, **often, **fields)
    return runner.run(Sum(config, workdir, images(count))).state


BEGUN = {'method': 'dcgan', 'batch_size': 4, 'seed': 7}


def test_only_a_run_that_begins_draws_a_state(tmp_path, monkeypatch):
    go(tmp_path, 40, num_steps=4, **BEGUN)
    monkeypatch.setattr(Sum, 'create', None)
    with pytest.raises(ValueError, match='steps_per_call=3'):  # before anything is compiled
        go(tmp_path, 40, num_steps=12, steps_per_call=3)
    assert go(tmp_path, 40, num_steps=8).step == 8


def test_a_step_that_cannot_be_compiled_ends_the_run(tmp_path, monkeypatch):
    def fails(state, batch):
        raise FloatingPointError('no such step')

    monkeypatch.setattr(Sum, 'build', lambda self: (jax.eval_shape(begin), fails))
    with pytest.raises(FloatingPointError, match='no such step'):
        go(tmp_path, 40, num_steps=4, **BEGUN)


def test_a_run_killed_before_it_saved_with_other_images_resumes(tmp_path, monkeypatch):
    go(tmp_path, 40, num_steps=4, **BEGUN)
    note = loop.Loop._note

    def killed(self, step, *rest):
        if step == 6:
            raise KeyboardInterrupt
        note(self, step, *rest)

    monkeypatch.setattr(loop.Loop, '_note', killed)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, 30, num_steps=8, data_changed=True)
    monkeypatch.undo()
    resumed = go(tmp_path, 30, num_steps=8, data_changed=True)
    (earlier,) = runs.read(tmp_path, TrainConfig).earlier
    assert (earlier['step'], earlier['source']['num_images']) == (4, 40)
    go(tmp_path / 'whole', 40, num_steps=4, **BEGUN)
    whole = go(tmp_path / 'whole', 30, num_steps=8, data_changed=True)
    assert (int(resumed.step), float(resumed.total)) == (8, float(whole.total))
    # From here on the checkpoints hold the order of the new images.
    assert int(go(tmp_path, 30, num_steps=12).step) == 12


def test_checkpoints_stand_in_for_a_lost_configuration(tmp_path):
    whole = go(tmp_path / 'whole', 40, num_steps=8, **BEGUN)
    workdir = tmp_path / 'run'
    go(workdir, 40, num_steps=4, **BEGUN)
    (workdir / 'config.json').unlink()
    resumed = go(workdir, 40, num_steps=8)
    assert float(resumed.total) == float(whole.total)
    assert runs.read(workdir, TrainConfig).config.seed == 7
