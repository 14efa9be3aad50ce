"""R3GAN's networks: the layer list by hand, its start, and that no sample sees another."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.core import samplewise
from osgan_jax.layers import resampling
from osgan_jax.networks import r3gan

KEY = jax.random.key(0)


def build(image_size, channels=3, **options):
    return networks.build('r3gan', networks.NetworkOptions(image_size, channels, **options))


def shapes(pair, image_size, labels=None):
    """Parameters of G and D, without computing any."""
    z, images = jnp.zeros((2, pair.generator.latent_dim)), jnp.zeros((2, image_size, image_size, 3))
    return [
        jax.eval_shape(lambda x=x, m=m: m.init(KEY, x, labels, train=False))['params']
        for m, x in zip(pair, (z, images), strict=True)
    ]


def by_hand(widths, group, classes=0, z=64, blocks=2):
    """FACTS 10's layers: 1x1 to 2C, grouped 3x3 and 1x1 back, two biases; transitions; ends."""
    stages = sum(
        blocks * (2 * c * c + 9 * group * 2 * c + 2 * c * c + 4 * c) for c in widths
    ) + sum(a * b for a, b in itertools.pairwise(widths) if a != b)
    labels = 64 * classes
    inputs = z + (64 if classes else 0)
    generator = 16 * widths[0] + inputs * widths[0] + 3 * widths[-1]
    discriminator = 3 * widths[-1] + 16 * widths[0] + widths[0] * (64 if classes else 1)
    return stages + generator + labels, stages + discriminator + labels


@pytest.mark.parametrize(
    ('image_size', 'options', 'widths'),
    [
        (32, {'num_classes': 10}, [768] * 4),
        (64, {}, [768] * 4 + [384]),
        (256, {}, [768] * 4 + [384, 192, 96]),
        (32, {'num_classes': 1000, 'width': 1536, 'group_channels': 32}, [1536] * 4),
        (
            64,
            {'num_classes': 1000, 'width': 1536, 'group_channels': 32, 'full_width': 64},
            [1536] * 5,
        ),
    ],
    ids=['cifar10', 'ffhq64', 'ffhq256', 'imagenet32', 'imagenet64'],
)
def test_parameters_of_the_published_configurations(image_size, options, widths):
    pair = build(image_size, **options)
    classes = options.get('num_classes', 0)
    labels = jnp.zeros(2, jnp.int32) if classes else None
    found = [
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        for params in shapes(pair, image_size, labels)
    ]
    assert tuple(found) == by_hand(widths, options.get('group_channels', 16), classes)


@pytest.fixture(scope='module')
def small():
    """Two stages of one block, conditional, for 8 pixels."""
    pair = build(8, width=8, blocks=1, num_classes=5, latent_dim=6)
    labels = jnp.array([0, 3, 1])
    z, images = jax.random.normal(KEY, (3, 6)), jax.random.normal(KEY, (3, 8, 8, 3))

    @jax.jit
    def init(key):
        return [m.init(key, x, labels, train=False) for m, x in zip(pair, (z, images), strict=True)]

    # The last layer of a block begins at zero: without noise, blocks would not be seen.
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(KEY, leaf.shape), init(KEY)
    )
    return pair, variables, z, images, labels


def test_images_and_logits(small):
    pair, (vars_g, vars_d), z, images, labels = small
    generate = jax.jit(lambda labels: pair.generator.apply(vars_g, 30 * z, labels, train=True))
    judge = jax.jit(lambda labels: pair.discriminator.apply(vars_d, images, labels, train=True))
    made = generate(labels)
    assert made.shape == (3, 8, 8, 3)
    assert made.dtype == jnp.float32
    assert jnp.abs(made).max() > 1  # no tanh
    logits = judge(labels)
    assert logits.shape == (3,)
    # Labels matter to both.
    assert not np.allclose(made[0], generate(labels[::-1])[0])
    assert not np.allclose(logits[0], judge(labels[::-1])[0])


def test_a_discriminators_samples_do_not_see_each_other(small):
    pair, (_, vars_d), _, images, labels = small

    def discriminate(params, fake):
        both = jnp.concatenate([images, fake])
        logits = pair.discriminator.apply(params, both, jnp.tile(labels, 2), train=True)
        return (logits[:3], logits[3:]), None

    samplewise.check_samplewise(discriminate, vars_d, images)


def test_blocks_begin_as_the_identity_and_weights_as_published():
    pair = build(8, width=64, blocks=1)
    inputs = jnp.zeros((1, 64)), jnp.zeros((1, 8, 8, 3))
    params = jax.jit(
        lambda: [m.init(KEY, x, train=False)['params'] for m, x in zip(pair, inputs, strict=True)]
    )()
    gain = math.sqrt(2 / 1.04) * 2**-0.25  # L = 2 stages of a block
    for each in params:
        block = each['Block_0']
        assert block['Conv_0']['kernel'].shape == (1, 1, 64, 128)
        assert block['Conv_1']['kernel'].shape == (3, 3, 16, 128)
        assert jnp.std(block['Conv_0']['kernel']) == pytest.approx(gain / 8, rel=0.05)
        assert jnp.std(block['Conv_1']['kernel']) == pytest.approx(gain / 12, rel=0.05)
        assert not block['Conv_2']['kernel'].any()
        assert 'bias' not in block['Conv_0']
    generator, discriminator = params
    assert jnp.std(generator['basis']) == pytest.approx(1, rel=0.1)
    assert jnp.std(generator['Dense_0']['kernel']) == pytest.approx(1 / 8, rel=0.05)
    assert jnp.std(discriminator['basis']) == pytest.approx(1 / 4, rel=0.1)
    # With blocks that are the identity, G is its basis, doubled, to colours.
    z = jax.random.normal(KEY, (2, 64))
    weights = z @ generator['Dense_0']['kernel']
    x = resampling.double(generator['basis'] * weights[:, None, None])
    expected = jnp.einsum('nhwc,co->nhwo', x, generator['Conv_0']['kernel'][0, 0])
    found = jax.jit(lambda z: pair.generator.apply({'params': generator}, z, train=False))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_widths():
    assert r3gan.widths(8, 12) == [12, 12]
    assert r3gan.widths(256, 768) == [768, 768, 768, 768, 384, 192, 96]
    assert r3gan.widths(64, 1536, full_width=64) == [1536] * 5
    assert r3gan.widths(16, 8, full_width=4) == [8, 4, 2]
    with pytest.raises(ValueError, match='halves it 3 times; choose a multiple of 8'):
        r3gan.widths(256, 12)
    with pytest.raises(ValueError, match='12 channels of r3gan become 24, which are not groups'):
        shapes(build(8, width=12), 8)
