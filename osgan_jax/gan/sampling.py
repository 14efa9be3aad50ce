"""Images from a generator: in training, and from any checkpoint of a run."""

import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.data import classes
from osgan_jax.engine import checkpoints, runs
from osgan_jax.evaluation import label_policies
from osgan_jax.gan import model, own
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.model import GAN
from osgan_jax.io import paths
from osgan_jax.networks import inference

# Splits the fixed latents of sample grids off the run's seed, away from training's own keys.
_GRID_STREAM = 0x6772_6964
_LABEL_STREAM = 0x6C61_6265
_NOISE_STREAM = 0x6E6F_6973  # of generators with noise of their own
_CHUNK = 256
_MAX_COLUMNS = 16


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
    z = inference.draw_latents(gan, _grid_key(seed), count)[:shown]
    labels = jnp.arange(len(z)) % gan.num_classes if gan.num_classes else None
    return z, labels


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
    z = inference.draw_latents(gan, _grid_key(seed), 2 * len(z))[len(z) :]
    groups = len(z) // of_class
    chosen = jnp.linspace(0, gan.num_classes - 1, groups).round().astype(labels.dtype)
    return z, chosen[jnp.minimum(jnp.arange(len(z)) // of_class, groups - 1)]


def fixed_latents(seed: int, count: int, latent_dim: int) -> jax.Array:
    """Normal latents `[count, Z]` of a run's sample grids."""
    return jax.random.normal(_grid_key(seed), (count, latent_dim))


def _grid_key(seed: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), _GRID_STREAM)


def read(
    workdir: str | os.PathLike[str], kinds: Sequence[type[TrainConfig]] = (TrainConfig,)
) -> runs.Run:
    """The run of a directory.

    Args:
      workdir: the run's directory.
      kinds: configurations of the kinds of run that are accepted.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, or it is a run of another kind.
    """
    run = runs.read(paths.expand(workdir), *kinds)
    if run is None:
        raise FileNotFoundError(
            f'{workdir} holds no run (no config.json): give the --workdir of a training run'
        )
    return run


def restore(
    workdir: str | os.PathLike[str],
    step: int | None = None,
    kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
    networks: Any = None,
) -> tuple[runs.Run, GAN, checkpoints.Restored]:
    """A run, its networks, and their state at one checkpoint.

    Args:
      workdir: the run's directory; a run that is still training may be read.
      step: which checkpoint; None is the newest good one.
      kinds: as for `read`.
      networks: the run's own networks, `osgan_jax.gan.Networks` or a reference, where the run
        does not name them, or no longer rightly.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, it is a run of another kind, or its own networks
        are not found.
      osgan_jax.engine.checkpoints.CheckpointError: if there is no such checkpoint, or none is good.
    """
    run = own.with_networks(read(workdir, kinds), networks, paths.expand(workdir))
    try:
        gan = model.build(
            own.readable(run.config),
            num_classes=run.num_classes,
            steps_per_epoch=run.steps_per_epoch,
        )
        like = jax.eval_shape(lambda: model.create(gan, run.config.seed))
    except (TypeError, ArithmeticError) as error:
        # Fields left open, or sizes that no array has; what is contradictory, build refuses.
        raise ValueError(
            f'the configuration in {workdir} describes no networks that can be built: restore its '
            'config.json'
        ) from error
    with checkpoints.Checkpoints(pathlib.Path(paths.expand(workdir)), read_only=True) as saved:
        # A student's state has more than the networks.
        return run, gan, saved.restore(like, step, whole=False)


class Sampler:
    """The generator of a run at one checkpoint.

    Attributes:
      workdir: the run's directory.
      run: what the run was made with.
      gan: its networks.
      step: the checkpoint's step.
      variables: the generator's, averaged where the run keeps an average.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        step: int | None = None,
        kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
        networks: Any = None,
    ):
        """Reads a run's generator; arguments and errors are those of `restore`."""
        self.workdir = workdir
        self.run, self.gan, restored = restore(workdir, step, kinds, networks)
        self.step = restored.step
        self.variables = restored.state.sampling_variables()
        self._generate = inference.compile_generator(self.gan.generator)

    def latents(self, count: int, seed: int) -> jax.Array:
        """Latents `[count, Z]` from a seed."""
        return inference.draw_latents(self.gan, jax.random.key(seed), count)

    def labels(self, count: int, label: int | str | None = None) -> jax.Array | None:
        """Labels `[count]`: all `label`, or every class in turn; None if unconditional.

        Args:
          count: labels.
          label: a class by name, or by number as a number or text.

        Raises:
          ValueError: for a label asked of an unconditional run, or out of range.
        """
        num_classes = self.gan.num_classes
        if not num_classes:
            if label is not None:
                raise ValueError(
                    f'label={label}: this run was not trained with labels; --conditional trains a '
                    'generator of classes'
                )
            return None
        if label is None:
            return jnp.arange(count) % num_classes
        return jnp.full(count, self.class_number(label))

    def class_number(self, label: int | str) -> int:
        """The number of a class given by name or number; raises ValueError for no such class."""
        return classes.find(str(label), self.run.class_names, self.gan.num_classes)

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
        self, z: jax.Array, labels: jax.Array | None = None, noise_seed: int | None = 0
    ) -> np.ndarray:
        """Images `[N, H, W, C]`, float32 in [-1, 1], for latents `[N, Z]`.

        Computed in chunks of one shape, so that any N compiles once and fits in memory.

        Args:
          z: latents.
          labels: `[N]`; None if unconditional.
          noise_seed: of StyleGAN2's noise, which is drawn for each image anew; None for the same
            noise in all images, as those of one path should have it.
        """
        chunk = itertools.count()

        def draw(*rows: Any) -> Any:
            key = None
            if noise_seed is not None:
                key = jax.random.fold_in(jax.random.key(noise_seed), _NOISE_STREAM)
                # Images of two chunks have other noise, too.
                key = jax.random.fold_in(key, next(chunk))
            return self._generate(self.variables, *rows, key)

        return in_chunks(draw, _CHUNK, z, labels)


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
