"""Resizing as others do it: matrices of the weights of input pixels in output pixels."""

import numpy as np


def antialiased_bicubic(size: int, output_size: int) -> np.ndarray:
    """Pillow's bicubic weights `[output_size, size]` along an axis, float64.

    Keys' cubic with a = -1/2, widened where the image shrinks; cut off at the border, where the
    rest counts for more. PyTorch's antialiased `interpolate` has the same.
    """
    scale = size / output_size
    pixels = np.arange(size)
    centre, width = (np.arange(output_size)[:, None] + 0.5) * scale, max(scale, 1)
    first = np.maximum(np.floor(centre - 2 * width + 0.5), 0)
    behind = np.floor(centre + 2 * width + 0.5)
    matrix = _cubic(np.abs(pixels + 0.5 - centre) / width)
    matrix = np.where((pixels >= first) & (pixels < behind), matrix, 0)
    return matrix / matrix.sum(1, keepdims=True)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, equation 4 with a = -1/2, at distances of zero or more."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
