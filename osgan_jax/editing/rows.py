"""What the rows of a sheet show: samples of a seed, or latents that were found for images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.editing.config import EditConfig
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.editing.latents import Latents
from osgan_jax.gan.sampling import Sampler

Array = jax.Array


def check_ends(count: int) -> None:
    """Raises ValueError for fewer latents of images than a path has ends."""
    if count < 2:
        raise ValueError(
            'a path from image to image needs the latents of two: give two images or files to '
            '--project or --latents'
        )


class Rows:
    """Points of a generator's latent space and their labels.

    Attributes:
      latents: those of images; empty where rows are samples.
    """

    def __init__(
        self,
        sampler: Sampler,
        generator: EditableGenerator,
        config: EditConfig,
        latents: Sequence[Latents] = (),
    ):
        """Takes the latents that rows show in place of samples, all of them."""
        self.latents = tuple(latents)
        self._sampler, self._generator, self._config = sampler, generator, config

    def samples(self, count: int) -> tuple[Array, Array | None]:
        """Latents z and labels of the first samples, those of `experiments.sample`."""
        config, sampler = self._config, self._sampler
        return sampler.latents(count, config.seed), sampler.labels(count, config.label)

    def points(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Points `[N, ...]` of the space and labels: all latents, or `count` samples."""
        if self.latents:
            return self._of_latents()
        z, labels = self.samples(count)
        return self._generator.codes(z, labels), labels

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Points along the left edge of a sheet of mixing, and along the top."""
        rows, columns = self._config.rows, self._config.columns
        points, _ = self.points(rows + columns)
        return (points, points) if self.latents else (points[:rows], points[rows:])

    def ends(
        self, *, in_z: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Both ends of each row's path: start and end `[R, ...]`, and the labels of both.

        Of latents, each to the next one; of samples, --rows pairs, each in one class.

        Args:
          in_z: whether ends are latents z, also of a generator with w.

        Raises:
          ValueError: for one image's latents alone, or latents in w where z is wanted.
        """
        if self.latents:
            check_ends(len(self.latents))
            if in_z:
                self.require_z('interpolate_z')
            points, labels = self._of_latents()
            sides = (None, None) if labels is None else (labels[:-1], labels[1:])
            return points[:-1], points[1:], *sides
        rows = self._config.rows
        z = self._sampler.latents(2 * rows, self._config.seed)
        labels = self._sampler.labels(rows, self._config.label)
        start, end = z[0::2], z[1::2]
        if not in_z:
            start, end = (self._generator.codes(each, labels) for each in (start, end))
        return start, end, labels, labels

    def z(self, count: int, sheet: str) -> Array:
        """Latents z `[N, Z]`: all latents, or `count` samples.

        Raises:
          ValueError: for latents in w.
        """
        if not self.latents:
            return self._sampler.latents(count, self._config.seed)
        self.require_z(sheet)
        return jnp.asarray(self._of_latents()[0])

    def require_z(self, sheet: str) -> None:
        """Raises ValueError for latents in w, for which a sheet has no use."""
        if any(each.space != 'z' for each in self.latents):
            raise ValueError(
                f'{sheet} moves z, but the latents of images of this run are in w: draw '
                'interpolate_w, mixing, truncation or direction of them'
            )

    def _of_latents(self) -> tuple[np.ndarray, np.ndarray | None]:
        points = [each.point for each in self.latents]
        if len({point.ndim for point in points}) > 1:
            # One w for all layers is one for each.
            count = self._generator.num_styles
            points = [np.tile(p, (count, 1)) if p.ndim == 1 else p for p in points]
        labels = None
        if self._generator.gan.num_classes:
            labels = np.array([each.label for each in self.latents])
        return np.stack(points), labels
