"""Images from a trained generator."""

from collections.abc import Callable, Sequence
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.networks.registry import NetworkSpec

Generate = Callable[..., jax.Array]


def compile_generator(generator: nn.Module) -> Generate:
    """A compiled `(variables, z [N, Z], labels [N] or None, key=None) -> images [N, H, W, C]`.

    It runs in inference mode: running statistics, no updates. A generator with noise of its own,
    StyleGAN2's, draws it from the key for each image anew, as its authors do where they measure; a
    sample's noise depends on the key and its own z alone. Without a key all images and calls have
    the same noise.
    """
    # Statistics shared over devices belong to training; inference reads the running ones.
    generator = generator.clone(axis_name=None)

    def generate(variables, z, labels, key=None):
        rngs = {} if key is None else {'style': key}
        return generator.apply(variables, z, labels, train=False, rngs=rngs)

    return jax.jit(generate)


def draw_latents(gan: 'Generative', key: jax.Array, count: int) -> jax.Array:
    """Latents `[count, Z]` of a generator's own distribution."""
    return latents_of(gan.network, key, (count, gan.latent_dim))


def latents_of(network: NetworkSpec, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Latents `[N, Z]` of a network's distribution."""
    draw = network.latents or jax.random.normal
    return jnp.asarray(draw(key, shape), jnp.float32)


def draw_labels(
    key: jax.Array, count: int, num_classes: int, frequencies: Sequence[float] | None = None
) -> jax.Array:
    """Labels `[count]`, int32, drawn independently.

    Args:
      key: of the draw.
      count: labels.
      num_classes: K, at least 1.
      frequencies: how often each of the K is drawn, in any unit; None for all as often.
    """
    if frequencies is None:
        return jax.random.randint(key, (count,), 0, num_classes)
    shares = jnp.asarray(frequencies, jnp.float32)
    return jax.random.choice(key, num_classes, (count,), p=shares / shares.sum())


class Generative(Protocol):
    """A generator and its shapes, as `osgan_jax.gan.model.GAN` has them."""

    network: NetworkSpec
    generator: nn.Module
    latent_dim: int
    image_shape: tuple[int, int, int]
    num_classes: int
