"""Lines while something long is done."""

import pytest

from osgan_jax.engine import messages


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as the messages read them."""
    seconds = [0.0]
    monkeypatch.setattr(messages.time, 'monotonic', lambda: seconds[0])
    return seconds


def test_a_countdown_begins_at_once_and_then_says_what_is_left(capsys, clock):
    countdown = messages.Countdown('Reading {} images')
    countdown(0, 1000)
    assert capsys.readouterr().out == 'Reading 1,000 images ...\n'
    # The first part's time is not counted: it may have been compiled.
    for clock[0], done in ((50.0, 100), (54.0, 200), (55.0, 350), (59.0, 500), (65.0, 1000)):
        countdown(done, 1000)
    # 250 parts in 5 seconds leave 13 for 650.
    assert capsys.readouterr().out == 'Reading 1,000 images: 350 done, 0:13 left\n'


def test_a_countdown_begins_again(capsys, clock):
    countdown = messages.Countdown('Scoring {} images')
    for clock[0], done in ((0.0, 0), (1.0, 1), (2.0, 2), (100.0, 0), (101.0, 1), (106.0, 2)):
        countdown(done, 4)
    out = 'Scoring 4 images ...\n'
    assert capsys.readouterr().out == out + out + 'Scoring 4 images: 2 done, 0:10 left\n'


def test_a_countdown_asks_whether_to_go_on(capsys):
    def check():
        raise KeyError

    with pytest.raises(KeyError):
        messages.Countdown('Work', check)(0, 2)
    assert capsys.readouterr().out == ''


def test_a_dataset_is_announced_before_and_counted_after(capsys, clock):
    def load():
        assert capsys.readouterr().out == 'Reading digits ...\n'
        clock[0] += 1.25
        return range(1500)

    assert messages.read_dataset('digits', load) == range(1500)
    assert capsys.readouterr().out == 'Read 1,500 images in 1.2 s.\n'
