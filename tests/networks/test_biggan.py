"""BigGAN: published sizes, torch's numbers, samples one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.networks import biggan
from tests.support import modules
from tests.support.marks import slow_but

PUBLISHED = {  # FACTS of BigGAN-128 on ImageNet: parameters of G and D, MACs of G in 10^9
    96: (70_433_988, 87_982_370, 21.12),
    48: (18_383_460, 22_383_698, 5.42),
    32: (8_543_300, 10_120_802, 2.47),
    24: (5_031_348, 5_789_978, 1.42),
}


def shapes(module, *inputs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize('width', slow_but(PUBLISHED, 96))
def test_published_sizes(width):
    generator, discriminator, gmacs = PUBLISHED[width]
    labels = jnp.zeros(2, jnp.int32)
    made = biggan.Generator(128, width=width, num_classes=1000)
    judge = biggan.Discriminator(128, width=width, num_classes=1000)
    assert count(shapes(made, jnp.zeros((2, 120)), labels)) == generator
    assert count(shapes(judge, jnp.zeros((2, 128, 128, 3)), labels)) == discriminator
    options = networks.NetworkOptions(128, 3, width, latent_dim=120, num_classes=1000)
    options = biggan.SPEC.complete(options)
    assert round(biggan.macs(options, 'paper') / 1e9, 2) == gmacs
    assert biggan.macs(options, 'true') < biggan.macs(options, 'paper')


@pytest.mark.parametrize('size', slow_but(biggan.IMAGE_SIZES, 32, 64))
@pytest.mark.parametrize('classes', slow_but([0, 5], 5))
def test_all_sizes(size, classes):
    latent_dim = 140 if size == 256 else 120
    labels = jnp.zeros(2, jnp.int32) if classes else None
    made = biggan.Generator(size, width=8, latent_dim=latent_dim, num_classes=classes)
    images, variables = jax.eval_shape(
        lambda: made.init_with_output(
            jax.random.key(0), jnp.zeros((2, latent_dim)), labels, train=False
        )
    )
    assert images.shape == (2, size, size, 3)
    assert ('embedding' in variables['params']) == bool(classes)
    has_attention = any('Attention' in name for name in variables['params'])
    assert has_attention == (size > 32)
    judge = biggan.Discriminator(size, width=8, num_classes=classes)
    logits, variables = jax.eval_shape(
        lambda: judge.init_with_output(
            jax.random.key(0), jnp.zeros((2, size, size, 3)), labels, train=False
        )
    )
    assert logits.shape == (2,)
    has_attention = any('Attention' in name for name in variables['params'])
    assert has_attention == (size > 32)


def randomised(variables):
    """Gains, biases and running statistics other than at the start."""
    rng = np.random.default_rng(0)
    shift = lambda x: x + 0.2 * rng.uniform(size=x.shape).astype(np.float32)  # noqa: E731
    return {
        'params': jax.tree.map(lambda x: shift(x) if x.ndim < 2 else x, variables['params']),
        'batch_stats': jax.tree_util.tree_map_with_path(
            lambda path, x: x if path[-1].key == 'u' else shift(x), variables['batch_stats']
        ),
    }


class Torch:
    """The same forward pass written with torch, on the same variables."""

    def __init__(self, variables):
        import torch

        self.torch = torch
        self.params, self.stats = variables['params'], variables['batch_stats']

    def tensor(self, x):
        return self.torch.tensor(np.asarray(x))

    def weight(self, params, stats, name='kernel'):
        weight, u = self.tensor(params[name]), self.tensor(stats['u'])
        matrix = weight.reshape(-1, weight.shape[-1])
        unit = lambda v: v / v.norm()  # noqa: E731
        v = unit(matrix @ u)
        return weight / (v @ matrix @ unit(matrix.T @ v))

    def conv(self, x, params, stats):
        kernel = self.weight(params, stats).permute(3, 2, 0, 1)
        bias = self.tensor(params['bias']) if 'bias' in params else None
        pad = kernel.shape[-1] // 2
        return self.torch.nn.functional.conv2d(x, kernel, bias, padding=pad)

    def norm(self, x, stats, scale=None, bias=None):
        mean, var = self.tensor(stats['mean']), self.tensor(stats['var'])
        return self.torch.nn.functional.batch_norm(x, mean, var, scale, bias, False, 0.1, 1e-5)

    def conditional(self, x, condition, params, stats):
        gain = condition @ self.weight(params['gain'], stats['gain'])
        bias = condition @ self.weight(params['bias'], stats['bias'])
        x = self.norm(x, stats['BatchNorm_0'])
        return x * (1 + gain)[:, :, None, None] + bias[:, :, None, None]

    def attention(self, x, params, stats):
        functional = self.torch.nn.functional
        n, c, h, w = x.shape
        conv = lambda name, y: self.conv(y, params[name], stats[name])  # noqa: E731
        query = conv('query', x).reshape(n, c // 8, h * w)
        key = functional.max_pool2d(conv('key', x), 2).reshape(n, c // 8, -1)
        value = functional.max_pool2d(conv('value', x), 2).reshape(n, c // 2, -1)
        share = self.torch.softmax(query.transpose(1, 2) @ key, -1)
        seen = (value @ share.transpose(1, 2)).reshape(n, c // 2, h, w)
        return x + self.tensor(params['gain']) * conv('out', seen)

    def generator(self, z, labels, parts):
        p, s, functional = self.params, self.stats, self.torch.nn.functional
        z, *conditions = self.tensor(z).chunk(parts, 1)
        shared = self.tensor(p['embedding']['embedding'])[self.tensor(labels).long()]
        x = z @ self.weight(p['Dense_0'], s['Dense_0']) + self.tensor(p['Dense_0']['bias'])
        x = x.reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        for index, part in enumerate(conditions):
            condition = self.torch.cat([shared, part], 1)
            bp, bs = p[f'block_{index}'], s[f'block_{index}']
            y = x
            for layer in range(2):
                norm = f'ConditionalBatchNorm_{layer}'
                y = self.conditional(y, condition, bp[norm], bs[norm]).relu()
                # In the published order: enlarged first.
                y = functional.interpolate(y, scale_factor=2) if layer == 0 else y
                y = self.conv(y, bp[f'Conv_{layer}'], bs[f'Conv_{layer}'])
            enlarged = functional.interpolate(x, scale_factor=2)
            x = y + self.conv(enlarged, bp['shortcut'], bs['shortcut'])
            if x.shape[2] == 32:
                x = self.attention(x, p['SelfAttention_0'], s['SelfAttention_0'])
        norm = p['BatchNorm_0']
        x = self.norm(x, s['BatchNorm_0'], self.tensor(norm['scale']), self.tensor(norm['bias']))
        return self.conv(x.relu(), p['Conv_0'], s['Conv_0']).tanh().permute(0, 2, 3, 1)

    def discriminator(self, images, labels, halves):
        p, s, functional = self.params, self.stats, self.torch.nn.functional
        x = self.tensor(images).permute(0, 3, 1, 2)
        for index, halve in enumerate(halves):
            bp, bs = p[f'block_{index}'], s[f'block_{index}']
            y = self.conv(x if index == 0 else x.relu(), bp['Conv_0'], bs['Conv_0'])
            y = self.conv(y.relu(), bp['Conv_1'], bs['Conv_1'])
            shortcut = self.conv(x, bp['shortcut'], bs['shortcut']) if 'shortcut' in bp else x
            x = y + shortcut
            x = functional.avg_pool2d(x, 2) if halve else x
            if x.shape[2] == 32:
                x = self.attention(x, p['SelfAttention_0'], s['SelfAttention_0'])
        x = x.relu().sum((2, 3))
        logits = x @ self.weight(p['Dense_0'], s['Dense_0']) + self.tensor(p['Dense_0']['bias'])
        table = self.weight(p['Embed_0'], s['Embed_0'], 'embedding')
        return logits[:, 0] + (x * table[self.tensor(labels).long()]).sum(1)


def drawn_and_applied(module, inputs, labels):
    """Random variables, and what the module makes of its inputs."""
    variables = modules.init(module, jax.random.key(0), inputs, labels, train=False)
    variables = randomised(variables)
    return variables, modules.apply(module, variables, inputs, labels, train=False)


def test_generator_is_torchs():
    pytest.importorskip('torch')
    module = biggan.Generator(64, width=4, latent_dim=20, num_classes=3, embedding_dim=6)
    z = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    labels = np.array([2, 0, 1], np.int32)
    variables, found = drawn_and_applied(module, z, labels)
    expected = Torch(variables).generator(z, labels, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_embedding_in_the_labels_place():
    module = biggan.Generator(32, width=4, latent_dim=20, num_classes=3, embedding_dim=6)
    z = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    labels = np.array([2, 0, 1], np.int32)
    variables, found = drawn_and_applied(module, z, labels)
    table = variables['params']['embedding']['embedding']
    other = modules.apply(module, variables, z, train=False, embedding=table[labels])
    np.testing.assert_allclose(other, found, atol=1e-6)


@pytest.mark.slow
def test_discriminator_is_torchs():
    pytest.importorskip('torch')
    module = biggan.Discriminator(64, width=8, num_classes=3)
    images = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    labels = np.array([2, 0, 1], np.int32)
    variables, found = drawn_and_applied(module, images, labels)
    expected = Torch(variables).discriminator(images, labels, [True] * 4 + [False])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_rematerialised_blocks_change_no_gradient():
    z, labels = jax.random.normal(jax.random.key(1), (2, 8)), jnp.array([1, 0])
    gradients = []
    for remat in (False, True):
        module = biggan.Generator(
            32, width=2, latent_dim=8, num_classes=2, embedding_dim=4, remat=remat
        )
        variables = module.init(jax.random.key(0), z, labels, train=False)

        def loss(params, module=module, stats=variables['batch_stats']):
            images, _ = module.apply(
                {'params': params, 'batch_stats': stats},
                z,
                labels,
                train=True,
                mutable=['batch_stats'],
            )
            return (images**2).sum()

        gradients.append(jax.jit(jax.grad(loss))(variables['params']))
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        # Biases before BatchNorm have no gradient but rounding.
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_samples_are_judged_one_by_one():
    module = biggan.Discriminator(32, width=2, num_classes=2)
    images = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))
    labels = jnp.array([0, 1, 0, 1])
    variables = modules.init(module, jax.random.key(1), images, labels, train=False)

    def discriminate(params, fake):
        logits, _ = module.apply(
            {**variables, 'params': params},
            jnp.concatenate([images, fake]),
            jnp.concatenate([labels, labels]),
            train=True,
            mutable=['batch_stats'],
        )
        return (logits[:4], logits[4:]), None

    osgan_jax.check_samplewise(discriminate, variables['params'], images)


def test_what_cannot_be_generated():
    with pytest.raises(ValueError, match='splits z into 4 equal parts'):
        biggan.Generator(32, width=2, latent_dim=10).init(
            jax.random.key(0), jnp.zeros((2, 10)), train=False
        )
    with pytest.raises(ValueError, match='class-conditional'):
        biggan.Generator(32, width=2, num_classes=2).init(
            jax.random.key(0), jnp.zeros((2, 120)), train=False
        )
    with pytest.raises(ValueError, match="convention='x'"):
        biggan.macs(networks.NetworkOptions(32, 3, 2, latent_dim=120), 'x')


def test_built_by_name():
    pair = networks.build(
        'biggan',
        networks.NetworkOptions(image_size=32, channels=1, latent_dim=8),
    )
    assert pair.generator.width == 96
    assert shapes(pair.discriminator, jnp.zeros((2, 32, 32, 1)))
    with pytest.raises(ValueError, match="biggan supports 'spectral'"):
        networks.build(
            'biggan', networks.NetworkOptions(image_size=32, channels=1, discriminator_norm='group')
        )


def options_of_cifar10(**fields):
    values = {'width': 2, 'latent_dim': 10, 'hierarchical_z': False, 'init': 'normal', **fields}
    return networks.NetworkOptions(32, 3, **values)


@pytest.mark.parametrize('classes', [0, 3])
def test_all_of_z_enters_the_first_layer_without_hierarchy(classes):
    options = options_of_cifar10(num_classes=classes)
    generator = networks.build('biggan', options).generator
    labels = jnp.zeros(2, jnp.int32) if classes else None
    made = shapes(generator, jnp.zeros((2, 10)), labels)['params']
    assert made['Dense_0']['kernel'].shape == (10, 16 * 8)
    norm = made['block_0']['ConditionalBatchNorm_0']
    if classes:
        # Gains and biases see the label alone.
        assert norm['gain']['kernel'].shape == (biggan.EMBEDDING_DIM, 8)
    else:
        assert 'gain' not in norm
    # By hand: three blocks of 8 channels and what goes before and after; the condition's weights.
    count = biggan.macs(biggan.SPEC.complete(options), 'true')
    convs = sum(g * g * (4 + 9) * 8 * 8 + g * g // 4 * 64 for g in (8, 16, 32))
    linear = 3 * 2 * 16 * (biggan.EMBEDDING_DIM if classes else 0)
    assert count == 10 * 8 * 16 + convs + linear + 32 * 32 * 9 * 8 * 3


@pytest.mark.parametrize(
    ('network', 'shape'),
    [
        ('generator', (2, 10)),
        pytest.param('discriminator', (2, 32, 32, 3), marks=pytest.mark.slow),
    ],
)
def test_weights_are_drawn_as_asked(network, shape):
    pair = networks.build('biggan', options_of_cifar10(width=16, num_classes=3))
    module, labels = getattr(pair, network), jnp.zeros(2, jnp.int32)
    params = modules.init(module, jax.random.key(0), jnp.zeros(shape), labels, train=False)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params['params']):
        name = jax.tree_util.keystr(path)
        if ('kernel' in name or 'embedding' in name) and leaf.size > 1000:
            assert np.std(leaf) == pytest.approx(0.02, rel=0.1), name
