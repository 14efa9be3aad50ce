"""Decoding: from the bytes of an image file to uint8 `[H, W, C]`."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import facts, fitting, formats, headers
from osgan_jax.io import messages

# More pixels than this are refused before anything is decoded: a few kilobytes of PNG can
# otherwise ask for gigabytes of memory.
MAX_PIXELS = 100_000_000

# A larger file is refused unread. As many pixels as above, 16 bits a channel and not compressed,
# are 600 MB; a sparse file costs its author nothing and its reader its size.
MAX_BYTES = 2**30

FULL_SCALE = 0xFFFF
"""White of 16 bits a channel, where nothing else is known."""


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message says why."""


class InaccessibleImageError(UnreadableImageError):
    """A file that could not be opened or read this time, whatever its content."""


def decode(
    file: bytes | str | os.PathLike,
    *,
    channels: int,
    background: str = 'white',
    white_level: int = FULL_SCALE,
    frame: int = 0,
):
    """Decodes an image into a `PIL.Image.Image` of mode 'L' (1 channel) or 'RGB' (3).

    The orientation in EXIF is applied. 16 bits a channel are scaled to 8. Transparent pixels are
    composited on a background, by default white, as viewers show them, because the colour stored
    under them is arbitrary. Colour profiles are ignored, as the papers' pipelines do.

    Args:
      file: the bytes of the file, or its path.
      channels: 1 or 3.
      background: see `fitting.parse_colour`.
      white_level: the value that is white in grey images of 16 bits; greater ones are white too.
      frame: which page or frame of the file, from 0.

    Raises:
      UnreadableImageError: anything but an image of a known format that decodes to its end.
    """
    with _open(file) as image:
        if frame:
            _seek(image, frame)
        _load(image)
        return _convert(_upright(image), channels, background, white_level)


def inspect(file: bytes | str | os.PathLike, frames: str = 'first') -> facts.Facts:
    """Decodes an image to its end, keeping nothing, and returns the facts.

    Args:
      file: the bytes of the file, or its path.
      frames: the 'first' or 'all' are decoded, see `facts.of_frames`.

    Raises:
      UnreadableImageError: as `decode`.
    """
    with _open(file) as image:
        found = [_inspect(image)]
        while frames == 'all' and len(found) < found[0].frames:
            try:
                _seek(image, len(found))
                found.append(_inspect(image))
            except UnreadableImageError as error:
                place = f'frame {len(found) + 1} of {found[0].frames}'
                raise type(error)(f'{place}: {error}') from error
    return facts.of_frames(found)


def _inspect(image) -> facts.Facts:
    size = image.size
    # JPEG can be decoded at an eighth of its size: every byte is still read, so that damage is
    # still found, at a third of the time.
    image.draft(None, (1, 1))
    deep = facts.is_deep(image)
    _load(image)
    _check_range(image)
    return _measure(image, size, deep=deep)


def glance(file: bytes | str | os.PathLike) -> facts.Facts:
    """The facts that an image's header tells, at a hundredth of the time of `inspect`.

    Raises:
      UnreadableImageError: as `decode`, but for damage behind the header.
    """
    if isinstance(file, bytes) and (known := headers.read(file)):
        return known
    with _open(file) as image:
        _check_mode(image)
        return _measure(image, image.size, decoded=False)


def load(
    file: bytes | str | os.PathLike,
    *,
    image_size: ImageSize,
    channels: int,
    upscale: bool = True,
    fit: str = 'crop',
    **how: Any,
) -> np.ndarray:
    """Decodes one image and fits it to a size, uint8 `[H, W, channels]`.

    Args:
      file: the bytes of the file, or its path.
      image_size: of the result.
      channels: 1 or 3.
      upscale: whether a smaller image is enlarged rather than refused.
      fit: how it gets the shape of that size, one of `fitting.FITS`.
      **how: further arguments of `decode`.

    Raises:
      UnreadableImageError: as `decode`; or the image is smaller than `image_size` and `upscale`
        is False.
    """
    image = decode(file, channels=channels, **how)
    height, width = image_sizes.sides(image_size)
    if not upscale and (image.size[0] < width or image.size[1] < height):
        raise UnreadableImageError(
            f'{image.size[1]}x{image.size[0]} pixels, smaller than the requested {height}x{width}'
        )
    return fitting.fit(image, image_size, fit, how.get('background', 'white'))


def from_array(
    array: np.ndarray,
    *,
    image_size: ImageSize,
    channels: int,
    fit: str = 'crop',
    background: str = 'white',
) -> np.ndarray:
    """Fits a uint8 image `[H, W, C]` to a size and a number of channels, as `load` does."""
    from PIL import Image

    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    image = image.convert('L' if channels == 1 else 'RGB')
    return fitting.fit(image, image_size, fit, background)


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
            image = Image.open(stream, formats=formats.readable())
        except UnidentifiedImageError:
            stream.seek(0)
            why = formats.foreign(stream.read(formats.HEAD))
            raise UnreadableImageError(why or 'not an image, or damaged at its start') from None
        # At hostile bytes decoders raise anything from struct.error to IndexError; all of it means
        # that this file is not an image that can be read.
        except Exception as error:
            raise _unreadable(error) from error
        with image:
            _check_pixels(image)
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


def _check_pixels(image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f'{height}x{width} pixels, more than the {MAX_PIXELS:,} a dataset accepts'
        )


def _load(image) -> None:
    _check_mode(image)
    try:
        image.load()
    except Exception as error:  # as in _open
        raise _unreadable(error) from error


def _measure(image, size: tuple[int, int], **known: bool) -> facts.Facts:
    try:
        return facts.measure(image, size, **known)
    except Exception as error:  # as in _open
        raise _unreadable(error) from error


def _seek(image, frame: int) -> None:
    try:
        image.seek(frame)
    except Exception as error:  # as in _open
        raise _unreadable(error) from error
    _check_pixels(image)


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
    }.get(facts.orientation(image))
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


def _convert(image, channels: int, background: str, white_level: int):
    from PIL import Image

    mode = 'L' if channels == 1 else 'RGB'
    _check_range(image)
    if image.mode == 'I' or image.mode.startswith('I;16'):
        wide = np.asarray(image).astype(np.uint32)
        level = np.minimum(wide, white_level)
        image = Image.fromarray(((level * 255 + white_level // 2) // white_level).astype(np.uint8))
    if image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info:
        if image.mode == 'La':
            image = image.convert('LA')
        image = image.convert('RGBA')
        behind = Image.new('RGBA', image.size, (*fitting.parse_colour(background), 255))
        image = Image.alpha_composite(behind, image)
    return image if image.mode == mode else image.convert(mode)


def _unreadable(error: Exception) -> UnreadableImageError:
    # The system numbers its errors; Pillow's own about damaged files have no number.
    passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno)
    kind = InaccessibleImageError if passing else UnreadableImageError
    return kind(messages.reason(error))
