"""From an image of any shape to a square: crop, pad or stretch.

To crop is the papers' recipe: the shorter side is resized to `image_size` (bilinear, antialiased),
then the centre is cropped. The numbers are those of torchvision's `Resize` and `CenterCrop`.
"""

import numpy as np

FITS = ('crop', 'pad', 'stretch')
COLOURS = {'white': (255, 255, 255), 'black': (0, 0, 0), 'grey': (128, 128, 128)}
"""Backgrounds by name."""

# Of an image longer than this many times its height, only the middle part is resized.
_LONGEST = 16


def parse_colour(text: str) -> tuple[int, int, int]:
    """The red, green and blue of 'white', 'black', 'grey' or '#RRGGBB'.

    Raises:
      ValueError: for another text.
    """
    if text in COLOURS:
        return COLOURS[text]
    digits = text.removeprefix('#')
    try:
        if len(digits) != 6 or not text.startswith('#'):
            raise ValueError
        return tuple(bytes.fromhex(digits))
    except ValueError:
        raise ValueError(
            f'background={text!r}: expected {", ".join(COLOURS)} or a colour as #RRGGBB'
        ) from None


def fit(image, image_size: int, how: str = 'crop', background: str = 'white') -> np.ndarray:
    """Makes an image a square of uint8 `[image_size, image_size, C]`.

    Args:
      image: a `PIL.Image.Image` of mode 'L' or 'RGB'.
      image_size: height and width of the result in pixels.
      how: one of `FITS`.
      background: colour of the borders that `pad` adds, see `parse_colour`.
    """
    from PIL import Image

    if how == 'crop' or image.size[0] == image.size[1]:
        return resize_and_crop(image, image_size)
    if how == 'pad':
        scale = image_size / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        colour = parse_colour(background)
        square = Image.new('RGB', (image_size, image_size), colour).convert(image.mode)
        place = tuple((image_size - side) // 2 for side in size)
        square.paste(image.resize(size, Image.Resampling.BILINEAR), place)
        return _to_array(square)
    return _to_array(image.resize((image_size, image_size), Image.Resampling.BILINEAR))


def share_cropped(width: int, height: int) -> float:
    """The share of an image's pixels that `crop` leaves out."""
    return 1 - min(width, height) / max(width, height)


def resize_and_crop(image, image_size: int) -> np.ndarray:
    """Resizes the shorter side to `image_size`, crops the centre, and returns uint8 `[H, W, C]`.

    Of an image more than 16 times as long as it is high only the middle is resized, which moves the
    result by less than a pixel of it: a line of pixels would otherwise become millions.

    Args:
      image: a `PIL.Image.Image` of mode 'L' or 'RGB'.
      image_size: height and width of the result in pixels.
    """
    from PIL import Image

    width, height = image.size
    short, long = min(width, height), max(width, height)
    if short != image_size and long > _LONGEST * short:
        # As even or odd as before, so that the centre stays the centre.
        long = _LONGEST * short + (long - _LONGEST * short) % 2
        left, top = (max(0, (side - long) // 2) for side in image.size)
        image = image.crop((left, top, left + min(width, long), top + min(height, long)))
        width, height = image.size
    if short != image_size:
        # torchvision truncates the longer side; rounding would shift some crops by a pixel.
        long = int(image_size * long / short)
        size = (image_size, long) if width <= height else (long, image_size)
        image = image.resize(size, Image.Resampling.BILINEAR)
    if image.size != (image_size, image_size):
        left = round((image.size[0] - image_size) / 2)
        top = round((image.size[1] - image_size) / 2)
        image = image.crop((left, top, left + image_size, top + image_size))
    return _to_array(image)


def _to_array(image) -> np.ndarray:
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
