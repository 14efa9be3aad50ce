"""The PyTorch peer computes what our own steps compute, from the same parameters."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.core import losses
from osgan_jax.engine.config import PRECISIONS
from osgan_jax.gan.config import TrainConfig
from tests.support import models

torch = pytest.importorskip('torch')
from experiments.benchmark import steps  # noqa: E402
from experiments.benchmark.peers import losses as peer_losses  # noqa: E402
from experiments.benchmark.peers import peer as peers  # noqa: E402

# Width 6: the discriminator's groups hold three channels each.
SIZE, CHANNELS, WIDTH, LATENT, BATCH = 16, 3, 6, 5, 4
# Half of relativistic's is tried with R3GAN.
LOSSES = sorted(peer_losses.LOSSES.keys() - {'relativistic_pairing'})


def make_config(**changes):
    fields = {
        'network': 'dcgan',
        'loss': 'least_squares',
        'image_size': SIZE,
        'channels': CHANNELS,
        'width': WIDTH,
        'latent_dim': LATENT,
        'batch_size': BATCH,
        'precision': 'float32',
        'optimizer': 'adam',
    }
    return TrainConfig(**fields | changes)


def prepare(scheme='one_stage', **changes):
    return peers.Peer(make_config(**changes), scheme)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@dataclasses.dataclass
class Ours:
    """Our networks as `one_stage_grads` takes them, with parameters whose logits are not tiny."""

    params_g: dict
    params_d: dict
    stats_g: dict
    real: jax.Array
    z: jax.Array

    def generate(self, params_g):
        variables = {'params': params_g, 'batch_stats': self.stats_g}
        return PAIR.generator.apply(variables, self.z, train=True, mutable=['batch_stats'])

    def discriminate(self, params_d, fake):
        judge = functools.partial(PAIR.discriminator.apply, {'params': params_d}, train=True)
        return (judge(self.real), judge(fake)), None


PAIR = networks.build(
    'dcgan',
    networks.NetworkOptions(image_size=SIZE, channels=CHANNELS, width=WIDTH, latent_dim=LATENT),
)


@pytest.fixture(scope='module')
def ours():
    keys = jax.random.split(jax.random.key(0), 4)
    z = jax.random.normal(keys[0], (BATCH, LATENT))
    real = jax.random.uniform(keys[1], (BATCH, SIZE, SIZE, CHANNELS), minval=-1)
    variables_g = jax.jit(functools.partial(PAIR.generator.init, train=True))(keys[2], z)
    variables_d = jax.jit(functools.partial(PAIR.discriminator.init, train=True))(keys[3], real)

    def spread(params):
        # Larger kernels, and biases and scales that are not all alike.
        shift = lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
        return jax.tree.map(shift, params)

    rng = np.random.default_rng(0)
    params_g = spread(variables_g['params'])
    params_d = spread(variables_d['params'])
    return Ours(params_g, params_d, variables_g['batch_stats'], real, z)


# By torch's type: linen's name of the module and of its weight.
LINEN_NAMES = {
    torch.nn.Conv2d: ('Conv', 'kernel'),
    torch.nn.ConvTranspose2d: ('ConvTranspose', 'kernel'),
    torch.nn.BatchNorm2d: ('BatchNorm', 'scale'),
    torch.nn.GroupNorm: ('GroupNorm', 'scale'),
}


def correspondence(network):
    """Yields (module, name, axes, parameter): our array transposed by axes is the parameter.

    Kernels of convolutions are `[kh, kw, I, O]` here and `[O, I, kh, kw]` there, of transposed ones
    `[kh, kw, O, I]` and `[I, O, kh, kw]`: one transposition for both, and no flip, since both sides
    keep the kernel of the convolution that is being transposed.
    """
    counts = {}
    for layer in network.modules():
        if type(layer) not in LINEN_NAMES:
            continue
        kind, weight = LINEN_NAMES[type(layer)]
        index = counts.get(kind, 0)
        counts[kind] = index + 1
        axes = (3, 2, 0, 1) if weight == 'kernel' else (0,)
        yield f'{kind}_{index}', weight, axes, layer.weight
        yield f'{kind}_{index}', 'bias', (0,), layer.bias


@torch.no_grad()
def same_peer(ours, **arguments):
    """A peer with our parameters and our real images; and our z."""
    peer = prepare(**arguments)
    for network, params in ((peer.generator, ours.params_g), (peer.discriminator, ours.params_d)):
        places = list(correspondence(network))
        assert {place[:2] for place in places} == {
            (module, name) for module, leaves in params.items() for name in leaves
        }
        for module, name, axes, value in places:
            array = np.transpose(np.asarray(params[module][name]), axes)
            assert array.shape == tuple(value.shape)
            value.copy_(torch.tensor(array))
    peer.real.copy_(torch.tensor(np.asarray(ours.real)).permute(0, 3, 1, 2))
    return peer, (torch.tensor(np.asarray(ours.z)),)


def gradients(network):
    """A peer's gradients as a pytree like ours."""
    tree = {}
    for module, name, axes, value in correspondence(network):
        tree.setdefault(module, {})[name] = value.grad.numpy().transpose(np.argsort(axes))
    return tree


def num_parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize('image_size', [16, 64, 256])
@pytest.mark.parametrize(('channels', 'width', 'latent_dim'), [(1, 12, 100), (3, 8, 7)])
def test_parameter_counts_are_ours(image_size, channels, width, latent_dim):
    arguments = {'image_size': image_size, 'channels': channels, 'width': width}
    pair = networks.build('dcgan', networks.NetworkOptions(**arguments, latent_dim=latent_dim))
    z = jnp.zeros((1, latent_dim))
    images = jnp.zeros((1, image_size, image_size, channels))
    ours_g, ours_d = (
        jax.eval_shape(functools.partial(module.init, train=True), jax.random.key(0), x)['params']
        for module, x in zip(pair, (z, images), strict=True)
    )
    peer = prepare(**arguments, latent_dim=latent_dim, batch_size=2)
    assert num_parameters(peer.generator) == count(ours_g)
    assert num_parameters(peer.discriminator) == count(ours_d)


def test_parameter_counts_are_the_published():
    # The authors' networks, z of 100, one channel: shared facts of the one-stage paper.
    peer = prepare(image_size=64, channels=1, width=128, latent_dim=100, batch_size=2)
    assert num_parameters(peer.generator) == 12_656_257
    assert num_parameters(peer.discriminator) == 11_033_985


def test_networks_are_ours(ours):
    peer, z = same_peer(ours)
    fake, _ = jax.jit(ours.generate)(ours.params_g)
    (s_real, _), _ = jax.jit(ours.discriminate)(ours.params_d, fake)
    with torch.no_grad():
        images = peer.generator(*z).permute(0, 2, 3, 1).numpy()
        logits = peer.discriminator(peer.real).numpy()
    assert np.std(images) > 0.05
    assert np.std(logits) > 0.05
    np.testing.assert_allclose(images, fake, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, s_real, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', LOSSES)
def test_one_stage_gradients_are_ours(ours, name):
    # Jitted: D's independence of the other samples is no matter here.
    step = jax.jit(
        lambda g, d: osgan_jax.one_stage_grads(
            losses.get(name), ours.generate, ours.discriminate, g, d
        )[0]
    )
    grads = step(ours.params_g, ours.params_d)
    peer, z = same_peer(ours, loss=name)
    peer.one_stage_gradients(z)
    assert models.relative_error(gradients(peer.generator), grads.generator) < 1e-4
    assert models.relative_error(gradients(peer.discriminator), grads.discriminator) < 1e-4


@pytest.mark.parametrize('name', LOSSES)
def test_each_stage_of_two_has_our_gradients(ours, name):
    loss = losses.get(name)

    def objectives(params_g, params_d):
        fake, _ = ours.generate(params_g)
        (s_real, s_fake), _ = ours.discriminate(params_d, fake)
        constant = jax.lax.stop_gradient(s_real)
        return loss.discriminator(s_real, s_fake), loss.generator(constant, s_fake)

    @jax.jit
    def separately(g, d):
        grad_d = jax.grad(lambda d: objectives(g, d)[0])(d)
        unwanted, grad_g = jax.grad(lambda d, g: objectives(g, d)[1], argnums=(0, 1))(d, g)
        return grad_d, grad_g, unwanted

    grad_d, grad_g, unwanted = separately(ours.params_g, ours.params_d)
    for freeze in (True, False):
        peer, z = same_peer(ours, loss=name)
        peer.discriminator_gradients(z)
        assert models.relative_error(gradients(peer.discriminator), grad_d) < 1e-4
        assert all(p.grad is None for p in peer.generator.parameters())
        peer.generator_gradients(z, freeze=freeze)
        assert models.relative_error(gradients(peer.generator), grad_g) < 1e-4
        # Only the eager framework's way has spent the arithmetic of D's weight gradients.
        left = grad_d if freeze else jax.tree.map(jnp.add, grad_d, unwanted)
        assert models.relative_error(gradients(peer.discriminator), left) < 1e-4
        assert all(p.requires_grad for p in peer.discriminator.parameters())


def test_saturated_hinge_reaches_the_generator():
    # Every fake logit below -1: D receives nothing and L_G = -E[s] all the same.
    c_d, c_g = torch.zeros(3), torch.full((3,), -1 / 3)
    carrier, gamma = peer_losses.split_cotangent(c_d, c_g)
    torch.testing.assert_close(gamma * carrier, c_g, rtol=0, atol=0)
    assert 0 < carrier.abs().max() <= 2**-40
    assert not peer_losses.split_cotangent(c_d, torch.zeros(3))[1].any()


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('scheme', peers.SCHEMES)
def test_step_trains_both_networks(scheme, precision):
    peer = prepare(scheme, loss='non_saturating', precision=precision)
    parameters = [*peer.generator.parameters(), *peer.discriminator.parameters()]
    before = [p.detach().clone() for p in parameters]
    for _ in range(2):
        peer.step()
    for old, new in zip(before, parameters, strict=True):
        assert not torch.equal(old, new)
        assert new.isfinite().all()
        assert new.grad is None


def test_two_stage_eager_is_the_same_update():
    # The same z in both: only arithmetic that is thrown away differs.
    peers = [prepare(scheme) for scheme in ('two_stage', 'two_stage_eager')]
    for peer in peers:
        peer.step()
        peer.step()
    for a, b in zip(*(peer.discriminator.parameters() for peer in peers), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'network': 'biggan', 'image_size': 32, 'latent_dim': 12},
            "network='biggan'; it supports dcgan, ",
        ),
        ({'loss': 'fisher'}, "loss='fisher'; it supports unconditional dcgan"),
        ({'optimizer': 'sgd'}, "optimizer='sgd'; it supports unconditional dcgan"),
        ({'discriminator_norm': 'spectral'}, "discriminator_norm='spectral'"),
        ({'r1': 1.0, 'penalty_every': 4}, 'penalty_every=4'),
        ({'augment': ('color',)}, r"augment=\('color',\)"),
        ({'path_length': 2.0}, 'path_length=2.0'),
    ],
)
def test_what_has_no_peer_is_refused(changes, message):
    with pytest.raises(ValueError, match=f'--peer: no PyTorch step exists for {message}'):
        steps.check(make_config(num_devices=1, **changes), ['one_stage'], peer=True)


def test_seed_decides_and_leaves_the_process_alone():
    state = torch.get_rng_state()
    first, same, other = prepare(), prepare(), prepare(seed=1)
    assert torch.equal(*first.draw(), *same.draw())
    assert torch.equal(first.real, same.real)
    assert not torch.equal(first.real, other.real)
    assert torch.equal(torch.get_rng_state(), state)
