"""Whole runs: what is written, resuming to the bit, and runs that go wrong."""

import dataclasses
import json
import shutil
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from osgan_jax import data, reporting
from osgan_jax.data import identity
from osgan_jax.engine import checkpoints
from osgan_jax.gan import trainer
from osgan_jax.runtime import shards
from tests.support import models, small


def files_of(workdir):
    """What must be identical however often a run was interrupted."""
    samples = sorted((workdir / 'samples').iterdir())
    return {
        'metrics': (workdir / 'metrics.jsonl').read_bytes(),
        **{path.name: path.read_bytes() for path in samples},
    }


def arrays_of(state):
    return jax.device_get(dataclasses.replace(state, key=jax.random.key_data(state.key)))


def test_a_run_writes_everything_a_person_looks_for(tmp_path, capsys, monkeypatch):
    draw = mock.Mock(wraps=reporting.save_curves)
    monkeypatch.setattr(reporting, 'save_curves', draw)
    config = small.make_config(num_steps=4, log_every=1, sample_every=2, save_every=2)
    result = trainer.train(config, tmp_path, dataset=small.dataset())
    assert int(result.state.step) == 4
    assert np.isfinite(result.metrics['loss_d'])
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines] == [1, 2, 3, 4]
    assert {'loss_d', 'loss_g', 'gamma', 'logit_real', 'logit_fake', 'epoch'} <= set(lines[0])
    assert lines[-1]['epoch'] == pytest.approx(4 * small.BATCH / small.EXAMPLES, abs=1e-3)
    names = [p.name for p in sorted((tmp_path / 'samples').iterdir())]
    assert names == ['step_0000000.png', 'step_0000002.png', 'step_0000004.png']
    with Image.open(tmp_path / 'samples' / names[-1]) as image:
        # Two by two tiles of 64 pixels with lines of 2.
        assert image.size == (2 * 66 + 2, 2 * 66 + 2)
    saved = json.loads((tmp_path / 'config.json').read_text())
    assert saved['config']['loss'] == 'least_squares'
    assert saved['dataset']['num_examples'] == small.EXAMPLES
    assert saved['dataset']['source'] == identity.identify(small.dataset())
    assert (tmp_path / 'curves.png').stat().st_size > 0
    assert draw.call_count == 2  # after each sample; nothing is new at the end
    assert list((tmp_path / 'tensorboard').iterdir())
    assert (tmp_path / 'timing.jsonl').read_text()
    with checkpoints.Checkpoints(tmp_path, read_only=True) as written:
        assert written.steps() == [2, 4]
    out = capsys.readouterr().out
    for word in ('lsgan', 'one_stage', 'small', 'parameters', 'FLOP', 'workdir'):
        assert word in out


@pytest.mark.slow  # a run that is killed and resumed is among the fast ones
@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'method': 'fishergan', 'ema_decay': 0.9, 'd_steps': 2},
        {'optimizer': 'optimistic_adam', 'r1': 1.0, 'penalty_every': 2, 'decay_epochs': (1,)},
        {
            **{'schedule': 'cosine', 'schedule_steps': 8, 'warmup_steps': 2, 'lookahead': 2},
            **{'beta2_final': 0.9, 'ema_decay_final': 0.9, 'r1_final': 1.0, 'penalty_every': 2},
        },
    ],
)
def test_resuming_is_bit_identical(tmp_path, fields):
    schedule = {'log_every': 1, 'sample_every': 3, 'save_every': 3, **fields}
    whole = trainer.train(
        small.make_config(num_steps=9, **schedule), tmp_path / 'whole', dataset=small.dataset()
    )
    for steps in (3, 6, 9):
        parts = trainer.train(
            small.make_config(num_steps=steps, **schedule),
            tmp_path / 'parts',
            dataset=small.dataset(),
        )
    chex.assert_trees_all_equal(arrays_of(parts.state), arrays_of(whole.state))
    assert files_of(tmp_path / 'parts') == files_of(tmp_path / 'whole')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The directory of a run of two steps, and its state's arrays."""
    workdir = tmp_path_factory.mktemp('finished')
    result = trainer.train(small.make_config(num_steps=2), workdir, dataset=small.dataset())
    return workdir, arrays_of(result.state)


def test_a_finished_run_says_so_and_changes_nothing(finished, tmp_path, capsys):
    workdir, first = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    before = files_of(tmp_path)
    config = small.make_config(num_steps=2)
    again = trainer.train(config, tmp_path, dataset=small.dataset())
    chex.assert_trees_all_equal(arrays_of(again.state), first)
    assert files_of(tmp_path) == before
    assert 'the last one asked for' in capsys.readouterr().out


@pytest.mark.slow
def test_resuming_on_another_number_of_devices(tmp_path):
    fields = {'save_every': 2, 'log_every': 1, 'optimizer': 'sgd', 'beta1': 0.0}
    config = small.make_config(num_steps=2, **fields)
    trainer.train(config, tmp_path / 'a', dataset=small.dataset())
    longer = dataclasses.replace(config, num_steps=4)
    on_four = dataclasses.replace(longer, num_devices=4)
    result = trainer.train(on_four, tmp_path / 'a', dataset=small.dataset())
    whole = trainer.train(longer, tmp_path / 'b', dataset=small.dataset())
    chex.assert_trees_all_close(
        jax.device_get(result.state.params_g),
        jax.device_get(whole.state.params_g),
        rtol=1e-5,
        atol=1e-7,
    )


def test_a_divided_run_goes_on_on_another_number_of_devices(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shards, 'LEAST_SIZE', 64)
    steady = {'optimizer': 'sgd', 'beta1': 0.5, 'ema_decay': 0.9, 'skip_nonfinite': True}
    often = {'save_every': 2, 'log_every': 1, 'sample_every': 2}
    config = small.make_config(num_steps=2, num_devices=4, shard_state=True, **often, **steady)
    first = trainer.train(config, tmp_path / 'divided', dataset=small.dataset())
    assert '4 cpu, which divide large tensors of the state' in capsys.readouterr().out
    assert not shards.has_any(first.state)
    asked = dataclasses.replace(config, num_steps=4, num_devices=1, shard_state=False)
    whole = trainer.train(asked, tmp_path / 'whole', dataset=small.dataset()).state
    # Resumed on two devices, which divide it otherwise.
    on_two = dataclasses.replace(config, num_steps=4, num_devices=2)
    found = trainer.train(on_two, tmp_path / 'divided', dataset=small.dataset()).state
    for field in ('params_g', 'params_d', 'opt_g', 'opt_d', 'ema_g'):
        error = models.relative_error(getattr(found, field), getattr(whole, field))
        assert error < 1e-5, field


def test_several_steps_a_call_write_the_same_log(tmp_path):
    fields = {'num_steps': 4, 'log_every': 2, 'sample_every': 4, 'save_every': 4}
    trainer.train(small.make_config(**fields), tmp_path / 'a', dataset=small.dataset())
    trainer.train(
        small.make_config(steps_per_call=2, **fields), tmp_path / 'b', dataset=small.dataset()
    )
    logs = [
        [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        for name in 'ab'
    ]
    assert [line['step'] for line in logs[0]] == [line['step'] for line in logs[1]] == [2, 4]
    for a, b in zip(*logs, strict=True):
        chex.assert_trees_all_close(a, b, rtol=1e-3, atol=1e-5)


def test_contradicting_configuration_names_the_fields(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    before = files_of(tmp_path)
    other = small.make_config(num_steps=4, method='dcgan', width=8)
    with pytest.raises(ValueError, match=r"width is 4 .*method is 'lsgan' there and 'dcgan' now"):
        trainer.train(other, tmp_path, dataset=small.dataset())
    fewer = data.from_arrays(np.zeros((16, 16, 16, 1), np.uint8), name='small')
    with pytest.raises(ValueError, match='40 images there and has 16 now'):
        trainer.train(small.make_config(num_steps=4), tmp_path, dataset=fewer)
    assert files_of(tmp_path) == before


def test_non_finite_losses_stop_the_run_and_keep_the_last_good_checkpoint(tmp_path):
    fields = {'save_every': 2, 'log_every': 1, 'optimizer': 'sgd', 'method': 'lsgan'}
    rates = {'learning_rate_g': 1e18, 'learning_rate_d': 1e18}
    good = small.make_config(num_steps=2, **fields, learning_rate_g=0.0, learning_rate_d=0.0)
    trainer.train(good, tmp_path / 'good', dataset=small.dataset())
    with pytest.raises(
        trainer.NonFiniteError, match=r'(loss_d|loss_g|logit_real|logit_fake|gamma) became .* at'
    ):
        trainer.train(
            small.make_config(num_steps=20, **fields, **rates),
            tmp_path / 'bad',
            dataset=small.dataset(),
        )
    with checkpoints.Checkpoints(tmp_path / 'bad', read_only=True) as saved:
        assert not saved.steps() or max(saved.steps()) < 20


def test_non_finite_parameters_are_named_before_they_are_saved(tmp_path):
    # A rate that overflows only D's new weights: the losses of that step are still finite.
    config = small.make_config(
        num_steps=1, save_every=1, optimizer='sgd', learning_rate_d=2.9e38, learning_rate_g=0.0
    )
    with pytest.raises(trainer.NonFiniteError, match=r'params_d/.*not finite at step 1'):
        trainer.train(config, tmp_path, dataset=small.dataset())
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == []


def test_two_runs_on_one_workdir_are_refused(tmp_path):
    with checkpoints.lock(tmp_path), pytest.raises(checkpoints.CheckpointError, match='in use'):
        trainer.train(small.make_config(), tmp_path, dataset=small.dataset())
