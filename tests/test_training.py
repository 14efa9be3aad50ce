"""Whole runs: what is written, resuming to the bit, signals, and runs that go wrong."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
import small
from PIL import Image

from osgan_jax import checkpoints, data, training

ROOT = pathlib.Path(__file__).parents[1]


def files_of(workdir):
    """What must be identical however often a run was interrupted."""
    samples = sorted((workdir / 'samples').iterdir())
    return {
        'metrics': (workdir / 'metrics.jsonl').read_bytes(),
        **{path.name: path.read_bytes() for path in samples},
    }


def arrays_of(state):
    return jax.device_get(dataclasses.replace(state, key=jax.random.key_data(state.key)))


def test_a_run_writes_everything_a_person_looks_for(tmp_path, capsys):
    config = small.make_config(num_steps=4, log_every=1, sample_every=2, save_every=2)
    result = training.train(config, tmp_path, dataset=small.dataset())
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
    assert (tmp_path / 'curves.png').stat().st_size > 0
    assert list((tmp_path / 'tensorboard').iterdir())
    assert (tmp_path / 'timing.jsonl').read_text()
    with checkpoints.Checkpoints(tmp_path, read_only=True) as written:
        assert written.steps() == [2, 4]
    out = capsys.readouterr().out
    for word in ('lsgan', 'one_stage', 'small', 'parameters', 'FLOP', 'workdir'):
        assert word in out


@pytest.mark.parametrize(
    'fields',
    [pytest.param({}, marks=pytest.mark.slow), {'method': 'fishergan', 'ema_decay': 0.9}],
)
def test_resuming_is_bit_identical(tmp_path, fields):
    schedule = {'log_every': 1, 'sample_every': 3, 'save_every': 3, **fields}
    whole = training.train(
        small.make_config(num_steps=9, **schedule), tmp_path / 'whole', dataset=small.dataset()
    )
    for steps in (3, 6, 9):
        parts = training.train(
            small.make_config(num_steps=steps, **schedule),
            tmp_path / 'parts',
            dataset=small.dataset(),
        )
    chex.assert_trees_all_equal(arrays_of(parts.state), arrays_of(whole.state))
    assert files_of(tmp_path / 'parts') == files_of(tmp_path / 'whole')


def test_a_finished_run_says_so_and_changes_nothing(tmp_path, capsys):
    config = small.make_config(num_steps=2)
    first = training.train(config, tmp_path, dataset=small.dataset())
    before = files_of(tmp_path)
    again = training.train(config, tmp_path, dataset=small.dataset())
    chex.assert_trees_all_equal(arrays_of(again.state), arrays_of(first.state))
    assert files_of(tmp_path) == before
    assert 'the last one asked for' in capsys.readouterr().out


@pytest.mark.slow
def test_resuming_on_another_number_of_devices(tmp_path):
    fields = {'save_every': 2, 'log_every': 1, 'optimizer': 'sgd', 'beta1': 0.0}
    config = small.make_config(num_steps=2, **fields)
    training.train(config, tmp_path / 'a', dataset=small.dataset())
    longer = dataclasses.replace(config, num_steps=4)
    on_four = dataclasses.replace(longer, num_devices=4)
    result = training.train(on_four, tmp_path / 'a', dataset=small.dataset())
    whole = training.train(longer, tmp_path / 'b', dataset=small.dataset())
    chex.assert_trees_all_close(
        jax.device_get(result.state.params_g),
        jax.device_get(whole.state.params_g),
        rtol=1e-5,
        atol=1e-7,
    )


def test_several_steps_a_call_write_the_same_log(tmp_path):
    fields = {'num_steps': 4, 'log_every': 2, 'sample_every': 4, 'save_every': 4}
    training.train(small.make_config(**fields), tmp_path / 'a', dataset=small.dataset())
    training.train(
        small.make_config(steps_per_call=2, **fields), tmp_path / 'b', dataset=small.dataset()
    )
    logs = [
        [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        for name in 'ab'
    ]
    assert [line['step'] for line in logs[0]] == [line['step'] for line in logs[1]] == [2, 4]
    for a, b in zip(*logs, strict=True):
        chex.assert_trees_all_close(a, b, rtol=1e-3, atol=1e-5)


def test_contradicting_configuration_names_the_fields(tmp_path):
    training.train(small.make_config(num_steps=2), tmp_path, dataset=small.dataset())
    before = files_of(tmp_path)
    other = small.make_config(num_steps=4, method='dcgan', width=8)
    with pytest.raises(ValueError, match=r"method is 'lsgan' there and 'dcgan' now.*width is 4"):
        training.train(other, tmp_path, dataset=small.dataset())
    fewer = data.from_arrays(np.zeros((16, 16, 16, 1), np.uint8), name='small')
    with pytest.raises(ValueError, match='40 images there and has 16 now'):
        training.train(small.make_config(num_steps=4), tmp_path, dataset=fewer)
    assert files_of(tmp_path) == before


def test_non_finite_losses_stop_the_run_and_keep_the_last_good_checkpoint(tmp_path):
    fields = {'save_every': 2, 'log_every': 1, 'optimizer': 'sgd', 'method': 'lsgan'}
    rates = {'learning_rate_g': 1e18, 'learning_rate_d': 1e18}
    good = small.make_config(num_steps=2, **fields, learning_rate_g=0.0, learning_rate_d=0.0)
    training.train(good, tmp_path / 'good', dataset=small.dataset())
    with pytest.raises(
        training.NonFiniteError, match=r'(loss_d|loss_g|logit_real|logit_fake|gamma) became .* at'
    ):
        training.train(
            small.make_config(num_steps=20, **fields, **rates),
            tmp_path / 'bad',
            dataset=small.dataset(),
        )
    with checkpoints.Checkpoints(tmp_path / 'bad', read_only=True) as saved:
        assert not saved.steps() or max(saved.steps()) < 20


def test_non_finite_parameters_are_named_before_they_are_saved(tmp_path):
    # A rate that overflows only D's new weights: the losses of that step are still finite.
    config = small.make_config(
        num_steps=1, save_every=1, optimizer='sgd', learning_rate_d=3e38, learning_rate_g=0.0
    )
    with pytest.raises(training.NonFiniteError, match=r"\['params_d'\].*not finite at step 1"):
        training.train(config, tmp_path, dataset=small.dataset())
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == []


def test_two_runs_on_one_workdir_are_refused(tmp_path):
    with checkpoints.lock(tmp_path), pytest.raises(checkpoints.CheckpointError, match='in use'):
        training.train(small.make_config(), tmp_path, dataset=small.dataset())


# --- subprocesses: real signals ----------------------------------------------------------------

FLAGS = [
    '--dataset=digits',
    '--image_size=16',
    '--width=4',
    '--batch_size=16',
    '--num_samples=4',
    '--num_devices=1',
    '--num_steps=60',
    '--log_every=1',
    '--sample_every=20',
    '--save_every=5',
]


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """Digits prepared once, so that the runs spend their time training."""
    directory = tmp_path_factory.mktemp('data')
    data.load('digits', data_dir=directory)
    return directory


def launch(workdir, data_dir, *extra):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    command = [sys.executable, '-m', 'experiments.train', f'--workdir={workdir}', *FLAGS]
    return subprocess.Popen(
        [*command, f'--data_dir={data_dir}', *extra],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(workdir, step):
    """Returns once the metrics log has reached `step`."""
    path = workdir / 'metrics.jsonl'
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count('\n') >= step:
            return
        time.sleep(0.01)
    raise TimeoutError(f'{path} did not reach step {step}')


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp('whole')
    process = launch(workdir, data_dir)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return workdir


def final_arrays(workdir):
    from osgan_jax import runs, sampling
    from osgan_jax import state as states

    sampler = sampling.Sampler(workdir)
    assert runs.read(workdir) is not None
    like = jax.eval_shape(lambda: states.create(sampler.gan, 0))
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        return arrays_of(saved.restore(like).state)


def test_sigkill_then_the_same_command_gives_the_identical_run(tmp_path, whole_run, data_dir):
    for step in (7, 31):
        process = launch(tmp_path, data_dir)
        wait_for_step(tmp_path, step)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    process = launch(tmp_path, data_dir)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert 'resumed' in out
    chex.assert_trees_all_equal(final_arrays(tmp_path), final_arrays(whole_run))
    assert files_of(tmp_path) == files_of(whole_run)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, whole_run, data_dir, signum):
    process = launch(tmp_path, data_dir)
    wait_for_step(tmp_path, 11)
    process.send_signal(signum)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, out
    assert 'Run the same command again' in out
    assert 'Traceback' not in out
    process = launch(tmp_path, data_dir)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    chex.assert_trees_all_equal(final_arrays(tmp_path), final_arrays(whole_run))
    assert files_of(tmp_path) == files_of(whole_run)
