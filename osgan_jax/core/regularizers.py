"""Penalties on gradients and weights, as pure functions.

R1 and R2 (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406), WGAN-GP's penalty (Gulrajani et
al. 2017, https://arxiv.org/abs/1704.00028), path length (Karras et al. 2020,
https://arxiv.org/abs/1912.04958, section 3.2) and BigGAN's orthogonal regularisation (Brock et al.
2019, https://arxiv.org/abs/1809.11096, Eq. 3).

The first four differentiate a gradient and are expensive. `osgan_jax.core.judging` has the first
three from the pass of the loss. Lazy regularisation takes them at every
k-th step with k times the weight (Karras et al. 2020, section 3.1).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
PyTree = Any

PATH_DECAY = 0.01
# Path lengths are computed of every second sample of a batch, a smaller batch as StyleGAN2's.
PATH_SHRINK = 2


@dataclasses.dataclass(frozen=True)
class Penalties:
    """Weights of the penalties on D's gradients J = ds/dx at its images, 0 for none.

    They join L_D as means over samples: R1 and R2 keep D flat at the data and at G's images,
    WGAN-GP's keeps its slope at 1 between the two. A weight may be an array, such as a schedule's
    value inside jit; its penalty is then computed whatever the value.

    Attributes:
      r1: gamma of R1, `gamma / 2 * |J|^2` at real images.
      r2: gamma of R2, the same at fake images.
      gradient_penalty: weight of WGAN-GP's `(|J| - 1)^2` at mixtures of a real and a fake image;
        the authors' is 10.
    """

    r1: float | Array = 0.0
    r2: float | Array = 0.0
    gradient_penalty: float | Array = 0.0

    def __post_init__(self):
        """Raises ValueError for a number below 0, or one that is not finite."""
        for name, weight in vars(self).items():
            if isinstance(weight, int | float) and not 0 <= weight < math.inf:
                raise ValueError(f'Penalties: {name} must be at least 0 and finite, got {weight}')

    def has(self, *names: str) -> bool:
        """Whether one of the penalties is there: its weight is an array, or not 0."""
        weights = [getattr(self, name) for name in names]
        return any(isinstance(weight, jax.Array) or weight for weight in weights)

    @property
    def of_discriminator(self) -> bool:
        """Whether D has penalties."""
        return self.has('r1', 'r2', 'gradient_penalty')

    def of_device(self, count: int) -> 'Penalties':
        """D's weights on one of `count` devices, whose penalties of own samples are summed."""
        return Penalties(self.r1 / count, self.r2 / count, self.gradient_penalty / count)


@dataclasses.dataclass(frozen=True)
class AllPenalties(Penalties):
    """Weights of D's and G's penalties, and the steps between them.

    Attributes:
      penalty_every: steps between penalties of D.
      path_length: weight of the path length penalty.
      path_length_every: steps between path length penalties.
      orthogonal: weight of orthogonal regularisation of G, which is at every step.
    """

    penalty_every: int = 1
    path_length: float = 0.0
    path_length_every: int = 1
    orthogonal: float = 0.0

    @property
    def is_lazy(self) -> bool:
        """Whether some steps have penalties that other steps do not have."""
        return max(self.discriminator_every, self.generator_every) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values that a training state keeps."""
        of_discriminator = ('penalty_d',) if self.of_discriminator else ()
        return of_discriminator + (('penalty_g', 'path_length') if self.path_length else ())

    @property
    def discriminator_every(self) -> int:
        """Steps between D's penalties, 0 without any."""
        return self.penalty_every if self.of_discriminator else 0

    @property
    def generator_every(self) -> int:
        """Steps between optimiser steps for the path length penalty, 0 without one."""
        return self.path_length_every if self.path_length else 0


def squared_norm(gradient: PyTree) -> Array:
    """`|J_n|^2` of each sample's gradient.

    Args:
      gradient: `[n, ...]`, n samples' gradients of their logits at their images, or a pytree of
        such arrays.

    Returns:
      `[n]` float32.
    """
    squares = [jnp.square(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(gradient)]
    first, *others = (jnp.sum(square, axis=tuple(range(1, square.ndim))) for square in squares)
    return sum(others, first)


def r1(gradient: PyTree, gamma: float) -> Array:
    """R1 of each sample, `gamma / 2 * |J_n|^2`; R2 where the images are fake.

    Args:
      gradient: D's gradients at the images, `[n, ...]`, or a pytree of that.
      gamma: weight.

    Returns:
      `[n]` float32.
    """
    return gamma / 2 * squared_norm(gradient)


def mix(real: PyTree, fake: PyTree, mixture: Array) -> PyTree:
    """The images at which WGAN-GP's penalty is taken: `mixture * real + (1 - mixture) * fake`.

    Args:
      real: real images `[n, ...]`, or a pytree of that.
      fake: fake images, like the real ones.
      mixture: share of the real image `[n]`, uniform in [0, 1].

    Returns:
      Images like both.
    """

    def mixed(real: Array, fake: Array) -> Array:
        share = mixture.reshape((-1,) + (1,) * (real.ndim - 1))
        return share * real + (1 - share) * fake

    return jax.tree.map(mixed, real, fake)


def gradient_penalty(gradient: PyTree, weight: float) -> Array:
    """WGAN-GP's penalty of each sample, `weight * (|J_n| - 1)^2`.

    Args:
      gradient: D's gradients at mixtures of real and fake images, `[n, ...]`, or a pytree of that.
      weight: weight of the penalty.

    Returns:
      `[n]` float32.
    """
    # The root has no derivative at 0.
    norm = jnp.sqrt(jnp.maximum(squared_norm(gradient), 1e-12))
    return weight * jnp.square(norm - 1)


def path_lengths(render: Callable[[Array], Array], latents: Array, noise: Array) -> Array:
    """Path lengths `|J^T y|`, with J the images' Jacobian by the latents and y a random direction.

    Args:
      render: `latents -> images [n, H, W, C]`, sample by sample.
      latents: `[n, W]`, or a vector for each layer, `[n, L, W]`, whose squares are then averaged
        over the layers.
      noise: standard normal `[n, H, W, C]`; y is the noise over the root of the number of pixels.

    Returns:
      `[n]` float32.
    """
    y = noise / jnp.sqrt(noise.shape[1] * noise.shape[2])
    gradient = jax.grad(lambda x: jnp.sum(render(x) * y))(latents)
    square = jnp.sum(jnp.square(gradient.astype(jnp.float32)), axis=-1)
    if square.ndim > 1:
        square = jnp.mean(square, axis=1)
    return jnp.sqrt(jnp.maximum(square, 1e-12))


def orthogonal(params: PyTree) -> Array:
    """Sum over kernels of the squared inner products of different filters.

    This is the paper's Eq. 3, whose gradient is 4 W (W^T W * (1 - I)); BigGAN-PyTorch adds half of
    that to the gradients, so half of its weight gives the same here.

    Args:
      params: G's parameters. Kernels are those whose name ends so, embeddings of labels excepted;
        their last axis is that of filters (of inputs in transposed convolutions).

    Returns:
      A scalar: sum of `|W^T W * (1 - I)|^2`.
    """
    total = jnp.zeros(())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        if not name.endswith('kernel') or 'embedding' in name:
            continue
        kernel = leaf.reshape(-1, leaf.shape[-1])
        products = kernel.T @ kernel
        total += jnp.sum(jnp.square(products)) - jnp.sum(jnp.square(jnp.diagonal(products)))
    return total
