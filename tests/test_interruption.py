"""Signals: heard, and handed on when they came too late."""

import contextlib
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


def test_what_could_be_lost_by_nobody_ends_where_it_stands(heard):
    before = 'Stopped before the first step.'
    done = []

    def prepare(signals):
        with signals.at_once(before):
            send(signal.SIGTERM)
            done.append('prepared')

    with interruption.Signals() as signals:
        with pytest.raises(interruption.Stopped, match=before) as stopped:
            prepare(signals)
        assert stopped.value.signum == signal.SIGTERM
        # And one that came earlier, before it begins.
        with pytest.raises(interruption.Stopped, match=before):
            prepare(signals)
        with pytest.raises(interruption.Abandoned):
            signals.check()
    assert done == []


def test_afterwards_a_signal_asks_again(heard):
    with interruption.Signals() as signals:
        signals.check()
        with signals.at_once('Stopped.'):
            pass
        send(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    assert heard == [signal.SIGTERM]


def test_nothing_that_is_being_read_is_blamed_for_a_signal(heard):
    """Readers turn every Exception into an error of the file."""

    def read(signals):
        with signals.at_once('Stopped.'):
            try:
                send(signal.SIGTERM)
            except Exception as error:
                raise ValueError('no image') from error

    with (
        interruption.Signals() as signals,
        pytest.raises(interruption.Stopped, match=r'Stopped\.'),
    ):
        read(signals)


def test_a_signal_that_could_not_be_raised_counts_in_the_end(heard):
    """As in a destructor, where Python prints what is raised and goes on."""

    def go_on(signals):
        with signals.at_once('Stopped.'), contextlib.suppress(interruption.Interrupted):
            send(signal.SIGTERM)

    with (
        interruption.Signals() as signals,
        pytest.raises(interruption.Stopped, match=r'Stopped\.'),
    ):
        go_on(signals)
