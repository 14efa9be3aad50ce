"""Sizes of images: pixels of a square, as `64`, or height and width, as `'64x128'`.

A square stays a plain int, and an oblong is a text: both are hashable, print as they are typed, and
are written to JSON as they are. Whatever needs numbers asks `sides`.

Networks grow images from a small first grid by doubling it. Of a network that is made for squares
whose first grid is 4x4, an oblong's first grid has 4 pixels on its shorter side and 4 to 16 on the
longer: its shorter side is one of the network's sizes, and the longer is a multiple of a quarter of
it, up to four times it. `nearest` is this rule.
"""

import re
from collections.abc import Sequence
from typing import Any

ImageSize = int | str

START = 4
"""Pixels of the first grid's shorter side, into which the rule divides an image's."""
LONGEST = 16
"""Pixels of the first grid's longer side at most."""


def parse(value: Any) -> ImageSize:
    """A size in its one form: an int, or 'HEIGHTxWIDTH' of what is not square.

    Args:
      value: a number, a text as '64' or '64x128', or a pair (height, width).

    Raises:
      ValueError: for anything else, and for sides below 1 pixel.
    """
    found = re.fullmatch(r'(\d{1,9})(?:x(\d{1,9}))?', value) if isinstance(value, str) else None
    if found:
        pair = found[1], found[2] or found[1]
    elif isinstance(value, tuple | list):
        pair = value
    else:
        pair = () if isinstance(value, bool) else (value, value)
    try:
        height, width = map(int, pair)
        if (height, width) != tuple(pair) and not found:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f'image_size={value}: expected pixels, as 64 for squares or 64x128 for height x width'
        ) from None
    if min(height, width) < 1:
        raise ValueError(f'image_size: expected at least 1 pixel, got {value}')
    return of(height, width)


def square(value: Any) -> int:
    """As `parse`, for what is made for squares alone.

    Raises:
      ValueError: also for an oblong.
    """
    size = parse(value)
    if not is_square(size):
        raise ValueError(
            f'image_size={size}: only squares are possible here: give one number, such as '
            f'--image_size={short(size)}'
        )
    return short(size)


def of(height: int, width: int) -> ImageSize:
    """The size of images of a height and a width in pixels."""
    return int(height) if height == width else f'{height}x{width}'


def sides(size: ImageSize) -> tuple[int, int]:
    """Height and width in pixels."""
    if isinstance(size, str):
        height, width = map(int, size.split('x'))
        return height, width
    return size, size


def is_square(size: ImageSize) -> bool:
    """Whether height and width are the same."""
    height, width = sides(size)
    return height == width


def short(size: ImageSize) -> int:
    """The shorter side in pixels."""
    return min(sides(size))


def text(size: ImageSize) -> str:
    """Height and width for a person, also of a square: '64x64'."""
    return '{}x{}'.format(*sides(size))


def grid(size: ImageSize, shorter: int = START) -> tuple[int, int]:
    """Height and width of the grid whose shorter side has so many pixels, the first by default."""
    height, width = sides(size)
    side = min(height, width)
    return height * shorter // side, width * shorter // side


def like(shorter: int, size: ImageSize) -> ImageSize:
    """The size of a shorter side that a network may have and that is nearest in shape to another.

    Args:
      shorter: pixels of the result's shorter side, a multiple of 4.
      size: whose shape it is to have.
    """
    height, width = sides(size)
    parts = round(START * max(height, width) / min(height, width))
    longer = shorter * min(parts, LONGEST) // START
    return of(shorter, longer) if width >= height else of(longer, shorter)


def largest(width: int, height: int, size: ImageSize) -> ImageSize:
    """The largest size of the same shape as another, in whole pixels, within an image."""
    high, wide = sides(size)
    if width * high <= height * wide:
        return of(width * high // wide, width)
    return of(height, height * wide // high)


def nearest(size: ImageSize, squares: Sequence[int], oblong: bool = True) -> ImageSize:
    """The size itself where a network may have it, else the nearest that it may have.

    Args:
      size: as asked for.
      squares: sides of the squares that the network has, in pixels.
      oblong: whether it has oblongs too.
    """
    height, width = sides(size)

    def distance(other: ImageSize) -> tuple[int, int]:
        high, wide = sides(other)
        return abs(high - height) + abs(wide - width), high * wide

    return min([like(side, size) if oblong else side for side in squares], key=distance)
