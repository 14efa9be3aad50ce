"""What an image file holds, told when it is decoded once."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

ORIENTATION_TAG = 0x0112

# Modes of Pillow that hold no colour whatever their pixels are.
_GREY = ('1', 'L', 'LA', 'La', 'I')
_MOST_FRAMES = 100_000

# Pillow's names for 16 bits a channel as stored; BMP's 'BGR;16' is 16 bits a pixel.
_DEEP = re.compile(';16[BLN]')


class Facts(NamedTuple):
    """Facts of an image file.

    Attributes:
      width: upright, in pixels.
      height: upright, in pixels.
      colour: whether any pixel shows a colour; of a header alone, whether any may.
      transparent: whether any pixel is less than opaque; of a header alone, whether any may be.
      peak: the greatest value of 16 bits a channel, of colour the most that its upper 8
        bits allow; 0 for an image of 8 bits, or a header alone.
      frames: pages or frames of the file.
      mode: Pillow's name for the kind of its pixels.
      turned: whether EXIF turns or mirrors it.
    """

    width: int
    height: int
    colour: bool
    transparent: bool
    peak: int
    frames: int
    mode: str
    turned: bool


DTYPE = np.dtype(
    [
        ('width', '<i4'),
        ('height', '<i4'),
        ('colour', '?'),
        ('transparent', '?'),
        ('peak', '<i4'),
        ('frames', '<i4'),
        ('mode', 'S8'),
        ('turned', '?'),
    ]
)
"""The `Facts` of many files, as an array of 27 bytes each."""


def table(rows: Iterable[Facts]) -> np.ndarray:
    """The facts of many files, `[M]` of `DTYPE`."""
    return np.asarray(list(rows), DTYPE)


def is_deep(image) -> bool:
    """Whether an image has 16 bits a channel, cut to 8 by Pillow; known until decoded."""
    stored = getattr(image, 'tile', ())
    return image.mode in ('RGB', 'RGBA', 'LA') and bool(_DEEP.search(str([t[3] for t in stored])))


def measure(image, size: tuple[int, int], *, decoded: bool = True, deep: bool = False) -> Facts:
    """The facts of an opened `PIL.Image.Image`.

    Args:
      image: opened, and decoded if `decoded`. A JPEG may be decoded at an eighth of its size.
      size: its stored width and height, in pixels.
      decoded: whether its pixels may be looked at.
      deep: see `is_deep`.
    """
    place = orientation(image)
    colour = not (image.mode in _GREY or image.mode.startswith('I;16'))
    transparent = _has_alpha(image)
    peak = 0
    if decoded:
        colour = colour and _shows_colour(image)
        transparent = transparent and _shows_through(image)
        if image.mode.startswith('I'):
            peak = int(image.getextrema()[1])
        elif deep:
            extrema = image.getextrema()
            peak = 0x100 * max(high for _, high in extrema[: 1 if image.mode == 'LA' else 3]) + 0xFF
    # Pillow has turned the size of a TIFF already, and the pixels when they are decoded.
    lies = place >= 5 and image.format != 'TIFF'
    width, height = size[::-1] if lies else size
    # The second picture of a phone's JPEG is a map of depth, or a small copy.
    frames = 1 if image.format == 'MPO' else min(getattr(image, 'n_frames', 1), _MOST_FRAMES)
    return Facts(width, height, colour, transparent, peak, frames, image.mode, place != 1)


def of_array(shape: tuple[int, ...]) -> Facts:
    """The facts of a decoded image `[H, W, C]`."""
    height, width, depth = shape
    return Facts(width, height, depth == 3, False, 0, 1, 'L' if depth == 1 else 'RGB', False)


def of_frames(found: Sequence[Facts]) -> Facts:
    """The facts of a file by those of its frames: the least sides, and what any of them shows."""
    return found[0]._replace(
        **{side: min(getattr(each, side) for each in found) for side in ('width', 'height')},
        **{
            what: max(getattr(each, what) for each in found)
            for what in ('colour', 'transparent', 'peak', 'turned')
        },
    )


def orientation(image) -> int:
    """The orientation in EXIF, 1 to 8; 1 is upright."""
    try:
        found = int(image.getexif().get(ORIENTATION_TAG, 1))
    # Damaged metadata around intact pixels: viewers show such a file unrotated.
    except Exception:
        return 1
    return found if 1 <= found <= 8 else 1


def _has_alpha(image) -> bool:
    return image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info


def _shows_colour(image) -> bool:
    if image.mode in ('P', 'PA', 'CMYK', 'YCbCr', 'RGBa', 'RGBX'):
        image = image.convert('RGB')
    pixels = np.asarray(image)[..., :3]
    return not (
        np.array_equal(pixels[..., 0], pixels[..., 1])
        and np.array_equal(pixels[..., 0], pixels[..., 2])
    )


def _shows_through(image) -> bool:
    if image.mode in ('LA', 'RGBA'):
        return image.getchannel('A').getextrema()[0] < 255
    if image.mode == 'La':
        image = image.convert('LA')
    return image.convert('RGBA').getchannel('A').getextrema()[0] < 255
