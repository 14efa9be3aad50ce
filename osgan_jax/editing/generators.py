"""A generator in the form that edits need: points of its latent space in, images out.

A generator with styles, such as StyleGAN2's, is edited in w, to which its mapping network maps z
and labels; every other generator is edited in z. StyleGAN2's noise is the same in all images, so
that they differ by the edit alone.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import reporting
from osgan_jax.editing.config import SHEETS
from osgan_jax.gan import sampling
from osgan_jax.gan.model import GAN
from osgan_jax.networks import inference

Array = jax.Array


class EditableGenerator:
    """A generator and its variables.

    Attributes:
      gan: the networks; only what belongs to the generator is read.
      variables: the generator's.
      space: 'w' or 'z', where points are moved.
      name: of the network.
    """

    def __init__(self, gan: GAN, variables: Any, rows: int | None = None):
        """Takes a generator as `osgan_jax.gan.sampling.Sampler` holds it.

        Args:
          gan: the networks.
          variables: the generator's.
          rows: images that are computed at once; None for what fits most machines.
        """
        self.gan = gan
        self.variables = variables
        # Statistics shared over devices belong to training; inference reads the running ones.
        self._module = module = gan.generator.clone(axis_name=None)
        self.space = 'w' if gan.network.has_styles else 'z'
        self.name = gan.network.name
        self._rows = rows or sampling.rows_at_once(gan.image_shape)
        self._generate = inference.compile_generator(module)
        self._map = jax.jit(lambda v, z, labels: module.apply(v, z, labels, method='mapping'))
        self._render = jax.jit(self.render)

    def with_variables(self, variables: Any) -> 'EditableGenerator':
        """The same generator with other variables; what is compiled is shared."""
        other = copy.copy(self)
        other.variables = variables
        return other

    @property
    def num_styles(self) -> int:
        """L, the number of style vectors of an image; only in w."""
        return self.gan.generator.num_styles

    @property
    def average(self) -> Array:
        """The average of w, `[D]`; only in w."""
        return self.variables['batch_stats']['w_average']

    def point_shapes(self) -> dict[str, tuple[int, ...]]:
        """The spaces of latents that this generator takes, and the shapes of their points."""
        if self.space == 'z':
            return {'z': (self.gan.latent_dim,)}
        size = len(self.average)
        return {'w': (size,), 'w_plus': (self.num_styles, size)}

    def render(
        self, variables: Any, points: Array, labels: Array | None, noise: Sequence[Array] = ()
    ) -> Array:
        """Images `[N, H, W, C]`, float32, of points; to be differentiated or compiled.

        Args:
          variables: the generator's.
          points: `[N, D]` of the space, or in w also `[N, L, D]`.
          labels: `[N]`; None if unconditional. Only generators without w read them.
          noise: maps `[N, h, w]` of all layers with noise; none for the noise that all edits
            share.
        """
        if self.space == 'z':
            return self._module.apply(variables, points, labels, train=False)
        if points.ndim == 2:
            points = jnp.repeat(points[:, None], self.num_styles, axis=1)
        return self._module.apply(variables, points, noise=noise or None, method='synthesis')

    def sheets(self) -> tuple[str, ...]:
        """Those of `osgan_jax.editing.config.SHEETS` that this generator can draw."""
        classes = self.gan.num_classes and (self.space == 'w' or self.label_tables())
        possible = {
            'mixing': self.space == 'w',
            'truncation': self.space == 'w' or self.gan.network.latents is None,
            'interpolate_w': self.space == 'w',
            'interpolate_classes': bool(classes),
        }
        return tuple(name for name in SHEETS if possible.get(name, True))

    def require(self, sheet: str) -> None:
        """Raises ValueError, with the sheets there are, for one that cannot be drawn."""
        if sheet in self.sheets():
            return
        reason = 'its latents are not normal' if sheet == 'truncation' else 'it has no w'
        if sheet == 'interpolate_classes':
            reason = 'it was trained without labels'
            if self.gan.num_classes:
                reason = 'there is nothing between its labels'
        raise ValueError(
            f'{sheet} cannot be drawn of this {self.name}, {reason}: choose among '
            f'{", ".join(self.sheets())}'
        )

    def label_tables(self) -> list[tuple]:
        """Paths, of `jax.tree_util`, of the parameters that hold a row per label.

        There are none where a module cannot be told of another number of them.
        """
        if not hasattr(self.gan.generator, 'num_classes'):
            return []
        leaves = jax.tree_util.tree_leaves_with_path(self.variables['params'])
        return [
            path
            for path, leaf in leaves
            if path[-1].key == 'embedding' and leaf.shape[0] == self.gan.num_classes
        ]

    def codes(self, z: Array, labels: Array | None = None) -> np.ndarray:
        """Points of the space, `[N, D]`: w of latents `[N, Z]` and labels `[N]`, or z itself."""
        if self.space == 'z':
            return np.asarray(z)
        mapping = lambda *rows: self._map(self.variables, *rows)  # noqa: E731
        return sampling.in_chunks(mapping, self._rows, z, labels)

    def images(
        self,
        z: Array,
        labels: Array | None = None,
        then: Callable[[Array], Any] = reporting.to_uint8,
    ) -> np.ndarray:
        """Images of latents `[N, Z]` and labels `[N]`, in chunks of one shape.

        Args:
          z: latents.
          labels: None if unconditional.
          then: a function of each chunk of images `[n, H, W, C]`, float32, about in [-1, 1], to
            n rows; by default to uint8 images.

        Returns:
          The rows `[N, ...]` that `then` returned.
        """
        draw = lambda *rows: then(self._generate(self.variables, *rows))  # noqa: E731
        return sampling.in_chunks(draw, self._rows, z, labels)

    def points(
        self,
        points: Array,
        labels: Array | None = None,
        then: Callable[[Array], Any] = np.asarray,
    ) -> np.ndarray:
        """Images of points, in chunks of one shape.

        Args:
          points: `[N, D]` of the space, or in w also `[N, L, D]`, a vector for each layer.
          labels: `[N]`; None if unconditional. Only generators without w read them.
          then: as for `images`; by default float32 images.

        Returns:
          The rows `[N, ...]` that `then` returned.
        """
        if self.space == 'z':
            return self.images(points, labels, then)
        draw = lambda rows: then(self._render(self.variables, rows, None))  # noqa: E731
        return sampling.in_chunks(draw, self._rows, points)

    def draw(self, codes: Array, labels: Array | None = None) -> np.ndarray:
        """Images of points of the space.

        Args:
          codes: `[R, C, D]`, or in w also `[R, C, L, D]`.
          labels: `[R]`, one a row; None if unconditional. Only generators without w read them, for
            w contains them.

        Returns:
          `[R, C, H, W, ch]`, uint8.
        """
        rows, columns, *shape = codes.shape
        flat = np.reshape(codes, (-1, *shape))
        labels = None if labels is None else np.repeat(labels, columns)
        images = self.points(flat, labels, then=reporting.to_uint8)
        return images.reshape(rows, columns, *images.shape[1:])
