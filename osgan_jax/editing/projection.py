"""Projection: the latents whose image is nearest to a given one, found by optimisation.

In w it goes as in Karras et al. 2020 (https://arxiv.org/abs/1912.04958), appendix D: Adam, whose
rate rises linearly over the first twentieth of the steps and falls along a cosine over the last
quarter; noise added to w, which fades over the first three quarters, so that it does not settle too
early. The noise maps are optimised too, from those that all edits share; so that they carry no
picture, they are kept free of correlations at all scales. In z, of generators without w, it goes
likewise, from the nearest of random samples.

The noise added to z is a share of the deviation of one number, that added to w a share of that of
the whole vector, as published. Several starts are optimised side by side, and the nearest kept.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from osgan_jax.editing import noise_maps
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.editing.latents import Latents
from osgan_jax.editing.similarity import Similarity
from osgan_jax.gan import sampling
from osgan_jax.networks import inference
from osgan_jax.reporting import to_uint8

Array = jax.Array
PyTree = Any

_RATE = 0.1
_RAMP_UP, _RAMP_DOWN = 0.05, 0.25  # shares of the steps
_NOISE, _NOISE_RAMP = 0.05, 0.75
_NOISE_WEIGHT = 1e5
# Keeps the mean square of z near that of samples, of whose deviations it is this times the squared
# number: elsewhere G was not trained.
_PRIOR_WEIGHT = 1e-3
_AVERAGED = 10_000  # samples of which the average of w is taken
_AT_ONCE = 25  # steps a call of the compiled program
_PIXELS = 2**18  # of the images whose gradients are in memory at once
_SAMPLES = 2**22  # pixels of random samples that are compared


@dataclasses.dataclass(frozen=True)
class Projection:
    """An image and what was found for it.

    Attributes:
      latents: the nearest point.
      target: the image asked for, uint8 `[H, W, C]`.
      image: that of the latents, with their noise, uint8 `[H, W, C]`.
      distance: between the two.
      nearest: the nearest of the random samples, uint8 `[H, W, C]`.
      nearest_distance: its distance.
      plain_distance: distance of the latents' image with the noise that all edits share; `distance`
        itself where no noise was optimised.
      curves: distances at each step of all starts, `[R, T]`.
      distances: of all starts at the end, `[R]`.
      labels: classes of all starts, `[R]`; None if unconditional.
    """

    latents: Latents
    target: np.ndarray
    image: np.ndarray
    distance: float
    nearest: np.ndarray
    nearest_distance: float
    plain_distance: float
    curves: np.ndarray
    distances: np.ndarray
    labels: np.ndarray | None

    @property
    def pixel_error(self) -> float:
        """Root of the mean square of the pixels' differences, of 255."""
        return float(np.sqrt(np.mean((self.target.astype(float) - self.image) ** 2)))


class Projector:
    """Projects images, all of them by one compiled program.

    Attributes:
      space: 'w', 'w_plus' or 'z'.
      samples: random samples that each image is compared with first.
    """

    def __init__(
        self,
        generator: EditableGenerator,
        similarity: Similarity,
        *,
        space: str | None = None,
        steps: int | None = None,
        restarts: int = 4,
        samples: int | None = None,
        noise: bool = True,
        seed: int = 0,
    ):
        """Draws the random samples.

        Args:
          generator: the generator.
          similarity: what is lowered.
          space: 'w' or 'w_plus', where each layer has a w of its own, of generators with w, 'z' of
            others; by default 'w' or 'z'.
          steps: T, at least 1; by default 1,000 in w, 400 in z.
          restarts: R, the starts that are optimised side by side, at least 1.
          samples: by default 1,000, fewer of images beyond 64 pixels.
          noise: whether noise maps are optimised, where the generator has them.
          seed: of the samples and of the noise.

        Raises:
          ValueError: for a space that this generator does not have.
        """
        spaces = ('w', 'w_plus') if generator.space == 'w' else ('z',)
        if space not in (None, *spaces):
            raise ValueError(
                f'project_space={space}: this {generator.name} is projected into '
                f'{" or ".join(spaces)}'
            )
        self.space = space or spaces[0]
        self._generator, self._similarity = generator, similarity
        self._steps = steps or (400 if self.space == 'z' else 1000)
        self._restarts, self._seed = restarts, seed
        self._has_noise = noise and self.space != 'z'
        height, width, _ = generator.gan.image_shape
        self._rows = max(1, min(restarts, _PIXELS // (height * width)))
        self.samples = samples or max(16, min(1000, _SAMPLES // (height * width)))
        self._z = inference.draw_latents(generator.gan, jax.random.key(seed), self.samples)
        squares = np.mean(np.asarray(self._z) ** 2, axis=1)
        self._square, self._spread = float(squares.mean()), float(squares.std()) or 1.0
        self._averages: dict[int | None, tuple[np.ndarray, float]] = {}
        self._drawn: dict[int | None, tuple[np.ndarray | None, np.ndarray]] = {}
        self._optimise = jax.jit(self._make_optimise(), donate_argnums=4)
        self._judge = jax.jit(self._make_judge())
        self._compare = jax.jit(self._compare_images)

    def __call__(
        self,
        target: np.ndarray,
        label: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Projection:
        """Projects an image.

        Args:
          target: uint8 `[H, W, C]`, of the generator's shape.
          label: class of the image; None searches all classes of a conditional generator.
          progress: called with the steps done, from 0, and those in all.

        Raises:
          ValueError: an image of another shape or type.
        """
        shape = self._generator.gan.image_shape
        if target.shape != tuple(shape) or target.dtype != np.uint8:
            raise ValueError(
                f'expected a uint8 image {list(shape)} to project, got {target.dtype} '
                f'{list(target.shape)}'
            )
        wanted = jnp.asarray(target, jnp.float32)[None] / 127.5 - 1
        labels, images = self._draw_samples(label)
        compare = lambda *rows: self._compare(self._similarity.constants, wanted, *rows)  # noqa: E731
        far = sampling.in_chunks(compare, 4 * self._rows, images, labels)
        order = np.argsort(far, kind='stable')
        chosen = spread_over_classes(order, labels, self._restarts)
        starts = self._starts(chosen, labels)
        of_starts = None if labels is None else labels[chosen]
        found, curves = self._run(wanted, starts, of_starts, progress)
        distances, shown = self._final(wanted, found, of_starts)
        best = int(np.nanargmin(distances)) if np.isfinite(distances).any() else 0
        if not np.isfinite(distances[best]):
            raise ValueError('no start has led to a finite distance: has the run diverged?')
        point, noise = jax.tree.map(lambda leaf: np.asarray(leaf[best]), found)
        own = None if of_starts is None else of_starts[best : best + 1]
        plain = float(distances[best])
        if noise:
            with_shared = self._generator.points(point[None], own)
            plain = float(self._compare(self._similarity.constants, wanted, with_shared, own)[0])
        number = None if own is None else int(own[0])
        return Projection(
            latents=Latents(point, self.space, number, tuple(noise)),
            target=target,
            image=to_uint8(shown[best]),
            distance=float(distances[best]),
            nearest=to_uint8(images[order[0]]),
            nearest_distance=float(far[order[0]]),
            plain_distance=plain,
            curves=curves,
            distances=distances,
            labels=of_starts,
        )

    def _draw_samples(self, label: int | None) -> tuple[np.ndarray | None, np.ndarray]:
        """Labels and images, float32, of the random samples; kept, for the next image."""
        if label not in self._drawn:
            classes, count = self._generator.gan.num_classes, self.samples
            labels = None
            if classes:
                labels = np.arange(count) % classes if label is None else np.full(count, label)
            images = self._generator.images(self._z, labels, then=np.asarray)
            self._drawn[label] = labels, images
        return self._drawn[label]

    def _compare_images(
        self, constants: PyTree, wanted: Array, images: Array, labels: Array | None
    ) -> Array:
        """Distances `[N]` of images from the target `[1, H, W, C]`."""
        targets = jnp.broadcast_to(wanted, images.shape)
        prepared = self._similarity.prepare(constants, targets, labels)
        return self._similarity.compare(constants, prepared, images, labels)

    def _starts(self, chosen: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """The points `[R, ...]` to start from: in w the first of a class is the class's average."""
        own = None if labels is None else labels[chosen]
        points = np.array(self._generator.codes(self._z[chosen], own))
        if self.space == 'z':
            return points
        seen = set()
        for row, number in enumerate([None] * len(chosen) if own is None else own.tolist()):
            if number not in seen:
                seen.add(number)
                points[row] = self._average(number)[0]
        if self.space == 'w_plus':
            points = np.repeat(points[:, None], self._generator.num_styles, axis=1)
        return points

    def _average(self, label: int | None) -> tuple[np.ndarray, float]:
        """The average of w and its deviation, of one class where there are such."""
        if label not in self._averages:
            key = jax.random.fold_in(jax.random.key(self._seed), 1)
            z = inference.draw_latents(self._generator.gan, key, _AVERAGED)
            labels = None if label is None else np.full(_AVERAGED, label)
            w = self._generator.codes(z, labels)
            # Of the whole vector, as in the paper.
            deviation = float(np.sqrt(np.mean(np.sum((w - w.mean(0)) ** 2, axis=1))))
            self._averages[label] = w.mean(0), deviation
        return self._averages[label]

    def _deviations(self, count: int, labels: np.ndarray | None) -> np.ndarray:
        """The deviations `[R, ...]` of which the noise at starts is a share.

        In z that of one number; in w that of the whole vector, of the start's class.
        """
        if self.space == 'z':
            found = [float(jnp.std(self._z))] * count
        else:
            numbers = [None] * count if labels is None else labels.tolist()
            found = [self._average(number)[1] for number in numbers]
        return np.asarray(found, np.float32).reshape(-1, *[1] * (1 + (self.space == 'w_plus')))

    def _run(
        self,
        wanted: Array,
        starts: np.ndarray,
        labels: np.ndarray | None,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[PyTree, np.ndarray]:
        """Optimises all starts; returns points and noise `[R, ...]`, and curves `[R, T]`."""
        constants, generator = self._similarity.constants, self._generator
        key = jax.random.fold_in(jax.random.key(self._seed), 2)
        count, steps = len(starts), self._steps
        ends, curves = [], []
        deviations = self._deviations(count, labels)
        groups = range(0, count, self._rows)
        calls = -(-steps // _AT_ONCE)
        if progress is not None:
            progress(0, calls * len(groups))
        for first in groups:
            # A last group that is not full starts some points twice.
            rows = np.minimum(np.arange(first, first + self._rows), count - 1)
            own = None if labels is None else jnp.asarray(labels[rows])
            keys = jax.vmap(functools.partial(jax.random.fold_in, key))(rows)
            state = self._fresh(jnp.asarray(starts[rows], jnp.float32))
            parts = []
            for index, step in enumerate(range(0, steps, _AT_ONCE)):
                state, part = self._optimise(
                    (generator.variables, constants, deviations[rows]),
                    wanted,
                    own,
                    keys,
                    state,
                    step,
                )
                parts.append(np.asarray(part))
                if progress is not None:
                    progress(calls * (first // self._rows) + index + 1, calls * len(groups))
            kept = min(self._rows, count - first)
            ends.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], state[0]))
            curves.append(np.concatenate(parts)[:steps, :kept].T)
        points = jax.tree.map(lambda *leaves: np.concatenate(leaves), *ends)
        return points, np.concatenate(curves)

    def _fresh(self, points: Array) -> tuple[PyTree, PyTree]:
        """Points with the noise maps that sheets draw, and the optimiser's state."""
        maps = self._generator.gan.generator.shared_noise() if self._has_noise else ()
        points = (points, [jnp.repeat(each[None], len(points), axis=0) for each in maps])
        return points, optax.adam(1.0).init(points)

    def _final(
        self, wanted: Array, found: PyTree, labels: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances `[R]` and images of points with their noise maps."""
        weights = self._generator.variables, self._similarity.constants
        distances, images = [], []
        for first in range(0, len(found[0]), self._rows):
            rows = np.minimum(np.arange(first, first + self._rows), len(found[0]) - 1)
            own = None if labels is None else jnp.asarray(labels[rows])
            points = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), found)
            far, shown = self._judge(weights, wanted, own, points)
            distances.append(np.asarray(far)[: len(found[0]) - first])
            images.append(np.asarray(shown)[: len(found[0]) - first])
        return np.concatenate(distances), np.concatenate(images)

    def _make_optimise(self) -> Callable[..., Any]:
        """`_AT_ONCE` steps: `(weights, wanted, labels, keys, state, step) -> (state, curves)`."""
        generator, similarity = self._generator, self._similarity
        total, space, adam = self._steps, self.space, optax.adam(1.0)
        square, spread = self._square, self._spread

        def loss(points, weights, prepared, labels, added):
            variables, constants = weights
            latents, maps = points
            images = generator.render(variables, latents + added, labels, maps)
            far = similarity.compare(constants, prepared, images, labels)
            value = jnp.sum(far)
            if maps:
                value += _NOISE_WEIGHT * sum(map(noise_maps.correlation, maps))
            if space == 'z':
                away = (jnp.mean(latents**2, axis=-1) - square) / spread
                value += _PRIOR_WEIGHT * jnp.sum(away**2)
            return value, far

        def optimise(weights, wanted, labels, keys, state, first):
            variables, of_similarity, deviation = weights
            targets = jnp.broadcast_to(wanted, (len(keys), *wanted.shape[1:]))
            prepared = similarity.prepare(of_similarity, targets, labels)

            def update(carried, index):
                points, opt_state = carried
                step = first + index
                share = step / total
                fade = jnp.maximum(0.0, 1 - share / _NOISE_RAMP) ** 2
                drawn = jax.vmap(lambda key: jax.random.normal(key, points[0].shape[1:]))(
                    jax.vmap(jax.random.fold_in, (0, None))(keys, 1000 + step)
                )
                gradient = jax.grad(loss, has_aux=True)
                grads, far = gradient(
                    points,
                    (variables, of_similarity),
                    prepared,
                    labels,
                    _NOISE * deviation * fade * drawn,
                )
                updates, new = adam.update(grads, opt_state, points)
                rate = _RATE * learning_rate(share)
                latents, maps = optax.apply_updates(
                    points, jax.tree.map(lambda u: rate * u, updates)
                )
                maps = [noise_maps.standardise(each) for each in maps]
                # Steps beyond the last leave all as it is.
                kept = jax.tree.map(
                    lambda a, b: jnp.where(step < total, a, b), ((latents, maps), new), carried
                )
                return kept, far

            return jax.lax.scan(update, state, jnp.arange(_AT_ONCE))

        return optimise

    def _make_judge(self) -> Callable[..., Any]:
        generator = self._generator

        def judge(weights, wanted, labels, points):
            variables, constants = weights
            images = generator.render(variables, points[0], labels, points[1])
            return self._compare_images(constants, wanted, images, labels), images

        return judge


def learning_rate(share: Array) -> Array:
    """The factor of the rate at a share of the steps: a linear rise, 1, and a cosine's fall."""
    fall = jnp.minimum(1.0, (1 - share) / _RAMP_DOWN)
    return (0.5 - 0.5 * jnp.cos(fall * math.pi)) * jnp.minimum(1.0, share / _RAMP_UP)


def spread_over_classes(order: np.ndarray, labels: np.ndarray | None, count: int) -> np.ndarray:
    """The samples to start from: the nearest of the nearest classes, then the next of each.

    Args:
      order: indices of samples `[N]`, the nearest first.
      labels: classes `[N]` of all samples; None without classes.
      count: how many; fewer if there are not as many samples.

    Returns:
      Indices `[min(count, N)]`.
    """
    if labels is None:
        return order[:count]
    ranks: dict[int, int] = {}
    keys = []
    for index in order:
        label = int(labels[index])
        ranks[label] = ranks.get(label, -1) + 1
        keys.append(ranks[label])
    return order[np.argsort(keys, kind='stable')][:count]
