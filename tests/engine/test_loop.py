"""The loop's order of things, around a step that counts."""

import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.engine import loop, nonfinite, recorder
from osgan_jax.runtime import parallel, shards, stopping
from tests.support import small

EVAL_EVERY, LAST = 4, 8


class Signal:
    """A signal that comes while something is done, such as ('save', 4)."""

    def __init__(self, during=None):
        self._during, self._received = during, 0

    def __call__(self):
        return self._received

    def may_come(self, *what):
        if what == self._during:
            self._received = signal.SIGTERM


class Saved:
    """Checkpoints that remember their calls."""

    def __init__(self, events, received):
        self._events, self._received = events, received

    def save(self, step, state, **about):
        assert not shards.has_any(state)
        self._received.may_come('save', step)
        self._events.append(('save', step, about['metadata']['skipped']))

    def wait(self):
        pass

    def latest_step(self):
        return None


class Recorder(recorder.Recorder):
    """A recorder that remembers its calls."""

    def __init__(self, events, received, evaluated=()):
        self._events, self._received, self._evaluated = events, received, evaluated

    def sample(self, step, state):
        assert not shards.has_any(state)
        self._received.may_come('sample', step)

    def evaluate(self, step, state, check=None):
        self._received.may_come('evaluate', step)
        check()
        assert not shards.has_any(state)
        self._events.append(('evaluate', step, int(state['count'])))

    def is_evaluated(self, step):
        return step in self._evaluated


class Batches:
    def __next__(self):
        return None

    def get_state(self):
        return b''


def steps(
    tmp_path,
    *,
    start=0,
    evaluated=(),
    asked=lambda step: 0,
    update=None,
    during=None,
    end=None,
    save_every=8,
    divided=False,
):
    """Runs to the last step or until asked; returns what was saved and scored, in order."""
    events, received = [], Signal(during)
    config = small.make_config(
        num_steps=LAST, eval_every=EVAL_EVERY, log_every=3, sample_every=8, save_every=save_every
    )
    run = types.SimpleNamespace(config=config)
    devices = jax.local_devices()
    job = types.SimpleNamespace(run=run, workdir=tmp_path, advice='Try another.', devices=devices)
    saved, keeps = Saved(events, received), Recorder(events, received, evaluated)
    made = loop.Loop(job, saved, keeps, start)
    update = update or (lambda state, batch: ({**state, 'count': state['count'] + 1}, {}))
    state = {'count': jnp.float32(start), 'large': jnp.zeros((4, shards.LEAST_SIZE))}
    state = parallel.place(state, devices, ('large',) if divided else ())
    try:
        state = made.steps(update, state, Batches(), asked, signal=received, end=end)
        assert not shards.has_any(state)
    except stopping.Stopped as stopped:
        events.append(('stopped', stopped.signum))
    return events


def test_scores_come_before_the_save_of_their_step(tmp_path):
    assert steps(tmp_path) == [('evaluate', 4, 4), ('evaluate', 8, 8), ('save', 8, [0, 0])]


def test_what_is_kept_and_shown_of_a_divided_state_is_whole(tmp_path):
    assert steps(tmp_path, divided=True) == steps(tmp_path)


def test_a_signal_does_not_wait_for_an_evaluation(tmp_path):
    events = steps(tmp_path, asked=lambda step: signal.SIGTERM * (step == EVAL_EVERY))
    assert events == [('save', 4, [0, 0]), ('stopped', signal.SIGTERM)]
    # Which the run that goes on makes up for, before it makes a step.
    rest = [('evaluate', 8, 8), ('save', 8, [0, 0])]
    assert steps(tmp_path, start=4) == [('evaluate', 4, 4), *rest]
    assert steps(tmp_path, start=4, evaluated=[4]) == rest
    assert steps(tmp_path, start=3, evaluated=[4])[0] == ('evaluate', 4, 4)


STOPPED = ('stopped', signal.SIGTERM)


@pytest.mark.parametrize(
    ('during', 'start', 'saved'),
    [
        # Before a step there is nothing to be saved.
        (('sample', 0), 0, []),
        (('evaluate', 4), 4, []),
        (('evaluate', 4), 3, [4]),
        (('evaluate', 8), 5, [6, 8]),
        (('sample', 8), 5, [6, 8]),
        (('save', 6), 5, [6]),
    ],
)
def test_a_signal_is_heard_whatever_is_under_way(tmp_path, during, start, saved):
    events = steps(tmp_path, during=during, start=start, save_every=2)
    assert events == [*(('save', step, [0, 0]) for step in saved), STOPPED]


def test_an_evaluation_given_up_is_made_up_for_without_a_step(tmp_path):
    assert steps(tmp_path, during=('evaluate', 8), start=7) == [('save', 8, [0, 0]), STOPPED]
    assert steps(tmp_path, start=8) == [('evaluate', 8, 8)]
    # Also where time is up: step 7 is then the last.
    asked = lambda step: stopping.TIME_IS_UP * (step == 7)  # noqa: E731
    events = steps(tmp_path, during=('evaluate', 7), start=5, asked=asked)
    assert events == [('save', 7, [0, 0]), STOPPED]
    assert steps(tmp_path, start=7, end=7) == [('evaluate', 7, 7)]


def test_a_run_that_is_complete_ends_well(tmp_path):
    assert steps(tmp_path, during=('save', 8), start=7) == [
        ('evaluate', 8, 8),
        ('save', 8, [0, 0]),
    ]


def test_the_last_step_is_not_scored_twice(tmp_path):
    assert steps(tmp_path, start=8, evaluated=[8]) == []
    assert steps(tmp_path, start=8) == [('evaluate', 8, 8)]


def test_time_that_is_up_leaves_time_for_an_evaluation(tmp_path):
    events = steps(tmp_path, asked=lambda step: stopping.TIME_IS_UP * (step == 5))
    assert events == [('evaluate', 4, 4), ('evaluate', 5, 5), ('save', 5, [0, 0])]


def test_what_is_not_finite_is_not_scored(tmp_path):
    """Nor kept as the best: step 4 is scored and no step of the log."""

    def update(state, batch):
        count = state['count'] + 1
        return {'count': jnp.where(count == EVAL_EVERY, np.inf, count)}, {}

    with pytest.raises(nonfinite.NonFiniteError, match='count not finite at step 4'):
        steps(tmp_path, update=update)
