"""One step of each scheme, against separate computations, across devices, compiled once."""

import dataclasses
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from osgan_jax.core import collectives, losses, samplewise
from osgan_jax.gan import config, methods, model, objectives, simultaneous, step_context, updates
from osgan_jax.runtime import parallel
from tests.support import models, small
from tests.support.marks import slow_but

# Plain gradient descent shows the gradients themselves. Adam divides each by its own size, so that
# a bias in front of a normalisation, whose gradient is zero but for rounding, moves by a full step
# in a random direction: no two correct implementations agree on those.
SGD = {'optimizer': 'sgd', 'learning_rate_g': 0.02, 'learning_rate_d': 0.02, 'beta1': 0.0}


def trained(state):
    return (state.params_g, state.params_d, state.stats_g, state.stats_d, state.loss_state)


@pytest.mark.parametrize('method', slow_but(methods.TABLE1, 'fishergan'))
def test_four_devices_equal_one(method):
    one, metrics_one = small.run_steps(method=method, ema_decay=0.9, **SGD)
    four, metrics_four = small.run_steps(method=method, ema_decay=0.9, num_devices=4, **SGD)
    assert models.relative_error(trained(four), trained(one)) < 1e-5
    assert models.relative_error(four.ema_g, one.ema_g) < 1e-5
    chex.assert_trees_all_close(metrics_four, metrics_one, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('scheme', ['two_stage', 'shared_forward'])
@pytest.mark.parametrize('method', methods.TABLE1)
def test_four_devices_equal_one_in_the_other_schemes(method, scheme):
    one, _ = small.run_steps(method=method, scheme=scheme, **SGD)
    four, _ = small.run_steps(method=method, scheme=scheme, num_devices=4, **SGD)
    assert models.relative_error(trained(four), trained(one)) < 1e-5


@pytest.mark.parametrize('scheme', slow_but(['one_stage', 'two_stage'], 'one_stage'))
def test_synchronised_batch_norm_in_both_networks(scheme):
    fields = {'method': 'wgan', 'discriminator_norm': 'batch', 'scheme': scheme, **SGD}
    one, _ = small.run_steps(**fields)
    four, _ = small.run_steps(num_devices=4, **fields)
    assert models.relative_error(trained(four), trained(one)) < 1e-5


@pytest.mark.slow
def test_fisher_constraint_is_over_the_global_batch():
    one, _ = small.run_steps(method='fishergan', loss_options=('rho=0.1',), **SGD)
    four, _ = small.run_steps(method='fishergan', loss_options=('rho=0.1',), num_devices=4, **SGD)
    assert abs(float(one.loss_state.multiplier)) > 1e-3
    np.testing.assert_allclose(four.loss_state.multiplier, one.loss_state.multiplier, rtol=1e-5)


@pytest.mark.parametrize('method', slow_but(['lsgan', 'relgan'], 'relgan'))
def test_one_stage_and_shared_forward_are_the_same_update(method):
    one, _ = small.run_steps(method=method, scheme='one_stage', **SGD)
    shared, _ = small.run_steps(method=method, scheme='shared_forward', **SGD)
    assert models.relative_error(trained(shared), trained(one)) < 1e-5


def reference_step(gan, state, batch, scheme):
    """The update written out with separate `jax.grad` calls, one device, plain SGD."""
    n = batch['image'].shape[0]
    key = jax.random.fold_in(state.key, 0)
    z = [jax.random.normal(jax.random.fold_in(key, i), (n, gan.latent_dim)) for i in range(2)]
    rate = SGD['learning_rate_g']

    def generate(params, z):
        return gan.generator.apply(
            {'params': params, **state.stats_g}, z, None, train=True, mutable=['batch_stats']
        )[0]

    def judge(params, x):
        return gan.discriminator.apply({'params': params}, x, None, train=True)

    def loss_d(params):
        fake = generate(state.params_g, z[0])
        logits = judge(params, batch['image']), judge(params, fake)
        return gan.loss.discriminator(*logits, state.loss_state)

    def loss_g(params, params_d, z):
        logits = judge(params_d, batch['image']), judge(params_d, generate(params, z))
        return gan.loss.generator(*logits, state.loss_state)

    descend = lambda p, g: jax.tree.map(lambda a, b: a - rate * b, p, g)  # noqa: E731
    params_d = descend(state.params_d, jax.grad(loss_d)(state.params_d))
    if scheme == 'two_stage':
        # The new D and a fresh z.
        grads = jax.grad(loss_g)(state.params_g, params_d, z[1])
    else:
        grads = jax.grad(loss_g)(state.params_g, state.params_d, z[0])
    return descend(state.params_g, grads), params_d


@pytest.mark.parametrize(
    ('scheme', 'method'),
    slow_but(
        [(scheme, method) for scheme in config.SCHEMES for method in ('lsgan', 'relgan')],
        *((scheme, 'lsgan') for scheme in config.SCHEMES),
        ('one_stage', 'relgan'),
    ),
)
def test_update_equals_the_textbook_step(scheme, method):
    gan, state, update, devices = small.build(method=method, scheme=scheme, **SGD)
    batch = parallel.put_batch(small.batch(), devices)
    params_g, params_d = jax.jit(lambda s, b: reference_step(gan, s, b, scheme))(state, batch)
    new, metrics = update(state, batch)
    assert models.relative_error(new.params_g, params_g) < 1e-6
    assert models.relative_error(new.params_d, params_d) < 1e-6
    assert int(new.step) == 1
    chex.assert_tree_all_finite(metrics)
    expected = {'loss_d', 'loss_g', 'logit_real', 'logit_fake', 'accuracy_d'}
    if scheme == 'one_stage':
        expected |= {'gamma', 'gamma_q05', 'gamma_q50', 'gamma_q95', 'floored'}
    assert set(metrics) == expected


# Of 8 samples, 8 in each of the 5 steps of the first epoch, then 4.
WRAPPED = {'lecam': 0.3, 'top_k': 0.5, 'top_k_decay': 0.5, **SGD}


@pytest.mark.parametrize(
    ('scheme', 'method'),
    slow_but(
        [(scheme, method) for scheme in config.SCHEMES for method in ('dcgan_sym', 'fishergan')],
        ('one_stage', 'dcgan_sym'),
    ),
)
def test_lecam_smoothing_and_top_k_are_of_the_textbook_step(scheme, method):
    smoothing = 0.1 if method == 'dcgan_sym' else 0.0
    gan, state, update, devices = small.build(
        method=method, scheme=scheme, label_smoothing=smoothing, **WRAPPED
    )
    loss_state = gan.loss.init()
    for _ in range(5):
        loss_state = gan.loss.update(loss_state, jnp.ones(8), -jnp.ones(8))
    state = state.replace(loss_state=parallel.replicate(loss_state, devices))
    batch = parallel.put_batch(small.batch(), devices)
    params_g, params_d = jax.jit(lambda s, b: reference_step(gan, s, b, scheme))(state, batch)
    new, _ = update(state, batch)
    assert models.relative_error(new.params_g, params_g) < 1e-6
    assert models.relative_error(new.params_d, params_d) < 1e-6
    assert int(new.loss_state.step) == 6


@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'one_stage'))
def test_lecam_and_top_k_are_of_the_batch_of_all_devices(scheme):
    one, _ = small.run_steps(6, method='dcgan_sym', scheme=scheme, **WRAPPED)
    four, _ = small.run_steps(6, method='dcgan_sym', scheme=scheme, num_devices=4, **WRAPPED)
    assert models.relative_error(trained(four), trained(one)) < 1e-5


@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'one_stage'))
def test_compiles_once_and_donates_the_state(scheme):
    resolved = small.resolve(small.make_config(scheme=scheme, ema_decay=0.9))
    gan = model.build(resolved, num_classes=small.CLASSES, steps_per_epoch=5)
    state = model.create(gan, 0)
    chex.clear_trace_counter()
    update = chex.assert_max_traces(updates.make_update(gan, scheme, state), n=1)
    compiled = parallel.compile_update(update, jax.local_devices()[:1])
    old = jax.tree.leaves(state.params_g)
    for index in range(3):
        state, _ = compiled(state, parallel.put_batch(small.batch(index), jax.local_devices()[:1]))
    assert int(state.step) == 3
    assert all(leaf.is_deleted() for leaf in old)


def test_weights_are_clipped_after_the_step_and_only_in_d():
    state, _ = small.run_steps(method='wgan')
    assert max(float(jnp.abs(p).max()) for p in jax.tree.leaves(state.params_d)) <= 0.01
    assert max(float(jnp.abs(p).max()) for p in jax.tree.leaves(state.params_g)) > 0.02


def test_average_of_the_generator_follows_its_formula():
    _, state, update, devices = small.build(ema_decay=0.5)
    expected = jax.device_get(state.ema_g)
    for step in range(3):
        state, _ = update(state, parallel.put_batch(small.batch(step), devices))
        decay = min(0.5, (1 + step) / (10 + step))
        now = jax.device_get({'params': state.params_g, **state.stats_g})
        expected = jax.tree.map(lambda e, n, d=decay: d * e + (1 - d) * n, expected, now)
    chex.assert_trees_all_close(state.ema_g, expected, rtol=1e-5, atol=1e-7)
    assert state.sampling_variables() is state.ema_g


def test_several_steps_a_call_equal_as_many_calls():
    one_by_one, _ = small.run_steps(4, **SGD)
    _, state, update, devices = small.build(steps_per_call=2, **SGD)
    for index in (0, 2):
        pair = [small.batch(index), small.batch(index + 1)]
        state, metrics = update(state, parallel.put_batch(pair, devices))
    chex.assert_shape(metrics['loss_d'], (2,))
    assert models.relative_error(trained(state), trained(one_by_one)) < 1e-6


def test_several_steps_a_call_on_several_devices():
    one_by_one, _ = small.run_steps(2, **SGD)
    _, state, update, devices = small.build(4, steps_per_call=2, **SGD)
    pair = [small.batch(0), small.batch(1)]
    state, _ = update(state, parallel.put_batch(pair, devices))
    assert models.relative_error(trained(state), trained(one_by_one)) < 1e-5


@pytest.mark.parametrize('scheme', config.SCHEMES)
def test_batch_norm_discriminator(scheme):
    fields = {'discriminator_norm': 'batch', 'scheme': scheme}
    if scheme == 'one_stage':
        with pytest.raises(ValueError, match=r'mixes the batch.*shared_forward'):
            small.build(method='lsgan', **fields)
        small.build(method='wgan', **fields)
    else:
        _, metrics = small.run_steps(1, method='lsgan', **fields)
        chex.assert_tree_all_finite(metrics)


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    state, metrics = small.run_steps(2, precision='bfloat16', method='sngan')
    for leaf in jax.tree.leaves(trained(state)):
        assert leaf.dtype == jnp.float32
    reference, _ = small.run_steps(2, method='sngan')
    assert metrics['loss_d'].dtype == jnp.float32
    chex.assert_tree_all_finite(metrics)
    assert models.relative_error(state.params_g, reference.params_g) < 1e-2


def test_conditional_networks_see_the_labels():
    gan, state, update, devices = small.build(method='cgan')
    assert gan.num_classes == small.CLASSES
    batch = small.batch()
    other = {**batch, 'label': (batch['label'] + 1) % small.CLASSES}
    before = jax.tree.map(jnp.copy, state)
    _, a = update(state, parallel.put_batch(batch, devices))
    _, b = update(before, parallel.put_batch(other, devices))
    assert float(a['loss_d']) != float(b['loss_d'])


def test_rates_fall_after_the_epochs_asked_for():
    resolved = small.resolve(
        small.make_config(
            optimizer='sgd', beta1=0.0, learning_rate_g=1.0, decay_epochs=(1, 2), decay_factor=0.1
        )
    )
    gan = model.build(resolved, num_classes=0, steps_per_epoch=3)
    params = {'w': jnp.zeros(())}
    opt_state = gan.optimizer_g.init(params)
    taken = []
    for step in range(8):
        change, opt_state = gan.optimizer_g.update(
            {'w': jnp.ones(())}, opt_state, params, step=jnp.int32(step)
        )
        taken.append(float(change['w']))
    np.testing.assert_allclose(taken, [-1] * 3 + [-0.1] * 3 + [-0.01] * 2, rtol=1e-6)


def test_gamma_metrics_leave_the_floor_out():
    gamma = jnp.array([-1.0, -3.0, 2.0**40, -(2.0**40)])
    metrics = simultaneous.gamma_metrics(gamma)
    np.testing.assert_allclose(metrics['gamma'], -2.0)
    np.testing.assert_allclose(metrics['floored'], 0.5)
    quantiles = [metrics[name] for name in ('gamma_q05', 'gamma_q50', 'gamma_q95')]
    # Between -3 and -1, linearly.
    np.testing.assert_allclose(quantiles, [-2.9, -2.0, -1.1], rtol=1e-6)


def test_gamma_metrics_are_finite_where_all_carriers_are_at_the_floor():
    metrics = simultaneous.gamma_metrics(jnp.full(3, 2.0**40))
    assert metrics.pop('floored') == 1
    assert set(map(float, metrics.values())) == {0.0}


def test_d_ranks_each_real_image_against_each_fake_one():
    context = step_context.StepContext(small.build()[0], collectives.ONE_DEVICE)
    s_real, s_fake = jnp.array([1.0, 3.0]), jnp.array([0.0, 2.0, 4.0, 1.0])
    # By hand: 1 is above 0 alone, 3 above all but 4; equal logits are not ranked rightly.
    np.testing.assert_allclose(context.ranking_accuracy(s_real, s_fake), 4 / 8)


def test_unknown_scheme_and_options():
    gan, state, *_ = small.build()
    with pytest.raises(ValueError, match="unknown scheme 'three_stage'"):
        updates.make_update(gan, 'three_stage', state)
    with pytest.raises(ValueError, match='expected name=number'):
        objectives.parse_options(('slope',))
    assert objectives.parse_options(('slope=0.2', 'linear_generator=true')) == {
        'slope': 0.2,
        'linear_generator': True,
    }
    assert losses.get('geometric', **objectives.parse_options(('slope=0.2',))).name == 'geometric'


def test_optimizers_are_optaxs():
    for name in config.OPTIMIZERS:
        resolved = small.resolve(small.make_config(optimizer=name))
        gan = model.build(resolved, num_classes=0, steps_per_epoch=5)
        assert isinstance(gan.optimizer_g, optax.GradientTransformation)


class PlainG(nn.Module):
    """A generator without BatchNorm, whose samples do not see each other."""

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        x = nn.relu(nn.Dense(4 * 4 * 8)(z)).reshape(-1, 4, 4, 8)
        x = nn.relu(nn.ConvTranspose(8, (4, 4), (2, 2))(x))
        return jnp.tanh(nn.ConvTranspose(1, (4, 4), (2, 2))(x))


@pytest.mark.parametrize('num_devices', slow_but([1, 2], 1))
@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'one_stage', 'two_stage'))
def test_accumulation_is_exact_for_means_over_samples(scheme, num_devices):
    results = []
    for accumulate in (1, 4 // num_devices):
        gan, _, _, devices = small.build(num_devices, method='relgan', **SGD)
        gan = dataclasses.replace(gan, generator=PlainG())
        state = model.create(gan, 0)
        update = updates.make_update(
            gan, scheme, state, collectives.collectives_over(devices), accumulate=accumulate
        )
        compiled = parallel.compile_update(update, devices)
        state = parallel.replicate(state, devices)
        for index in range(2):
            state, metrics = compiled(state, parallel.put_batch(small.batch(index), devices))
        results.append((trained(state), metrics))
    (whole, metrics), (parts, metrics_of_parts) = results
    assert models.relative_error(parts, whole) < 1e-6
    chex.assert_trees_all_close(metrics_of_parts, metrics, rtol=1e-4, atol=1e-6)


def test_accumulation_trains_the_presets_and_refuses_constrained_losses():
    state, metrics = small.run_steps(2, method='cgan', accumulate=2)
    chex.assert_tree_all_finite((trained(state), metrics))
    for fields in ({'method': 'fishergan'}, {'top_k': 0.5}):
        with pytest.raises(ValueError, match='is a function of the whole batch'):
            small.build(accumulate=2, **fields)
    with pytest.raises(ValueError, match='multiple of accumulate=3'):
        small.build(accumulate=3)


@pytest.mark.parametrize('method', slow_but(['lsgan', 'sngan', 'cgan'], 'sngan'))
@pytest.mark.parametrize('scheme', slow_but(['one_stage', 'two_stage'], 'one_stage'))
def test_one_concatenated_pass_equals_two(monkeypatch, scheme, method):
    # What accelerators do; convolutions are then XLA's plain ones too.
    apart, _ = small.run_steps(method=method, scheme=scheme, **SGD)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    together, _ = small.run_steps(method=method, scheme=scheme, **SGD)
    assert models.relative_error(trained(together), trained(apart)) < 1e-5


def test_accelerators_keep_a_batch_mixing_discriminators_halves_apart(monkeypatch):
    fields = {'method': 'wgan', 'discriminator_norm': 'batch', 'scheme': 'one_stage', **SGD}
    apart, _ = small.run_steps(**fields)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    on_gpu, _ = small.run_steps(**fields)
    assert models.relative_error(trained(on_gpu), trained(apart)) < 1e-5


@pytest.mark.parametrize(
    ('backend', 'method', 'norm', 'scheme', 'checks'),
    [
        ('gpu', 'lsgan', 'group', 'one_stage', 0),
        ('gpu', 'lsgan', 'group', 'two_stage', 0),
        ('cpu', 'lsgan', 'group', 'one_stage', 0),
        ('gpu', 'wgan', 'batch', 'one_stage', 1),
        ('gpu', 'lsgan', 'batch', 'two_stage', 1),
        ('gpu', 'lsgan', 'batch', 'shared_forward', 0),
        ('cpu', 'wgan', 'batch', 'one_stage', 0),
    ],
)
def test_an_unknown_discriminator_is_checked_at_most_once(
    monkeypatch, backend, method, norm, scheme, checks
):
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    check = mock.Mock(wraps=samplewise.check_samplewise)
    monkeypatch.setattr(samplewise, 'check_samplewise', check)
    small.build(method=method, discriminator_norm=norm, scheme=scheme)
    assert check.call_count == checks


def test_a_discriminator_that_does_not_say_what_it_does_is_checked_by_the_state_it_is_given():
    gan, state, *_ = small.build(method='lsgan', scheme='one_stage')
    unknown = dataclasses.replace(gan, samplewise=False)
    create = mock.Mock(return_value=state)
    updates.make_update(unknown, 'one_stage', create)
    create.assert_called_once_with()
    updates.make_update(gan, 'one_stage', create)
    create.assert_called_once_with()
