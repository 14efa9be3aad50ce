"""SIGTERM and SIGINT: saved, out within ten seconds, and a sentence on how to go on."""

import json
import os
import re
import signal
import time

import numpy as np
import pytest

from tests.support import launching

STEPS = 60
BOTH = signal.SIGTERM, signal.SIGINT
SECONDS = 10.0
"""From the signal to the end of the process, as promised."""


def out_in_time(process, code):
    """Returns what a process said, and that in time."""
    began = time.monotonic()
    out = launching.finish(process, code)
    assert time.monotonic() - began < SECONDS
    return out


def wait_for_summary(process):
    """Returns when a run has said what it is to do: it is compiled."""
    said = []
    while not said or 'workdir' not in said[-1]:
        said.append(process.stdout.readline())
        assert said[-1], said


def assert_said_and_saved(out, workdir):
    """Returns the step at which a run says it stopped; fails unless it is saved."""
    found = re.search(rf'Stopped at step (\d+) of {STEPS}; saved\. (.*)', out)
    assert found, out
    assert found[2] == 'Run the same command again to go on.'
    assert 'Traceback' not in out
    step = int(found[1])
    assert launching.logged(workdir) == launching.finished(workdir)[-1] == step
    assert not launching.unfinished(workdir)
    return step


def stop_at_33(launch, workdir, signum):
    process = launch(workdir, num_steps=STEPS)
    launching.wait_until(process, lambda: launching.logged(workdir) >= 33, 'step 33')
    process.send_signal(signum)
    return assert_said_and_saved(out_in_time(process, 128 + signum), workdir)


def test_a_signal_saves_and_says_how_to_go_on(tmp_path, launch, uninterrupted):
    stop_at_33(launch, tmp_path, signal.SIGTERM)
    launching.assert_on_its_way(tmp_path, uninterrupted(STEPS))


@pytest.mark.slow
@pytest.mark.parametrize('signum', BOTH, ids=lambda signum: signum.name)
def test_the_same_command_goes_on(tmp_path, launch, uninterrupted, signum):
    step = stop_at_33(launch, tmp_path, signum)
    out = launching.finish(launch(tmp_path, num_steps=STEPS))
    assert f'from step {step}' in out
    launching.assert_same_end(tmp_path, uninterrupted(STEPS))


@pytest.mark.slow
@pytest.mark.parametrize('signum', BOTH, ids=lambda signum: signum.name)
def test_a_signal_reaches_the_workers_too(tmp_path, launch, uninterrupted, folder, signum):
    # A terminal, and a scheduler, signal all processes of a job, and those that read images have to
    # go on until the one that trains has saved.
    fields = {'num_steps': STEPS, 'dataset': 'folder', 'data_dir': folder, 'num_workers': 2}
    workdir = tmp_path / 'run'
    process = launch(workdir, **fields)
    launching.wait_until(process, lambda: launching.logged(workdir) >= 33, 'step 33')
    os.killpg(process.pid, signum)
    out = out_in_time(process, 128 + signum)
    assert_said_and_saved(out, workdir)
    launching.finish(launch(workdir, **fields))
    launching.assert_same_end(workdir, uninterrupted(STEPS))


@pytest.mark.slow
@pytest.mark.parametrize('signum', BOTH, ids=lambda signum: signum.name)
def test_a_signal_before_the_first_step(tmp_path, launch, uninterrupted, signum):
    process = launch(tmp_path, num_steps=STEPS)
    # The first file that belongs to the run; now it compiles.
    launching.wait_until(process, (tmp_path / 'config.json').exists, 'config.json')
    process.send_signal(signum)
    out = out_in_time(process, 128 + signum)
    assert 'Stopped before another step was made. Run the same command again to go on.' in out
    assert 'Traceback' not in out
    assert launching.finished(tmp_path) == []
    launching.finish(launch(tmp_path, num_steps=STEPS))
    launching.assert_same_end(tmp_path, uninterrupted(STEPS))


@pytest.mark.slow
def test_a_signal_while_the_first_samples_are_drawn(tmp_path, launch):
    # A call makes so many steps that it takes minutes.
    every = dict.fromkeys(('steps_per_call', 'log_every', 'sample_every', 'save_every'), 400)
    process = launch(tmp_path, num_steps=800, width=64, **every)
    wait_for_summary(process)
    process.send_signal(signal.SIGTERM)
    out = out_in_time(process, 128 + signal.SIGTERM)
    assert 'Stopped before another step was made.' in out
    assert launching.finished(tmp_path) == []


@pytest.mark.slow
def test_a_signal_while_samples_are_drawn(tmp_path, launch, uninterrupted):
    process = launch(tmp_path, num_steps=STEPS)
    launching.wait_until(process, lambda: launching.logged(tmp_path) >= 40, 'step 40')
    process.send_signal(signal.SIGTERM)
    out = out_in_time(process, 128 + signal.SIGTERM)
    assert assert_said_and_saved(out, tmp_path) in (40, 41)
    launching.finish(launch(tmp_path, num_steps=STEPS))
    launching.assert_same_end(tmp_path, uninterrupted(STEPS))


@pytest.mark.slow
@pytest.mark.parametrize('num_steps', [STEPS, 20], ids=['midway', 'at the end'])
def test_a_signal_while_scores_are_made(tmp_path, launch, uninterrupted, num_steps):
    # So many samples that they would take minutes.
    process = launch(tmp_path, num_steps=num_steps, eval_every=20, eval_samples=10_000_000)
    grid = tmp_path / 'samples' / 'step_0000020.png'
    launching.wait_until(process, grid.exists, 'the grid of step 20')
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    out = out_in_time(process, 128 + signal.SIGTERM)
    assert f'Stopped at step 20 of {num_steps}; saved. Run the same command again' in out
    assert launching.finished(tmp_path)[-1] == 20
    scores = tmp_path / 'evaluations.jsonl'
    assert not scores.exists()
    launching.finish(launch(tmp_path, num_steps=num_steps, eval_every=20, eval_samples=64))
    steps = [json.loads(line)['step'] for line in scores.read_text().splitlines()]
    assert steps == list(range(20, num_steps + 1, 20))
    launching.assert_same_end(tmp_path, uninterrupted(num_steps))


@pytest.mark.slow
def test_a_signal_while_scores_are_prepared(tmp_path, launch):
    rng = np.random.default_rng()  # nothing of it may be in a cache
    labels = np.arange(20_000) % 4
    images = rng.integers(0, 60, (len(labels), 16, 16, 1)) + 60 * labels.reshape(-1, 1, 1, 1)
    data = tmp_path / 'many.npz'
    np.savez(data, images=images.astype(np.uint8), labels=labels)
    process = launch(tmp_path / 'run', num_steps=STEPS, eval_every=20, data_dir=data)
    wait_for_summary(process)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    out = out_in_time(process, 128 + signal.SIGTERM)
    assert 'Stopped before another step was made. Run the same command' in out
    assert 'Traceback' not in out
    assert not (tmp_path / 'run' / 'samples').exists()


@pytest.mark.slow
@pytest.mark.parametrize('second', BOTH, ids=lambda signum: signum.name)
def test_a_second_signal_leaves_at_once(tmp_path, launch, second):
    # One call makes so many steps that it takes minutes, and the main thread waits for it.
    every = dict.fromkeys(('steps_per_call', 'log_every', 'sample_every', 'save_every'), 400)
    process = launch(tmp_path, num_steps=800, width=64, **every)
    launching.wait_until(process, (tmp_path / 'samples').is_dir, 'the first samples')
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(second)
    out = out_in_time(process, 128 + second)
    assert 'Traceback' not in out
    assert 'saved' not in out
    # Not that the call came to its end.
    assert launching.logged(tmp_path) == 0
    assert launching.finished(tmp_path) == []
