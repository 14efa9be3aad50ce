"""StyleGAN2 and BigGAN: recipes, options, and a step of each against plain gradients."""

import dataclasses
import fractions

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax import networks
from osgan_jax.core import losses, one_stage
from osgan_jax.core.collectives import ONE_DEVICE, collectives_over
from osgan_jax.gan import config, methods, model, optimisers, updates
from osgan_jax.gan.step_context import StepContext
from osgan_jax.networks import stylegan2
from osgan_jax.runtime import parallel
from tests.support import models, small
from tests.support.marks import slow_but

SGD = {'optimizer': 'sgd', 'learning_rate_g': 0.02, 'learning_rate_d': 0.02, 'beta1': 0.0}
TINY = {'method': 'stylegan2', 'width': 8, 'latent_dim': 8, 'image_size': 8, **SGD}
PLAIN = {'r1': 0.0, 'path_length': 0.0}


def resolve(num_classes=10, **fields):
    return methods.resolve(
        config.TrainConfig(**fields),
        image_size=128,
        channels=3,
        num_classes=num_classes,
        num_examples=100_000,
    )


def test_stylegan2s_recipe():
    resolved = resolve(method='stylegan2', scheme='two_stage', num_classes=0)
    expected = {
        'network': 'stylegan2',
        'loss': 'non_saturating',
        'discriminator_norm': 'none',
        'conditional': False,
        'latent_dim': 512,
        'channel_multiplier': '1',
        'minibatch_deviation': 4,
        'style_mixing': 0.9,
        'batch_size': 32,
        'optimizer': 'adam',
        'learning_rate_g': 2.5e-3,
        'learning_rate_d': 2.5e-3,
        'beta1': 0.0,
        'beta2': 0.99,
        'adam_epsilon': 1e-8,
        # ADA's rule: 0.0002 * 128^2 / 32.
        'r1': 0.1024,
        'r2': 0.0,
        'gradient_penalty': 0.0,
        'penalty_every': 16,
        'path_length': 2.0,
        'path_length_every': 4,
        'orthogonal': 0.0,
        'weight_clip': 0.0,
        'ema_start': 0,
        'decay_factor': 1.0,
    }
    assert {name: getattr(resolved, name) for name in expected} == pytest.approx(expected)


def test_biggans_recipe():
    resolved = resolve(method='biggan', num_steps=100_000)
    expected = {
        'network': 'biggan',
        'loss': 'hinge',
        'discriminator_norm': 'spectral',
        'conditional': True,
        'latent_dim': 120,
        'batch_size': 256,
        'optimizer': 'adam',
        'learning_rate_g': 1e-4,
        'learning_rate_d': 4e-4,
        'beta1': 0.0,
        'beta2': 0.999,
        'adam_epsilon': 1e-6,
        'ema_decay': 0.9999,
        'ema_start': 20_000,
        'r1': 0.0,
        'path_length': 0.0,
        'orthogonal': 0.0,
        'minibatch_deviation': None,
        'style_mixing': None,
    }
    assert {name: getattr(resolved, name) for name in expected} == expected


def test_what_is_asked_for_stands():
    fields = {'r1': 1.0, 'penalty_every': 2, 'beta2': 0.9, 'ema_decay': 0.5, 'latent_dim': 64}
    resolved = resolve(method='stylegan2', **fields, minibatch_deviation=2, style_mixing=0.0)
    assert {name: getattr(resolved, name) for name in fields} == fields
    assert (resolved.minibatch_deviation, resolved.style_mixing) == (2, 0.0)


@pytest.mark.parametrize('method', methods.TABLE1)
def test_table_1_has_no_penalties_and_its_old_optimiser(method):
    resolved = resolve(method=method)
    assert (resolved.beta1, resolved.beta2, resolved.adam_epsilon) == (0.5, 0.999, 1e-8)
    assert (resolved.batch_size, resolved.latent_dim, resolved.ema_decay) == (128, 100, 0.0)
    gan = model.build(resolved, num_classes=10, steps_per_epoch=5)
    assert gan.penalties.names == ()


def test_groups_of_the_deviation_by_scheme():
    groups = {
        scheme: resolve(method='stylegan2', scheme=scheme).minibatch_deviation
        for scheme in config.SCHEMES
    }
    assert groups == {'one_stage': 0, 'two_stage': 4, 'shared_forward': 4}


def test_optimisers_of_the_recipe_are_slowed_for_their_lazy_penalties():
    gan = model.build(resolve(method='stylegan2'), num_classes=0, steps_per_epoch=5)
    params = {'w': jnp.zeros(3)}
    grads = [{'w': jnp.array(x)} for x in ([1.0, -2.0, 0.5], [0.1, 3.0, -0.7])]
    for optimizer, every in ((gan.optimizer_d, 16), (gan.optimizer_g, 4)):
        share = every / (every + 1)
        reference = optax.adam(2.5e-3 * share, b1=0.0, b2=0.99**share)
        found, expected = optimizer.init(params), reference.init(params)
        for each in grads:
            change, found = optimizer.update(each, found, params)
            other, expected = reference.update(each, expected, params)
            chex.assert_trees_all_close(change, other, rtol=1e-5)


def create(resolved):
    """The shapes of a state."""
    gan = model.build(resolved, num_classes=10, steps_per_epoch=5)
    return jax.eval_shape(lambda: model.create(gan, 0))


@pytest.mark.parametrize(
    ('fields', 'match'),
    [
        ({'method': 'dcgan', 'remat': True}, 'dcgan has no remat: leave it out'),
        ({'method': 'dcgan', 'minibatch_deviation': 4}, 'dcgan has no minibatch_deviation'),
        ({'method': 'biggan', 'style_mixing': 0.5}, 'biggan has no style_mixing'),
        ({'method': 'stylegan2', 'discriminator_norm': 'group'}, "supports 'none'"),
        ({'method': 'biggan', 'channel_multiplier': '1/5'}, 'become 19.2;'),
        ({'method': 'dcgan', 'channel_multiplier': '1/256'}, 'become 0.5;'),
        ({'method': 'stylegan2', 'channel_multiplier': '1/512'}, 'no channel left at 128'),
        ({'method': 'dcgan', 'augment': ('color', 'blur')}, "augment='blur'"),
    ],
)
def test_options_that_a_network_has_not(fields, match):
    resolved = resolve(**fields)
    with pytest.raises(ValueError, match=match):
        create(resolved)


@pytest.mark.parametrize(
    ('fields', 'match'),
    [
        *(({'channel_multiplier': x}, f'channel_multiplier={x}: ') for x in ('0', '2', '1/0', 'x')),
        ({'channel_multiplier': '-1/2'}, 'a number above 0 and up to 1'),
        ({'style_mixing': 1.5}, r'style_mixing=1.5: expected a number in \[0, 1\]'),
        ({'ema_decay': 1.0}, r'ema_decay=1.0: expected a number in \[0, 1\)'),
        ({'r1': -1.0}, 'r1=-1.0'),
        ({'path_length': float('nan')}, 'path_length=nan'),
        ({'penalty_every': 0}, 'penalty_every=0'),
        ({'latent_dim': 0}, 'latent_dim=0'),
        ({'method': 'stylegan'}, 'expected one of .*sngan, wgan_gp, sngan_resnet, stylegan2'),
    ],
)
def test_values_out_of_range(fields, match):
    with pytest.raises(ValueError, match=match):
        resolve(**fields)


def test_channel_multipliers_as_text():
    assert config.parse_multiplier('1/2') == config.parse_multiplier('0.5') == 0.5
    assert config.parse_multiplier('1/3') == fractions.Fraction(1, 3)
    resolved = config.TrainConfig(channel_multiplier='1/4')
    assert config.TrainConfig.from_json(resolved.to_json()) == resolved


def count(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))
    return sum(x.size for x in jax.tree.leaves(shapes['params']))


def counts(name, size, multiplier, num_classes=0):
    options = networks.NetworkOptions(
        image_size=size,
        channels=3,
        channel_multiplier=config.parse_multiplier(multiplier),
        num_classes=num_classes,
    )
    pair = networks.build(name, options)
    z = jnp.zeros((2, networks.get(name).latent_dim(size)))
    labels = (jnp.zeros(2, jnp.int32),) if num_classes else ()
    images = jnp.zeros((2, size, size, 3))
    return count(pair.generator, z, *labels), count(pair.discriminator, images, *labels)


# Of multipliers 1, 1/2, 1/4, 1/8.
STYLEGAN2 = {
    1024: (
        (30_370_060, 29_012_513),
        (11_064_988, 7_256_081),
        (5_392_036, 1_815_497),
        (3_550_456, 454_613),
    ),
    256: (
        (30_034_338, 28_864_129),
        (10_931_682, 7_219_009),
        (5_334_018, 1_806_241),
        (3_523_602, 452_305),
    ),
}


@pytest.mark.slow  # the report of sizes has the same counts
@pytest.mark.parametrize('size', STYLEGAN2)
def test_multiplied_stylegan2(size):
    found = [counts('stylegan2', size, text) for text in ('1', '1/2', '0.25', '1/8')]
    assert found == list(STYLEGAN2[size])


@pytest.mark.slow
def test_multiplied_biggan_keeps_its_discriminator():
    # The generators of DGL-GAN's Table 3, of 96, 48, 32 and 24 channels a unit.
    generators = (70_433_988, 18_383_460, 8_543_300, 5_031_348)
    found = [counts('biggan', 128, text, num_classes=1000) for text in ('1', '1/2', '1/3', '1/4')]
    assert found == [(generator, 87_982_370) for generator in generators]


@pytest.mark.parametrize(('name', 'size', 'blocks'), [('stylegan2', 16, 2), ('biggan', 32, 4)])
def test_remat_computes_blocks_again(name, size, blocks):
    # The CPU's compiler merges both computations again: memory shows on accelerators alone.
    options = networks.NetworkOptions(
        image_size=size, channels=1, width=2, latent_dim=8, remat=True
    )
    pair = networks.build(name, options)

    def barriers(module):
        images = jnp.zeros((4, size, size, 1))
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))

        def total(variables):
            logits, _ = module.apply(variables, images, train=True, mutable=['batch_stats'])
            return jnp.sum(logits)

        lowered = jax.jit(jax.grad(total)).lower(variables)
        return lowered.as_text().count('optimization_barrier')

    assert barriers(pair.discriminator) >= blocks
    assert barriers(pair.discriminator.clone(remat=False)) == 0


def build(num_devices=1, mapping_layers=1, **fields):
    """`small.build` with a short mapping network, and batches of the size."""
    resolved = small.resolve(small.make_config(**{**TINY, **fields}))
    devices = jax.local_devices()[:num_devices]
    collectives = collectives_over(devices)
    gan = model.build(
        resolved,
        num_classes=small.CLASSES,
        steps_per_epoch=5,
        axis_name=collectives.axis_name,
    )
    if resolved.network == 'stylegan2':
        generator = gan.generator.clone(mapping_layers=mapping_layers)
        gan = dataclasses.replace(gan, generator=generator)
    state = model.create(gan, 0)
    # Noise that is seen.
    params_g = jax.tree.map(lambda x: x + 0.3 if x.shape == () else x, state.params_g)
    state = state.replace(params_g=params_g)
    update = updates.make_update(gan, resolved.scheme, state, collectives)
    return (
        gan,
        parallel.replicate(state, devices),
        parallel.compile_update(update, devices),
        devices,
    )


def make_batch(gan, index=0):
    rng = np.random.default_rng(index)
    images = rng.uniform(-1, 1, (small.BATCH, *gan.image_shape)).astype(np.float32)
    return {'image': images, 'label': (np.arange(small.BATCH) % small.CLASSES).astype(np.int32)}


def run(count, num_devices=1, **fields):
    gan, state, update, devices = build(num_devices, **fields)
    for index in range(count):
        state, metrics = update(state, parallel.put_batch(make_batch(gan, index), devices))
    return state, metrics


def trained(state):
    return (state.params_g, state.params_d, state.stats_g, state.stats_d)


def stylegan2s_gradients(gan, state, images):
    """Gradients of L_G and L_D, each by itself, from one z and one draw of noise and styles."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), 0)
    z = jax.random.normal(key, (small.BATCH, gan.latent_dim))
    rngs = {'style': jax.random.fold_in(key, 1)}

    def generate(params):
        variables = {'params': params, **state.stats_g}
        return gan.generator.apply(variables, z, train=True, mutable=['batch_stats'], rngs=rngs)[0]

    def judge(params, images):
        return gan.discriminator.apply({'params': params}, images, train=True)

    def loss_g(params):
        return jnp.mean(jax.nn.softplus(-judge(state.params_d, generate(params))))

    def loss_d(params):
        fake = jax.nn.softplus(judge(params, generate(state.params_g)))
        return jnp.mean(fake + jax.nn.softplus(-judge(params, images)))

    return jax.grad(loss_g)(state.params_g), jax.grad(loss_d)(state.params_d)


@pytest.mark.slow
def test_one_stage_stylegan2_equals_separate_gradients():
    # A step so long that it is not lost in the rounding of the mapping network's weights.
    rate = 100.0
    gan, state, update, devices = build(**PLAIN, learning_rate_g=rate, learning_rate_d=rate)
    batch = make_batch(gan)
    of_g, of_d = jax.jit(lambda s, x: stylegan2s_gradients(gan, s, x))(state, batch['image'])
    before = jax.tree.map(jnp.copy, (state.params_g, state.params_d))
    new, metrics = update(state, parallel.put_batch(batch, devices))
    expected = jax.tree.map(lambda p, g: p - rate * g, before, (of_g, of_d))
    for network, old in zip(expected, before, strict=True):
        assert models.relative_error(network, old) > 0.01
    assert models.relative_error(new.params_g, expected[0]) < 1e-6
    assert models.relative_error(new.params_d, expected[1]) < 1e-6
    # Mixed styles and noise are trained through.
    strengths = [g for g in jax.tree.leaves(of_g['synthesis_network']) if g.shape == ()]
    assert min(abs(float(g)) for g in strengths) > 1e-6
    assert optax.tree.norm(of_g['mapping_network']) > 1e-4
    chex.assert_tree_all_finite(metrics)


def test_ws_average_is_copied_and_not_averaged_again():
    """It is an average already: that of an average lags behind twice."""
    fields = {**TINY, **PLAIN, 'ema_decay': 0.9}
    resolved = small.resolve(small.make_config(**fields))
    gan = model.build(resolved, num_classes=0, steps_per_epoch=5)
    state = model.create(gan, 0)
    moved = jnp.arange(8.0)
    state = state.replace(
        step=jnp.int32(1000),
        stats_g={'batch_stats': {'w_average': moved}},
        params_g=jax.tree.map(lambda x: np.asarray(x) + 1, state.params_g),
    )
    context = StepContext(gan, ONE_DEVICE)
    averaged = jax.jit(lambda state: optimisers._average(context, state).ema_g)(state)
    np.testing.assert_array_equal(averaged['batch_stats']['w_average'], moved)
    before = jax.device_get(state.ema_g['params'])
    chex.assert_trees_all_close(
        averaged['params'], jax.tree.map(lambda x: x + 0.1, before), atol=1e-6
    )
    assert jax.tree.structure(averaged) == jax.tree.structure(state.ema_g)


@pytest.mark.slow
@pytest.mark.parametrize('scheme', config.SCHEMES)
def test_stylegan2_trains(scheme):
    # Through its penalties, again after as many steps as lie between two for paths.
    state, metrics = run(5, scheme=scheme, image_size=16)
    chex.assert_tree_all_finite((trained(state), state.ema_g, metrics))
    assert {'penalty_d', 'penalty_g', 'path_length'} <= set(metrics)
    assert float(metrics['penalty_d']) > 0
    assert float(metrics['path_length']) > 0
    average = state.stats_g['batch_stats']['w_average']
    assert float(jnp.abs(average).max()) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('scheme', config.SCHEMES)
def test_stylegan2_on_four_devices_equals_one(scheme):
    # Groups of the deviation are of a device's samples, and none here; paths are of half of them.
    fields = {'scheme': scheme, 'path_length': 0.0, 'penalty_every': 2, 'minibatch_deviation': 0}
    one, metrics = run(3, **fields)
    four, metrics_four = run(3, 4, **fields)
    assert models.relative_error(trained(four), trained(one)) < 1e-5
    assert models.relative_error(four.ema_g, one.ema_g) < 1e-5
    strengths = [x for x in jax.tree.leaves(one.params_g) if x.shape == ()]
    assert all(abs(float(x) - 0.3) > 1e-6 for x in strengths)
    chex.assert_trees_all_close(metrics_four, metrics, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('scheme', ['two_stage', 'one_stage'])
def test_remat_changes_no_stylegan2_update(scheme):
    kept, _ = run(2, scheme=scheme)
    again, _ = run(2, scheme=scheme, remat=True)
    assert models.relative_error(trained(again), trained(kept)) < 1e-5


@pytest.mark.slow
def test_conditional_stylegan2():
    state, metrics = run(2, conditional=True, **PLAIN)
    chex.assert_tree_all_finite((trained(state), metrics))
    assert 'embedding' in state.params_g['mapping_network']


BIGGAN = {'method': 'biggan', 'image_size': 32, 'width': 2, 'latent_dim': 12, **SGD}


@pytest.mark.slow
def test_one_stage_biggan_equals_shared_forward():
    one, metrics = run(2, **BIGGAN)
    shared, _ = run(2, scheme='shared_forward', **BIGGAN)
    assert models.relative_error(trained(shared), trained(one)) < 1e-5
    chex.assert_tree_all_finite(metrics)
    assert one.params_g['embedding']['embedding'].shape == (small.CLASSES, 128)


@pytest.mark.slow
def test_remat_changes_no_biggan_update():
    kept, _ = run(2, **BIGGAN, orthogonal=1e-4)
    again, _ = run(2, **BIGGAN, orthogonal=1e-4, remat=True)
    assert models.relative_error(trained(again), trained(kept)) < 1e-5


def test_one_stage_refuses_a_discriminator_of_groups():
    sentence = r'treats samples one by one.*Use shared_forward'
    with pytest.raises(ValueError, match=sentence) as caught:
        build(**PLAIN, minibatch_deviation=4)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('size', slow_but([2, 4], 4))
def test_the_ratio_of_a_sample_would_be_wrong_within_groups(size):
    # What the refusal is for, where samples of a group are all fake.
    module = stylegan2.Discriminator(8, 1, base_channels=256, max_channels=8)
    loss = losses.get('non_saturating')
    real, fake = 0.5 * jax.random.normal(jax.random.key(0), (2, 8, 8, 8, 1))
    params_d = jax.jit(lambda: module.init(jax.random.key(1), real, train=False))()

    def gradients(grads_of, group):
        def discriminate(params, fake):
            judge = module.clone(stddev_group=group)
            return tuple(judge.apply(params, x, train=True) for x in (real, fake)), None

        # A generator whose parameters are the images: its gradient is what leaves D.
        generate = lambda images: (images, None)  # noqa: E731
        return grads_of(loss, generate, discriminate, fake, params_d)[0]

    errors = {}
    for group in (1, size):
        one, exact = (
            jax.jit(gradients, static_argnums=(0, 1))(grads_of, group)
            for grads_of in (one_stage.one_stage_grads, one_stage.shared_forward_grads)
        )
        assert models.relative_error(one.discriminator, exact.discriminator) < 1e-5
        errors[group] = models.relative_error(one.generator, exact.generator)
    # Alone in its group a sample sees itself.
    assert errors[1] < 1e-5
    assert errors[size] > 1e-3
