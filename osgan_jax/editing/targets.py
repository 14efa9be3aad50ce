"""Images to project: files, or all images of a folder, fitted as the run's data."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.data import formats, images, labelling
from osgan_jax.io.messages import printable


class Target(NamedTuple):
    """An image to project.

    Attributes:
      name: of its files; no two targets have the same.
      path: where it was read.
      image: uint8 `[H, W, C]`.
      remarks: sentences on what was changed to fit it.
    """

    name: str
    path: str
    image: np.ndarray
    remarks: tuple[str, ...] = ()


def read(paths: Sequence[str], config: Any) -> list[Target]:
    """Reads images and makes them as large, and of as many channels, as a run's.

    Args:
      paths: files, or folders, of which all images are taken in natural order.
      config: the run's, with image_size, channels, fit, background and white_level.

    Raises:
      FileNotFoundError: if there is no such file or folder.
      ValueError: for a folder without images, or a file that is not an image that can be read.
    """
    found: list[Target] = []
    for path in (each for given in paths for each in _files(given)):
        try:
            image = images.load(
                path,
                image_size=config.image_size,
                channels=config.channels,
                fit=config.fit,
                background=config.background,
                white_level=config.white_level,
            )
            facts = images.inspect(path)
        except images.UnreadableImageError as error:
            raise ValueError(
                f'cannot project {printable(path)}: {error}; give an image, such as PNG or JPEG'
            ) from None
        remarks = []
        height, width = image_sizes.sides(config.image_size)
        if facts.width < width or facts.height < height:
            remarks.append(f'enlarged from {facts.height}x{facts.width} pixels')
        if config.channels == 1 and facts.colour:
            remarks.append('its colours turned to grey, as the run draws')
        name, count = pathlib.Path(path).stem, 1
        while any(each.name == name for each in found):
            count += 1
            name = f'{pathlib.Path(path).stem}_{count}'
        found.append(Target(name, path, image, tuple(remarks)))
    return found


def _files(path: str) -> list[str]:
    """A file itself, or the images below a folder."""
    if not os.path.exists(path):
        raise FileNotFoundError(f'no image {printable(path)}, and no folder of images')
    if not os.path.isdir(path):
        return [path]
    below = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.lower().endswith(formats.ENDINGS) and not name.startswith('.')
    ]
    if not below:
        raise ValueError(
            f'cannot project {printable(path)}: the folder holds no images '
            f'({", ".join(formats.ENDINGS)})'
        )
    return sorted(below, key=labelling.natural)
