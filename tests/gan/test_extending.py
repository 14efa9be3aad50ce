"""A network, a loss, a method and a metric of one's own, one entry each, from outside."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.core import loss_names
from osgan_jax.evaluation import evaluators
from osgan_jax.evaluation.features.extractors import Extractor, Features
from osgan_jax.evaluation.metrics import registry as metrics
from osgan_jax.gan import methods, sampling
from osgan_jax.networks import registry
from tests.support import small


class ToyGenerator(nn.Module):
    shape: tuple[int, int, int]
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        return jnp.tanh(nn.Dense(np.prod(self.shape))(z)).reshape(-1, *self.shape)


class ToyDiscriminator(nn.Module):
    width: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, labels=None, *, train):
        x = nn.tanh(nn.Dense(self.width)(images.reshape(len(images), -1)))
        return nn.Dense(1)(x)[:, 0]


def build(options):
    shape = (options.image_size, options.image_size, options.channels)
    return networks.Pair(ToyGenerator(shape), ToyDiscriminator(options.width))


def toy_network():
    networks.register(
        networks.NetworkSpec(name='toy', build=build, image_sizes=(16,), width=4, norms=('none',))
    )


def toy_loss():
    wasserstein = osgan_jax.losses.wasserstein()
    osgan_jax.losses.register('toy_loss', lambda: wasserstein)


def toy_method():
    recipe = {'learning_rate_g': 1e-3, 'learning_rate_d': 1e-3, 'beta1': 0.25, 'r1': 0.5}
    toy = methods.Method('Toy', 'toy_loss', 'toy', recipe=recipe)
    methods.register('toy_method', toy)


def toy_metric():
    def shift(real, fake):
        return (float(np.abs(real.pooled.mean(0) - fake.pooled.mean(0)).sum()),)

    metrics.register(
        metrics.Metric('toy_metric', ('shift',), shift, frozenset({'pooled'}), lower_is_better=True)
    )


@pytest.fixture
def toys(monkeypatch):
    """Registers all four, and forgets them after the test."""
    for module, name in (
        (registry, '_REGISTERED'),
        (loss_names, 'REGISTERED'),
        (methods, '_METHODS'),
        (metrics, '_METRICS'),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    for register in (toy_network, toy_loss, toy_method, toy_metric):
        register()


def brightness(images):
    pooled = jnp.asarray(images, jnp.float32).mean((1, 2)) / 255
    return Features(pooled, pooled)


def test_toys_train_and_are_scored(toys, tmp_path):
    config = osgan_jax.gan.Config(
        method='toy_method', batch_size=8, num_steps=3, num_samples=4, num_devices=1
    )
    dataset = small.dataset()
    result = osgan_jax.gan.train(config, tmp_path / 'run', dataset=dataset)
    assert int(result.state.step) == 3
    sampler = sampling.Sampler(tmp_path / 'run')
    resolved = sampler.run.config
    assert (resolved.network, resolved.loss, resolved.learning_rate_d) == ('toy', 'toy_loss', 1e-3)
    assert (resolved.latent_dim, resolved.discriminator_norm) == (100, 'none')
    assert (resolved.beta1, resolved.r1, resolved.beta2) == (0.25, 0.5, 0.999)
    images = sampler.images(sampler.latents(2, seed=0))
    assert images.shape == (2, small.SIZE, small.SIZE, 1)
    scored = evaluators.Evaluator(
        sampler.gan,
        dataset,
        Extractor('classifier', 'brightness', 'f00d', brightness),
        metrics=['toy_metric'],
        num_samples=16,
        batch_size=8,
        cache_dir=tmp_path,
    )
    assert scored.headline == 'classifier_shift'
    values = scored(sampler.variables)
    assert list(values) == ['classifier_shift']
    assert 0 < values['classifier_shift'] < 1


def test_a_toy_network_takes_any_method(toys):
    resolved = small.resolve(small.make_config(method='sngan', network='toy'))
    assert (resolved.network, resolved.discriminator_norm) == ('toy', 'none')
    assert resolved.minibatch_deviation is None


def test_a_toy_network_has_what_it_declares(toys):
    options = networks.NetworkOptions(image_size=16, channels=1, remat=True)
    with pytest.raises(ValueError, match='toy has no remat: leave it out, or use biggan or style'):
        networks.build('toy', options)
    with pytest.raises(ValueError, match='toy has no 32-pixel networks: use one of 16'):
        networks.build('toy', networks.NetworkOptions(image_size=32, channels=1))


def test_names_are_listed_and_taken_once(toys):
    assert networks.names()[-1] == 'toy'
    assert osgan_jax.losses.names()[-1] == 'toy_loss'
    assert methods.names()[-1] == 'toy_method'
    assert metrics.names()[-1] == 'toy_metric'
    for register in (toy_network, toy_loss, toy_method, toy_metric):
        with pytest.raises(ValueError, match=r"a \w+ named 'toy\w*' already exists"):
            register()


def test_entries_that_cannot_work_are_refused(toys):
    with pytest.raises(ValueError, match=r"network 'odd' takes .'colour'.: expected some of"):
        networks.register(
            networks.NetworkSpec(
                name='odd',
                build=build,
                image_sizes=(16,),
                width=4,
                norms=('none',),
                options={'colour': 1},
            )
        )
    with pytest.raises(ValueError, match="'odd' has unknown fields: colour"):
        methods.register('odd', methods.Method('Odd', 'hinge', recipe={'colour': 1}))


def test_a_toy_loss_takes_hyperparameters(toys):
    osgan_jax.losses.register('scaled', lambda slope=1.0: osgan_jax.losses.geometric(slope=slope))
    assert osgan_jax.losses.get('scaled', slope=0.5).name == 'geometric'
    with pytest.raises(ValueError, match=r'unknown hyperparameter rho \(it takes: slope\)'):
        osgan_jax.losses.get('scaled', rho=1.0)
