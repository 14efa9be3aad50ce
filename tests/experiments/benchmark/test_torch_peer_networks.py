"""Each network's PyTorch peer has our images, logits and gradients, from the same parameters."""

import math
import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.core import losses
from osgan_jax.core.regularizers import Penalties
from osgan_jax.gan.config import TrainConfig
from tests.support import models, modules
from tests.support.marks import slow_but

torch = pytest.importorskip('torch')
from experiments.benchmark.peers import networks as peer_networks  # noqa: E402
from experiments.benchmark.peers import peer as peers  # noqa: E402

BATCH, SEED = 4, 7
# By network: what makes it tiny, and the names in torch of our parameters, as substitutions.
CASES = {
    'resnet_gan': (
        {'image_size': 64, 'width': 2, 'latent_dim': 5},
        [
            (
                r'^GeneratorBlock_(\d+)\.ConditionalBatchNorm_0\.BatchNorm_0',
                r'blocks.\1.residual.0',
            ),
            (
                r'^GeneratorBlock_(\d+)\.ConditionalBatchNorm_1\.BatchNorm_0',
                r'blocks.\1.residual.4',
            ),
            (r'^GeneratorBlock_(\d+)\.Conv_0', r'blocks.\1.residual.3'),
            (r'^GeneratorBlock_(\d+)\.Conv_1', r'blocks.\1.residual.6'),
            (r'^GeneratorBlock_(\d+)\.', r'blocks.\1.'),
            (r'^BatchNorm_0', 'last.0'),
            (r'^Conv_0', 'last.2'),
            (r'^DiscriminatorBlock_0\.Conv_0', 'blocks.0.residual.0'),
            (r'^DiscriminatorBlock_0\.Conv_1', 'blocks.0.residual.3'),
            (r'^DiscriminatorBlock_(\d+)\.Conv_0', r'blocks.\1.residual.2'),
            (r'^DiscriminatorBlock_(\d+)\.Conv_1', r'blocks.\1.residual.5'),
            (r'^DiscriminatorBlock_(\d+)\.Conv_2', r'blocks.\1.shortcut'),
            (r'^DiscriminatorBlock_(\d+)\.GroupNorm_0', r'blocks.\1.residual.0'),
            (r'^DiscriminatorBlock_(\d+)\.GroupNorm_1', r'blocks.\1.residual.3'),
        ],
    ),
    'stylegan2': (
        {
            'image_size': 16,
            'width': 8,
            'latent_dim': 6,
            'mapping_layers': 2,
            'style_mixing': 0.0,
            'channel_multiplier': '1/2',
        },
        [
            (r'^mapping_network\.dense_', 'mapping.'),
            (r'^synthesis_network\.', ''),
            (r'^(conv|to_rgb)_4', r'\1'),
            (r'^logit', 'last'),
        ],
    ),
    'r3gan': (
        {
            **{'image_size': 8, 'width': 16, 'latent_dim': 6},
            **{'blocks': 1, 'group_channels': 4, 'full_width': 4},
        },
        [],
    ),
}
KERNELS = {2: (1, 0), 3: (2, 0, 1), 4: (3, 2, 0, 1)}


def torch_name(network, whose, path, size=64):
    """The name in torch of our parameter, which in spectral layers is that of its `original`."""
    name = '.'.join(path)
    grid = re.search(r'block_(\d+)', name)
    if grid:
        # From 8x8 up in G, and down to it in D.
        index = int(math.log2(int(grid[1]))) - 3
        index = index if whose == 'g' else int(math.log2(size)) - 3 - index
        name = name.replace(grid[0], f'blocks.{index}')
    if network == 'r3gan':
        name = r3gan_name(whose, name)
    for pattern, replacement in CASES[network][1]:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r'^Dense_0', 'first' if whose == 'g' else 'last', name)
    return re.sub(r'(kernel|scale)$', 'weight', name)


def r3gan_name(whose, name):
    """A block a stage, and what lies between two stages."""
    found = re.match(r'Block_(\d+)\.(\w+)\.', name)
    if found:
        index = int(found[1])
        part = {'Activation_0': 'expand', 'Activation_1': 'group'}.get(found[2])
        part = part or ('expand', 'group', 'reduce')[int(found[2][-1])]
        return f'stages.{2 * index}.{part}.{name.rpartition(".")[2]}'
    name = re.sub(r'^to_\d+', 'stages.1.change', name)
    name = re.sub(r'^Dense_0', 'weigh' if whose == 'g' else 'last', name)
    return re.sub(r'^Conv_0', 'last' if whose == 'g' else 'first', name)


def to_torch(network, whose, params, size):
    """Our parameters, or gradients of them, by torch's names and in its order of axes."""
    found = {}
    for path, leaf in flax.traverse_util.flatten_dict(params).items():
        axes = KERNELS.get(np.ndim(leaf), range(np.ndim(leaf)))
        name = torch_name(network, whose, path, size)
        assert name not in found
        found[name] = torch.tensor(np.transpose(np.asarray(leaf), axes))
    return found


def named(module, values=lambda parameter: parameter):
    return {
        name.replace('parametrizations.weight.original', 'weight'): values(parameter)
        for name, parameter in module.named_parameters()
    }


class Pair:
    """Our networks and their peers with the same parameters, images and random numbers."""

    def __init__(self, network, scheme='one_stage', **changes):
        self.network = network
        fields = {
            **CASES[network][0],
            'network': network,
            'channels': 3,
            'batch_size': BATCH,
            **changes,
        }
        self.config = TrainConfig(**{'loss': 'least_squares', 'precision': 'float32', **fields})
        options = networks.get(network).complete(self.config.network_options(0))
        self.ours = networks.build(network, options)
        self.peer = peers.Peer(self.config, scheme)
        self.drawn = self.peer.draw()
        self.real = self.peer.real.permute(0, 2, 3, 1).numpy()
        self.params_g, self.stats_g = self._variables(self.ours.generator, self.z)
        self.params_d, self.stats_d = self._variables(self.ours.discriminator, self.real)
        self.copy(self.peer)

    @property
    def z(self):
        return self.drawn[0].numpy()

    def _variables(self, module, inputs):
        stats = dict(modules.init(module, jax.random.key(0), inputs, train=True))
        rng = np.random.default_rng(0)
        # No weight or bias is zero, and no two are alike.
        shift = lambda x: np.asarray(x + 0.1 * rng.normal(size=x.shape), np.float32)  # noqa: E731
        return jax.tree.map(shift, stats.pop('params')), stats

    @torch.no_grad()
    def copy(self, peer):
        for whose, module, params in (
            ('g', peer.generator, self.params_g),
            ('d', peer.discriminator, self.params_d),
        ):
            values, places = (
                to_torch(self.network, whose, params, self.config.image_size),
                named(module),
            )
            assert values.keys() == places.keys()
            for name, place in places.items():
                assert values[name].shape == place.shape, name
                place.copy_(values[name])

    def generate(self, params):
        variables = {'params': params, **self.stats_g}
        if self.network != 'stylegan2':
            return self.ours.generator.apply(variables, self.z, train=True, mutable=['batch_stats'])
        noise = [each[:, 0].numpy() for each in self.drawn[3:]]

        def draw(module):
            return module.synthesis(module.styles(module.mapping(self.z)), noise=noise)

        return flax.linen.apply(draw, self.ours.generator)(variables), None

    def judge(self, params, images):
        variables = {'params': params, **self.stats_d}
        return self.ours.discriminator.apply(
            variables, images, train=True, mutable=['batch_stats']
        )[0]

    def discriminate(self, params, fake, real=None):
        real = self.real if real is None else real
        return (self.judge(params, real), self.judge(params, fake)), None

    def expect(self, **options):
        """What our one pass finds, at the same random numbers."""

        @jax.jit
        def differentiate(params_g, params_d):
            return osgan_jax.one_stage_grads(
                losses.get(self.config.loss),
                self.generate,
                self.discriminate,
                params_g,
                params_d,
                **options,
            )

        return differentiate(self.params_g, self.params_d)

    def check(self, grads):
        """Both networks' gradients, which are then dropped."""
        for whose, module, expected in (
            ('g', self.peer.generator, grads.generator),
            ('d', self.peer.discriminator, grads.discriminator),
        ):
            found = named(module, lambda parameter: parameter.grad)
            expected = to_torch(self.network, whose, expected, self.config.image_size)
            assert models.relative_error(found, expected) < 1e-4
            total = sum(x.square().sum() for x in expected.values()) ** 0.5
            for name, gradient in expected.items():
                difference = (found[name] - gradient).norm()
                assert difference < 1e-3 * gradient.norm() + 1e-5 * total, name
            self.peer.forget(module)

    def check_both_schemes(self, grads):
        """The gradients of one stage, and of two at the same parameters."""
        self.peer.random.manual_seed(SEED)
        self.peer.one_stage_gradients(self.drawn)
        self.check(grads)
        self.peer.random.manual_seed(SEED)
        self.peer.discriminator_gradients(self.drawn)
        self.peer.generator_gradients(self.drawn, freeze=True)
        self.check(grads)


def settle_spectral_norm(pair):
    """Both sides' power iteration at the singular vectors, where it stays.

    linen updates one vector before it measures, torch the other one after it.
    """
    stats = flax.traverse_util.flatten_dict(pair.stats_d['batch_stats'])
    params = flax.traverse_util.flatten_dict(pair.params_d, sep='/')
    layers = dict(pair.peer.discriminator.named_modules())
    count = 0
    for path in stats:
        if path[-1].endswith('/u'):
            place = '/'.join([*path[:-2], path[-1].removesuffix('/u')])
            kernel = params[place]
            left, _, right = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))
            stats[path] = right[:1]
            name = torch_name('resnet_gan', 'd', tuple(place.split('/'))).removesuffix('.weight')
            norm = layers[name].parametrizations.weight[0]
            norm._u.copy_(torch.tensor(right[0]))
            matrix = left[:, 0].reshape(kernel.shape[:-1])
            matrix = matrix.transpose(2, 0, 1) if matrix.ndim == 3 else matrix
            norm._v.copy_(torch.tensor(matrix.reshape(-1)))
            count += 1
    assert count == sum(
        'parametrizations' in name for name, _ in pair.peer.discriminator.named_parameters()
    )
    pair.stats_d = {'batch_stats': flax.traverse_util.unflatten_dict(stats)}


@pytest.mark.parametrize(
    ('network', 'changes'),
    [
        *slow_but(
            [
                ('resnet_gan', {'discriminator_norm': 'spectral', 'loss': 'hinge'}),
                ('resnet_gan', {'discriminator_norm': 'group', 'image_size': 32}),
                ('stylegan2', {'minibatch_deviation': 0, 'loss': 'non_saturating'}),
            ]
        ),
        ('r3gan', {'loss': 'relativistic_pairing'}),
    ],
    ids=['resnet_gan', 'resnet_gan, group norm', 'stylegan2', 'r3gan'],
)
def test_images_logits_and_both_gradients_are_ours(network, changes):
    pair = Pair(network, **changes)
    if changes.get('discriminator_norm') == 'spectral':
        settle_spectral_norm(pair)
    grads, info = pair.expect()
    with torch.no_grad():
        images = pair.peer.generator(*pair.drawn)
        logits = [pair.peer.discriminator(x) for x in (pair.peer.real, images)]
    fake = torch.tensor(np.asarray(info.fake)).permute(0, 3, 1, 2)
    assert models.relative_error(images, fake) < 1e-4
    assert models.relative_error(logits, [info.s_real, info.s_fake]) < 1e-4
    pair.check_both_schemes(grads)


# The last has R2, whose gradients at the fake images G's gradient is made of.
@pytest.mark.parametrize(
    'penalties',
    [
        pytest.param({'r1': 0.5, 'gradient_penalty': 3.0}, marks=pytest.mark.slow),
        {'r1': 0.5, 'r2': 2.0},
    ],
)
def test_penalties_are_ours(penalties):
    pair = Pair('r3gan', loss='relativistic_pairing', **penalties)
    # Of WGAN-GP's penalty, as the peer draws it.
    mixture = torch.rand(BATCH, generator=torch.Generator().manual_seed(SEED)).numpy()
    grads, _ = pair.expect(
        penalties=Penalties(**penalties),
        real=jnp.asarray(pair.real),
        mixture=jnp.asarray(mixture),
    )
    pair.check_both_schemes(grads)


def test_minibatch_deviation_is_ours():
    pair = Pair('stylegan2', 'two_stage', image_size=8, minibatch_deviation=2)
    expected = jax.jit(pair.judge)(pair.params_d, pair.real)
    with torch.no_grad():
        found = pair.peer.discriminator(pair.peer.real)
        alone = pair.peer.discriminator(pair.peer.real[:1])
    assert models.relative_error(found, expected) < 1e-4
    assert abs(alone - found[0]) > 1e-3 * abs(found[0])


def test_styles_are_mixed_at_their_share():
    config = {
        **CASES['stylegan2'][0],
        'image_size': 8,
        'channels': 3,
        'style_mixing': 0.25,
        'channel_multiplier': 0.5,
    }
    options = networks.get('stylegan2').complete(networks.NetworkOptions(**config))
    generator = peer_networks.NETWORKS['stylegan2'].generator(options)
    z, other, first, *noise = generator.draw(4000, torch.Generator().manual_seed(0))
    # Four layers, of which the first always has the sample's own style.
    assert set(first.tolist()) == {1, 2, 3, 4}
    assert (first < 4).float().mean() == pytest.approx(0.25, abs=0.03)
    z, other, *noise = (x[:3] for x in (z, other, *noise))

    def generate(z, other, first):
        return generator(z, other, torch.full((3,), first), *noise).detach()

    # From layer 0 on nothing is left of z, from layer 4 on all of it.
    images = [generate(z, other, first) for first in range(5)]
    torch.testing.assert_close(images[0], generate(other, z, 4))
    changes = [float((x - images[4]).norm()) for x in images]
    assert changes[4] == 0
    assert len(set(changes)) == 5


@pytest.mark.parametrize(
    ('network', 'changes'),
    [
        ('resnet_gan', {'image_size': 32, 'discriminator_norm': 'spectral'}),
        *slow_but([('stylegan2', {'style_mixing': 0.9}), ('r3gan', {'r1': 1.0, 'r2': 1.0})]),
    ],
)
def test_steps_train_every_parameter(network, changes):
    fields = {**CASES[network][0], 'network': network, 'channels': 3, 'batch_size': BATCH}
    for scheme in ('one_stage', 'two_stage'):
        config = TrainConfig(loss='non_saturating', precision='bfloat16', **{**fields, **changes})
        peer = peers.Peer(config, scheme)
        parameters = {**named(peer.generator), **named(peer.discriminator)}
        before = {name: value.detach().clone() for name, value in parameters.items()}
        for _ in range(2):
            peer.step()
        for name, value in parameters.items():
            assert value.isfinite().all(), name
            assert not torch.equal(value, before[name]), name


def test_every_peer_of_a_network_is_tried():
    # Of DCGAN in test_torch_peer.py.
    assert {*CASES, 'dcgan'} == peer_networks.NETWORKS.keys()
