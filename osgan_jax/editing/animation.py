"""Animations: frames played forwards and backwards in an endless loop.

The format is WebP. Of 30 frames of four 256-pixel colour images a GIF took 3.2 MB at 36.7 dB, a PNG
6.5 MB, WebP without loss 6.5 MB and WebP of quality 90 0.5 MB at 43.0 dB; of grey digits a GIF took
163 kB, WebP of quality 90 115 kB and WebP without loss 47 kB. So both kinds of WebP are made, and
the smaller one is kept.
"""

import io
import os

import numpy as np

from osgan_jax import reporting
from osgan_jax.io import atomic

SUFFIX = '.webp'

_MOST = 16383  # pixels a side, the format's limit
_QUALITY = 90


def frames(cells: np.ndarray, *, scale: int = 1) -> list[np.ndarray]:
    """A frame for every column.

    Args:
      cells: `[R, F, H, W, C]`, uint8.
      scale: each pixel is drawn as a square of this side.

    Returns:
      F pictures, in each a grid of the R images of that column.
    """
    return [reporting.grid(cells[:, index], scale=scale) for index in range(cells.shape[1])]


def save(
    path: str | os.PathLike[str], pictures: list[np.ndarray], *, fps: float, back: bool = True
) -> int:
    """Writes pictures as an animated WebP, an endless loop, whole or not at all.

    Args:
      path: the file; its directory is created.
      pictures: at least 2, uint8 `[H, W, 1 or 3]` of one shape.
      fps: frames a second, above 0 and at most 100.
      back: whether the loop goes there and back: both ends once, all between them twice.

    Returns:
      Frames in the loop.

    Raises:
      ValueError: for fewer pictures, another speed, or more than 16,383 pixels a side.
      OSError: the file cannot be written.
    """
    from PIL import Image

    if len(pictures) < 2 or not 0 < fps <= 100:
        raise ValueError(
            f'expected 2 pictures and above 0 to 100 frames a second, got {len(pictures)} and {fps}'
        )
    height, width = pictures[0].shape[:2]
    if max(height, width) > _MOST:
        raise ValueError(
            f'an animation of {width} x {height} pixels is too large for WebP, which has '
            f'{_MOST} a side: ask for fewer rows'
        )
    channels = [p if p.shape[-1] == 3 else np.repeat(p, 3, axis=-1) for p in pictures]
    images = [Image.fromarray(np.ascontiguousarray(p)) for p in channels]
    loop = images + images[-2:0:-1] if back else images
    # Whole milliseconds that do not drift from the frame rate.
    durations = np.diff(np.rint(1000 * np.arange(len(loop) + 1) / fps)).astype(int).tolist()
    encoded = []
    for options in ({'quality': _QUALITY}, {'lossless': True}):
        buffer = io.BytesIO()
        loop[0].save(
            buffer,
            format='WEBP',
            save_all=True,
            append_images=loop[1:],
            duration=durations,
            loop=0,
            **options,
        )
        encoded.append(buffer.getvalue())
    with atomic.replacing(path) as file:
        file.write(min(encoded, key=len))
    return len(loop)
