"""Files of latents: points that other sheets and programs take again."""

import dataclasses
import os
from typing import Any

import numpy as np

from osgan_jax.io import checked_npz

_KIND, _VERSION = 'latents of an image', 1


@dataclasses.dataclass(frozen=True)
class Latents:
    """A point of a generator's latent space.

    Attributes:
      point: `[D]`; in w_plus `[L, D]`, a w for each layer. Float32.
      space: 'w', 'w_plus' or 'z'.
      label: class of the image; None if unconditional. In w, which contains it, for people alone.
      noise: noise maps `[H, W]` that belong to the image, where they were found with it.
      about: how it was found, JSON for people.
    """

    point: np.ndarray
    space: str
    label: int | None = None
    noise: tuple[np.ndarray, ...] = ()
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an .npz file of arrays: point, noise_0 and so on, and about as JSON text."""
        arrays = {'point': self.point}
        arrays |= {f'noise_{index}': each for index, each in enumerate(self.noise)}
        about = {**self.about, 'space': self.space, 'label': self.label}
        checked_npz.write(path, _KIND, _VERSION, about, arrays)


def load(
    path: str | os.PathLike[str], shapes: dict[str, tuple[int, ...]], num_classes: int
) -> Latents:
    """Reads latents that `Latents.save` wrote.

    Args:
      path: the file.
      shapes: the generator's spaces, each with the shape of its points.
      num_classes: the generator's.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, something else, or of another generator.
    """
    about, arrays = checked_npz.read(path, _KIND, _VERSION)
    about = dict(about)
    space, label, point = about.pop('space'), about.pop('label'), arrays['point']
    if shapes.get(space) != point.shape:
        known = ', '.join(f'{list(shape)} in {name}' for name, shape in shapes.items())
        raise ValueError(
            f'{path} holds latents {list(point.shape)} in {space}, but this run has {known}: use '
            'latents that were found in this run'
        )
    if (label is None) != (not num_classes) or not 0 <= (label or 0) < max(1, num_classes):
        what = 'no class' if label is None else f'class {label}'
        raise ValueError(
            f'{path} holds latents of {what}, but this run has {num_classes} classes: use latents '
            'that were found in this run'
        )
    noise = tuple(arrays[f'noise_{index}'] for index in range(len(arrays) - 1))
    return Latents(point, space, label, noise, about)
