"""SIGTERM and SIGINT: saved, out within ten seconds, and a sentence on how to go on."""

import os
import re
import signal
import time

import pytest
from faults import launching

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
    assert assert_said_and_saved(out, tmp_path) == 1
    launching.finish(launch(tmp_path, num_steps=STEPS))
    launching.assert_same_end(tmp_path, uninterrupted(STEPS))


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
