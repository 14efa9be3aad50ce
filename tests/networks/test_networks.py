"""Networks: shapes, parameter counts, dtypes, independence of samples."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.layers import norms
from osgan_jax.networks import dcgan
from tests.support import modules
from tests.support.marks import slow_but

BATCH, LATENT, CLASSES = 3, 6, 4
# biggan, stylegan2 and r3gan, each with one normalisation, have tests of their own.
NAMES = [name for name in networks.names() if len(networks.get(name).norms) > 1]
KEY = jax.random.key(0)


def _build(name, image_size, channels=1, num_classes=0, norm='group', width=4, **kwargs):
    return networks.build(
        name,
        networks.NetworkOptions(
            image_size=image_size,
            channels=channels,
            width=width,
            latent_dim=LATENT,
            num_classes=num_classes,
            discriminator_norm=norm,
            **kwargs,
        ),
    )


def _inputs(image_size, channels, num_classes):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(BATCH, LATENT)).astype(np.float32)
    images = rng.uniform(-1, 1, (BATCH, image_size, image_size, channels)).astype(np.float32)
    labels = np.arange(BATCH, dtype=np.int32) % CLASSES if num_classes else None
    return z, images, labels


def _init(module, *args):
    return modules.init(module, KEY, *args, train=False)


def _train(module, variables, *args):
    """Returns the output, and the variables with their new statistics."""
    out, state = modules.apply(module, variables, *args, train=True, mutable='batch_stats')
    return out, {**variables, **state}


def _evaluate(module, variables, *args):
    return modules.apply(module, variables, *args, train=False)


def _count(module, *args):
    shapes = jax.eval_shape(lambda key: module.init(key, *args, train=False), KEY)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))


@pytest.mark.parametrize('num_classes', [0, CLASSES])
@pytest.mark.parametrize('channels', slow_but([1, 3], 3))
@pytest.mark.parametrize(
    ('name', 'image_size'),
    [('dcgan', 32), ('dcgan', 64), ('dcgan', 128), ('resnet_gan', 32), ('resnet_gan', 64)],
)
def test_shapes_and_types(name, image_size, channels, num_classes):
    pair = _build(name, image_size, channels, num_classes, dtype=jnp.bfloat16)
    z, images, labels = _inputs(image_size, channels, num_classes)

    def generate(key, z):
        variables = pair.generator.init(key, z, labels, train=False)
        fake, state = pair.generator.apply(
            variables, z, labels, train=True, mutable=['batch_stats']
        )
        return variables, fake, state

    def judge(key, images):
        variables = pair.discriminator.init(key, images, labels, train=False)
        logits, _ = pair.discriminator.apply(
            variables, images, labels, train=True, mutable=['batch_stats']
        )
        return variables, logits

    variables, fake, state = jax.eval_shape(generate, KEY, z)
    chex.assert_shape(fake, images.shape)
    chex.assert_type(fake, jnp.float32)
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)
    chex.assert_trees_all_equal_shapes(state['batch_stats'], variables['batch_stats'])
    variables, logits = jax.eval_shape(judge, KEY, images)
    chex.assert_shape(logits, (BATCH,))
    chex.assert_type(logits, jnp.float32)
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)


@pytest.mark.parametrize('dtype', slow_but([jnp.float32, jnp.bfloat16], jnp.bfloat16))
@pytest.mark.parametrize('name', NAMES)
def test_images_are_bounded_and_logits_finite(name, dtype):
    pair = _build(name, 32, 3, CLASSES, dtype=dtype)
    z, _, labels = _inputs(32, 3, CLASSES)
    variables = _init(pair.generator, z, labels)
    fake, _ = _train(pair.generator, variables, 100 * z, labels)
    assert float(jnp.abs(fake).max()) <= 1
    variables = _init(pair.discriminator, fake, labels)
    assert jnp.isfinite(_evaluate(pair.discriminator, variables, fake, labels)).all()


@pytest.mark.parametrize(
    ('latent_dim', 'channels', 'generator', 'discriminator'),
    [  # the counts of the one-stage paper's own networks
        (100, 1, 12_656_257, 11_033_985),
        (100, 3, 12_660_355, 11_038_081),
        (128, 3, 13_119_107, 11_038_081),
    ],
)
def test_dcgan_parameter_counts(latent_dim, channels, generator, discriminator):
    pair = networks.build(
        'dcgan', networks.NetworkOptions(image_size=64, channels=channels, latent_dim=latent_dim)
    )
    assert _count(pair.generator, jnp.zeros((1, latent_dim))) == generator
    assert _count(pair.discriminator, jnp.zeros((1, 64, 64, channels))) == discriminator


def test_dcgan_channels():
    assert dcgan.hidden_channels(32, 8) == [8, 16, 32]
    assert dcgan.hidden_channels(64, 8) == [8, 16, 32, 64]
    assert dcgan.hidden_channels(128, 8) == [8, 16, 32, 64, 64]


def _conv(size, inputs, outputs):
    return size * size * inputs * outputs + outputs


@pytest.mark.parametrize(
    ('image_size', 'first', 'blocks'),
    [(32, 256, [256, 256, 256]), (64, 1024, [512, 256, 128, 64])],
)
@pytest.mark.parametrize('num_classes', [0, 10])
def test_resnet_generator_parameter_count(image_size, first, blocks, num_classes):
    def norm(features):
        return 2 * features * max(num_classes, 1)

    expected = (128 + 1) * 16 * first
    before = first
    for features in blocks:
        expected += norm(before) + _conv(3, before, features)
        expected += norm(features) + _conv(3, features, features)
        expected += _conv(1, before, features)
        before = features
    expected += 2 * before + _conv(3, before, 3)
    pair = networks.build(
        'resnet_gan',
        networks.NetworkOptions(image_size, channels=3, latent_dim=128, num_classes=num_classes),
    )
    labels = jnp.zeros((1,), jnp.int32)
    assert _count(pair.generator, jnp.zeros((1, 128)), labels) == expected


@pytest.mark.parametrize(
    ('image_size', 'blocks'),
    [  # input, hidden, output, whether there is a 1x1 shortcut
        (32, [(3, 128, 128, 1), (128, 128, 128, 1), (128, 128, 128, 0), (128, 128, 128, 0)]),
        (
            64,
            [
                (3, 64, 64, 1),
                (64, 64, 128, 1),
                (128, 128, 256, 1),
                (256, 256, 512, 1),
                (512, 512, 1024, 1),
            ],
        ),
    ],
)
@pytest.mark.parametrize('num_classes', [0, 10])
def test_resnet_discriminator_parameter_count(image_size, blocks, num_classes):
    expected = 0
    for inputs, hidden, outputs, shortcut in blocks:
        expected += _conv(3, inputs, hidden) + _conv(3, hidden, outputs)
        expected += shortcut * _conv(1, inputs, outputs)
    expected += outputs + 1 + num_classes * outputs
    pair = networks.build(
        'resnet_gan',
        networks.NetworkOptions(
            image_size=image_size,
            channels=3,
            num_classes=num_classes,
            discriminator_norm='spectral',
        ),
    )
    images = jnp.zeros((1, image_size, image_size, 3))
    assert _count(pair.discriminator, images, jnp.zeros((1,), jnp.int32)) == expected


# Each network with all norms takes the compiler long: of resnet_gan, the one that it is used with.
@pytest.mark.parametrize(
    ('name', 'norm'),
    slow_but(
        [(name, norm) for name in NAMES for norm in norms.NAMES],
        *[('dcgan', norm) for norm in norms.NAMES],
        ('resnet_gan', 'spectral'),
    ),
)
def test_which_discriminators_keep_samples_apart(name, norm):
    pair = _build(name, 32, 1, CLASSES, norm)
    _, images, labels = _inputs(32, 1, CLASSES)
    variables = _init(pair.discriminator, images, labels)

    @jax.jit
    def pulled_back(images):
        def judge(images):
            return pair.discriminator.apply(
                variables, images, labels, train=True, mutable=['batch_stats']
            )[0]

        return jax.vjp(judge, images)[1](jnp.eye(BATCH)[1])[0]

    rows = np.abs(pulled_back(images)).max((1, 2, 3))
    assert rows[1] > 0
    if norm == 'batch':
        assert rows[0] > 1e-6 * rows[1]
    else:
        np.testing.assert_array_equal(rows[[0, 2]], 0)


@pytest.mark.parametrize('name', NAMES)
def test_evaluation_uses_running_statistics(name):
    pair = _build(name, 32, 1)
    z, _, _ = _inputs(32, 1, 0)
    trained, variables = _train(pair.generator, _init(pair.generator, z), z)
    whole = _evaluate(pair.generator, variables, z)
    single = _evaluate(pair.generator, variables, z[:1])
    np.testing.assert_allclose(whole[:1], single, rtol=1e-4, atol=1e-5)
    assert not np.allclose(whole, trained, atol=1e-3)


@pytest.mark.parametrize('norm', ['batch', 'spectral'])
@pytest.mark.parametrize('name', slow_but(NAMES, 'dcgan'))
def test_discriminator_statistics_move_in_training_only(name, norm):
    pair = _build(name, 32, 1, norm=norm)
    _, images, _ = _inputs(32, 1, 0)
    before = _init(pair.discriminator, images)
    _, after = _train(pair.discriminator, before, images)
    moved = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), before['batch_stats'], after['batch_stats']
    )
    assert any(jax.tree.leaves(moved))
    whole = _evaluate(pair.discriminator, after, images)
    single = _evaluate(pair.discriminator, after, images[:1])
    np.testing.assert_allclose(whole[:1], single, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_labels_matter(name):
    pair = _build(name, 32, 1, CLASSES)
    z, images, labels = _inputs(32, 1, CLASSES)
    other = (labels + 1) % CLASSES
    variables = _init(pair.discriminator, images, labels)
    logits = [_evaluate(pair.discriminator, variables, images, y) for y in (labels, other)]
    assert not np.allclose(*logits)
    variables = _init(pair.generator, z, labels)
    # A fresh conditional BatchNorm is the same for all labels; other gains tell them apart.
    rng = np.random.default_rng(0)
    shift = lambda v: v + 0.1 * rng.normal(size=v.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(shift, variables['params'])
    variables = {**variables, 'params': params}
    fakes = [_evaluate(pair.generator, variables, z, y) for y in (labels, other)]
    assert not np.allclose(*fakes)


@pytest.mark.parametrize('name', NAMES)
def test_missing_or_misshapen_inputs(name):
    pair = _build(name, 32, 1, CLASSES)
    z, images, labels = _inputs(32, 1, CLASSES)
    with pytest.raises(ValueError, match='class-conditional'):
        pair.generator.init(KEY, z, train=False)
    with pytest.raises(ValueError, match='class-conditional'):
        pair.discriminator.init(KEY, images, train=False)
    with pytest.raises(ValueError, match='labels'):
        pair.generator.init(KEY, z, labels[:1], train=False)
    with pytest.raises(ValueError, match='latents'):
        pair.generator.init(KEY, z[:, :2], labels, train=False)
    with pytest.raises(ValueError, match='images'):
        pair.discriminator.init(KEY, images[:, :16], labels, train=False)


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        ({'name': 'vgg'}, 'unknown network'),
        ({'image_size': 48}, '48-pixel'),
        ({'norm': 'weight'}, "discriminator_norm='weight': dcgan supports 'group', "),
        ({'width': 0}, 'width'),
        ({'channels': 0}, 'channels'),
        ({'num_classes': -1}, 'num_classes'),
    ],
)
def test_build_errors(change, match):
    with pytest.raises(ValueError, match=match):
        _build(**{'name': 'dcgan', 'image_size': 32, **change})


def test_default_widths():
    default = {name: networks.get(name).width for name in NAMES}
    assert default == {'dcgan': 128, 'resnet_gan': 64}
    pair = networks.build('dcgan', networks.NetworkOptions(image_size=64, channels=3))
    assert pair.generator.width == pair.discriminator.width == 128
