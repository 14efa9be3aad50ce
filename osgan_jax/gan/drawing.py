"""Many images of a generator, a chunk at a time, each decided by itself.

Which others are drawn with an image changes nothing but the last bits of its computation, and where
a drawing was interrupted changes nothing at all.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import reporting
from osgan_jax.gan import sampling

# Of images with seeds of their own: noise depends on their latents as well.
_NOISE_SEED = 0


class Drawing:
    """Which images to draw, and the drawing of them.

    Attributes:
      count: images, N.
      rows: images in a chunk.
      labels: `[N]`, int32; None if unconditional.
    """

    def __init__(
        self,
        sampler: sampling.Sampler,
        count: int,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        label: Sequence[int | str] = (),
        policy: str = 'turn',
        class_counts: Sequence[int] = (),
        truncation: float | None = None,
    ):
        """Describes images.

        Args:
          sampler: the generator.
          count: images; with `seeds`, as many as those.
          seed: image i is made of row i of this seed's latents.
          seeds: instead, a seed for each image: it is made of the first of that seed's latents.
          label: classes that take turns, by row or by the image's own seed; by default all.
          policy: 'turn', or how labels are drawn, of `evaluation.label_policies`.
          class_counts: images of each class in the data, which the policy 'data' follows.
          truncation: see `sampling.Sampler.generate`.

        Raises:
          ValueError: for labels asked of an unconditional run, no such class, or data without the
            generator's classes.
        """
        self.count = count
        self.rows = min(count, sampling.rows_at_once(sampler.gan.image_shape))
        self._sampler, self._truncation = sampler, truncation
        self._seed, self._seeds = seed, np.asarray(seeds, np.uint32)
        self._block: tuple[range, jax.Array] | None = None
        chosen = np.asarray(sampler.classes(label), np.int32)
        if not len(chosen):
            self.labels = None
        elif policy == 'turn':
            self.labels = chosen[(self._seeds if seeds else np.arange(count)) % len(chosen)]
        elif seeds:
            draw = lambda own: sampler.drawn_labels(1, own, policy, class_counts)[0]  # noqa: E731
            self.labels = np.asarray(jax.jit(jax.vmap(draw))(self._seeds))
        else:
            self.labels = np.asarray(sampler.drawn_labels(count, seed, policy, class_counts))

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """Draws images from one on, in chunks of `rows`, the last one shorter.

        The device computes a chunk while the caller is busy with the one before.

        Args:
          start: the first image, a multiple of `rows`.

        Yields:
          uint8 `[n, H, W, C]`.

        Raises:
          ValueError: as `sampling.Sampler.generate`, and for another start.
        """
        if start % self.rows:
            raise ValueError(f'start={start}: expected a multiple of {self.rows}')
        pending: tuple[jax.Array, int] | None = None
        for first in range(start, self.count, self.rows):
            # All chunks have one shape, so that nothing is compiled twice.
            places = np.minimum(np.arange(first, first + self.rows), self.count - 1)
            images = self._sampler.generate(
                self.latents(places),
                None if self.labels is None else jnp.asarray(self.labels[places]),
                _NOISE_SEED if len(self._seeds) else self._seed,
                first // self.rows,
                self._truncation,
            )
            if pending is not None:
                yield _finish(*pending)
            pending = images, min(self.rows, self.count - first)
        if pending is not None:
            yield _finish(*pending)

    def latents(self, places: np.ndarray) -> jax.Array:
        """The latents `[n, Z]` of images `[n]`, ascending."""
        if len(self._seeds):
            return self._sampler.seeded_latents(self._seeds[places])
        # Whole blocks, for each part of one would compile a shape of its own; the newest is kept.
        first, last = int(places[0]), int(places[-1])
        if self._block is None or not (first in self._block[0] and last in self._block[0]):
            start = first - first % sampling.BLOCK
            end = min(last + sampling.BLOCK - last % sampling.BLOCK, self.count)
            z = self._sampler.latents(end - start, self._seed, start)
            self._block = range(start, end), z
        return self._block[1][places - self._block[0].start]


def _finish(images: jax.Array, count: int) -> np.ndarray:
    return reporting.to_uint8(np.asarray(images)[:count])
