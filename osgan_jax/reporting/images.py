"""Images for people: uint8, grids, PNG files. Arrays are `[N, H, W, C]`, floats in [-1, 1]."""

import io
import math
import os

import numpy as np
from numpy.typing import ArrayLike

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.io import atomic

_MID_GREY = 128  # a non-finite pixel
_VISIBLE = 64  # pixels a tile should have on screen


def to_uint8(images: ArrayLike) -> np.ndarray:
    """Maps [-1, 1] to 0..255, rounding to nearest; values outside are clipped.

    Args:
      images: floats of any shape in [-1, 1]. Non-finite values become mid grey, so that a
        diverged run can still be looked at. uint8 is returned as it is.

    Returns:
      uint8 of the same shape.

    Raises:
      ValueError: an integer type other than uint8.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if np.issubdtype(images.dtype, np.integer) or images.dtype == bool:
        raise ValueError(f'expected floats in [-1, 1] or uint8 images, got {images.dtype}.')
    images = images.astype(np.float32)
    finite = np.isfinite(images)
    levels = np.rint((np.where(finite, images, 0.0).clip(-1.0, 1.0) + 1.0) * 127.5)
    return np.where(finite, levels, _MID_GREY).astype(np.uint8)


def visible_scale(image_size: ImageSize) -> int:
    """The whole factor that makes the shorter side of a tile at least 64 pixels on screen."""
    return max(1, math.ceil(_VISIBLE / image_sizes.short(image_size)))


def grid(
    images: ArrayLike, *, columns: int | None = None, padding: int = 2, scale: int = 1
) -> np.ndarray:
    """Lays images out row by row, with white lines between and around them.

    Args:
      images: `[N, H, W, C]`, C 1 or 3, floats in [-1, 1] or uint8; N at least 1.
      columns: images a row; None makes the grid as square as possible, wider rather than taller.
      padding: width of the lines in pixels, at least 0.
      scale: each pixel is drawn as a square of this side, at least 1.

    Returns:
      uint8 `[rows * (H * scale + padding) + padding, columns * (W * scale + padding) + padding,
      C]`. Places without an image are white.

    Raises:
      ValueError: a shape or number out of range.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f'expected images [N, H, W, 1 or 3] with N > 0, got {images.shape}.')
    if padding < 0 or scale < 1 or (columns is not None and columns < 1):
        raise ValueError(
            'expected padding >= 0, scale >= 1 and columns >= 1, got '
            f'padding={padding}, scale={scale}, columns={columns}.'
        )
    images = to_uint8(images).repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, channels = images.shape
    # Of oblong images the square of the same area has fewer of the wide ones beside one another.
    columns = min(columns or math.ceil(math.sqrt(count * height / width)), count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    canvas = np.full(shape, 255, np.uint8)
    for i, image in enumerate(images):
        top = padding + i // columns * (height + padding)
        left = padding + i % columns * (width + padding)
        canvas[top : top + height, left : left + width] = image
    return canvas


def save_png(path: str | os.PathLike[str], image: ArrayLike, *, scale: int = 1) -> None:
    """Writes one image as PNG, whole or not at all.

    Args:
      path: the file; its directory is created.
      image: as for `to_png`.
      scale: likewise.

    Raises:
      ValueError: as `to_png`.
      OSError: the file cannot be written.
    """
    content = to_png(image, scale=scale)
    with atomic.replacing(path) as file:
        file.write(content)


def to_png(image: ArrayLike, *, scale: int = 1) -> bytes:
    """The content of a PNG file.

    Args:
      image: `[H, W]` or `[H, W, 1]` (saved as grey), or `[H, W, 3]`; floats in [-1, 1] or uint8.
      scale: each pixel is drawn as a square of this side, at least 1.

    Raises:
      ValueError: another shape, or scale below 1.
    """
    from PIL import Image

    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or 0 in image.shape:
        raise ValueError(f'expected an image [H, W, 1 or 3], got {image.shape}.')
    if scale < 1:
        raise ValueError(f'expected scale >= 1, got {scale}.')
    pixels = to_uint8(image).repeat(scale, axis=0).repeat(scale, axis=1)
    if pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, format='PNG')
    return content.getvalue()
