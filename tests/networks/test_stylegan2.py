"""StyleGAN2: published sizes, styles where they belong, samples that see each other or do not."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.layers import style as style_layers
from osgan_jax.networks import inference, style_blocks, stylegan2
from tests.support import modules
from tests.support.marks import slow_but

# Of multipliers 1, 1/2, 1/4, 1/8.
GENERATORS = {
    1024: (30_370_060, 11_064_988, 5_392_036, 3_550_456),
    256: (30_034_338, 10_931_682, 5_334_018, 3_523_602),
}
DISCRIMINATORS = {
    1024: (29_012_513, 7_256_081, 1_815_497, 454_613),
    256: (28_864_129, 7_219_009, 1_806_241, 452_305),
}
# FACTS of what is computed, and tables 2 and 3 of DGL-GAN.
GMACS = {1024: (74.27, 18.63, 4.69, 1.19), 256: (45.12, 11.30, 2.84, 0.72)}
PAPERS_GMACS = {1024: (142.02, 35.61, 8.97, 2.28), 256: (83.79, 20.99, 5.28, 1.34)}
MULTIPLIERS = (1.0, 0.5, 0.25, 0.125)
SMALL = {'w_dim': 12, 'latent_dim': 12, 'base_channels': 128, 'max_channels': 16}


def count(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))
    return sum(x.size for x in jax.tree.leaves(shapes['params']))


@pytest.mark.parametrize('size', slow_but(GENERATORS, 256))
def test_published_sizes(size):
    for index, multiplier in enumerate(MULTIPLIERS):
        made = stylegan2.Generator(size, channel_multiplier=multiplier)
        judge = stylegan2.Discriminator(size, channel_multiplier=multiplier)
        assert count(made, jnp.zeros((2, 512))) == GENERATORS[size][index]
        assert count(judge, jnp.zeros((4, size, size, 3))) == DISCRIMINATORS[size][index]
        options = networks.NetworkOptions(size, 3, 512, multiplier, latent_dim=512)
        options = stylegan2.SPEC.complete(options)
        gmacs = stylegan2.macs(options, 'true') / 1e9
        assert round(gmacs, 2) == GMACS[size][index]
        gmacs = stylegan2.macs(options, 'paper') / 1e9
        assert gmacs == pytest.approx(PAPERS_GMACS[size][index], abs=0.0051)


@pytest.fixture(scope='module')
def small():
    module = stylegan2.Generator(32, mapping_layers=2, **SMALL)
    z = jax.random.normal(jax.random.key(1), (4, 12))
    variables = modules.init(module, jax.random.key(0), z, train=False)
    # Noise that is seen, an average that is none of the w.
    params = jax.tree.map(lambda x: x + 0.3 if x.shape == () else x, variables['params'])
    stats = {'w_average': 0.1 * jnp.arange(12.0)}
    return module, {'params': params, 'batch_stats': stats}, z


@pytest.mark.slow
def test_inference_is_the_same_every_time(small):
    module, variables, z = small
    first = modules.apply(module, variables, z, train=False)
    assert first.shape == (4, 32, 32, 3)
    assert first.dtype == jnp.float32
    np.testing.assert_array_equal(first, modules.apply(module, variables, z, train=False))
    # No image depends on its neighbours.
    np.testing.assert_allclose(
        modules.apply(module, variables, z[2:3], train=False), first[2:3], atol=1e-5
    )
    w = modules.apply(module, variables, z, method='mapping')
    ws = modules.apply(module, variables, w, method='styles')
    assert ws.shape == (4, stylegan2.num_styles(32), 12)
    np.testing.assert_allclose(
        modules.apply(module, variables, ws, method='synthesis'), first, atol=1e-5
    )
    other = modules.apply(module, variables, ws, jax.random.key(5), method='synthesis')
    assert np.abs(other - first).max() > 1e-2


def test_noise_is_drawn_for_each_image_where_a_key_is_given():
    """As its authors' metrics do; a sheet of one path keeps it."""
    module = stylegan2.Generator(8, mapping_layers=1, **SMALL)
    z = jax.random.normal(jax.random.key(1), (4, 12))
    variables = modules.init(module, jax.random.key(0), z, train=False)
    params = jax.tree.map(lambda x: x + 0.3 if x.shape == () else x, variables['params'])
    variables = {**variables, 'params': params}
    draw = inference.compile_generator(module)
    fixed = draw(variables, z, None)
    np.testing.assert_array_equal(draw(variables, z, None), fixed)
    one, again, other = (draw(variables, z, None, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    for images in (one, other):
        assert np.abs(images - fixed).max(axis=(1, 2, 3)).min() > 1e-2
    assert np.abs(one - other).max(axis=(1, 2, 3)).min() > 1e-2
    # It depends on the key and an image's own z, not on its place.
    np.testing.assert_allclose(
        draw(variables, z[::-1], None, jax.random.key(0))[::-1], one, atol=1e-5
    )


def test_noise_is_each_samples_own_however_a_program_rounds_its_z():
    module = stylegan2.Generator(8, mapping_layers=1, **SMALL)
    z = jax.random.normal(jax.random.key(5), (4096, 12))
    variables = modules.init(module, jax.random.key(0), z[:2], train=False)

    @jax.jit
    def draw(z):
        rngs = {'style': jax.random.key(7)}
        _, keys = module.apply(variables, z, train=False, method='draw_styles', rngs=rngs)
        return jax.random.key_data(keys)

    keys, rounded = np.asarray(draw(z)), np.asarray(draw(jnp.nextafter(z, jnp.inf)))
    assert len(np.unique(keys, axis=0)) == len(z)
    # A number in 2^16 is at the edge of those that are told apart.
    assert np.mean(np.any(keys != rounded, axis=1)) < 2e-3
    # Of a latent of one number, too.
    alone = stylegan2.Generator(8, mapping_layers=1, **{**SMALL, 'latent_dim': 1})
    variables = modules.init(alone, jax.random.key(0), z[:2, :1], train=False)
    rngs = {'style': jax.random.key(7)}
    images = alone.apply(variables, z[:2, :1], train=False, rngs=rngs)
    assert images.shape == (2, 8, 8, 3)


def test_truncation_moves_towards_the_average(small):
    module, variables, z = small
    w = modules.apply(module, variables, z, method='mapping')
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
        return modules.apply(module, variables, z, train=True, mutable='batch_stats', rngs=rngs)

    images, mutated = train()
    np.testing.assert_allclose(images, modules.apply(module, variables, z, train=False), atol=1e-5)
    mean = modules.apply(module, variables, z, method='mapping').mean(0)
    expected = 0.995 * variables['batch_stats']['w_average'] + 0.005 * mean
    np.testing.assert_allclose(mutated['batch_stats']['w_average'], expected, rtol=1e-5)
    mixed, again = train(style=jax.random.key(0)), train(style=jax.random.key(0))
    np.testing.assert_array_equal(mixed[0], again[0])
    assert np.abs(mixed[0] - images).max() > 1e-2
    np.testing.assert_allclose(mixed[1]['batch_stats']['w_average'], expected, rtol=1e-5)


def test_a_second_style_from_a_random_layer_on(small):
    module, variables, _ = small
    module = module.clone(style_mixing=0.75)
    n, count = 4000, stylegan2.num_styles(32)
    ws = jnp.zeros((n, count, 12))
    mixed = modules.apply(module, variables, ws, jnp.ones((n, 12)), jax.random.key(0), method='mix')
    assert not mixed[:, 0].any()
    assert set(np.unique(mixed)) == {0.0, 1.0}
    np.testing.assert_array_equal(mixed.min(-1), mixed.max(-1))
    rows = np.asarray(mixed[:, :, 0])
    np.testing.assert_array_equal(rows, np.sort(rows, axis=1))
    # 3/4 of samples mix, from each layer but the first equally often: 3 standard deviations.
    starts = count - rows.sum(1)
    shares = [(starts == layer).mean() for layer in range(1, count + 1)]
    expected = [0.75 / (count - 1)] * (count - 1) + [0.25]
    np.testing.assert_allclose(shares, expected, atol=3 * np.sqrt(0.2 / n))


@pytest.mark.slow
def test_without_mixing_training_draws_noise_alone(small):
    module, variables, z = small
    module = module.clone(style_mixing=0.0)
    rngs = {'style': jax.random.key(3)}
    images, _ = modules.apply(module, variables, z, train=True, mutable='batch_stats', rngs=rngs)
    np.testing.assert_allclose(
        images, modules.apply(module, variables, z, train=False, rngs=rngs), rtol=1e-5, atol=1e-5
    )
    silent = jax.tree.map(lambda x: 0 * x if x.shape == () else x, variables['params'])
    silent = {**variables, 'params': silent}
    images, _ = modules.apply(module, silent, z, train=True, mutable='batch_stats', rngs=rngs)
    np.testing.assert_allclose(images, modules.apply(module, silent, z, train=False), atol=1e-5)


def test_average_is_shared_over_devices(small):
    module, variables, z = small

    def stats(module, z):
        return module.apply(variables, z, train=True, mutable=['batch_stats'])[1]

    whole = jax.jit(stats, static_argnums=0)(module, z)
    mapped = jax.vmap(lambda z: stats(module.clone(axis_name='i'), z), axis_name='i')
    parts = jax.jit(mapped)(z.reshape(2, 2, -1))
    for part in range(2):
        np.testing.assert_allclose(
            parts['batch_stats']['w_average'][part], whole['batch_stats']['w_average'], rtol=1e-5
        )


def test_a_later_style_leaves_earlier_grids_alone(small):
    module, variables, z = small
    ws = modules.apply(
        module, variables, modules.apply(module, variables, z, method='mapping'), method='styles'
    )
    changed = ws.at[:, -1].add(1.0)

    def features(ws):
        _, state = modules.apply(
            module,
            variables,
            ws,
            method='synthesis',
            capture_intermediates=True,
            mutable='intermediates',
        )
        return state['intermediates']['synthesis_network']

    before, after = features(ws), features(changed)
    for grid in (8, 16):
        name = f'block_{grid}'
        for a, b in zip(
            jax.tree.leaves(before[name]['__call__']),
            jax.tree.leaves(after[name]['__call__']),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    # The last style is that of the last image alone.
    (x, image), (y, other) = before['block_32']['__call__'][0], after['block_32']['__call__'][0]
    np.testing.assert_array_equal(x, y)
    assert np.abs(image - other).max() > 1e-3


@pytest.mark.slow
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
    variables = modules.init(module, jax.random.key(1), images, labels, train=False)

    @jax.jit
    def discriminate(params, fake):
        judge = lambda x: module.apply({'params': params}, x, labels, train=True)  # noqa: E731
        return (judge(images), judge(fake)), None

    if group:
        with pytest.raises(ValueError, match='another fake sample'):
            osgan_jax.check_samplewise(discriminate, variables['params'], images + 1)
    else:
        osgan_jax.check_samplewise(discriminate, variables['params'], images + 1)


def test_parts_of_a_batch_are_judged_apart():
    module = stylegan2.Discriminator(8, base_channels=16, max_channels=8, stddev_splits=2)
    images = jax.random.normal(jax.random.key(0), (8, 8, 8, 3))
    variables = modules.init(module, jax.random.key(1), images, train=False)
    judge = jax.jit(
        lambda x, splits: module.clone(stddev_splits=splits).apply(variables, x, train=True),
        static_argnums=1,
    )
    together, halves = judge(images, 2), [judge(x, 1) for x in jnp.split(images, 2)]
    np.testing.assert_allclose(together, np.concatenate(halves), rtol=1e-4, atol=1e-5)


def test_widths():
    assert [stylegan2.features(grid) for grid in (4, 64, 128, 1024)] == [512, 512, 256, 32]
    assert stylegan2.features(4, 1 / 3) == 170
    assert stylegan2.features(32, 0.5, base=512, most=64) == 16
    with pytest.raises(ValueError, match='no channel left at 1024 pixels'):
        stylegan2.features(1024, 1 / 64)
    with pytest.raises(ValueError, match='no 48-pixel networks'):
        stylegan2.Generator(48).init(jax.random.key(0), jnp.zeros((1, 512)), train=False)
    with pytest.raises(ValueError, match="convention='x'"):
        stylegan2.macs(networks.NetworkOptions(32, 3, 512, latent_dim=512), 'x')


def test_bfloat16_keeps_parameters_images_and_logits_float32(small):
    _, variables, z = small
    module = stylegan2.Generator(32, mapping_layers=2, dtype=jnp.bfloat16, **SMALL)
    fresh = jax.eval_shape(lambda: module.init(jax.random.key(0), z, train=False))
    assert {x.dtype for x in jax.tree.leaves(fresh)} == {jnp.dtype('float32')}
    images = jax.eval_shape(lambda: module.apply(variables, z, train=False))
    assert images.dtype == jnp.float32
    judge = stylegan2.Discriminator(32, base_channels=128, dtype=jnp.bfloat16)
    logits, fresh = jax.eval_shape(
        lambda: judge.init_with_output(jax.random.key(0), jnp.zeros((4, 32, 32, 3)), train=False)
    )
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(fresh)} == {jnp.dtype('float32')}


class Torch:
    """Both networks written with torch: a kernel for each sample, zeros between pixels."""

    def __init__(self, variables):
        import torch

        self.torch, self.functional = torch, torch.nn.functional
        self.params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), variables['params'])
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.filter = torch.outer(taps, taps) / 64

    def act(self, x):
        return 2**0.5 * self.functional.leaky_relu(x, 0.2)

    def unit(self, x):
        return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()

    def dense(self, x, p, rate=1.0):
        return x @ p['kernel'] * (rate / x.shape[1] ** 0.5) + p['bias'] * rate

    def upfirdn(self, x, up=1, down=1, pads=(0, 0), gain=1.0):
        n, c, h, w = x.shape
        wide = x.new_zeros(n, c, h * up, w * up)
        wide[:, :, ::up, ::up] = x
        wide = self.functional.pad(wide, pads * 2)
        kernel = gain * self.filter.expand(c, 1, 4, 4)
        return self.functional.conv2d(wide, kernel, stride=down, groups=c)

    def kernel(self, p):
        kernel = p['kernel'].permute(3, 2, 0, 1)
        return kernel / kernel[0].numel() ** 0.5

    def mapping(self, p, x):
        for index in range(len([name for name in p if 'dense' in name])):
            x = self.act(self.dense(x, p[f'dense_{index}'], 0.01))
        return x

    def embedding(self, p, labels):
        one_hot = self.torch.eye(len(p['embedding']['kernel']))[labels]
        return self.unit(self.dense(one_hot, p['embedding']))

    def modulated(self, x, w, p, double=False, demodulate=True):
        out = []
        for image, style in zip(x, self.dense(w, p['style']), strict=True):
            kernel = self.kernel(p) * style[None, :, None, None]
            if demodulate:
                kernel = kernel / (kernel.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            image = image[None]
            if double:
                # The parameters are those of the mirrored kernel.
                spread = image.new_zeros(1, image.shape[1], *(2 * s for s in image.shape[2:]))
                spread[:, :, ::2, ::2] = image
                spread = self.functional.pad(spread[:, :, :-1, :-1], (2, 2, 2, 2))
                image = self.functional.conv2d(spread, kernel.flip(2, 3))
                out.append(self.upfirdn(image, pads=(1, 1), gain=4.0))
            else:
                out.append(self.functional.conv2d(image, kernel, padding=kernel.shape[-1] // 2))
        return self.torch.cat(out)

    def styled(self, x, w, p, noise, double=False):
        x = self.modulated(x, w, p['conv'], double)
        return self.act(x + p['noise_strength'] * noise + p['bias'][:, None, None])

    def image(self, x, w, p):
        return self.modulated(x, w, p['conv'], demodulate=False) + p['bias'][:, None, None]

    def generator(self, z, labels, noise):
        torch, p = self.torch, self.params['mapping_network']
        z = torch.cat([self.unit(torch.tensor(z)), self.embedding(p, labels)], 1)
        w, p = self.mapping(p, z), self.params['synthesis_network']
        noise = iter(torch.tensor(x) for x in noise)
        x = p['constant'].permute(2, 0, 1).expand(len(z), -1, -1, -1)
        x = self.styled(x, w, p['conv_4'], next(noise))
        image = self.image(x, w, p['to_rgb_4'])
        while f'block_{2 * x.shape[-1]}' in p:
            block = p[f'block_{2 * x.shape[-1]}']
            x = self.styled(x, w, block['up'], next(noise), double=True)
            x = self.styled(x, w, block['conv'], next(noise))
            image = self.upfirdn(image, up=2, pads=(2, 1), gain=4.0)
            image = image + self.image(x, w, block['to_rgb'])
        return image.permute(0, 2, 3, 1).numpy()

    def conv(self, x, p, down=False):
        kernel = self.kernel(p)
        if down:
            pads = (2, 2) if kernel.shape[-1] == 3 else (1, 1)
            x = self.functional.conv2d(self.upfirdn(x, pads=pads), kernel, stride=2)
        else:
            x = self.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        return self.act(x + p['bias'][:, None, None]) if 'bias' in p else x

    def discriminator(self, images, labels, group):
        torch, p = self.torch, self.params
        x = self.conv(torch.tensor(images).permute(0, 3, 1, 2), p['from_rgb'])
        while x.shape[-1] > 4:
            block = p[f'block_{x.shape[-1]}']
            y = self.conv(self.conv(x, block['conv']), block['down'], down=True)
            x = (y + self.conv(x, block['shortcut'], down=True)) / 2**0.5
        n = len(x) // group
        spread = x.reshape(group, n, -1).var(0, unbiased=False).add(1e-8).sqrt().mean(1)
        x = torch.cat([x, spread.repeat(group)[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        x = self.conv(x, p['conv_4']).permute(0, 2, 3, 1).flatten(1)
        x = self.dense(self.act(self.dense(x, p['dense'])), p['logit'])
        target = self.mapping(p['label'], self.embedding(p['label'], labels))
        return ((x * target).sum(1) / x.shape[1] ** 0.5).numpy()


def randomised(variables):
    """Noise, biases other than at the start; rates of the mapping network as they are."""
    rng = np.random.default_rng(0)
    shift = lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return {**variables, 'params': jax.tree.map(shift, variables['params'])}


def test_generator_is_torchs():
    pytest.importorskip('torch')
    module = stylegan2.Generator(
        32, mapping_layers=3, num_classes=3, channel_multiplier=0.5, **SMALL
    )
    rng = np.random.default_rng(1)
    z = rng.normal(size=(3, 12)).astype(np.float32)
    labels = np.array([2, 0, 1])
    grids = [4, 8, 8, 16, 16, 32, 32]
    noise = [rng.normal(size=(grid, grid)).astype(np.float32) for grid in grids]
    variables = modules.init(module, jax.random.key(0), z, labels, train=False)
    variables = randomised(variables)

    def draw(module):
        return module.synthesis(module.styles(module.mapping(z, labels)), noise=noise)

    found = jax.jit(nn.apply(draw, module))(variables)
    expected = Torch(variables).generator(z, labels, noise)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_discriminator_is_torchs():
    pytest.importorskip('torch')
    module = stylegan2.Discriminator(
        32, num_classes=3, base_channels=128, max_channels=16, channel_multiplier=0.5
    )
    images = np.random.default_rng(1).normal(size=(8, 32, 32, 3)).astype(np.float32)
    labels = np.arange(8) % 3
    variables = modules.init(module, jax.random.key(0), images, labels, train=False)
    variables = randomised(variables)
    found = jax.jit(lambda: module.apply(variables, images, labels, train=False))()
    expected = Torch(variables).discriminator(images, labels, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_labels_reach_the_images():
    module = stylegan2.Generator(8, mapping_layers=2, num_classes=3, **SMALL)
    z = jnp.ones((2, 12))
    variables = modules.init(module, jax.random.key(0), z, jnp.array([0, 1]), train=False)
    images = modules.apply(module, variables, z, jnp.array([0, 2]), train=False)
    w = modules.apply(module, variables, z, jnp.array([0, 2]), method='mapping')
    assert np.abs(w[0] - w[1]).max() > 1e-3
    assert np.abs(images[0] - images[1]).max() > 1e-4
    with pytest.raises(ValueError, match='class-conditional'):
        module.apply(variables, z, train=False)


@pytest.mark.slow
def test_rematerialised_blocks_change_no_gradient(small):
    _, variables, z = small
    gradients = []
    for remat in (False, True):
        module = stylegan2.Generator(32, mapping_layers=2, remat=remat, **SMALL)
        loss = lambda p, m=module: (m.apply({**variables, 'params': p}, z, train=False) ** 2).sum()  # noqa: E731
        gradients.append(jax.jit(jax.grad(loss))(variables['params']))
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_options_of_the_mapping_network_and_of_the_residual_connections():
    options = networks.NetworkOptions(
        32, 3, 16, latent_dim=12, mapping_layers=2, discriminator_skips=False
    )
    pair = networks.build('stylegan2', options)
    images = jnp.zeros((4, 32, 32, 3))
    made = jax.eval_shape(
        lambda: pair.generator.init(jax.random.key(0), jnp.zeros((4, 12)), train=False)
    )
    assert len(made['params']['mapping_network']) == 2
    judge = jax.eval_shape(lambda: pair.discriminator.init(jax.random.key(0), images, train=False))
    blocks = [v for name, v in judge['params'].items() if name.startswith('block_')]
    assert all(set(block) == {'conv', 'down'} for block in blocks)
    # By hand: a layer of the mapping network has 12 * 12 multiplications.
    complete = stylegan2.SPEC.complete
    deep = complete(dataclasses.replace(options, mapping_layers=8))
    difference = stylegan2.macs(deep, 'true') - stylegan2.macs(complete(options), 'true')
    assert difference == 6 * 12 * 12


def test_a_block_without_a_residual_connection_is_its_two_convolutions():
    # ADA's architecture 'orig': no shortcut, and no division by the root of two.
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    block = style_blocks.DiscriminatorBlock(4, 6)
    params = modules.init(block, jax.random.key(1), x)
    params = {'params': dict(params['params'])}
    whole = modules.apply(block, params, x)
    kernel = params['params'].pop('shortcut')
    plain = modules.apply(block.clone(skip=False), params, x)
    conv = style_layers.Conv(6, 1, halve=True, use_bias=False)
    shortcut = modules.apply(conv, {'params': kernel}, x)
    np.testing.assert_allclose(whole * np.sqrt(2) - shortcut, plain, rtol=1e-4, atol=1e-5)
