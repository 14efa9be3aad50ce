"""From an image of any shape to one of `image_size`: crop, pad or stretch.

To crop is the papers' recipe: of a square, the shorter side is resized to `image_size` (bilinear,
antialiased), then the centre is cropped. The numbers are those of torchvision's `Resize` and
`CenterCrop`. For other shapes, the image is resized until it just covers the size.
"""

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize

FITS = ('crop', 'pad', 'stretch')
COLOURS = {'white': (255, 255, 255), 'black': (0, 0, 0), 'grey': (128, 128, 128)}
"""Backgrounds by name."""

# Of an image this many times as long as what is cropped of it, only the middle part is resized.
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


def fit(image, image_size: ImageSize, how: str = 'crop', background: str = 'white') -> np.ndarray:
    """Fits an image to a size, uint8 `[H, W, C]`.

    Args:
      image: a `PIL.Image.Image` of mode 'L' or 'RGB'.
      image_size: of the result.
      how: one of `FITS`.
      background: colour of the borders that `pad` adds, see `parse_colour`.
    """
    from PIL import Image

    height, width = image_sizes.sides(image_size)
    if how == 'crop' or image.size[0] * height == image.size[1] * width:
        return resize_and_crop(image, image_size)
    if how == 'pad':
        scale = min(width / image.size[0], height / image.size[1])
        size = tuple(max(1, round(side * scale)) for side in image.size)
        colour = parse_colour(background)
        whole = Image.new('RGB', (width, height), colour).convert(image.mode)
        place = ((width - size[0]) // 2, (height - size[1]) // 2)
        whole.paste(image.resize(size, Image.Resampling.BILINEAR), place)
        return _to_array(whole)
    return _to_array(image.resize((width, height), Image.Resampling.BILINEAR))


def differs(width: int, height: int, image_size: ImageSize) -> bool:
    """Whether an image has another shape than a size, and is cropped, padded or distorted."""
    high, wide = image_sizes.sides(image_size)
    return width * high != height * wide


def share_cropped(width: int, height: int, image_size: ImageSize) -> float:
    """The share of an image's pixels that `crop` leaves out."""
    high, wide = image_sizes.sides(image_size)
    return 1 - min(width * high, height * wide) / max(width * high, height * wide)


def resize_and_crop(image, image_size: ImageSize) -> np.ndarray:
    """Resizes an image until it just covers a size, crops the centre, and returns `[H, W, C]`.

    Of an image more than 16 times as long as what is cropped of it only the middle is resized,
    which moves the result by less than a pixel of it: a line of pixels would otherwise become
    millions.

    Args:
      image: a `PIL.Image.Image` of mode 'L' or 'RGB'.
      image_size: of the result.
    """
    from PIL import Image

    target = image_sizes.sides(image_size)[::-1]  # width first, as Pillow has it
    # Of the tight axis all pixels are kept.
    tight = int(image.size[0] * target[1] > image.size[1] * target[0])
    loose = 1 - tight
    size = list(image.size)
    longest = max(1, _LONGEST * size[tight] * target[loose] // target[tight])
    if size[tight] != target[tight] and size[loose] > longest:
        # As even or odd as before, so that the centre stays the centre.
        longest += (size[loose] - longest) % 2
        box = [0, 0, *size]
        box[loose] = (size[loose] - longest) // 2
        box[loose + 2] = box[loose] + longest
        image = image.crop(box)
        size[loose] = longest
    if size[tight] != target[tight]:
        # torchvision truncates the longer side; rounding would shift some crops by a pixel.
        size[loose] = int(target[tight] * size[loose] / size[tight])
        size[tight] = target[tight]
        image = image.resize(size, Image.Resampling.BILINEAR)
    if image.size != target:
        left, top = (round((have - want) / 2) for have, want in zip(size, target, strict=True))
        image = image.crop((left, top, left + target[0], top + target[1]))
    return _to_array(image)


def _to_array(image) -> np.ndarray:
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
