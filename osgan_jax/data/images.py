"""Decoding, resizing and cropping: from the bytes of an image file to uint8 `[H, W, C]`.

The recipe is the papers': the shorter side is resized to `image_size` (bilinear, antialiased),
then the centre is cropped. The numbers are those of torchvision's `Resize` and `CenterCrop`.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from osgan_jax.io import messages

# More pixels than this are refused before anything is decoded: a few kilobytes of PNG can
# otherwise ask for gigabytes of memory.
MAX_PIXELS = 100_000_000

# A larger file is refused unread. As many pixels as above, 16 bits a channel and not compressed,
# are 600 MB; a sparse file costs its author nothing and its reader its size.
MAX_BYTES = 2**30

# The decoders a dataset may reach. Pillow knows more, some of which start other programs.
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')

_ORIENTATION_TAG = 0x0112

# Of an image longer than this many times its height, only the middle part is resized.
_LONGEST = 16


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message says why."""


class InaccessibleImageError(UnreadableImageError):
    """A file that could not be opened or read this time, whatever its content."""


def decode(file: bytes | str | os.PathLike, *, channels: int):
    """Decodes an image into a `PIL.Image.Image` of mode 'L' (1 channel) or 'RGB' (3).

    The orientation in EXIF is applied. 16 bits a channel are scaled to 8. Transparent pixels are
    composited on white, as viewers show them, because the colour stored under them is arbitrary.
    Colour profiles are ignored, as the papers' pipelines do.

    Args:
      file: the bytes of the file, or its path.
      channels: 1 or 3.

    Raises:
      UnreadableImageError: anything but an image of a known format that decodes to its end.
    """
    with _open(file) as image:
        _load(image)
        return _convert(_upright(image), channels)


def inspect(file: bytes | str | os.PathLike) -> tuple[int, int]:
    """Decodes an image to its end, keeping nothing, and returns its upright width and height.

    Raises:
      UnreadableImageError: as `decode`.
    """
    with _open(file) as image:
        width, height = image.size
        # JPEG can be decoded at an eighth of its size: every byte is still read, so that damage
        # is still found, at a third of the time.
        image.draft(None, (1, 1))
        _load(image)
        _check_range(image)
        turned = _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def stored_channels(file: bytes | str | os.PathLike) -> int:
    """Returns 1 for a grey image, 3 for any other.

    Raises:
      UnreadableImageError: as `decode`.
    """
    with _open(file) as image:
        grey = image.mode in ('1', 'L', 'LA', 'La', 'I') or image.mode.startswith('I;16')
    return 1 if grey else 3


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
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def load(
    file: bytes | str | os.PathLike, *, image_size: int, channels: int, upscale: bool = True
) -> np.ndarray:
    """Decodes, resizes and crops one image into uint8 `[image_size, image_size, channels]`.

    Raises:
      UnreadableImageError: as `decode`; or the image is smaller than `image_size` and `upscale`
        is False.
    """
    image = decode(file, channels=channels)
    if not upscale and min(image.size) < image_size:
        raise UnreadableImageError(
            f'{image.size[0]}x{image.size[1]} pixels, smaller than the '
            f'{image_size}x{image_size} asked for'
        )
    return resize_and_crop(image, image_size)


def from_array(array: np.ndarray, *, image_size: int, channels: int) -> np.ndarray:
    """Resizes and crops uint8 `[H, W, C]` into `[image_size, image_size, channels]`."""
    from PIL import Image

    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    return resize_and_crop(image.convert('L' if channels == 1 else 'RGB'), image_size)


def to_png(array: np.ndarray) -> bytes:
    """Encodes uint8 `[H, W, C]`, C 1 or 3, as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(buffer, 'PNG')
    return buffer.getvalue()


@contextlib.contextmanager
def _open(file: bytes | str | os.PathLike) -> Iterator:
    """Opens an image; only its header is read."""
    from PIL import Image, UnidentifiedImageError

    Image.init()  # registers formats, the first time
    # Never a path to Pillow, which would map some files into memory: if such a file is cut short
    # while it is read, the process is killed.
    with _stream(file) as stream:
        try:
            image = Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError:
            raise UnreadableImageError('not an image, or damaged at its start') from None
        # At hostile bytes decoders raise anything from struct.error to IndexError; all of it means
        # that this file is not an image that can be read.
        except Exception as error:
            raise _unreadable(error) from error
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(
                    f'{width}x{height} pixels, more than the {MAX_PIXELS:,} a dataset accepts'
                )
            yield image


def _stream(file: bytes | str | os.PathLike) -> BinaryIO:
    if isinstance(file, bytes):
        return io.BytesIO(file)
    try:
        stream = open(file, 'rb', opener=_open_without_waiting)  # noqa: SIM115 (the caller's)
    except OSError as error:
        raise _unreadable(error) from None
    status = os.fstat(stream.fileno())
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = 'not a regular file'
    elif status.st_size > MAX_BYTES:
        problem = f'{status.st_size:,} bytes, more than the {MAX_BYTES:,} a dataset accepts'
    if problem:
        stream.close()
        raise UnreadableImageError(problem)
    return stream


def _open_without_waiting(path, flags: int) -> int:
    # Opening a pipe waits for somebody who writes to it, unless told not to.
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def _load(image) -> None:
    _check_mode(image)
    try:
        image.load()
    except Exception as error:  # as in _open
        raise _unreadable(error) from error


def _orientation(image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    # Damaged metadata around intact pixels: viewers show such a file unrotated.
    except Exception:
        return 1


def _upright(image):
    from PIL import Image

    transpose = Image.Transpose
    method = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_270,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_90,
    }.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _check_mode(image) -> None:
    known = ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr')
    if image.mode not in known and image.mode != 'I' and not image.mode.startswith('I;16'):
        raise UnreadableImageError(f'pixels of type {image.mode} are not supported')


def _check_range(image) -> None:
    # Pillow gives 16-bit PPM and some PNG as 32-bit integers; real 32-bit pixels have no known
    # white.
    if image.mode == 'I':
        low, high = image.getextrema()
        if low < 0 or high > 0xFFFF:
            raise UnreadableImageError('32-bit pixels are not supported')


def _convert(image, channels: int):
    from PIL import Image

    mode = 'L' if channels == 1 else 'RGB'
    _check_range(image)
    if image.mode == 'I' or image.mode.startswith('I;16'):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info:
        if image.mode == 'La':
            image = image.convert('LA')
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)


def _unreadable(error: Exception) -> UnreadableImageError:
    # The system numbers its errors; Pillow's own about damaged files have no number.
    passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno)
    kind = InaccessibleImageError if passing else UnreadableImageError
    return kind(messages.reason(error))
