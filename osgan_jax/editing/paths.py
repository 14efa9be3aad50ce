"""Paths from one image to another: through z, through w, between classes, to the average.

Great circles in z are `osgan_jax.gan.sampling.interpolate`. Between classes the rows that a network
looks up for a label move on the straight line between two labels, as in Miyato and Koyama 2018
(https://arxiv.org/abs/1802.05637).
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.gan import sampling, truncation

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


def around_classes(
    generator: EditableGenerator, z: Array, classes: Sequence[int], frames: int, psi: float = 1.0
) -> Iterator[np.ndarray]:
    """Images of one z on the closed path of `between_classes` from each class to the next.

    Args:
      generator: a conditional one.
      z: the latent `[Z]`.
      classes: labels, K.
      frames: from one class to the next.
      psi: share of the distance from the average w that is kept; only read in w.

    Yields:
      K * frames images `[H, W, C]`, uint8.
    """
    ends = np.eye(generator.gan.num_classes, dtype=np.float32)[list(classes)]
    if generator.space == 'w':
        ends = generator.codes(jnp.tile(z, (len(classes), 1)), jnp.asarray(classes))
        ends = towards_average(generator, ends, [psi])[:, 0]
    parts = straight(ends, np.roll(ends, -1, axis=0), frames + 1)[:, :-1]
    if generator.space == 'z':
        generator = _with_classes(generator, parts.reshape(-1, parts.shape[-1]))
    for index, part in enumerate(parts):
        if generator.space == 'w':
            yield from generator.draw(part[None])[0]
        else:
            labels = index * frames + np.arange(frames)
            yield from generator.images(np.tile(z, (frames, 1)), labels)


def _with_classes_between(
    generator: EditableGenerator, first: int, second: int, frames: int
) -> EditableGenerator:
    """The generator with as many classes as frames, on the path from one class to the other."""
    ends = np.eye(generator.gan.num_classes, dtype=np.float32)[[first, second]]
    return _with_classes(generator, straight(ends[:1], ends[1:], frames)[0])


def _with_classes(generator: EditableGenerator, shares: np.ndarray) -> EditableGenerator:
    """The generator with other classes, `[F]`, each of shares of its own ones, `[F, K]`."""
    tables = set(generator.label_tables())

    def replace(path, leaf):
        return shares @ np.asarray(leaf) if path in tables else leaf

    params = jax.tree_util.tree_map_with_path(replace, generator.variables['params'])
    module = generator.gan.generator.clone(num_classes=len(shares))
    gan = dataclasses.replace(generator.gan, generator=module, num_classes=len(shares))
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
    """Latents of truncated normals, see `osgan_jax.gan.truncation.truncate`.

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
    return jnp.stack([truncation.truncate(z, threshold) for threshold in thresholds], axis=1)
