"""Seconds of training until a step, by a run's log of times."""

import pytest

from osgan_jax.reporting import timing

LINES = '{"step": 10, "seconds": 4.0}\n{"step": 20, "seconds": 5.0}\n'


@pytest.mark.parametrize(
    ('step', 'seconds'), [(0, 0.0), (5, 2.0), (10, 4.0), (13, 4.3), (20, 5.0), (30, 7.5)]
)
def test_seconds_grow_evenly_between_lines_and_at_the_pace_until_the_last(tmp_path, step, seconds):
    (tmp_path / timing.FILE).write_text(LINES)
    assert timing.seconds_until(tmp_path, step) == seconds


def test_lines_that_are_not_numbers_are_passed_over(tmp_path):
    bad = '{"step": 15, "seconds": "NaN"}\n'
    (tmp_path / timing.FILE).write_text(bad.join(LINES.splitlines(keepends=True)))
    assert timing.seconds_until(tmp_path, 15) == 4.5


@pytest.mark.parametrize(
    'text',
    [
        None,
        '',
        '\x00\xff',
        '{"step": 10}\n',
        '{"step": 0, "seconds": 1.0}\n',
        '{"step": 20, "seconds": 1.0}\n{"step": 10, "seconds": 2.0}\n',
        '{"step": 10, "seconds": "NaN"}\n',
        '{"step": 10, "seconds": "Infinity"}\n',
        '{"step": 10, "seconds": [1]}\n',
    ],
)
def test_a_log_that_says_nothing_is_no_error(tmp_path, text):
    if text is not None:
        (tmp_path / timing.FILE).write_text(text, encoding='latin-1')
    assert timing.seconds_until(tmp_path, 10) is None
