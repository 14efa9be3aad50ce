"""How images and labels are read from files: what flags decide."""

import dataclasses
from typing import Any

from osgan_jax.data import fitting
from osgan_jax.data.images import FULL_SCALE

FRAMES = ('first', 'all')
LAYOUTS = ('recognised', 'top_folders')

Note = tuple[str, str]
"""What was inferred, left out or converted: what it is of, in a word, and a clause."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images and labels are read from files.

    Attributes:
      fit: how an image gets the shape of the size asked for, one of `fitting.FITS`.
      background: colour behind transparent pixels and in the borders of `pad`.
      white_level: the value that is white in grey images of 16 bits a channel.
      frames: of a file with several, the first or all.
      labels: a file of names and labels; 'folders' for class folders alone, 'none' for no labels;
        None for what there is.
      layout: 'recognised'; or 'top_folders' as in runs of before splits, natural order, stray
        files and the content of files were recognised: the top folders are classes, in the order
        of text, unless an image lies beside them.
    """

    fit: str = 'crop'
    background: str = 'white'
    white_level: int = FULL_SCALE
    frames: str = 'first'
    labels: str | None = None
    layout: str = 'recognised'

    def __post_init__(self):
        for name, values in (('fit', fitting.FITS), ('frames', FRAMES), ('layout', LAYOUTS)):
            if getattr(self, name) not in values:
                raise ValueError(
                    f'{name}={getattr(self, name)!r}: expected one of {", ".join(values)}'
                )
        fitting.parse_colour(self.background)
        if not 1 <= self.white_level <= FULL_SCALE:
            raise ValueError(f'white_level={self.white_level}: expected 1 to {FULL_SCALE}')

    @property
    def recognises(self) -> bool:
        """Whether splits, stray files and the content of files are recognised."""
        return self.layout == 'recognised'

    def of_files(self) -> dict[str, Any]:
        """Arguments of `images.load`."""
        return {**self.of_arrays(), 'white_level': self.white_level}

    def of_arrays(self) -> dict[str, Any]:
        """Arguments of `images.from_array`."""
        return {'fit': self.fit, 'background': self.background}
