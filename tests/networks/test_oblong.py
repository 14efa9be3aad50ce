"""Networks of oblong images: shapes, refusals, and gradients in one stage equal to two passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import losses, networks, one_stage_grads
from osgan_jax.layers import pooling
from osgan_jax.networks import registry, stylegan2
from tests.support import models
from tests.support.marks import slow_but

BATCH, CLASSES = 3, 2
# The least that each has, with the longer side on either axis.
SIZES = {'dcgan': '16x20', 'resnet_gan': '40x32', 'stylegan2': '8x12', 'r3gan': '16x8'}
OBLONG = [name for name in networks.names() if networks.get(name).oblong]


def _build(name, size, num_classes=0):
    small = {'dcgan': {'width': 2}, 'resnet_gan': {'width': 1}, 'stylegan2': {'width': 4}}
    own = {
        'stylegan2': {'minibatch_deviation': 0, 'mapping_layers': 1},
        'r3gan': {'blocks': 1, 'width': 8},
    }
    norm = 'group' if len(networks.get(name).norms) > 1 else None
    options = networks.NetworkOptions(
        size,
        3,
        latent_dim=5,
        num_classes=num_classes,
        discriminator_norm=norm,
        **small.get(name, {}),
        **own.get(name, {}),
    )
    return networks.build(name, options)


def test_which_networks_are_oblong():
    assert set(SIZES) == set(OBLONG)


@pytest.mark.parametrize('name', OBLONG)
def test_shapes(name):
    for shorter in networks.get(name).image_sizes:
        for shape in ((shorter, 4 * shorter), (5 * shorter // 4, shorter)):
            size = f'{shape[0]}x{shape[1]}'
            if shorter > 64:
                continue  # more blocks of the same kind
            pair = _build(name, size, CLASSES)
            z, labels = jnp.zeros((BATCH, 5)), jnp.zeros(BATCH, jnp.int32)

            def run(key, pair=pair, z=z, labels=labels):
                fake, _ = pair.generator.init_with_output(key, z, labels, train=False)
                logits, _ = pair.discriminator.init_with_output(key, fake, labels, train=False)
                return fake, logits

            fake, logits = jax.eval_shape(run, jax.random.key(0))
            assert fake.shape == (BATCH, *shape, 3)
            assert logits.shape == (BATCH,)


@pytest.mark.parametrize('name', slow_but(OBLONG, 'dcgan', 'r3gan'))
def test_one_stage_equals_two_passes(name):
    pair = _build(name, SIZES[name])
    rng = np.random.default_rng(0)
    height, width = map(int, SIZES[name].split('x'))
    z = rng.normal(size=(BATCH, 5)).astype(np.float32)
    real = rng.uniform(-1, 1, (BATCH, height, width, 3)).astype(np.float32)
    loss = losses.get('least_squares')

    def random_variables(module, *inputs):
        # Also where zeros are drawn, behind which no gradient would be seen.
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))
        draw = lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32)  # noqa: E731
        signed = lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32)  # noqa: E731
        drawn = {name: jax.tree.map(draw, tree) for name, tree in shapes.items()}
        return {**drawn, 'params': jax.tree.map(signed, shapes['params'])}

    of_g, of_d = random_variables(pair.generator, z), random_variables(pair.discriminator, real)

    def apply(module, variables, params, x):
        variables = {**variables, 'params': params}
        return module.apply(variables, x, train=True, mutable=['batch_stats'])[0]

    def generate(params):
        return apply(pair.generator, of_g, params, z), None

    def discriminate(params, fake):
        return tuple(apply(pair.discriminator, of_d, params, x) for x in (real, fake)), None

    def both(params_g, params_d):
        grads, _ = one_stage_grads(loss, generate, discriminate, params_g, params_d)
        fake, _ = generate(params_g)
        of_two = jax.grad(lambda p: loss.discriminator(*discriminate(p, fake)[0]))(params_d)

        def loss_g(params):
            return loss.generator(*discriminate(params_d, generate(params)[0])[0])

        return (grads.generator, grads.discriminator), (jax.grad(loss_g)(params_g), of_two)

    one, two = jax.jit(both)(of_g['params'], of_d['params'])
    for ours, reference in zip(one, two, strict=True):
        assert models.relative_error(ours, reference) < 1e-4
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(reference)) > 1e-6


def test_refusals_name_the_nearest():
    for name, size, message in [
        ('biggan', '32x64', 'biggan has networks of square images alone, and none of 32x64: use '),
        ('dcgan', '16x66', 'dcgan has no 16x66 networks: the shorter side must be one of 16, 32, '),
        ('dcgan', '16x66', 'the nearest is --image_size=16x64'),
        ('resnet_gan', '16x32', 'the nearest is --image_size=32x64'),
        ('stylegan2', '64x100', 'a quarter of it, up to four times it; the nearest is --image_si'),
        ('r3gan', '10x40', 'the nearest is --image_size=8x32'),
    ]:
        with pytest.raises(ValueError, match=message):
            _build(name, size)


def test_stylegan2_counts_and_draws_noise_of_oblong_grids():
    options = stylegan2.SPEC.complete(registry.NetworkOptions('32x64', 3))
    square = stylegan2.SPEC.complete(registry.NetworkOptions(32, 3))
    dense = 8 * 512 * 512 + sum(512 * (512 * (1 if i else 0) + 512 + 512) for i in range(4))
    # Twice the pixels in every convolution; mapping and styles do not see them.
    found, half = (stylegan2.macs(each, 'true') for each in (options, square))
    assert found - 2 * half == -dense
    assert stylegan2.num_styles('32x64') == stylegan2.num_styles(32) == 8
    generator = _build('stylegan2', '8x12').generator
    ws = jnp.zeros((2, generator.num_styles, 5))
    noise = [jnp.ones((4, 6)), jnp.ones((8, 12)), jnp.ones((8, 12))]

    def draw(key):
        variables = generator.init(key, jnp.zeros((2, 5)), train=False)
        return generator.apply(variables, ws, None, noise, method='synthesis')

    assert jax.eval_shape(draw, jax.random.key(0)).shape == (2, 8, 12, 3)


def test_odd_sides_are_halved_to_the_mean_of_what_there_is():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    found = pooling.mean_pool(jnp.asarray(x))
    expected = [
        [x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for j in (0, 1)] for i in range(3)
    ]
    np.testing.assert_allclose(found, np.moveaxis(np.asarray(expected), 2, 0), rtol=1e-5, atol=1e-6)
