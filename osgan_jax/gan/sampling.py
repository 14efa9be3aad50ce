"""Images from a generator: in training, and from any checkpoint of a run."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core import compiling
from osgan_jax.data import classes
from osgan_jax.evaluation import label_policies
from osgan_jax.gan import reading
from osgan_jax.gan import truncation as truncations
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.model import GAN
from osgan_jax.networks import inference

# Splits the fixed latents of sample grids off the run's seed, away from training's own keys.
_GRID_STREAM = 0x6772_6964
_LABEL_STREAM = 0x6C61_6265
_NOISE_STREAM = 0x6E6F_6973  # of generators with noise of their own
# The most pixels and images computed at once: 32 images of 256 pixels, 2 of 1024.
_PIXELS = 2**21
_ROWS = 256
# Rows of a seed's latents that are drawn from one key.
BLOCK = 2**14
_MAX_COLUMNS = 16


def rows_at_once(image_shape: tuple[int, int, int]) -> int:
    """The number of images `(H, W, C)` that are computed at once: what fits most machines."""
    height, width, _ = image_shape
    return max(1, min(_ROWS, _PIXELS // (height * width)))


def grid_shape(num_classes: int, count: int) -> tuple[int, int | None]:
    """The images of a sample grid, and those of a row: each column shows one class.

    Args:
      num_classes: of labels that take turns; 0 without labels.
      count: images asked for.

    Returns:
      `(images, columns)`: with up to 16 classes full rows alone, at most `count` images. Otherwise
      all, and None: about as many columns as rows.
    """
    if not 0 < num_classes <= min(count, _MAX_COLUMNS):
        return count, None
    columns = num_classes * max(1, round(count**0.5 / num_classes))
    return count - count % columns, columns


def grid_inputs(
    gan: GAN, seed: int, count: int, shown: int | None = None
) -> tuple[jax.Array, jax.Array | None]:
    """The latents `[shown, Z]` and labels of a run's sample grids, the same at every step.

    So is StyleGAN2's noise there: grids are drawn without a key, to show what training changes.

    Args:
      gan: the networks.
      seed: the run's.
      count: latents drawn.
      shown: how many of them are returned, the first ones; all by default.
    """
    z = _draw_grid(gan, seed, count, slice(shown))
    labels = np.arange(len(z), dtype=np.int32) % gan.num_classes if gan.num_classes else None
    return z, None if labels is None else jnp.asarray(labels)


def alarm_inputs(
    gan: GAN, seed: int, z: jax.Array, labels: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """The latents and labels of images that tell whether G has collapsed: the grid's, mostly.

    Where a grid shows fewer than four images of a class, they are others, four of each of fewer
    classes; as many, so that nothing is compiled for them.

    Args:
      gan: the networks.
      seed: the run's.
      z: the grid's latents `[N, Z]`.
      labels: the grid's labels `[N]`; None without.
    """
    of_class = 4
    if labels is None or len(z) >= of_class * gan.num_classes or len(z) < of_class:
        return z, labels
    # Other than those of the grid.
    z = _draw_grid(gan, seed, 2 * len(z), slice(len(z), None))
    groups = len(z) // of_class
    chosen = jnp.linspace(0, gan.num_classes - 1, groups).round().astype(labels.dtype)
    return z, chosen[jnp.minimum(jnp.arange(len(z)) // of_class, groups - 1)]


def _draw_grid(gan: GAN, seed: int, count: int, rows: slice) -> jax.Array:
    """Some rows of the first `count` latents of a run's sample grids."""

    def draw_grid(key: jax.Array) -> jax.Array:
        return inference.draw_latents(gan, jax.random.fold_in(key, _GRID_STREAM), count)[rows]

    return compiling.call_once(draw_grid, jax.random.key(seed))


def fixed_latents(seed: int, count: int, latent_dim: int) -> jax.Array:
    """Normal latents `[count, Z]` of a run's sample grids."""
    return jax.random.normal(_grid_key(seed), (count, latent_dim))


def _grid_key(seed: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), _GRID_STREAM)


class Sampler:
    """The generator of a run at one checkpoint.

    Attributes:
      workdir: the run's directory.
      run: what the run was made with.
      gan: its networks.
      step: the checkpoint's step.
      variables: the generator's, averaged where the run keeps an average. In an export they are
        those that were chosen then.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        step: int | None = None,
        kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
        networks: Any = None,
    ):
        """Reads a run's generator, an exported one, or that of a `pretrained:NAME`.

        Arguments and errors are those of `reading.load`.
        """
        self.workdir = workdir
        found = reading.load(workdir, step, kinds, networks)
        self.run, self.gan, self.step, self.variables, _ = found
        self._generate = inference.compile_generator(self.gan.generator)

    def latents(self, count: int, seed: int, start: int = 0) -> jax.Array:
        """Latents `[count, Z]` from a seed; row i is the same whatever the count.

        Args:
          count: latents, at least 1.
          seed: of all of them.
          start: the row of the first.

        Raises:
          ValueError: for a count below 1.
        """
        if count < 1:
            raise ValueError(f'latents: expected a count of at least 1, got {count}')
        parts = []
        for block in range(start // BLOCK, -(-(start + count) // BLOCK)):
            key = jax.random.key(seed)
            key = jax.random.fold_in(key, block) if block else key
            low, high = (min(max(row - block * BLOCK, 0), BLOCK) for row in (start, start + count))
            parts.append(inference.draw_latents(self.gan, key, high)[low:])
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def seeded_latents(self, seeds: Sequence[int] | np.ndarray) -> jax.Array:
        """Latents `[N, Z]`, each the first of a seed of its own, `[N]`."""
        draw = lambda seed: inference.draw_latents(self.gan, jax.random.key(seed), 1)[0]  # noqa: E731
        return jax.vmap(draw)(np.asarray(seeds, np.uint32))

    def labels(
        self, count: int, label: int | str | Sequence[int | str] | None = None
    ) -> jax.Array | None:
        """Labels `[count]`: all `label`, or several classes in turn; None if unconditional.

        Args:
          count: labels.
          label: a class by name, or by number as a number or text, or several; by default all.

        Raises:
          ValueError: for a label asked of an unconditional run, or out of range.
        """
        chosen = jnp.asarray(self.classes(label))
        return chosen[jnp.arange(count) % len(chosen)] if len(chosen) else None

    def classes(self, label: int | str | Sequence[int | str] | None = None) -> tuple[int, ...]:
        """The numbers of classes, as `labels` takes them; none if unconditional."""
        asked = (label,) if isinstance(label, int | str) else label
        if not self.gan.num_classes:
            if asked:
                raise ValueError(
                    f'label={",".join(map(str, asked))}: this run was not trained with labels; '
                    '--conditional trains a generator of classes'
                )
            return ()
        if not asked:
            return tuple(range(self.gan.num_classes))
        return tuple(map(self.class_number, asked))

    def class_number(self, label: int | str) -> int:
        """The number of a class given by name or number; raises ValueError for no such class."""
        return classes.find(label, self.run.class_names, self.gan.num_classes)

    def drawn_labels(
        self, count: int, seed: int, policy: str, class_counts: Iterable[int] = ()
    ) -> jax.Array:
        """Labels `[count]` drawn from a seed, as `evaluation.label_policies` has it.

        Args:
          count: labels.
          seed: of the draw.
          policy: 'data' or 'uniform'.
          class_counts: images of each class in the data.

        Raises:
          ValueError: for data without the generator's classes.
        """
        num_classes = self.gan.num_classes
        frequencies = label_policies.frequencies(policy, num_classes, class_counts)
        key = jax.random.fold_in(jax.random.key(seed), _LABEL_STREAM)
        return inference.draw_labels(key, count, num_classes, frequencies)

    def images(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        noise_seed: int | None = 0,
        truncation: float | None = None,
    ) -> np.ndarray:
        """Images `[N, H, W, C]`, float32 in [-1, 1], for latents `[N, Z]`.

        Computed in chunks of one shape, so that any N compiles once and fits in memory.

        Args:
          z: latents.
          labels: `[N]`; None if unconditional.
          noise_seed: of StyleGAN2's noise, which is drawn for each image anew; None for the same
            noise in all images, as those of one path should have it.
          truncation: as for `generate`.

        Raises:
          ValueError: as `generate`, for no latents, or for labels other than a class of each.
        """
        if not len(z):
            raise ValueError('images: expected at least one row of latents')
        if labels is not None:
            labels = self._checked(labels, len(z))
        chunk = itertools.count()

        def draw(*rows: Any) -> Any:
            return self.generate(*rows, noise_seed, next(chunk), truncation)

        return in_chunks(draw, rows_at_once(self.gan.image_shape), z, labels)

    def _checked(self, labels: Any, count: int) -> np.ndarray:
        """Labels as an array; the generator takes any numbers, and draws something for them."""
        labels, classes = np.asarray(labels), self.gan.num_classes
        known = labels.dtype.kind in 'iu' and labels.shape == (count,)
        if not known or labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f'labels: expected the class of each of {count} images, integers from 0 to '
                f'{classes - 1}'
                if classes
                else 'labels: this generator has no classes'
            )
        return labels

    def generate(
        self,
        z: jax.Array,
        labels: jax.Array | None,
        noise_seed: int | None,
        chunk: int = 0,
        truncation: float | None = None,
    ) -> jax.Array:
        """Images of one chunk, which may still be computed on the device when this returns.

        Args:
          z: latents `[N, Z]`.
          labels: `[N]`; None if unconditional.
          noise_seed: as for `images`.
          chunk: number of the chunk.
          truncation: of a generator with styles, the share of the distance from the average w that
            is kept; of any other, the number beyond which no latent lies. None for neither.

        Raises:
          ValueError: for a truncation of z that is not positive, or of latents that are not normal.
        """
        key, has_styles = None, self.gan.network.has_styles
        if noise_seed is not None:
            # Images of two chunks have other noise, also where it does not depend on z.
            key = noise_key(noise_seed, 0 if has_styles else chunk)
        if truncation is not None and not has_styles:
            if self.gan.network.latents is not None:
                raise ValueError('truncation is of normal latents, and this generator has others')
            z, truncation = truncations.truncate(z, truncation), None
        return self._generate(self.variables, z, labels, key, truncation)


def noise_key(seed: int | jax.Array, chunk: int = 0) -> jax.Array:
    """The key of the noise of a chunk of images."""
    key = jax.random.fold_in(jax.random.key(seed), _NOISE_STREAM)
    return jax.random.fold_in(key, chunk)


def in_chunks(function: Callable[..., Any], size: int, *arrays: Any) -> np.ndarray:
    """Applies a function to `size` rows at a time; None is passed on."""
    count = arrays[0].shape[0]
    size = min(count, size)
    parts = []
    for start in range(0, count, size):
        # The last chunk is filled up with the first rows, which are cut off afterwards.
        rows = np.arange(start, start + size) % count
        parts.append(np.asarray(function(*(None if a is None else a[rows] for a in arrays))))
    return np.concatenate(parts)[:count]


def interpolate(z: jax.Array, steps: int) -> jax.Array:
    """Latents on the way from each even row to the next odd one, along great circles.

    Gaussian latents lie near a sphere, and a straight line would cut through its inside, where the
    generator was never trained: angle and length are interpolated apart.

    Args:
      z: `[2 * P, Z]`, P pairs.
      steps: latents a pair, ends included, at least 2.

    Returns:
      `[P * steps, Z]`, pair by pair.

    Raises:
      ValueError: for an odd number of latents or fewer than 2 steps.
    """
    if z.shape[0] % 2 or steps < 2:
        raise ValueError(f'expected pairs of latents and 2 steps, got {z.shape[0]} and {steps}')
    start, end = z[0::2, None], z[1::2, None]
    t = jnp.linspace(0.0, 1.0, steps)[None, :, None]
    length = lambda v: jnp.linalg.norm(v, axis=-1, keepdims=True)  # noqa: E731
    cosine = jnp.sum(start * end, -1, keepdims=True) / (length(start) * length(end))
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    small = angle < 1e-4
    sine = jnp.where(small, 1.0, jnp.sin(angle))
    weight_start = jnp.where(small, 1 - t, jnp.sin((1 - t) * angle) / sine)
    weight_end = jnp.where(small, t, jnp.sin(t * angle) / sine)
    direction = weight_start * start / length(start) + weight_end * end / length(end)
    path = direction * ((1 - t) * length(start) + t * length(end))
    return path.reshape(-1, z.shape[-1])
