"""Progress with a clock of our own."""

import io
import math

import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.reporting import progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(file, clock, steps=100, seconds=0.5, **kwargs):
    shown = progress.Progress(
        1000, initial_step=50, batch_size=64, file=file, clock=clock, **kwargs
    )
    with shown:
        clock.now += 60.0  # compiling
        for step in range(51, 51 + steps):
            shown.update(step, {'loss_d': jnp.float32(0.5), 'gamma': np.array([-1.25])})
            clock.now += seconds
    return shown


def test_plain_lines():
    file, clock = io.StringIO(), Clock()
    shown = run(file, clock)
    assert shown.steps_per_second == 2.0
    assert shown.images_per_second == 128.0
    text = file.getvalue()
    assert '\x1b' not in text
    assert '\r' not in text
    lines = text.splitlines()
    assert lines[0] == 'step 51/1,000 5%  loss_d 0.5  gamma -1.25  1:00 elapsed'
    # 20 updates later: 10 seconds at 2 steps a second, 929 steps and so 464.5 seconds left.
    assert lines[1] == (
        'step 71/1,000 7%  2 steps/s  128 images/s  loss_d 0.5  gamma -1.25  '
        '1:10 elapsed, 7:44 left'
    )
    assert len(lines) == 1 + 4 + 1
    assert lines[-1] == '100 steps in 1:50, 2 steps/s, 128 images/s'


def test_words_are_shown_as_they_are():
    file = io.StringIO()
    with progress.Progress(10, file=file, clock=Clock()) as shown:
        shown.update(1, {'loss_d': 0.5, 'health': 'balanced'})
    assert 'loss_d 0.5  health balanced' in file.getvalue()


def test_rate_follows_the_last_thirty_seconds():
    clock = Clock()
    shown = progress.Progress(1000, file=io.StringIO(), clock=clock)
    assert math.isnan(shown.steps_per_second)
    for step in range(1, 301):
        shown.update(step)
        clock.now += 0.1 if step < 200 else 1.0
    assert shown.steps_per_second == pytest.approx(1.0, abs=0.04)
    assert len(shown._marks) < 40
    # A step slower than the window is measured all the same.
    clock.now += 99.0
    shown.update(301)
    assert shown.steps_per_second == pytest.approx(0.01, rel=0.01)


def test_metrics_are_read_only_when_shown():
    class Lazy:
        read = 0

        def __array__(self, dtype=None, copy=None):
            Lazy.read += 1
            return np.zeros((), dtype)

    clock = Clock()
    with progress.Progress(100, file=io.StringIO(), clock=clock, every_seconds=10) as shown:
        for step in range(100):
            shown.update(step, {'x': Lazy()})
            clock.now += 0.5
    assert Lazy.read == 5


def test_terminal(monkeypatch):
    monkeypatch.setenv('TERM', 'xterm-256color')
    monkeypatch.setenv('COLUMNS', '80')
    file, clock = Terminal(), Clock()
    run(file, clock)
    text = file.getvalue()
    assert '\x1b[' in text
    assert '━' in text
    assert 'step 150/1,000 15%' in text
    assert '2 steps/s  128 images/s  loss_d 0.5  gamma -1.25' in text
    assert text.endswith('100 steps in 1:50, 2 steps/s, 128 images/s\n')
    assert '\x1b[?25h' in text  # the cursor is back


def test_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv('TERM', 'dumb')
    file = Terminal()
    run(file, Clock())
    assert '\x1b' not in file.getvalue()


def test_nothing_done():
    file = io.StringIO()
    shown = progress.Progress(10, initial_step=10, file=file, clock=Clock())
    shown.close()
    shown.close()
    assert file.getvalue() == '0 steps in 0:00\n'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0:00'),
        (59.6, '1:00'),
        (754, '12:34'),
        (3723, '1:02:03'),
        (176_523, '2 d 1:02:03'),
        (-1, '0:00'),
    ],
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_time_that_is_given_ends_it_where_steps_do_not():
    clock, left = [0.0], [30.0]
    file = io.StringIO()
    shown = progress.Progress(
        10**9, file=file, every_seconds=10.0, seconds_left=lambda: left[0], clock=lambda: clock[0]
    )
    shown.update(1)
    clock[0], left[0] = 10.0, 20.0
    shown.update(41)
    assert 'step 41  4 steps/s  4 images/s  0:10 elapsed, 0:20 left' in file.getvalue()
    assert shown._share() == pytest.approx(10 / 30)
    # Steps that end before the time does count.
    few = progress.Progress(
        101, file=io.StringIO(), seconds_left=lambda: 99.0, clock=lambda: clock[0]
    )
    few.update(1)
    clock[0] = 20.0
    few.update(51)
    assert few._left() == pytest.approx(10)
