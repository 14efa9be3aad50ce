"""The loop's order of things, around a step that counts."""

import signal
import types

import jax.numpy as jnp
import numpy as np
import pytest
import small

from osgan_jax import interruption, loop, numerics, recording

EVAL_EVERY, LAST = 4, 8


class Saved:
    """Checkpoints that remember what they were told."""

    def __init__(self, events):
        self._events = events

    def save(self, step, state, **about):
        self._events.append(('save', step, about['metadata']['skipped']))

    def wait(self):
        pass

    def latest_step(self):
        return None


class Records(recording.Records):
    """Records that remember what they were told."""

    def __init__(self, events, evaluated=()):
        self._events, self._evaluated = events, evaluated

    def evaluate(self, step, state, check=None):
        if check is not None:
            check()
        self._events.append(('evaluate', step, int(state['count'])))

    def is_evaluated(self, step):
        return step in self._evaluated


class Batches:
    def __next__(self):
        return None

    def get_state(self):
        return b''


def steps(
    tmp_path, *, start=0, evaluated=(), asked=lambda step: 0, update=None, check=None, end=None
):
    """Runs to the last step or until asked; returns what was saved and scored, in order."""
    events = []
    config = small.make_config(
        num_steps=LAST, eval_every=EVAL_EVERY, log_every=3, sample_every=8, save_every=8
    )
    run = types.SimpleNamespace(config=config)
    made = loop.Loop(
        run, tmp_path, Saved(events), Records(events, evaluated), start, 'Try another.'
    )
    update = update or (lambda state, batch: ({'count': state['count'] + 1}, {}))
    try:
        made.steps(update, {'count': jnp.float32(start)}, Batches(), asked, end=end, check=check)
    except interruption.Stopped as stopped:
        events.append(('stopped', stopped.signum))
    return events


def test_scores_come_before_the_save_of_their_step(tmp_path):
    assert steps(tmp_path) == [('evaluate', 4, 4), ('evaluate', 8, 8), ('save', 8, [0, 0])]


def test_a_signal_does_not_wait_for_an_evaluation(tmp_path):
    events = steps(tmp_path, asked=lambda step: signal.SIGTERM * (step == EVAL_EVERY))
    assert events == [('save', 4, [0, 0]), ('stopped', signal.SIGTERM)]
    # Which the run that goes on makes up for, before it makes a step.
    rest = [('evaluate', 8, 8), ('save', 8, [0, 0])]
    assert steps(tmp_path, start=4) == [('evaluate', 4, 4), *rest]
    assert steps(tmp_path, start=4, evaluated=[4]) == rest
    assert steps(tmp_path, start=3, evaluated=[4])[0] == ('evaluate', 4, 4)


class SignalDuring:
    """A signal that comes in the middle of the evaluation of a step, and is seen there."""

    def __init__(self, evaluation):
        self._left, self._signum = evaluation, 0

    def check(self):
        self._left -= 1
        if not self._left:
            self._signum = signal.SIGTERM
            raise interruption.Abandoned

    def asked(self, step):
        return self._signum or interruption.TIME_IS_UP * (step == 7)


@pytest.mark.parametrize(
    ('start', 'evaluation', 'done', 'stops_at'),
    [
        (0, 1, [], 4),
        (0, 2, [('evaluate', 4, 4)], 7),  # the last one, because time is up
        (4, 1, [], 4),  # one made up for
        (5, 1, [], 7),
    ],
)
def test_an_evaluation_under_way_is_given_up_for_a_signal(
    tmp_path, start, evaluation, done, stops_at
):
    during = SignalDuring(evaluation)
    events = steps(tmp_path, start=start, asked=during.asked, check=during.check)
    saved = [('save', stops_at, [0, 0])] * (stops_at > start)
    assert events == [*done, *saved, ('stopped', signal.SIGTERM)]
    # Made up for without a step, also where no more are to be made.
    again = steps(tmp_path, start=stops_at, end=stops_at if stops_at == 7 else None)
    assert again[0] == ('evaluate', stops_at, stops_at)
    assert ('stopped', signal.SIGTERM) not in again
    if stops_at == 7:
        assert len(again) == 1


def test_the_last_step_is_not_scored_twice(tmp_path):
    assert steps(tmp_path, start=8, evaluated=[8]) == []
    assert steps(tmp_path, start=8) == [('evaluate', 8, 8)]


def test_time_that_is_up_leaves_time_for_an_evaluation(tmp_path):
    events = steps(tmp_path, asked=lambda step: interruption.TIME_IS_UP * (step == 5))
    assert events == [('evaluate', 4, 4), ('evaluate', 5, 5), ('save', 5, [0, 0])]


def test_what_is_not_finite_is_not_scored(tmp_path):
    """Nor kept as the best: step 4 is scored and no step of the log."""

    def update(state, batch):
        count = state['count'] + 1
        return {'count': jnp.where(count == EVAL_EVERY, np.inf, count)}, {}

    with pytest.raises(numerics.NonFiniteError, match='count not finite at step 4'):
        steps(tmp_path, update=update)
