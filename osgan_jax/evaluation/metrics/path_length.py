"""Perceptual path length: how much images change over a small step between latents.

Karras et al. 2019 (https://arxiv.org/abs/1812.04948), section 4.1. Lower is smoother. StyleGAN2's
published numbers (Karras et al. 2020, https://arxiv.org/abs/1912.04958) are those of `space='w'`,
`sampling='end'`, no crop, 50,000 pairs and LPIPS on VGG16 (`metrics.lpips`).

Images a step of 1e-4 apart differ in their last digits. All runs in float32, as in the published
code, generators of lower precision too. That code interpolates twice, at t and at t + epsilon; the
sum is rounded by up to 3e-8, which is 3e-4 of the step and twice that of its square. Here the step
itself is computed and added to the first latent, and only the latents' own rounding is left.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.networks.inference import Generative, draw_labels, latents_of
from osgan_jax.runtime import parallel

Array = jax.Array

_SIDE = 256  # pixels to which larger images are averaged: VGG16 was made for 224

# Splits these latents off the seed, away from those of training and of evaluations.
_STREAM = 0x7061_7468


@dataclasses.dataclass(frozen=True)
class Parts:
    """A generator as a path length needs it, see `parts_of`.

    Attributes:
      variables: pytree that the functions are given.
      latent_dim: Z, at least 2.
      synthesis: `(variables, latents [n, L], labels [n] or None, keys [n]) -> images [n, H, W, C]`
        in about [-1, 1]; latents are w where there is a mapping, else z. Rows must be independent,
        and whatever is random in one drawn from its key alone.
      mapping: `(variables, z [n, Z], labels) -> w [n, W]`; None for a generator without w.
      num_classes: labels, 0 for an unconditional generator.
      frequencies: how often each label is drawn; None for all as often.
      draw: `(key, shape) -> z`, the distribution of z.
    """

    variables: Any
    latent_dim: int
    synthesis: Callable[[Any, Array, Array | None, Array], Array]
    mapping: Callable[[Any, Array, Array | None], Array] | None = None
    num_classes: int = 0
    frequencies: Sequence[float] | None = None
    draw: Callable[..., Array] = jax.random.normal


def parts_of(gan: Generative, variables: Any, frequencies: Sequence[float] | None = None) -> Parts:
    """Takes a generator apart: one with styles into mapping and synthesis.

    It runs in inference mode and in float32, whatever it was trained in. Noise of StyleGAN2's
    layers is drawn for each pair, the same for both images.

    Args:
      gan: whose generator counts.
      variables: as `TrainState.sampling_variables()` gives them.
      frequencies: how often each label is drawn; None for all as often.
    """
    # Statistics shared over devices belong to training; inference reads the running ones.
    generator = gan.generator.clone(axis_name=None, dtype=jnp.float32)
    draw = functools.partial(latents_of, gan.network)
    if not gan.network.has_styles:

        def whole(variables, z, labels, keys):
            del keys
            return generator.apply(variables, z, labels, train=False)

        return Parts(variables, gan.latent_dim, whole, None, gan.num_classes, frequencies, draw)

    def mapping(variables, z, labels):
        return generator.apply(variables, z, labels, method='mapping')

    def synthesis(variables, w, labels, keys):
        del labels
        ws = generator.apply(variables, w, method='styles')

        def one(ws, key):
            return generator.apply(variables, ws[None], key, method='synthesis')[0]

        # Each row draws from its own key, or noise would depend on who else is in the batch.
        return jax.vmap(one)(ws, keys)

    return Parts(variables, gan.latent_dim, synthesis, mapping, gan.num_classes, frequencies, draw)


def pair_distances(
    generator: Parts,
    distance: Callable[[Array, Array], Array],
    *,
    num_pairs: int = 50_000,
    space: str = 'w',
    sampling: str = 'end',
    epsilon: float = 1e-4,
    crop: bool = False,
    batch_size: int = 16,
    seed: int = 0,
    num_devices: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Measures distances between images, over the square of the step between them.

    Their mean without the outliers (`reject_outliers`) is the path length. Pair i is a function of
    the seed and of i: of two latents, a place between them, a label where the generator takes one,
    and noise, the same at both ends.

    Args:
      generator: see `parts_of`.
      distance: `(images_a [N, H, W, C] in about [-1, 1], images_b) -> [N]`, quadratic in small
        differences, as `metrics.lpips.distance(...).apply` is; it is compiled. One that is a
        `jax.tree_util.Partial` has its arrays put on the devices once.
      num_pairs: pairs of images, at least 1.
      space: 'w', of a generator that has w, interpolates between two of them along a line; 'z'
        between two z along a great circle. All z there have the length sqrt(Z): StyleGAN2, which
        divides z by its length, sees what the published code shows it, and other generators the
        length that they know best.
      sampling: 'full' takes a place anywhere between the two latents, 'end' the first of them.
      epsilon: the step, 1 being the way from latent to latent.
      crop: whether the middle of a face is compared alone, see `prepare`.
      batch_size: pairs a call on all devices, best a multiple of their number.
      seed: of everything that is drawn.
      num_devices: local devices to share the work; by default all.
      progress: called with pairs done and in all.

    Returns:
      `[num_pairs]` float64, in the order of pairs.

    Raises:
      ValueError: for images that cannot be cropped or averaged, or distances that are not finite.
    """

    def measure(carried: Any, indices: Array) -> Array:
        variables, key, distance = carried
        with jax.default_matmul_precision('highest'):
            a, b = _images(generator, variables, key, indices, space, sampling, epsilon)
            found = distance(prepare(a, crop=crop), prepare(b, crop=crop))
        if found.shape != indices.shape:
            raise ValueError(f'expected one distance a pair, {indices.shape}, got {found.shape}')
        return found

    if not isinstance(distance, jax.tree_util.Partial):
        distance = jax.tree_util.Partial(distance)
    key = jax.random.fold_in(jax.random.key(seed), _STREAM)
    carried = (generator.variables, key, distance)
    apply = parallel.map_rows(measure, carried, batch_size=batch_size, num_devices=num_devices)
    distances = np.empty(num_pairs)
    if progress is not None:
        progress(0, num_pairs)
    for start in range(0, num_pairs, batch_size):
        stop = min(start + batch_size, num_pairs)
        found = np.asarray(apply(np.arange(start, stop, dtype=np.int32)), np.float64)
        if not np.isfinite(found).all():
            bad = start + int(np.argmin(np.isfinite(found)))
            raise ValueError(
                f'the distance of pair {bad} is {found[bad - start]}: the generator made images '
                'that are not finite, or the distance cannot take them; check its checkpoint'
            )
        distances[start:stop] = found / epsilon**2
        if progress is not None:
            progress(stop, num_pairs)
    return distances


def _images(
    generator: Parts,
    variables: Any,
    key: Array,
    indices: Array,
    space: str,
    sampling: str,
    epsilon: float,
) -> tuple[Array, Array]:
    """Images `[n, H, W, C]` of both ends of the steps of pairs `[n]`."""

    def draw(index):
        latents, place, label, noise = jax.random.split(jax.random.fold_in(key, index), 4)
        z = generator.draw(latents, (2, generator.latent_dim))
        t = jax.random.uniform(place) if sampling == 'full' else jnp.zeros(())
        classes = max(generator.num_classes, 1)
        return z[0], z[1], t, draw_labels(label, 1, classes, generator.frequencies)[0], noise

    z0, z1, t, labels, keys = jax.vmap(draw)(indices)
    # Both images of a pair have its label and its noise.
    labels, keys = jnp.tile(labels, 2), jnp.concatenate([keys, keys])
    labels = labels if generator.num_classes else None
    if space == 'w':
        w = generator.mapping(variables, jnp.concatenate([z0, z1]), labels)
        latents = jnp.concatenate(lerp_step(*jnp.split(w, 2), t[:, None], epsilon))
    else:
        latents = jnp.concatenate(slerp_step(z0, z1, t[:, None], epsilon))
        if generator.mapping is not None:
            latents = generator.mapping(variables, latents, labels)
    images = generator.synthesis(variables, latents, labels, keys)
    return tuple(jnp.split(images, 2))


def lerp_step(a: Array, b: Array, t: Array, epsilon: float) -> tuple[Array, Array]:
    """Points at t and at t + epsilon of the lines from a to b.

    Args:
      a: `[N, W]`.
      b: `[N, W]`.
      t: `[N, 1]` in [0, 1].
      epsilon: the step.

    Returns:
      Two of `[N, W]`.
    """
    way = b - a
    first = a + t * way
    return first, first + epsilon * way


def slerp_step(a: Array, b: Array, t: Array, epsilon: float) -> tuple[Array, Array]:
    """Points at t and at t + epsilon of the great circles from a's direction to b's.

    Args:
      a: `[N, Z]`, Z at least 2; of any length.
      b: `[N, Z]`, likewise, in another direction.
      t: `[N, 1]` in [0, 1].
      epsilon: the step.

    Returns:
      Two of `[N, Z]`, each of length sqrt(Z).
    """

    def unit(v):
        return v / jnp.linalg.norm(v, axis=-1, keepdims=True)

    a, b = unit(a), unit(b)
    cosine = jnp.sum(a * b, axis=-1, keepdims=True)
    across = b - cosine * a
    angle = jnp.arctan2(jnp.linalg.norm(across, axis=-1, keepdims=True), cosine)
    across = unit(across)
    place, step = t * angle, epsilon * angle
    first = a * jnp.cos(place) + across * jnp.sin(place)
    ahead = across * jnp.cos(place) - a * jnp.sin(place)
    # cos(step) - 1, which float32 would round to nothing.
    second = first + (ahead * jnp.sin(step) - first * (2 * jnp.square(jnp.sin(step / 2))))
    length = math.sqrt(a.shape[-1])
    return length * first, length * second


def prepare(images: Array, *, crop: bool = False) -> Array:
    """Crops images, and averages those larger than 256 pixels.

    Args:
      images: `[N, H, W, C]`.
      crop: whether rows 3c to 7c and columns 2c to 6c are taken alone, c being H // 8, where an
        aligned face is.

    Returns:
      `[N, H', W', C]`; each pixel is the mean of f x f, f being the height (of the crop) // 256.

    Raises:
      ValueError: on images to crop that are small or not square, or whose sides f does not divide.
    """
    if crop:
        c = images.shape[1] // 8
        if not c or images.shape[1] != images.shape[2]:
            raise ValueError(
                f'images of {images.shape[1]}x{images.shape[2]} pixels cannot be cropped to a '
                'face: expected square ones of at least 8 pixels'
            )
        images = images[:, 3 * c : 7 * c, 2 * c : 6 * c]
    n, h, w, channels = images.shape
    factor = h // _SIDE
    if factor <= 1:
        return images
    if h % factor or w % factor:
        raise ValueError(
            f'images of {h}x{w} pixels cannot be averaged to about {_SIDE}: {factor} does not '
            'divide both sides'
        )
    return images.reshape(n, h // factor, factor, w // factor, factor, channels).mean((2, 4))


def reject_outliers(distances: np.ndarray) -> np.ndarray:
    """Leaves out distances beyond the first and the 99th percentile.

    Percentiles are distances that occur: of two that enclose one, the outer. Both are kept.

    Args:
      distances: `[N]`, N of at least 1.

    Returns:
      Those that are kept, in their order.
    """
    low = np.percentile(distances, 1, method='lower')
    high = np.percentile(distances, 99, method='higher')
    return distances[(low <= distances) & (distances <= high)]
