"""Optimistic Adam: its steps by hand, a game that it wins, and runs of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax.gan import model, optimisers, summary
from tests.support import models, small

GRADIENTS = (0.3, -0.2, 0.05, 0.05, -0.4, 0.1, 0.0)
RATE = 1e-2


def build(**fields):
    """G's optimiser, and the resolved configuration."""
    resolved = small.resolve(
        small.make_config(learning_rate_g=RATE, **{'optimizer': 'optimistic_adam', **fields})
    )
    return model.build(resolved, num_classes=0, steps_per_epoch=5).optimizer_g, resolved


def adams_steps(gradients, beta1=0.5, beta2=0.999, epsilon=1e-8):
    """Kingma and Ba 2015, Algorithm 1, in learning rates."""
    m, v, steps = 0.0, 0.0, []
    for t, gradient in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        steps.append(-m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon))
    return np.array(steps)


def moves(optimizers, gradients):
    """The changes of a scalar, each by the next optimiser, all on one state."""
    params = {'w': jnp.zeros(())}
    state, taken = optimizers[0].init(params), []
    for step, (optimizer, gradient) in enumerate(zip(optimizers, gradients, strict=True)):
        update = optax.with_extra_args_support(optimizer).update
        change, state = update({'w': jnp.float32(gradient)}, state, params, step=jnp.int32(step))
        taken.append(float(change['w']) / RATE)
    return taken


def test_a_step_is_twice_adams_less_the_one_before():
    # Daskalakis et al. 2018, Algorithm 1; the first step has none before it.
    optimizer, _ = build(decay_epochs=(1,), decay_factor=0.1)
    adam = adams_steps(GRADIENTS)
    expected = 2 * adam - np.array([adam[0], *adam[:-1]])
    expected *= [1.0] * 5 + [0.1] * 2  # the rate of each step, of which 5 are an epoch
    np.testing.assert_allclose(moves([optimizer] * 7, GRADIENTS), expected, rtol=2e-4)


def test_a_lazy_penaltys_step_is_adams_and_is_not_extrapolated_from():
    optimizer, _ = build()
    plain = optimisers.without_optimism(optimizer)
    found = moves([optimizer, plain, optimizer, plain, optimizer], GRADIENTS[:5])
    a = adams_steps(GRADIENTS[:5])
    expected = [a[0], a[1], 2 * a[2] - a[0], a[3], 2 * a[4] - a[2]]
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_without_optimism_other_optimisers_are_what_they_are():
    for name in ('adam', 'rmsprop', 'sgd'):
        optimizer, _ = build(optimizer=name)
        plain = optimisers.without_optimism(optimizer)
        assert moves([plain] * 5, GRADIENTS[:5]) == moves([optimizer] * 5, GRADIENTS[:5])


@pytest.mark.parametrize(
    ('name', 'expected'), [('adam', 3.0), ('sgd', 3.0), ('optimistic_adam', 1e-6)]
)
def test_only_optimism_ends_the_bilinear_game(name, expected):
    # min over x, max over y of x y, both at once: Daskalakis et al. 2018, section 2. SGD's
    # distance from the equilibrium grows by sqrt(1 + rate^2) a step: by 12 in 500.
    resolved = small.resolve(
        small.make_config(optimizer=name, learning_rate_g=0.1, learning_rate_d=0.1, beta1=0.0)
    )
    gan = model.build(resolved, num_classes=0, steps_per_epoch=5)

    def step(state, _):
        x, y, opt_x, opt_y = state
        change_x, opt_x = gan.optimizer_g.update(y, opt_x, x)
        change_y, opt_y = gan.optimizer_d.update(-x, opt_y, y)
        return (x + change_x, y + change_y, opt_x, opt_y), None

    one = jnp.ones(())
    start = (one, one, gan.optimizer_g.init(one), gan.optimizer_d.init(one))
    (x, y, *_), _ = jax.lax.scan(step, start, length=500)
    distance = float(jnp.hypot(x, y))
    assert distance < expected if name == 'optimistic_adam' else distance > expected


# Adam divides rounding by itself; beside so great an epsilon it does not.
OF_D = {
    **{'optimizer': 'adam', 'optimizer_d': 'optimistic_adam'},
    **{'adam_epsilon': 1.0, 'weight_clip': 0.05},
    **{'learning_rate_g': 0.1, 'learning_rate_d': 0.1, 'ema_decay': 0.9},
}


@pytest.mark.slow
def test_of_one_network_on_several_devices():
    one, _ = small.run_steps(3, **OF_D)
    two, _ = small.run_steps(3, num_devices=2, **OF_D)
    assert optax.tree.get(one.opt_g, 'previous_gradient') is None
    remembered = optax.tree.get(one.opt_d, 'previous_gradient')
    assert jax.tree.structure(remembered) == jax.tree.structure(one.params_d)
    trained = lambda state: (state.params_g, state.params_d, state.opt_d, state.ema_g)  # noqa: E731
    assert models.relative_error(trained(two), trained(one)) < 1e-5
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(one.params_d)) <= np.float32(0.05)


def test_the_summary_names_both_optimisers():
    _, resolved = build(optimizer='adam', optimizer_g='optimistic_adam')
    assert dict(summary.lines(resolved, 40))['rates'] == (
        'G optimistic_adam (0.5, 0.999) 0.01, D adam (0.5, 0.999) 0.0001, constant'
    )
    _, resolved = build()
    rates = dict(summary.lines(resolved, 40))['rates']
    assert rates == 'optimistic_adam (0.5, 0.999), G 0.01, D 0.0001, constant'


def test_the_summary_says_where_an_optimiser_is_not_the_published_one():
    def whose(**fields):
        return summary.whose(build(method='wgan_gp', **fields)[1], 40)

    assert 'optimizer optimistic_adam instead of adam' in whose()
    assert 'optimizer' not in whose(optimizer='adam')
    text = whose(optimizer='adam', optimizer_d='optimistic_adam')
    assert 'optimizer_d optimistic_adam instead of adam' in text
    assert 'optimizer_g' not in text
