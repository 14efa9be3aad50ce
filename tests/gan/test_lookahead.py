"""Lookahead-Minmax: a slow reference, a game that it wins, and runs of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core.collectives import collectives_over
from osgan_jax.gan import model, optimisers, step_context, summary
from osgan_jax.runtime import parallel
from tests.support import models, small


def state_of(gan, x, y):
    """The state of a game of two numbers."""
    slow = {'params_g': x, 'params_d': y, 'stats_g': {}} if gan.lookahead else None
    return model.TrainState(
        **{'step': jnp.zeros((), jnp.int32), 'params_g': x, 'params_d': y, 'slow': slow},
        **{'opt_g': gan.optimizer_g.init(x), 'opt_d': gan.optimizer_d.init(y)},
        **{'stats_g': {}, 'stats_d': {}, 'loss_state': None, 'ema_g': None, 'key': None},
    )


def play(gan, state):
    """A step of min over x, max over y of x y, both at once."""
    x, y = state.params_g, state.params_d
    given = ((gan.optimizer_g, y, state.opt_g, x), (gan.optimizer_d, -x, state.opt_d, y))
    (x, opt_g), (y, opt_d) = (optimisers.apply_gradients(*each, state.step) for each in given)
    state = state.replace(params_g=x, params_d=y, opt_g=opt_g, opt_d=opt_d)
    state = optimisers.look_ahead(gan, state) if gan.lookahead else state
    return state.replace(step=state.step + 1)


def build(**fields):
    fields = {'optimizer': 'sgd', 'beta1': 0.0, 'learning_rate_g': 0.1, **fields}
    resolved = small.resolve(small.make_config(learning_rate_d=0.1, **fields))
    return model.build(resolved, num_classes=0, steps_per_epoch=5), resolved


def test_both_networks_go_back_at_the_same_step():
    gan, _ = build(lookahead=3, lookahead_alpha=0.25)
    state = state_of(gan, jnp.float32(1.0), jnp.float32(2.0))
    x, y, slow = 1.0, 2.0, (1.0, 2.0)
    for step in range(1, 8):
        x, y = x - 0.1 * y, y + 0.1 * x
        if step % 3 == 0:  # Chavdarova et al. 2021, Algorithm 1, lines 10 and 11
            slow = tuple(s + 0.25 * (f - s) for s, f in zip(slow, (x, y), strict=True))
            x, y = slow
        state = play(gan, state)
        np.testing.assert_allclose([state.params_g, state.params_d], [x, y], rtol=1e-5)
        found = [state.slow[name] for name in ('params_g', 'params_d')]
        np.testing.assert_allclose(found, slow, rtol=1e-5)


@pytest.mark.parametrize('optimizer', ['sgd', 'adam'])
@pytest.mark.parametrize('lookahead', [0, 12])
def test_lookahead_ends_the_bilinear_game(optimizer, lookahead):
    # Figure 1 of the paper. SGD's distance from the equilibrium grows by sqrt(1 + rate^2) a step:
    # by 12 in 500.
    gan, _ = build(optimizer=optimizer, lookahead=lookahead)
    one = jnp.ones(())
    end, _ = jax.lax.scan(lambda s, _: (play(gan, s), None), state_of(gan, one, one), length=500)
    distance = float(jnp.hypot(end.params_g, end.params_d))
    assert distance < 0.5 if lookahead else distance > 3


def test_a_run_samples_and_averages_its_slow_weights():
    _, state, update, devices = small.build(lookahead=2, ema_decay=0.5)
    networks = lambda slow: {name: slow[name] for name in ('params_g', 'params_d')}  # noqa: E731
    start = jax.device_get(networks(state.slow))
    kernel = lambda tree: np.asarray(tree['ConvTranspose_0']['kernel'])  # noqa: E731
    for step in range(2):
        fast = jax.device_get((state.params_g, state.params_d))
        before = kernel(state.ema_g['params'])
        state, _ = update(state, parallel.put_batch(small.batch(step), devices))
        slow = state.slow['params_g']
        # Of the usual warm-up's (1 + t) / (10 + t).
        decay = min(0.5, (1 + step) / (10 + step))
        np.testing.assert_allclose(
            kernel(state.ema_g['params']), decay * before + (1 - decay) * kernel(slow), rtol=1e-5
        )
        if step == 0:
            assert models.relative_error(networks(state.slow), start) == 0
            assert models.relative_error(state.params_g, fast[0]) > 0
    assert models.relative_error(networks(state.slow), start) > 0
    fast = {'params_g': state.params_g, 'params_d': state.params_d}
    assert models.relative_error(fast, networks(state.slow)) == 0
    # Without an average images are the slow weights', also between the steps at which they move.
    between = state.replace(ema_g=None, params_g=jax.tree.map(jnp.zeros_like, state.params_g))
    assert (
        models.relative_error(between.sampling_variables()['params'], state.slow['params_g']) == 0
    )


def test_images_are_drawn_with_the_statistics_of_the_slow_weights():
    # A high rate: after two steps of their own the fast weights' statistics are others.
    gan, state, update, devices = small.build(
        lookahead=3, learning_rate_g=0.05, learning_rate_d=0.01, scheme='one_stage'
    )
    context = step_context.StepContext(gan, collectives_over(devices))

    @jax.jit
    def passed(state, stats, batch):
        """The statistics after the step's pass through G with its slow weights."""
        inputs = context.draw_inputs(state, batch, step_context.STAGE_D)
        key = context.key(state, step_context.STAGE_D)
        return context.apply_generator(state.slow['params_g'], stats, inputs, key)[1]

    expected = state.stats_g
    for step in range(8):
        batch = parallel.put_batch(small.batch(step), devices)
        if step % 3 == 0:
            expected = jax.device_get(passed(state, expected, batch))
        state, _ = update(state, batch)
        found = {k: v for k, v in state.sampling_variables().items() if k != 'params'}
        assert models.relative_error(found, expected) < 1e-5
        # Steps 2 and 5 end where the slow weights are, with what belongs to them.
        apart = models.relative_error(state.stats_g, found)
        assert apart == 0 if step % 3 in (0, 2) else apart > 1e-3


def test_runs_without_it_have_no_slow_weights_and_the_summary_says_what_it_does():
    gan, resolved = build()
    assert jax.eval_shape(lambda: model.create(gan, 0)).slow is None
    assert dict(summary.lines(resolved, 40))['lookahead'] is None
    _, resolved = build(lookahead=5)
    assert dict(summary.lines(resolved, 40))['lookahead'] == (
        'every 5 steps both networks go back to 0.5 of the way from their slow weights, from which '
        'images come'
    )
