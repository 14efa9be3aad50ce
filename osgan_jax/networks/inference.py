"""Images from a trained generator."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.networks.registry import NetworkSpec

Generate = Callable[..., jax.Array]


def compile_generator(generator: nn.Module) -> Generate:
    """Compiles `apply_generator` of a generator, without the first argument."""
    # Statistics shared over devices belong to training; inference reads the running ones.
    generator = generator.clone(axis_name=None)
    return jax.jit(functools.partial(apply_generator, generator))


def apply_generator(
    generator: nn.Module,
    variables: Any,
    z: jax.Array,
    labels: jax.Array | None,
    key: jax.Array | None = None,
    truncation: jax.Array | None = None,
) -> jax.Array:
    """Images of a generator in inference mode: running statistics, no updates.

    A generator with noise of its own, StyleGAN2's, draws it from the key for each image anew, as
    its authors do where they measure; a sample's noise depends on the key and its own z alone.
    Without a key all images and calls have the same noise.

    Args:
      generator: the module; its statistics must not be shared over an axis.
      variables: its variables.
      z: latents `[N, Z]`.
      labels: `[N]`; None if unconditional.
      key: of the noise.
      truncation: the share of the distance from the average w that is kept; None for all of it.
        Only for a generator with styles.

    Returns:
      `[N, H, W, C]`.
    """
    rngs = {} if key is None else {'style': key}
    if truncation is None:
        return generator.apply(variables, z, labels, train=False, rngs=rngs)

    def draw(module: nn.Module) -> jax.Array:
        ws, noise_keys = module.draw_styles(z, labels, train=False)
        average = variables['batch_stats']['w_average']
        return module.synthesis(average + truncation * (ws - average), noise_keys)

    return generator.apply(variables, rngs=rngs, method=draw)


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
