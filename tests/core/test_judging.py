"""Penalties carried by the one pass, against separate `jax.grad` computations of each."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import losses
from tests.support import models
from tests.support.marks import slow_but

SCHEMES = {
    'one_stage': osgan_jax.one_stage_grads,
    'shared_forward': osgan_jax.shared_forward_grads,
}
ALL = osgan_jax.Penalties(r1=2.0, r2=1.0, gradient_penalty=3.0)
MIXTURE = np.linspace(0.05, 0.95, models.N, dtype=np.float32)
PIXELS = models.SIZE**2 * models.CHANNELS


def dense(mixing=False):
    """Two dense layers each, which compile in no time; D has a second derivative everywhere."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((models.Z, 8), (8, PIXELS), (PIXELS, 8), (8, 1))
    g1, g2, d1, d2 = (0.3 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))

    def generator(params, z):
        images = jnp.tanh(jnp.tanh(z @ params[0]) @ params[1])
        return images.reshape(-1, models.SIZE, models.SIZE, models.CHANNELS)

    def discriminator(params, x):
        x = x.reshape(x.shape[0], -1) @ params[0]
        x = jax.nn.softplus(x - x.mean(0) if mixing else x)
        return (x @ params[1])[:, 0]

    return models.Models(generator, discriminator, (g1, g2), (d1, d2))


def build(kind):
    return dense() if kind == 'dense' else models.build(kind)


def penalty(judge, real, fake, weights):
    """R1, R2 and WGAN-GP's penalty, each from passes of its own."""

    def squares(images):
        gradient = jax.grad(lambda x: jnp.sum(judge(x).astype(jnp.float32)))(images)
        return jnp.sum(jnp.square(gradient.astype(jnp.float32)), axis=(1, 2, 3))

    share = MIXTURE[:, None, None, None]
    slope = jnp.sqrt(squares(share * real + (1 - share) * fake))
    return (
        weights.r1 / 2 * jnp.mean(squares(real))
        + weights.r2 / 2 * jnp.mean(squares(fake))
        + weights.gradient_penalty * jnp.mean((slope - 1) ** 2)
    )


def separate_grads(loss, m, weights, real):
    """Gradients of L_G and of L_D with its penalties: everything forward again for each."""
    state = loss.init()

    def loss_d(params_d):
        fake, _ = m.generate(m.params_g)
        s_real, s_fake = m.discriminate(params_d, fake, real)[0]
        value = loss.discriminator(s_real.astype(jnp.float32), s_fake.astype(jnp.float32), state)
        return value + penalty(lambda x: m.discriminator(params_d, x), real, fake, weights)

    def loss_g(params_g):
        fake, _ = m.generate(params_g)
        s_real, s_fake = m.discriminate(m.params_d, fake, real)[0]
        return loss.generator(s_real.astype(jnp.float32), s_fake.astype(jnp.float32), state)

    return jax.grad(loss_g)(m.params_g), jax.grad(loss_d)(m.params_d)


def fused(scheme, loss, m, weights, real, discriminate=None):
    """Gradients and info of the one pass, without the functions' `aux`."""
    grads, info = SCHEMES[scheme](
        loss,
        m.generate,
        discriminate or m.discriminate,
        m.params_g,
        m.params_d,
        loss.init(),
        penalties=weights,
        real=real,
        mixture=MIXTURE,
    )
    return grads, info._replace(aux_generator=None, aux_discriminator=None)


def errors(loss, m, weights, schemes=tuple(SCHEMES), discriminate=None):
    """Relative errors of G's and D's gradients of each scheme, compiled as one program."""
    real = models.real_batch(m.dtype)

    @jax.jit
    def compare(real):
        found = [fused(scheme, loss, m, weights, real, discriminate)[0] for scheme in schemes]
        return found, separate_grads(loss, m, weights, real)

    found, reference = compare(real)
    chex.assert_tree_all_finite(found)
    return [
        models.relative_error(ours, theirs)
        for grads in found
        for ours, theirs in zip(grads, reference, strict=True)
    ]


EVERY = [(name, 'dense') for name in losses.names()]
OTHERS = [('relativistic', 'jnp'), ('least_squares', 'linen'), ('hinge', 'nnx')]


@pytest.mark.parametrize(('name', 'kind'), slow_but(EVERY + OTHERS, ('relativistic', 'dense')))
def test_equals_separate_gradients(name, kind):
    assert max(errors(losses.get(name), build(kind), ALL)) < 1e-5


ALONE = ['r1', 'r2', 'gradient_penalty', 'r1 r2']


@pytest.mark.parametrize('names', slow_but(ALONE, 'r1'))
def test_each_penalty_alone_equals_separate_gradients(names):
    weights = osgan_jax.Penalties(**dict.fromkeys(names.split(), 2.0))
    assert max(errors(losses.get('hinge'), dense(), weights, ['one_stage'])) < 1e-5


@pytest.mark.slow
def test_real_and_fake_judged_as_one_batch():
    m = models.build('jnp')

    def together(params, fake, real):
        logits = m.discriminator(params, jnp.concatenate([real, fake]))
        return tuple(jnp.split(logits, 2)), None

    assert max(errors(losses.get('relativistic'), m, ALL, discriminate=together)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('name', ['non_saturating', 'relativistic'])
def test_bfloat16_networks(name):
    # As without penalties: 8 bits, rounded apart.
    m = models.build('linen', dtype=jnp.bfloat16)
    assert max(errors(losses.get(name), m, ALL)) < 3e-2


MIXING = ['dense', 'batch_norm', 'minibatch_stddev', 'patch']


@pytest.mark.parametrize('mixing', slow_but(MIXING, 'dense'))
def test_shared_forward_is_exact_for_any_discriminator(mixing):
    m = dense(mixing=True) if mixing == 'dense' else models.build('jnp', mixing=mixing)
    weights = osgan_jax.Penalties(r1=2.0, r2=1.0)
    assert max(errors(losses.get('non_saturating'), m, weights, ['shared_forward'])) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('mixing', ['batch_norm', 'minibatch_stddev', 'patch'])
def test_symmetric_losses_accept_any_discriminator_with_penalties_at_other_images(mixing):
    m = models.build('jnp', mixing=mixing)
    weights = osgan_jax.Penalties(r1=2.0, gradient_penalty=1.0)
    assert max(errors(losses.get('minimax'), m, weights, ['one_stage'])) < 1e-5


def test_shared_forward_keeps_the_gradients_of_mixed_halves_apart():
    # Every logit sees every image: the sum of s_real has a gradient at the fakes, too.
    m, real = dense(), models.real_batch()
    weights = osgan_jax.Penalties(r1=2.0, r2=1.0)

    def discriminate(params, fake, real):
        both = jnp.concatenate([real, fake])
        both = both - both.mean(0)
        return tuple(jnp.split(m.discriminator(params, both), 2)), None

    def penalised(params_d):
        fake, _ = m.generate(m.params_g)
        sums = [lambda x, k=k: jnp.sum(discriminate(params_d, *x)[0][k]) for k in range(2)]
        at_fake, at_real = jax.grad(sums[1])((fake, real))[0], jax.grad(sums[0])((fake, real))[1]
        square = lambda j: jnp.mean(jnp.sum(j**2, (1, 2, 3)))  # noqa: E731
        loss = losses.get('hinge').discriminator(*discriminate(params_d, fake, real)[0])
        return loss + square(at_real) + 0.5 * square(at_fake)

    @jax.jit
    def compare(params_d):
        arguments = (losses.get('hinge'), m, weights, real, discriminate)
        return fused('shared_forward', *arguments)[0], jax.grad(penalised)(params_d)

    grads, expected = compare(m.params_d)
    assert models.relative_error(grads.discriminator, expected) < 1e-5


@pytest.mark.parametrize('scheme', SCHEMES)
def test_info_reports_each_penalty_and_the_loss_without(scheme):
    loss, m, real = losses.get('hinge'), dense(), models.real_batch()
    fake, _ = m.generate(m.params_g)

    @jax.jit
    def compare(params_d):
        info = fused(scheme, loss, m._replace(params_d=params_d), ALL, real)[1]
        judge = lambda x: m.discriminator(params_d, x)  # noqa: E731
        expected = {
            name: penalty(judge, real, fake, osgan_jax.Penalties(**{name: getattr(ALL, name)}))
            for name in ('r1', 'r2', 'gradient_penalty')
        }
        return info, expected

    info, expected = compare(m.params_d)
    chex.assert_trees_all_close(info.penalties, expected, rtol=1e-5)
    assert min(map(float, expected.values())) > 1e-3
    np.testing.assert_allclose(info.loss_d, loss.discriminator(info.s_real, info.s_fake), rtol=1e-5)
    chex.assert_shape(info.gamma, (models.N,))


def test_without_penalties_nothing_is_reported():
    loss, m = losses.get('hinge'), dense()
    for weights in (None, osgan_jax.Penalties()):
        call = lambda d, w=weights: fused(  # noqa: E731
            'one_stage', loss, m._replace(params_d=d), w, models.real_batch()
        )
        assert jax.eval_shape(call, m.params_d)[1].penalties == {}


def test_r2_in_one_stage_needs_samples_apart_whatever_the_loss():
    real, r2 = models.real_batch(), osgan_jax.Penalties(r2=1.0)
    m = dense(mixing=True)
    with pytest.raises(ValueError, match=r'mixes the batch.*shared_forward.*without R2'):
        fused('one_stage', losses.get('minimax'), m, r2, real)
    m = models.build('jnp', mixing='patch')
    with pytest.raises(ValueError, match=r'one logit per sample.*shared_forward'):
        jax.eval_shape(lambda real: fused('one_stage', losses.get('minimax'), m, r2, real), real)


@pytest.mark.parametrize('scheme', SCHEMES.values())
@pytest.mark.parametrize(
    ('weights', 'given', 'match'),
    [
        ({'r1': 1.0}, {}, 'real='),
        ({'gradient_penalty': 1.0}, {'mixture': MIXTURE}, 'real='),
        ({'gradient_penalty': 1.0}, {'real': models.real_batch()}, 'mixture='),
    ],
)
def test_penalties_without_what_they_need(scheme, weights, given, match):
    m = dense()
    arguments = (losses.get('hinge'), m.generate, m.discriminate, m.params_g, m.params_d)
    with pytest.raises(ValueError, match=match):
        scheme(*arguments, penalties=osgan_jax.Penalties(**weights), **given)


def test_discriminate_must_take_the_real_batch_that_is_given():
    m = dense()
    two = lambda params, fake: m.discriminate(params, fake)  # noqa: E731
    arguments = (losses.get('hinge'), m.generate, two, m.params_g, m.params_d)
    with pytest.raises(ValueError, match=r'with real= given.*real\), but takes \(params, fake\)'):
        osgan_jax.one_stage_grads(*arguments, penalties=ALL, real=models.real_batch())


def test_r2_needs_no_real_batch():
    m, r2 = dense(), osgan_jax.Penalties(r2=1.0)

    def call(params_d):
        arguments = (losses.get('hinge'), m.generate, m.discriminate, m.params_g, params_d)
        return osgan_jax.one_stage_grads(*arguments, penalties=r2)[1].penalties

    assert set(jax.eval_shape(call, m.params_d)) == {'r2'}


def test_generators_gradient_costs_no_further_pass():
    # With R2 G's gradient comes out of J: leaving it out saves G's own pass and nothing of D's.
    m, real = dense(), models.real_batch()
    weights = osgan_jax.Penalties(r1=1.0, r2=1.0)

    def flops(function):
        return jax.jit(function).lower(m.params_g, m.params_d).compile().cost_analysis()['flops']

    def both(params_g, params_d):
        given = m._replace(params_g=params_g, params_d=params_d)
        return fused('one_stage', losses.get('hinge'), given, weights, real)[0]

    of_g = flops(lambda g, d: jax.grad(lambda g: jnp.sum(m.generate(g)[0] ** 2))(g))
    assert flops(both) - flops(lambda g, d: both(g, d).discriminator) < of_g
