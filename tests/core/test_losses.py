"""Objectives against closed forms in numpy float64, at ordinary and extreme logits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core import losses

REAL = np.array([0.3, -1.2, 2.5, 0.7, -0.1, 1.0])
FAKE = np.array([-0.4, 1.1, 0.2, -2.3, 0.9, -1.7])
EXTREME_REAL = np.array([1000.0, -1000.0, 88.0, -88.0, 500.0, -1e-6])
EXTREME_FAKE = np.array([-1000.0, 1000.0, -90.0, 90.0, 1e-6, -400.0])


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


RHO, MULTIPLIER, SLOPE = 1e-2, 0.3, 0.25


def slack(r, f):
    return 1 - 0.5 * (np.mean(r**2) + np.mean(f**2))


def fisher_pull(r, f):
    # d/dR of (-lam R + rho/2 R^2), and dR/ds_i = -s_i / N.
    return -MULTIPLIER + RHO * slack(r, f)


# name -> (hyperparameters, L_D, L_G, N dL_D/dr, N dL_D/df, N dL_G/df), by hand from FACTS Table S1.
CLOSED_FORMS = {
    'minimax': (
        {},
        lambda r, f: np.mean(softplus(-r)) + np.mean(softplus(f)),
        lambda r, f: -np.mean(softplus(f)),
        lambda r, f: -sigmoid(-r),
        lambda r, f: sigmoid(f),
        lambda r, f: -sigmoid(f),
    ),
    'wasserstein': (
        {},
        lambda r, f: np.mean(f) - np.mean(r),
        lambda r, f: -np.mean(f),
        lambda r, f: -np.ones_like(r),
        lambda r, f: np.ones_like(f),
        lambda r, f: -np.ones_like(f),
    ),
    'non_saturating': (
        {},
        lambda r, f: np.mean(softplus(-r)) + np.mean(softplus(f)),
        lambda r, f: np.mean(softplus(-f)),
        lambda r, f: -sigmoid(-r),
        lambda r, f: sigmoid(f),
        lambda r, f: -sigmoid(-f),
    ),
    'least_squares': (
        {},
        lambda r, f: np.mean((r - 1) ** 2) + np.mean(f**2),
        lambda r, f: np.mean((f - 1) ** 2),
        lambda r, f: 2 * (r - 1),
        lambda r, f: 2 * f,
        lambda r, f: 2 * (f - 1),
    ),
    'geometric': (
        {'slope': SLOPE},
        lambda r, f: (
            np.mean(np.maximum(1 - r, SLOPE * (1 - r)))
            + np.mean(np.maximum(1 + f, SLOPE * (1 + f)))
        ),
        lambda r, f: np.mean(np.maximum(1 - f, SLOPE * (1 - f))),
        lambda r, f: -np.where(r < 1, 1, SLOPE),
        lambda r, f: np.where(f > -1, 1, SLOPE),
        lambda r, f: -np.where(f < 1, 1, SLOPE),
    ),
    'relativistic': (
        {},
        lambda r, f: 2 * np.mean(softplus(f - r)),
        lambda r, f: 2 * np.mean(softplus(r - f)),
        lambda r, f: -2 * sigmoid(f - r),
        lambda r, f: 2 * sigmoid(f - r),
        lambda r, f: -2 * sigmoid(r - f),
    ),
    # R3GAN's, with one softplus.
    'relativistic_pairing': (
        {},
        lambda r, f: np.mean(softplus(f - r)),
        lambda r, f: np.mean(softplus(r - f)),
        lambda r, f: -sigmoid(f - r),
        lambda r, f: sigmoid(f - r),
        lambda r, f: -sigmoid(r - f),
    ),
    'fisher': (
        {'rho': RHO},
        lambda r, f: (
            np.mean(f) - np.mean(r) - MULTIPLIER * slack(r, f) + 0.5 * RHO * slack(r, f) ** 2
        ),
        lambda r, f: -np.mean(f),
        lambda r, f: -1 - fisher_pull(r, f) * r,
        lambda r, f: 1 - fisher_pull(r, f) * f,
        lambda r, f: -np.ones_like(f),
    ),
    'boundary_seeking': (
        {},
        lambda r, f: np.mean(softplus(-r)) + np.mean(softplus(f)),
        lambda r, f: 0.5 * np.mean(f**2),
        lambda r, f: -sigmoid(-r),
        lambda r, f: sigmoid(f),
        lambda r, f: f,
    ),
    'hinge': (
        {},
        lambda r, f: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)),
        lambda r, f: -np.mean(f),
        lambda r, f: -np.where(r < 1, 1.0, 0.0),
        lambda r, f: np.where(f > -1, 1.0, 0.0),
        lambda r, f: -np.ones_like(f),
    ),
}


def test_names_are_table_s1s_nine_objectives_and_r3gans():
    assert set(losses.names()) == set(CLOSED_FORMS)
    assert len(losses.names()) == 10


@pytest.mark.parametrize('name', losses.names())
@pytest.mark.parametrize('logits', ['ordinary', 'extreme'])
@pytest.mark.parametrize('jit', [False, True])
def test_value_and_gradient_equal_closed_form(name, logits, jit):
    real, fake = (REAL, FAKE) if logits == 'ordinary' else (EXTREME_REAL, EXTREME_FAKE)
    hyperparameters, l_d, l_g, dr, dfd, dfg = CLOSED_FORMS[name]
    loss = losses.get(name, **hyperparameters)
    state = losses.FisherState(jnp.float32(MULTIPLIER)) if name == 'fisher' else loss.init()
    wrap = jax.jit if jit else lambda f: f
    r, f = jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)
    # What float32 rounded the inputs to is what the closed form must see.
    real, fake = np.asarray(r, np.float64), np.asarray(f, np.float64)

    value_d, (grad_r, grad_fd) = wrap(jax.value_and_grad(loss.discriminator, argnums=(0, 1)))(
        r, f, state
    )
    value_g, grad_fg = wrap(jax.value_and_grad(loss.generator, argnums=1))(r, f, state)

    n = len(real)
    chex.assert_trees_all_close(value_d, np.float32(l_d(real, fake)), rtol=2e-6)
    chex.assert_trees_all_close(value_g, np.float32(l_g(real, fake)), rtol=2e-6)
    for got, want in ((grad_r, dr), (grad_fd, dfd), (grad_fg, dfg)):
        np.testing.assert_allclose(got, want(real, fake) / n, rtol=3e-6, atol=1e-37)
        chex.assert_tree_all_finite(got)


@pytest.mark.parametrize('name', losses.names())
def test_symmetric_flag_tells_the_truth(name):
    loss = losses.get(name)
    state = loss.init()
    r, f = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)
    c_d = jax.grad(loss.discriminator, argnums=1)(r, f, state)
    c_g = jax.grad(loss.generator, argnums=1)(r, f, state)
    assert bool(jnp.allclose(c_g, -c_d, rtol=1e-6)) == loss.symmetric


@pytest.mark.parametrize('name', losses.names())
def test_every_loss_states_its_source_and_is_stateless_without_state(name):
    loss = losses.get(name)
    assert loss.name == name
    assert 'arXiv' in loss.source
    value = loss.discriminator(jnp.asarray(REAL), jnp.asarray(FAKE))
    chex.assert_shape(value, ())
    if name != 'fisher':
        assert loss.init() is None
        assert loss.update(None, REAL, FAKE) is None


def test_fisher_multiplier_descends_by_rho_times_slack():
    loss = losses.get('fisher', rho=0.5)
    state = loss.init()
    # E[r^2] = 4, E[f^2] = 2 -> R = 1 - 3 = -2, multiplier 0 - 0.5 * -2 = 1; then 2.
    r, f = jnp.array([2.0, -2.0]), jnp.array([2.0, 0.0])
    state = loss.update(state, r, f)
    np.testing.assert_allclose(state.multiplier, 1.0)
    state = jax.jit(loss.update)(state, r, f)
    np.testing.assert_allclose(state.multiplier, 2.0)


def test_fisher_multiplier_pushes_the_critic_towards_its_constraint():
    # dL_D/dlam = -R and the update is lam -= rho R: with the second moment too large (R < 0) the
    # multiplier grows, and a larger multiplier raises the price of large logits.
    loss = losses.get('fisher', rho=0.1)
    s = jnp.array([3.0, -3.0])
    state = loss.update(loss.init(), s, s)
    assert state.multiplier > 0
    pull = jax.grad(loss.discriminator, argnums=1)
    larger = losses.FisherState(state.multiplier + 1)
    difference = pull(s, s, larger) - pull(s, s, state)
    np.testing.assert_array_equal(np.sign(difference), np.sign(s))


def test_geometric_default_is_hinge_and_linear_generator_is_offered():
    r, f = jnp.asarray(REAL), jnp.asarray(FAKE)
    np.testing.assert_allclose(
        losses.get('geometric').discriminator(r, f), losses.get('hinge').discriminator(r, f)
    )
    linear = losses.get('geometric', linear_generator=True)
    np.testing.assert_allclose(linear.generator(r, f), -np.mean(FAKE), rtol=1e-6)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: losses.get('lsgan'), "unknown loss 'lsgan': expected one of minimax"),
        (lambda: losses.get('hinge', rho=1.0), 'hinge: unknown hyperparameter rho'),
        (lambda: losses.get('geometric', slope=1.5), r'slope must be in \[0, 1\), got 1.5'),
        (lambda: losses.get('fisher', rho=0.0), 'rho must be positive and finite, got 0.0'),
        (lambda: losses.get('fisher', rho=float('nan')), 'rho must be positive'),
        (lambda: losses.get('fisher', rho=float('inf')), 'positive and finite'),
        (
            lambda: losses.get('relativistic').discriminator(jnp.zeros(3), jnp.zeros(4)),
            r'same shape, got \(3,\) and \(4,\)',
        ),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
