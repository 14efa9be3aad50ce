"""Networks as somebody else writes them: a small DCGAN that knows nothing of this library.

G has BatchNorm and a label embedding, D has flax's own spectral norm, dropout and a projection of
the label (Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637).
"""

import jax.numpy as jnp
from flax import linen as nn


class Generator(nn.Module):
    """Maps z and labels to images `[N, 16, 16, 1]`."""

    width: int = 4

    @nn.compact
    def __call__(self, z, y=None, training=True):
        norm = nn.BatchNorm(use_running_average=not training)
        if y is not None:
            z = jnp.concatenate([z, nn.Embed(4, 3)(y)], axis=-1)
        x = nn.Dense(8 * 8 * self.width)(z).reshape(-1, 8, 8, self.width)
        x = nn.relu(norm(x))
        return nn.tanh(nn.ConvTranspose(1, (4, 4), (2, 2))(x))


class Critic(nn.Module):
    """Maps images and labels to logits `[N, 1]`."""

    width: int = 4

    @nn.compact
    def __call__(self, x, y=None, training=True):
        conv = nn.Conv(self.width, (4, 4), (2, 2))
        x = nn.leaky_relu(nn.SpectralNorm(conv)(x, update_stats=training), 0.2)
        x = nn.Dropout(0.2)(x, deterministic=not training)
        x = x.sum((1, 2))
        logits = nn.SpectralNorm(nn.Dense(1))(x, update_stats=training)
        if y is not None:
            logits += jnp.sum(nn.Embed(4, self.width)(y) * x, axis=-1, keepdims=True)
        return logits


def build(facts):
    """The networks of a run."""
    from osgan_jax.gan import Networks

    del facts
    return Networks(Generator(), Critic(), latent_dim=5)
