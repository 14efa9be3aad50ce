"""Paths from one image to another: through z, through w, between classes, to the average.

Great circles in z are `osgan_jax.gan.sampling.interpolate`. Between classes the rows that a network
looks up for a label move on the straight line between two labels, as in Miyato and Koyama 2018
(https://arxiv.org/abs/1802.05637).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.gan import sampling

Array = jax.Array


def great_circle(start: Array, end: Array, frames: int) -> Array:
    """Latents `[R, F, Z]` from `start` `[R, Z]` to `end`, ends included, F at least 2."""
    pairs = jnp.stack([start, end], axis=1).reshape(-1, start.shape[-1])
    return sampling.interpolate(pairs, frames).reshape(-1, frames, start.shape[-1])


def straight(start: Array, end: Array, frames: int) -> np.ndarray:
    """Points `[R, F, ...]` from `start` `[R, ...]` to `end`, ends included."""
    t = _along(np.linspace(0.0, 1.0, frames), start)
    return (1 - t) * np.asarray(start)[:, None] + t * np.asarray(end)[:, None]


def _along(values: Sequence[float], points: Array) -> np.ndarray:
    """Values `[1, F, 1, ...]` that meet points `[R, 1, ...]`, float32."""
    return np.asarray(values, np.float32).reshape(1, -1, *[1] * (np.ndim(points) - 1))


def through_z(
    generator: EditableGenerator,
    start: Array,
    end: Array,
    labels: Array | None,
    end_labels: Array | None,
    frames: int,
) -> np.ndarray:
    """Images along great circles in z.

    Args:
      generator: the generator of the images.
      start: latents `[R, Z]`.
      end: latents `[R, Z]`.
      labels: `[R]`, at the start; None if unconditional.
      end_labels: `[R]`, at the end; where they differ, the path also leads from class to class, as
        `between_classes` does.
      frames: F, ends included, at least 2.

    Returns:
      `[R, F, H, W, C]`, uint8.

    Raises:
      ValueError: for two labels that there is nothing between.
    """
    path = great_circle(start, end, frames)
    if labels is None or np.array_equal(labels, end_labels):
        flat = path.reshape(-1, start.shape[-1])
        images = generator.images(flat, None if labels is None else np.repeat(labels, frames))
        return images.reshape(-1, frames, *images.shape[1:])
    generator.require('interpolate_classes')
    rows = []
    for points, first, last in zip(path, labels, end_labels, strict=True):
        # A class for every frame.
        steps = _with_classes_between(generator, int(first), int(last), frames)
        rows.append(steps.images(points, np.arange(frames)))
    return np.stack(rows)


def between_classes(
    generator: EditableGenerator, z: Array, first: int, second: int, frames: int
) -> np.ndarray:
    """Images from one class to another, of the same z.

    In w the path is the straight line between the w of both labels; elsewhere all rows that the
    network looks up for a label (BigGAN's shared embedding, the embedding that joins a DCGAN's z,
    gains and biases of conditional BatchNorm) move on straight lines.

    Args:
      generator: a conditional one.
      z: latents `[R, Z]`.
      first: label of the first column.
      second: label of the last.
      frames: F, ends included, at least 2.

    Returns:
      `[R, F, H, W, C]`, uint8.

    Raises:
      ValueError: for a generator that has no classes to walk between, or labels out of range.
    """
    generator.require('interpolate_classes')
    count = generator.gan.num_classes
    for label in (first, second):
        if not 0 <= label < count:
            raise ValueError(f'class {label}: expected 0 to {count - 1}')
    rows = z.shape[0]
    if generator.space == 'w':
        ends = [generator.codes(z, jnp.full(rows, label)) for label in (first, second)]
        return generator.draw(straight(*ends, frames))
    steps = _with_classes_between(generator, first, second, frames)
    labels = np.tile(np.arange(frames), rows)
    images = steps.images(np.repeat(z, frames, axis=0), labels)
    return images.reshape(rows, frames, *images.shape[1:])


def _with_classes_between(
    generator: EditableGenerator, first: int, second: int, frames: int
) -> EditableGenerator:
    """The generator with as many classes as frames, on the path from one class to the other."""
    tables = set(generator.label_tables())

    def replace(path, leaf):
        if path not in tables:
            return leaf
        return straight(leaf[first][None], leaf[second][None], frames)[0]

    params = jax.tree_util.tree_map_with_path(replace, generator.variables['params'])
    module = generator.gan.generator.clone(num_classes=frames)
    gan = dataclasses.replace(generator.gan, generator=module, num_classes=frames)
    return EditableGenerator(gan, {**generator.variables, 'params': params})


def towards_average(generator: EditableGenerator, w: Array, shares: Sequence[float]) -> np.ndarray:
    """Points between the average of w and each w: truncation by psi.

    Args:
      generator: one with w.
      w: `[R, D]`, or `[R, L, D]`, a vector for each layer.
      shares: P finite shares of the distance: 0 the average, 1 the w itself, below 0 beyond it.

    Returns:
      `[R, P, D]`, or `[R, P, L, D]`.

    Raises:
      ValueError: for a share that is not finite.
    """
    if not np.isfinite(shares).all():
        raise ValueError(f'truncations in w must be finite, got {tuple(shares)}')
    average = np.asarray(generator.average)
    return average + _along(shares, w) * (np.asarray(w)[:, None] - average)


def truncated(z: Array, thresholds: Sequence[float]) -> Array:
    """Latents of truncated normals.

    Their distribution is that of BigGAN's, which draws numbers beyond the threshold again: a normal
    one cut off there. But each is a monotonic function of the number it comes from, so an image
    changes steadily with the threshold, and an infinite one leaves it alone.

    Args:
      z: normal, `[R, Z]`.
      thresholds: P positive numbers, `inf` among them.

    Returns:
      `[R, P, Z]`, none further from 0 than the threshold.

    Raises:
      ValueError: for a threshold that is not positive.
    """
    if not all(threshold > 0 for threshold in thresholds):
        raise ValueError(f'truncations of z must be positive, got {tuple(thresholds)}')
    z = jnp.asarray(z)
    root = jnp.sqrt(2.0)
    columns = []
    for threshold in thresholds:
        # The share of a normal distribution within |z| becomes the share of the truncated one.
        share = jax.lax.erf(jnp.abs(z) / root) * jax.lax.erf(threshold / root)
        near = jnp.minimum(root * jax.lax.erf_inv(share), jnp.minimum(threshold, jnp.abs(z)))
        columns.append(jnp.where(threshold == jnp.inf, z, jnp.sign(z) * near))
    return jnp.stack(columns, axis=1)
