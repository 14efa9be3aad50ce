"""Signals: heard, and handed on when they came too late."""

import os
import signal

import pytest

from osgan_jax import interruption


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
    with interruption.Signals() as signals:
        send(signum)
        assert signals.received == signum
        assert heard == []
    assert heard == [signum]


def test_a_signal_that_stopped_a_run_is_not_handed_on(heard):
    def run():
        with interruption.Signals() as signals:
            send(signal.SIGTERM)
            raise interruption.Stopped('Stopped.', signals.received)

    with pytest.raises(interruption.Stopped):
        run()
    assert heard == []


def test_a_command_whose_work_is_done_ends_well():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruption.Signals() as signals:
            send(signal.SIGINT)
            assert signals.received == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)
