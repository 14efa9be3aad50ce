"""Images from a trained generator."""

from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax

from osgan_jax.networks.registry import NetworkSpec

Generate = Callable[[Any, jax.Array, jax.Array | None], jax.Array]


def compile_generator(generator: nn.Module) -> Generate:
    """A compiled `(variables, z [N, Z], labels [N] or None) -> images [N, H, W, C]`.

    It runs in inference mode: running statistics, no updates.
    """
    # Statistics shared over devices belong to training; inference reads the running ones.
    generator = generator.clone(axis_name=None)
    return jax.jit(lambda variables, z, labels: generator.apply(variables, z, labels, train=False))


class Generative(Protocol):
    """A generator and its shapes, as `osgan_jax.gan.model.GAN` has them."""

    network: NetworkSpec
    generator: nn.Module
    latent_dim: int
    image_shape: tuple[int, int, int]
    num_classes: int
