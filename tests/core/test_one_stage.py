"""The split and the shared backward pass, against two separate `jax.grad` computations."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import losses, one_stage
from tests.support import models
from tests.support.marks import slow_but


def separate_grads(loss, m, state=None, auxiliary=None):
    """The slow, obvious way: two independent gradient computations."""

    def loss_d(params_d):
        fake, _ = m.generate(m.params_g)
        (s_real, s_fake), _ = m.discriminate(params_d, fake)
        return loss.discriminator(s_real.astype(jnp.float32), s_fake.astype(jnp.float32), state)

    def loss_g(params_g):
        fake, _ = m.generate(params_g)
        (s_real, s_fake), _ = m.discriminate(m.params_d, fake)
        s_real = jax.lax.stop_gradient(s_real)
        value = loss.generator(s_real.astype(jnp.float32), s_fake.astype(jnp.float32), state)
        return value if auxiliary is None else value + auxiliary(fake)

    gradients = jax.jit(lambda g, d: (jax.grad(loss_g)(g), jax.grad(loss_d)(d)))
    return gradients(m.params_g, m.params_d)


def errors(grads, reference):
    chex.assert_tree_all_finite(grads)
    grad_g, grad_d = reference
    return (
        models.relative_error(grads.generator, grad_g),
        models.relative_error(grads.discriminator, grad_d),
    )


def run(scheme, loss, m, state=None):
    def call(params_g, params_d):
        return scheme(loss, m.generate, m.discriminate, params_g, params_d, state)[0]

    return jax.jit(call)(m.params_g, m.params_d)


SCHEMES = [osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads]


# Every loss with plain functions, every library with one loss.
EVERY = [(name, 'jnp') for name in losses.names()]
OTHERS = [(name, kind) for name in losses.names() for kind in ('linen', 'nnx')]


@pytest.mark.parametrize(
    ('name', 'kind'),
    [*EVERY, *slow_but(OTHERS, ('relativistic', 'linen'), ('relativistic', 'nnx'))],
)
def test_equals_two_separate_gradients(name, kind):
    loss, m = losses.get(name), models.build(kind)
    (_, s_fake), _ = m.discriminate(m.params_d, m.generate(m.params_g)[0])

    @jax.jit
    def compare(scale):
        stretched = m._replace(scale=scale)
        arguments = (stretched.generate, stretched.discriminate, m.params_g, m.params_d)
        return [scheme(loss, *arguments, loss.init())[0] for scheme in SCHEMES]

    reference = jax.jit(lambda scale: separate_grads(loss, m._replace(scale=scale), loss.init()))
    # Sigmoids of logits of 30 are as inexact as these times 30, and programs round them apart;
    # those of 1000 are 0 or 1.
    for amplitude, most in ((1.0, 1e-5), (30.0, 3e-5), (1000.0, 1e-5)):
        # Divided by what D says now, so that the extreme samples sit at +-amplitude.
        scale = models.extreme_scale(amplitude) / np.abs(np.asarray(s_fake, np.float64))
        expected = reference(scale)
        for grads in compare(scale):
            error_g, error_d = errors(grads, expected)
            assert error_g < most, amplitude
            assert error_d < most, amplitude


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('shift', [-2.0, -1.0, -1000.0])
def test_hinge_with_every_sample_saturated(shift, scheme):
    # Tiny logits around the shift: at -2 and -1000 every c_d is 0, the case where Eq. 9 is NaN.
    m = models.build('jnp', scale=1e-3, shift=shift)
    loss = losses.get('hinge')
    grads = run(scheme, loss, m)
    grad_g, grad_d = separate_grads(loss, m)
    chex.assert_tree_all_finite(grads)
    assert models.relative_error(grads.generator, grad_g) < 1e-5
    assert models.relative_error(grads.discriminator, grad_d) < 1e-5


@pytest.mark.parametrize(
    'name', slow_but(losses.names(), 'non_saturating', 'hinge', 'relativistic', 'fisher')
)
def test_bfloat16_networks(name):
    loss = losses.get(name)
    m = models.build('linen', dtype=jnp.bfloat16)
    state = loss.init()
    grads = run(osgan_jax.one_stage_grads, loss, m, state)
    error_g, error_d = errors(grads, separate_grads(loss, m, state))
    # bfloat16 keeps 8 bits: each rounding is 2^-9, and the two orders of operations round apart.
    assert error_g < 3e-2
    assert error_d < 3e-2
    chex.assert_trees_all_equal_dtypes(grads.generator, m.params_g)


@pytest.mark.parametrize('name', ['non_saturating', 'hinge', 'boundary_seeking'])
def test_bfloat16_networks_with_extreme_logits(name):
    loss = losses.get(name)
    m = models.build('linen', dtype=jnp.bfloat16, scale=models.extreme_scale(300.0))
    error_g, error_d = errors(run(osgan_jax.one_stage_grads, loss, m), separate_grads(loss, m))
    assert error_g < 3e-2
    assert error_d < 3e-2


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('name', ['wasserstein', 'hinge'])
def test_auxiliary_joins_the_generator_alone(name, scheme):
    loss = losses.get(name)
    m = models.build('jnp')
    target = jnp.ones((models.SIZE, models.SIZE, models.CHANNELS))

    def auxiliary(fake):
        return 3.0 * jnp.mean(jnp.square(fake - target))

    @jax.jit
    def call(params_g, params_d):
        arguments = (m.generate, m.discriminate, params_g, params_d)
        grads, info = scheme(loss, *arguments, auxiliary=auxiliary)
        return grads, info._replace(aux_generator=None, aux_discriminator=None)

    grads, info = call(m.params_g, m.params_d)
    error_g, error_d = errors(grads, separate_grads(loss, m, auxiliary=auxiliary))
    assert error_g < 1e-5
    assert error_d < 1e-5
    without = loss.generator(info.s_real, info.s_fake)
    np.testing.assert_allclose(info.loss_g, without + auxiliary(info.fake), rtol=1e-6)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_info_holds_what_was_computed(scheme):
    loss = losses.get('fisher', rho=0.1)
    m = models.build('jnp')
    state = loss.init()
    grads, info = scheme(loss, m.generate, m.discriminate, m.params_g, m.params_d, loss_state=state)
    fake, _ = m.generate(m.params_g)
    (s_real, s_fake), _ = m.discriminate(m.params_d, fake)
    chex.assert_trees_all_equal_shapes(grads.generator, m.params_g)
    chex.assert_trees_all_equal_shapes(grads.discriminator, m.params_d)
    chex.assert_shape(info.gamma, (models.N,))
    chex.assert_trees_all_close(info.fake, fake, rtol=1e-6)
    chex.assert_trees_all_close((info.s_real, info.s_fake), (s_real, s_fake), rtol=1e-5)
    assert (info.aux_generator, info.aux_discriminator) == ('from G', 'from D')
    np.testing.assert_allclose(info.loss_d, loss.discriminator(s_real, s_fake, state), rtol=1e-5)
    np.testing.assert_allclose(info.loss_g, loss.generator(s_real, s_fake, state), rtol=1e-5)
    chex.assert_trees_all_close(info.loss_state, loss.update(state, s_real, s_fake), rtol=1e-5)


def test_gamma_of_the_papers_examples():
    # FACTS Table S1: -exp(-f), (f - 1) / f, f / sigma(f); -1 for a symmetric loss.
    m = models.build('jnp')
    expected = {
        'non_saturating': lambda f: -np.exp(-f),
        'least_squares': lambda f: (f - 1) / f,
        'boundary_seeking': lambda f: f * (1 + np.exp(-f)),
        'minimax': lambda f: -np.ones_like(f),
    }
    for name, gamma in expected.items():
        loss = losses.get(name)

        @jax.jit
        def call(g, d, loss=loss):
            _, info = osgan_jax.one_stage_grads(loss, m.generate, m.discriminate, g, d)
            return info.gamma, info.s_fake

        found, s_fake = call(m.params_g, m.params_d)
        np.testing.assert_allclose(found, gamma(np.asarray(s_fake)), rtol=1e-5)


# --- the published forms, as slow references --------------------------------------------------


def published_grads(loss, m, form):
    """G's and D's gradients by Eq. 9 or S8, per-sample losses with gamma held constant."""
    fake, pull_g = jax.vjp(lambda p: m.generate(p)[0], m.params_g)
    (s_real, s_fake), pull_d = jax.vjp(lambda p, x: m.discriminate(p, x)[0], m.params_d, fake)
    r, c_d = jax.grad(loss.discriminator, argnums=(0, 1))(s_real, s_fake)
    c_g = jax.grad(loss.generator, argnums=1)(s_real, s_fake)
    gamma = c_g / c_d
    # Eq. 9 sends (c_d - c_g) / (1 - gamma) back, S8 sends c_d; G takes gamma times what arrives.
    carrier = (c_d - c_g) / (1 - gamma) if form == 'equation_9' else c_d
    grad_d, d_fake = pull_d((r, carrier))
    (grad_g,) = pull_g(gamma[:, None, None, None] * d_fake)
    return grad_g, grad_d


@pytest.mark.parametrize('name', [n for n in losses.names() if n != 'fisher'])
def test_equals_the_published_forms_where_they_are_finite(name):
    # Logits inside the margins, where hinge and geometric divide by no zero.
    loss, m = losses.get(name), models.build('jnp', scale=0.05)
    forms = ('equation_9', 'equation_s8')

    @jax.jit
    def compare(params_g, params_d):
        own = m._replace(params_g=params_g, params_d=params_d)
        grads = osgan_jax.one_stage_grads(loss, own.generate, own.discriminate, params_g, params_d)
        return grads[0], [published_grads(loss, own, form) for form in forms]

    grads, published = compare(m.params_g, m.params_d)
    for reference in published:
        error_g, error_d = errors(grads, reference)
        assert error_g < 1e-5
        assert error_d < 1e-5


@pytest.mark.parametrize('form', ['equation_9', 'equation_s8'])
def test_published_forms_are_nan_where_ours_is_exact(form):
    m = models.build('jnp', scale=1e-3, shift=-2.0)
    grad_g, _ = published_grads(losses.get('hinge'), m, form)
    assert np.isnan(jax.tree.leaves(grad_g)[0]).any()


# --- split_cotangent --------------------------------------------------------------------------


def test_split_by_hand():
    c_d = jnp.array([2.0, -0.5, 0.0, 0.0, -0.0, 0.0, -1e-20])
    c_g = jnp.array([-1.0, 0.25, -3.0, 4.0, 1.0, 0.0, 1.0])
    carrier, gamma = osgan_jax.split_cotangent(c_d, c_g)
    eps = 2.0**-40
    np.testing.assert_array_equal(
        carrier, np.array([2, -0.5, 3 * eps, 4 * eps, eps, 0, -eps], np.float32)
    )
    np.testing.assert_array_equal(
        gamma, np.array([-0.5, -0.5, -1 / eps, 1 / eps, 1 / eps, 0, -1 / eps], np.float32)
    )


def test_split_recovers_the_generators_share_everywhere():
    values = np.array([0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e3, 1e6], np.float32)
    values = np.concatenate([values, -values])
    c_d, c_g = (a.ravel() for a in np.meshgrid(values, values))
    carrier, gamma = jax.jit(osgan_jax.split_cotangent)(c_d, c_g)
    chex.assert_tree_all_finite((carrier, gamma))
    # Below 1e-38 / 2^-40 the floored carrier leaves float32's range.
    normal = np.abs(c_g) > 1e-25
    np.testing.assert_allclose((gamma * carrier)[normal], c_g[normal], rtol=3e-7)
    assert np.all(np.abs(carrier - c_d) <= 2 * 2.0**-40 * np.abs(c_g))


def test_split_rounds_the_carrier_to_the_logits_dtype_before_the_ratio():
    c_d, c_g = jnp.array([0.1234567, 0.7654321]), jnp.array([-0.3, 0.9])
    carrier, gamma = osgan_jax.split_cotangent(c_d, c_g, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(carrier, carrier.astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(gamma * carrier, c_g, rtol=3e-7)


def test_split_refuses_different_shapes():
    with pytest.raises(ValueError, match=r'got shapes \(3,\) and \(4,\)'):
        osgan_jax.split_cotangent(jnp.zeros(3), jnp.zeros(4))


# --- Table S2: which layers keep the ratio ----------------------------------------------------


def _norm_over(axes):
    return lambda x: (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5)


def _group_norm(x):
    grouped = x.reshape(*x.shape[:3], 2, 4)
    return _norm_over((1, 2, 4))(grouped).reshape(x.shape)


_KERNEL = jax.random.normal(jax.random.key(7), (3, 3, 8, 8))
_MATRIX = jax.random.normal(jax.random.key(8), (8, 8))

TABLE_S2 = {
    'convolution': (lambda x: models._conv(x, _KERNEL, 1), True),
    'linear': (lambda x: x @ _MATRIX, True),
    'average pooling': (
        lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID'),
        True,
    ),
    'max pooling': (
        lambda x: jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID'
        ),
        True,
    ),
    'leaky relu': (lambda x: jax.nn.leaky_relu(x, 0.2), True),
    'tanh': (jnp.tanh, True),
    'group norm': (_group_norm, True),
    'layer norm': (_norm_over((1, 2, 3)), True),
    'instance norm': (_norm_over((1, 2)), True),
    'batch norm': (_norm_over((0, 1, 2)), False),
}


@pytest.mark.parametrize('layer', TABLE_S2)
def test_table_s2_ratio_survives_the_layer(layer):
    apply, survives = TABLE_S2[layer]
    x = jax.random.normal(jax.random.key(4), (5, 4, 4, 8))
    y, pull = jax.vjp(apply, x)
    gradient = jax.random.normal(jax.random.key(5), y.shape)
    gamma = jnp.array([-0.3, 2.0, -40.0, 0.0, -1.0])[:, None, None, None]
    (whole,), (scaled,) = pull(gradient), pull(gamma * gradient)
    error = models.relative_error(scaled, gamma * whole)
    assert (error < 1e-5) == survives
    if not survives:
        assert error > 1e-2


# --- where it does not hold -------------------------------------------------------------------


MIXING = {
    'batch_norm': 'mixes the batch',
    'minibatch_stddev': 'mixes the batch',
    'patch': 'one logit per sample',
}


@pytest.mark.parametrize('mixing', slow_but(MIXING, 'minibatch_stddev'))
@pytest.mark.parametrize(
    'name',
    slow_but([n for n in losses.names() if not losses.get(n).symmetric], 'hinge', 'relativistic'),
)
def test_one_stage_refuses_and_shared_forward_is_exact(name, mixing):
    m = models.build('jnp', mixing=mixing)
    why = f'{MIXING[mixing]}.*shared_forward'
    with pytest.raises(ValueError, match=why):
        osgan_jax.check_samplewise(m.discriminate, m.params_d, m.generate(m.params_g)[0])
    arguments = (m.generate, m.discriminate, m.params_g, m.params_d)
    loss = losses.get(name)
    with pytest.raises(ValueError, match=why):
        osgan_jax.one_stage_grads(loss, *arguments, loss.init())
    grads = run(osgan_jax.shared_forward_grads, loss, m, loss.init())
    error_g, error_d = errors(grads, separate_grads(loss, m, loss.init()))
    assert error_g < 1e-5
    assert error_d < 1e-5


@pytest.mark.parametrize('name', slow_but(['minimax', 'wasserstein'], 'minimax'))
@pytest.mark.parametrize('mixing', ['batch_norm', 'minibatch_stddev', 'patch'])
@pytest.mark.parametrize('scheme', SCHEMES)
def test_symmetric_losses_accept_any_discriminator(name, mixing, scheme):
    loss = losses.get(name)
    m = models.build('jnp', mixing=mixing)
    error_g, error_d = errors(run(scheme, loss, m), separate_grads(loss, m))
    assert error_g < 1e-5
    assert error_d < 1e-5


def test_symmetric_losses_need_real_and_fake_batches_apart():
    m, real = models.build('jnp'), models.real_batch()

    def joined(params, fake):
        both = jnp.concatenate([real, fake])
        return tuple(jnp.split(m.discriminator(params, both - both.mean(0)), 2)), None

    def patches(params, fake):
        scores = joined(params, fake)[0]
        return tuple({'patches': score[:, None] * jnp.ones(3)} for score in scores), None

    fake = m.generate(m.params_g)[0]
    for discriminate in (joined, patches):
        with pytest.raises(ValueError, match='judges real and fake samples apart'):
            osgan_jax.check_samplewise(discriminate, m.params_d, fake, symmetric=True)
    mixing = models.build('jnp', mixing='batch_norm')
    osgan_jax.check_samplewise(mixing.discriminate, mixing.params_d, fake, symmetric=True)

    # Not noticed, it would be more than a matter of rounding.
    loss, arguments = losses.get('minimax'), (m.generate, joined, m.params_g, m.params_d)
    with pytest.raises(ValueError, match='judges real and fake samples apart'):
        osgan_jax.one_stage_grads(loss, *arguments)
    wrong, right = (
        jax.jit(lambda one=one: one(loss, *arguments)[0].generator)()
        for one in (osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads)
    )
    assert models.relative_error(wrong, right) > 0.1


def test_float16_has_too_few_exponents_for_a_carrier():
    with pytest.raises(ValueError, match=r'exponents of float32, which float16 lacks: .*bfloat16'):
        osgan_jax.split_cotangent(jnp.zeros(3), jnp.ones(3), dtype=jnp.float16)
    assert osgan_jax.split_cotangent(jnp.zeros(3), jnp.ones(3), dtype=jnp.bfloat16)[0].all()


def test_several_logits_are_refused_under_jit_too():
    m = models.build('jnp', mixing='patch')
    with pytest.raises(ValueError, match='one logit per sample'):
        run(osgan_jax.one_stage_grads, losses.get('hinge'), m)


def test_check_finds_fake_samples_mixed_with_real_ones():
    # Group statistics over pairs of one real and one fake sample: no fake sees another fake.
    m = models.build('jnp')
    real = models.real_batch()

    def discriminate(params, fake):
        pair = jnp.stack([real, fake]) - jnp.mean(jnp.stack([real, fake]), axis=0)
        return (jnp.sum(pair[0] ** 3, (1, 2, 3)), jnp.sum(pair[1] ** 3, (1, 2, 3))), None

    with pytest.raises(ValueError, match='a real sample'):
        osgan_jax.check_samplewise(discriminate, m.params_d, real * 0.5)


@pytest.mark.parametrize('kind', ['jnp', 'linen', 'nnx'])
def test_check_passes_for_samplewise_discriminators(kind):
    m = models.build(kind)
    osgan_jax.check_samplewise(m.discriminate, m.params_d, m.generate(m.params_g)[0])


def test_check_finds_linen_batch_norm():
    m = models.build('linen', mixing='batch_norm')
    with pytest.raises(ValueError, match='another fake sample'):
        osgan_jax.check_samplewise(m.discriminate, m.params_d, m.generate(m.params_g)[0])


def test_check_needs_two_samples():
    m = models.build('jnp')
    with pytest.raises(ValueError, match='at least 2'):
        osgan_jax.check_samplewise(m.discriminate, m.params_d, models.real_batch()[:1])


def test_logits_as_a_column_are_one_logit_a_sample():
    m = models.build('jnp')

    def column(params, fake):
        (s_real, s_fake), aux = m.discriminate(params, fake)
        return (s_real[:, None], s_fake[:, None]), aux

    loss = losses.get('hinge')
    as_column = osgan_jax.one_stage_grads(loss, m.generate, column, m.params_g, m.params_d)[0]
    as_vector = run(osgan_jax.one_stage_grads, loss, m)
    chex.assert_trees_all_close(as_column, as_vector, rtol=1e-5, atol=1e-7)


def test_one_stage_saves_the_arithmetic_it_claims():
    # DESIGN section 2: 3 Tg + 6 Td against 4 Tg + 8 Td for two separate steps, 3 Tg + 7 Td for
    # shared_forward; counted by the compiler, activations and norms included.
    loss, m = losses.get('hinge'), models.build('jnp')

    def flops(function):
        return jax.jit(function).lower(m.params_g, m.params_d).compile().cost_analysis()['flops']

    def scheme_flops(scheme):
        return flops(lambda g, d: scheme(loss, m.generate, m.discriminate, g, d)[0])

    two_steps = flops(lambda g, d: separate_grads(loss, m._replace(params_g=g, params_d=d))[0])
    two_steps += flops(lambda g, d: separate_grads(loss, m._replace(params_g=g, params_d=d))[1])
    one, shared = map(scheme_flops, SCHEMES)
    assert one / two_steps < 0.8
    assert one < shared < 0.9 * two_steps


@pytest.mark.process
def test_import_costs_jax_alone():
    heavy = ['flax', 'optax', 'orbax', 'tensorflow_datasets', 'grain', 'chex', 'matplotlib', 'PIL']
    code = (
        f'import sys, osgan_jax; print([m for m in {heavy!r} if m in sys.modules and m != "scipy"])'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'
    assert one_stage.CARRIER_FLOOR == 2.0**-40
