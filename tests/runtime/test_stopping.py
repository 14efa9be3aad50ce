"""Signals: heard, and handed on when they came too late."""

import os
import signal
import subprocess
import sys

import pytest

from osgan_jax.runtime import stopping
from tests.support import ROOT


def send(signum):
    os.kill(os.getpid(), signum)


@pytest.fixture
def heard():
    """What a handler that was there before is told."""
    found = []
    before = {
        signum: signal.signal(signum, lambda signum, frame: found.append(signum))
        for signum in (signal.SIGTERM, signal.SIGINT)
    }
    yield found
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_stopped_nothing_is_handed_on(heard, signum):
    """As in the last cell but one of a table, whose run had just made its last step."""
    with stopping.Signals() as signals:
        send(signum)
        assert signals.received == signum
        assert heard == []
    assert heard == [signum]


def test_a_signal_that_stopped_a_run_is_not_handed_on(heard):
    def run():
        with stopping.Signals() as signals:
            send(signal.SIGTERM)
            raise stopping.Stopped('Stopped.', signals.received)

    with pytest.raises(stopping.Stopped):
        run()
    assert heard == []


def test_a_command_whose_work_is_done_ends_well():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stopping.Signals() as signals:
            send(signal.SIGINT)
            assert signals.received == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_takes_long_is_given_up_for_a_signal(heard):
    with stopping.Signals() as signals:
        signals.check()
        send(signal.SIGTERM)
        with pytest.raises(stopping.Abandoned):
            signals.check()


@pytest.mark.parametrize('error', [ValueError, FloatingPointError])
def test_a_signal_is_not_forgotten_over_an_error(heard, error):
    """A table notes the error and would begin another run."""

    def run():
        with stopping.Signals():
            send(signal.SIGTERM)
            raise error

    with pytest.raises(error):
        run()
    assert heard == [signal.SIGTERM]


def test_a_signal_before_a_run_of_a_study_stops_the_run(heard):
    """It came while the run's networks were built, after the study's last look."""
    with stopping.Signals() as study:
        send(signal.SIGTERM)
        with stopping.Signals() as run:
            assert run.received == signal.SIGTERM
            with pytest.raises(stopping.Abandoned):
                run.check()
        assert study.received == signal.SIGTERM
        assert heard == []


@pytest.mark.process
def test_a_second_signal_within_a_run_of_a_study_ends_the_process():
    code = """
import os, signal, time
from osgan_jax.runtime import stopping
with stopping.Signals():
    os.kill(os.getpid(), signal.SIGINT)
    with stopping.Signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, timeout=50, check=False)
    assert done.returncode == 128 + signal.SIGTERM
