"""LeCam, label smoothing and top-k: closed forms, states, and exactness in one pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import loss_checks, losses
from tests.support import models
from tests.support.marks import slow_but

REAL = jnp.array([0.8, -1.5, 2.5, 0.1])
FAKE = jnp.array([-0.4, 1.2, -2.0, 0.9])


def gradients(loss, state=None):
    """L_D's gradients at real and fake logits, and L_G's at fake ones."""
    r, f = jax.grad(loss.discriminator, argnums=(0, 1))(REAL, FAKE, state)
    return r, f, jax.grad(loss.generator, argnums=1)(REAL, FAKE, state)


def test_lecam_pulls_logits_to_the_other_kinds_running_mean():
    plain = losses.get('hinge')
    loss = losses.with_lecam(plain, 0.3, decay=0.9)
    state = loss.init()
    # Without a step before, L_D alone.
    for got, expected in zip(gradients(loss, state), gradients(plain), strict=True):
        np.testing.assert_array_equal(got, expected)
    state = loss.update(state, jnp.array([1.0, 3.0]), jnp.array([-1.0, 0.0]))
    state = jax.jit(loss.update)(state, jnp.array([4.0]), jnp.array([1.0]))
    # By hand: weights 0.09 and 0.1 of 2 and 4, of -0.5 and 1.
    a_real, a_fake = (0.09 * 2 + 0.1 * 4) / 0.19, (0.09 * -0.5 + 0.1 * 1) / 0.19
    r, c_d, c_g = gradients(plain)
    expected = (r + 0.6 * (REAL - a_fake) / 4, c_d + 0.6 * (FAKE - a_real) / 4, c_g)
    for got, wanted in zip(gradients(loss, state), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    term = 0.3 * (np.mean((REAL - a_fake) ** 2) + np.mean((FAKE - a_real) ** 2))
    value = loss.discriminator(REAL, FAKE, state) - plain.discriminator(REAL, FAKE)
    np.testing.assert_allclose(value, term, rtol=1e-5)


def test_smoothed_losses_have_the_smoothed_target():
    def cross_entropy(r, target):
        return jnp.mean(target * jax.nn.softplus(-r) + (1 - target) * jax.nn.softplus(r))

    for name in ('minimax', 'non_saturating', 'boundary_seeking', 'least_squares'):
        plain = losses.get(name)
        loss = losses.with_label_smoothing(plain, 0.1)
        twice = losses.with_label_smoothing(losses.with_label_smoothing(plain, 0.04), 0.06)

        def half(r, target, name=name):
            squares = name == 'least_squares'
            return jnp.mean(jnp.square(r - target)) if squares else cross_entropy(r, target)

        extreme = jnp.array([-1000.0, 1000.0, 0.3, -2.0])
        for real in (REAL, extreme):
            value, slope = jax.value_and_grad(loss.discriminator)(real, FAKE)
            fake_half = plain.discriminator(real, FAKE) - half(real, 1.0)
            np.testing.assert_allclose(value, half(real, 0.9) + fake_half, rtol=1e-5)
            np.testing.assert_allclose(slope, jax.grad(half)(real, 0.9), rtol=1e-5)
            np.testing.assert_allclose(twice.discriminator(real, FAKE), value, rtol=1e-5)
        np.testing.assert_allclose(twice.boundary, loss.boundary)
        for got, expected in zip(gradients(loss)[1:], gradients(plain)[1:], strict=True):
            np.testing.assert_array_equal(got, expected)
        assert loss.symmetric == plain.symmetric
        # D is undecided where real and fake images pull as strongly.
        at = jnp.full(1, loss.boundary)
        r, c_d = jax.grad(loss.discriminator, argnums=(0, 1))(at, at)
        np.testing.assert_allclose(r, -c_d, atol=1e-6)


@pytest.mark.parametrize('name', ['hinge', 'relativistic', 'fisher'])
def test_top_k_is_the_mean_of_the_highest(name):
    plain = losses.get(name)
    loss = losses.with_top_k(plain, 0.5)
    top = jnp.array([1, 3])
    value, c_g = jax.value_and_grad(loss.generator, argnums=1)(REAL, FAKE, loss.init())
    of_top, c_top = jax.value_and_grad(plain.generator, argnums=1)(REAL[top], FAKE[top])
    np.testing.assert_allclose(value, of_top, rtol=1e-6)
    np.testing.assert_allclose(c_g, jnp.zeros(4).at[top].set(c_top), rtol=1e-6)
    state = loss.init()
    expected = plain.discriminator(REAL, FAKE, state.inner)
    np.testing.assert_allclose(loss.discriminator(REAL, FAKE, state), expected)


def test_k_falls_to_its_share():
    loss = losses.with_top_k(losses.get('hinge'), 0.6, decay=0.9, every=2)
    fake = jnp.arange(10.0)

    @jax.jit
    def step(state):
        c_g = jax.grad(loss.generator, argnums=1)(fake, fake, state)
        return loss.update(state, fake, fake), jnp.sum(c_g != 0)

    state, found = loss.init(), []
    for _ in range(14):
        state, k = step(state)
        found.append(int(k))
    # By hand: 10 * 0.9^(0, 1, 2, ...) rounded down, at least 6.
    assert found == [10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 6, 6, 6, 6]
    # A share of less than one sample is one; equal logits count alike.
    least = losses.with_top_k(losses.get('hinge'), 0.01)
    np.testing.assert_allclose(least.generator(FAKE, FAKE), -1.2, rtol=1e-6)
    np.testing.assert_allclose(least.generator(FAKE, jnp.ones(4)), -1)
    # 7 of 10, though 0.7 * 10 is less in floating-point numbers.
    seven = losses.with_top_k(losses.get('hinge'), 0.7)
    np.testing.assert_allclose(seven.generator(fake, fake), -6)


def test_real_and_fake_may_differ_in_number():
    loss = losses.with_top_k(losses.get('hinge'), 0.5)
    np.testing.assert_allclose(loss.generator(jnp.zeros(3), FAKE), -np.mean([1.2, 0.9]), rtol=1e-6)


def everything(name):
    loss = losses.get(name)
    if name == 'minimax':
        loss = losses.with_label_smoothing(loss, 0.1)
    return losses.with_top_k(losses.with_lecam(loss, 0.3), 0.5)


@pytest.mark.parametrize('name', slow_but(('minimax', 'fisher', 'relativistic'), 'minimax'))
def test_one_pass_and_two_pullbacks_equal_separate_gradients(name):
    loss, m = everything(name), models.build('jnp')
    state = loss.update(loss.init(), jnp.full(6, 0.5), jnp.full(6, -0.2))

    def value(which, params_g, params_d):
        logits, _ = m.discriminate(params_d, m.generate(params_g)[0])
        return getattr(loss, which)(*logits, state)

    @jax.jit
    def everyone(params_g, params_d):
        arguments = (loss, m.generate, m.discriminate, params_g, params_d, state)
        schemes = osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads
        found = [
            (grads, info._replace(aux_generator=None, aux_discriminator=None))
            for grads, info in (scheme(*arguments) for scheme in schemes)
        ]
        expected = (
            jax.grad(lambda p: value('generator', p, params_d))(params_g),
            jax.grad(lambda p: value('discriminator', params_g, p))(params_d),
        )
        return found, expected

    found, expected = everyone(m.params_g, m.params_d)
    for grads, info in found:
        assert models.relative_error(grads.generator, expected[0]) < 1e-5
        assert models.relative_error(grads.discriminator, expected[1]) < 1e-5
        assert np.sum(np.asarray(info.gamma) == 0) == 3
        assert int(info.loss_state.step) == 2


@pytest.mark.slow
def test_with_r2_g_learns_by_the_discriminators_gradients_at_the_highest():
    loss, m = everything('minimax'), models.build('jnp')
    state = loss.update(loss.init(), jnp.full(6, 0.5), jnp.full(6, -0.2))
    penalties = osgan_jax.Penalties(r1=1.0, r2=1.0)

    @jax.jit
    def both(params_g, params_d):
        arguments = (loss, m.generate, m.discriminate, params_g, params_d, state)
        return [
            osgan_jax.one_stage_grads(*arguments)[0].generator,
            osgan_jax.one_stage_grads(*arguments, penalties=penalties, real=models.real_batch())[
                0
            ].generator,
        ]

    plain, carried = both(m.params_g, m.params_d)
    assert models.relative_error(carried, plain) < 1e-5


def test_flags_of_the_losses_hold():
    for name in ('minimax', 'wasserstein'):
        loss = losses.with_lecam(losses.get(name), 0.3)
        assert (loss.symmetric, loss.mean_over_samples) == (False, True)
        loss_checks.check(loss)
        loss = losses.with_top_k(loss, 0.5)
        assert (loss.symmetric, loss.mean_over_samples) == (False, False)
        loss_checks.check(loss)


def test_what_is_wrong_is_named():
    hinge = losses.get('hinge')
    largest = losses.AdversarialLoss(
        'largest', hinge.discriminator, lambda r, f, s=None: -jnp.max(f)
    )
    for call, message in (
        (lambda: losses.with_lecam(hinge, -1), 'weight must be at least 0, got -1'),
        (lambda: losses.with_lecam(hinge, float('nan')), 'weight must be at least 0'),
        (lambda: losses.with_lecam(hinge, 1, decay=1), r'decay must be in \[0, 1\), got 1'),
        (lambda: losses.with_label_smoothing(hinge, 0.1), 'the hinge loss has no target'),
        (
            lambda: losses.with_label_smoothing(losses.get('minimax'), 0.5),
            r'must be in \[0, 0.5\), got 0.5',
        ),
        (
            lambda: functools.reduce(
                losses.with_label_smoothing, [0.4] * 3, losses.get('least_squares')
            ),
            'a target of 0.2 cannot fall by 0.4',
        ),
        (lambda: losses.with_top_k(hinge, 0.0), r'share must be in \(0, 1\], got 0.0'),
        (lambda: losses.with_top_k(hinge, 0.5, decay=2), r'decay must be in \(0, 1\], got 2'),
        (lambda: losses.with_top_k(hinge, 0.5, every=-1), 'every must be at least 0'),
        (lambda: losses.with_top_k(largest, 0.5), "'largest' is not a mean over samples"),
        (
            lambda: losses.with_top_k(hinge, 0.5).update(None, REAL, FAKE),
            'needs the previous state',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    'wrap', [losses.with_lecam, losses.with_label_smoothing, losses.with_top_k]
)
@pytest.mark.parametrize(('given', 'shown'), [('hinge', "'hinge'"), (None, 'None')])
def test_what_is_not_a_loss_is_refused(wrap, given, shown):
    with pytest.raises(ValueError, match=rf'{wrap.__name__}: expected .*AdversarialLoss.* {shown}'):
        wrap(given, 0.1)
