"""Compressing networks of one's own: features by declared names, students that get narrower."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from osgan_jax import networks
from osgan_jax.compression import features, students, teachers
from osgan_jax.compression.config import CompressConfig
from osgan_jax.engine import runs
from osgan_jax.gan import model, reading
from tests.support import small


class Generator(nn.Module):
    width: int = 2

    @nn.compact
    def __call__(self, z):
        x = nn.Dense(8 * 8 * self.width, name='first')(z)
        x = nn.relu(x).reshape(-1, 8, 8, self.width)
        x = nn.relu(nn.ConvTranspose(self.width, (4, 4), (2, 2), name='up')(x))
        return nn.tanh(nn.Conv(1, (3, 3), name='out')(x))


class Discriminator(nn.Module):
    width: int = 2

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(self.width, (4, 4), (2, 2), name='down')(images))
        return nn.Dense(1)(x.reshape(len(x), -1))


BLOCKS = {'generator_blocks': ('first', 'up', 'out'), 'discriminator_blocks': ('down',)}


def test_features_are_those_of_the_declared_modules():
    given = networks.named(networks.Networks(Generator(), Discriminator(), **BLOCKS))
    options = networks.NetworkOptions(16, 1, latent_dim=5)
    assert networks.get(given).settle(options).has_blocks
    generator = networks.build(given, options).generator
    z = jax.random.normal(jax.random.key(0), (3, 5))
    variables = generator.init(jax.random.key(1), z, None, train=False)
    images, found = features.apply(generator, variables, z, None, train=True)
    # What has no grid is left out, and of two of one grid the last stays.
    assert list(found) == [16]
    np.testing.assert_allclose(jnp.tanh(found[16]), images, rtol=1e-6)


def teacher_of(network):
    config = small.resolve(small.make_config(network=network, width=None))
    gan = model.build(config, num_classes=small.CLASSES, steps_per_epoch=5)
    run = runs.Run(config, small.CLASSES, (), small.EXAMPLES)
    return teachers.of(*reading.of_state(run, gan, 0, model.create(gan, 0)))


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        ('nets.py:build', 'makes a student as large as its teacher, .* facts.multiplied_width'),
        (networks.Networks(Generator(), Discriminator()), 'are modules that are made already'),
    ],
)
def test_networks_that_do_not_get_narrower_are_refused(network, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'nets.py').write_text(
        'from tests.compression.test_own_networks import Discriminator, Generator\n'
        'def build(facts):\n    return Generator(), Discriminator()\n'
    )
    config = CompressConfig(stage_one_kimg=0.008, stage_two_kimg=0.008, num_devices=1)
    teacher = teacher_of(network)
    with pytest.raises(ValueError, match=message):
        students.compress(config, tmp_path / 'run', teacher=teacher, dataset=small.dataset())
