"""StyleGAN2: published sizes, styles where they belong, samples that see each other or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.networks import stylegan2

# Of multipliers 1, 1/2, 1/4, 1/8.
GENERATORS = {
    1024: (30_370_060, 11_064_988, 5_392_036, 3_550_456),
    256: (30_034_338, 10_931_682, 5_334_018, 3_523_602),
}
DISCRIMINATORS = {
    1024: (29_012_513, 7_256_081, 1_815_497, 454_613),
    256: (28_864_129, 7_219_009, 1_806_241, 452_305),
}
GMACS = {1024: (74.27, 18.63, 4.69, 1.19), 256: (45.12, 11.30, 2.84, 0.72)}
MULTIPLIERS = (1.0, 0.5, 0.25, 0.125)
SMALL = {'w_dim': 12, 'latent_dim': 12, 'base_channels': 128, 'max_channels': 16}


def count(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))
    return sum(x.size for x in jax.tree.leaves(shapes['params']))


@pytest.mark.parametrize('size', GENERATORS)
def test_published_sizes(size):
    for index, multiplier in enumerate(MULTIPLIERS):
        made = stylegan2.Generator(size, channel_multiplier=multiplier)
        judge = stylegan2.Discriminator(size, channel_multiplier=multiplier)
        assert count(made, jnp.zeros((2, 512))) == GENERATORS[size][index]
        assert count(judge, jnp.zeros((4, size, size, 3))) == DISCRIMINATORS[size][index]
        gmacs = stylegan2.macs(size, multiplier) / 1e9
        assert gmacs == pytest.approx(GMACS[size][index], abs=0.006)


@pytest.fixture(scope='module')
def small():
    module = stylegan2.Generator(32, mapping_layers=2, **SMALL)
    z = jax.random.normal(jax.random.key(1), (4, 12))
    variables = module.init(jax.random.key(0), z, train=False)
    # Noise that is seen, an average that is none of the w.
    params = jax.tree.map(lambda x: x + 0.3 if x.shape == () else x, variables['params'])
    stats = {'w_average': 0.1 * jnp.arange(12.0)}
    return module, {'params': params, 'batch_stats': stats}, z


def test_inference_is_the_same_every_time(small):
    module, variables, z = small
    first = module.apply(variables, z, train=False)
    assert first.shape == (4, 32, 32, 3)
    assert first.dtype == jnp.float32
    np.testing.assert_array_equal(first, module.apply(variables, z, train=False))
    # Sample by sample: no image depends on its neighbours, but for where its noise lies.
    w = module.apply(variables, z, method='mapping')
    ws = module.apply(variables, w, method='styles')
    assert ws.shape == (4, stylegan2.num_styles(32), 12)
    np.testing.assert_allclose(module.apply(variables, ws, method='synthesis'), first, atol=1e-5)
    other = module.apply(variables, ws, jax.random.key(5), method='synthesis')
    assert np.abs(other - first).max() > 1e-2


def test_truncation_moves_towards_the_average(small):
    module, variables, z = small
    w = module.apply(variables, z, method='mapping')
    average = variables['batch_stats']['w_average']
    styles = lambda *arguments: module.apply(variables, w, *arguments, method='styles')  # noqa: E731
    np.testing.assert_allclose(styles(1.0)[:, 3], w, atol=1e-6)
    np.testing.assert_allclose(styles(0.0)[1, 5], average, atol=1e-6)
    half = styles(0.5, 3)
    np.testing.assert_allclose(half[:, 2], (w + average) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(half[:, 3], w, atol=1e-6)


def test_training_averages_w_and_mixes_styles(small):
    module, variables, z = small

    def train(**rngs):
        return module.apply(variables, z, train=True, mutable=['batch_stats'], rngs=rngs)

    images, mutated = train()
    np.testing.assert_allclose(images, module.apply(variables, z, train=False), atol=1e-5)
    mean = module.apply(variables, z, method='mapping').mean(0)
    expected = 0.995 * variables['batch_stats']['w_average'] + 0.005 * mean
    np.testing.assert_allclose(mutated['batch_stats']['w_average'], expected, rtol=1e-5)
    mixed, again = train(style=jax.random.key(0)), train(style=jax.random.key(0))
    np.testing.assert_array_equal(mixed[0], again[0])
    assert np.abs(mixed[0] - images).max() > 1e-2
    np.testing.assert_allclose(mixed[1]['batch_stats']['w_average'], expected, rtol=1e-5)


def test_a_later_style_leaves_earlier_grids_alone(small):
    module, variables, z = small
    ws = module.apply(variables, module.apply(variables, z, method='mapping'), method='styles')
    changed = ws.at[:, -1].add(1.0)

    def features(ws):
        _, state = module.apply(
            variables, ws, method='synthesis', capture_intermediates=True, mutable=['intermediates']
        )
        return state['intermediates']['draw']

    before, after = features(ws), features(changed)
    for index in range(2):
        name = f'block_{index}'
        for a, b in zip(
            jax.tree.leaves(before[name]['__call__']),
            jax.tree.leaves(after[name]['__call__']),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    # The last style is that of the last image alone.
    (x, image), (y, other) = before['block_2']['__call__'][0], after['block_2']['__call__'][0]
    np.testing.assert_array_equal(x, y)
    assert np.abs(image - other).max() > 1e-3


def test_path_length_has_a_gradient(small):
    # Second order through modulation: the gradient of the norm of a gradient.
    module, variables, z = small
    noise = jax.random.normal(jax.random.key(2), (4, 32, 32, 3)) / 32

    def penalty(params):
        w = module.apply({**variables, 'params': params}, z, method='mapping')

        def drawn(w):
            own = {**variables, 'params': params}
            ws = module.apply(own, w, method='styles')
            return (module.apply(own, ws, method='synthesis') * noise).sum()

        return jnp.sqrt((jax.grad(drawn)(w) ** 2).sum(-1)).mean()

    gradient = jax.jit(jax.grad(penalty))(variables['params'])
    leaves = jax.tree.leaves(gradient)
    assert all(np.isfinite(x).all() for x in leaves)
    assert max(np.abs(x).max() for x in leaves) > 1e-6


@pytest.mark.parametrize(('group', 'classes'), [(0, 3), (4, 0)])
def test_who_sees_whom(group, classes):
    module = stylegan2.Discriminator(
        8, base_channels=16, max_channels=8, num_classes=classes, stddev_group=group
    )
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    labels = jnp.array([0, 1, 2, 0]) if classes else None
    variables = module.init(jax.random.key(1), images, labels, train=False)

    def discriminate(params, fake):
        judge = lambda x: module.apply({'params': params}, x, labels, train=True)  # noqa: E731
        return (judge(images), judge(fake)), None

    if group:
        with pytest.raises(ValueError, match='another fake sample'):
            osgan_jax.check_samplewise(discriminate, variables['params'], images + 1)
    else:
        osgan_jax.check_samplewise(discriminate, variables['params'], images + 1)


def test_labels_reach_the_images():
    module = stylegan2.Generator(8, mapping_layers=2, num_classes=3, **SMALL)
    z = jnp.ones((2, 12))
    variables = module.init(jax.random.key(0), z, jnp.array([0, 1]), train=False)
    images = module.apply(variables, z, jnp.array([0, 2]), train=False)
    w = module.apply(variables, z, jnp.array([0, 2]), method='mapping')
    assert np.abs(w[0] - w[1]).max() > 1e-3
    assert np.abs(images[0] - images[1]).max() > 1e-4
    with pytest.raises(ValueError, match='class-conditional'):
        module.apply(variables, z, train=False)


def test_rematerialised_blocks_change_no_gradient(small):
    _, variables, z = small
    gradients = []
    for remat in (False, True):
        module = stylegan2.Generator(32, mapping_layers=2, remat=remat, **SMALL)
        loss = lambda p, m=module: (m.apply({**variables, 'params': p}, z, train=False) ** 2).sum()  # noqa: E731
        gradients.append(jax.jit(jax.grad(loss))(variables['params']))
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
