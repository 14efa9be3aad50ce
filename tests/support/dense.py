"""Networks that compile in no time, with noise of a step's own and class labels."""

import jax
import jax.numpy as jnp
from flax import linen as nn

CLASSES, SHAPE = 3, (4, 4, 1)


class Painter(nn.Module):
    """A generator that compiles in no time, with noise of a step's own."""

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        z = jnp.concatenate([z, jax.nn.one_hot(labels, CLASSES)], axis=-1)
        noise = jax.random.normal(self.make_rng('style'), (16,))
        return jnp.tanh(nn.Dense(16)(jnp.tanh(nn.Dense(8)(z))) + noise).reshape(-1, *SHAPE)


class Judge(nn.Module):
    """A discriminator likewise, with a second derivative everywhere."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, labels=None, *, train):
        x = images.reshape(images.shape[0], -1) + nn.Embed(CLASSES, 16)(labels)
        return nn.Dense(1)(nn.softplus(nn.Dense(8)(x)))[:, 0]


MODULES = {'generator': Painter(), 'discriminator': Judge(), 'image_shape': SHAPE}
"""The fields of a conditional GAN of three classes that has them."""
