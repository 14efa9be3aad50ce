"""Sheets: images in rows and columns on one canvas, those of style mixing among them.

Karras et al. 2019 (https://arxiv.org/abs/1812.04948): coarse styles are those of the grids up to
8x8, middle ones those of 16x16 and 32x32, fine ones the rest.
"""

import numpy as np

from osgan_jax import reporting
from osgan_jax.editing.generators import EditableGenerator

_BANDS = {'coarse': (0, 4), 'middle': (4, 8), 'fine': (8, None)}


def layers(name: str, num_styles: int) -> range:
    """The style vectors that a name stands for.

    Args:
      name: coarse (0 to 3), middle (4 to 7), fine (8 and further), or two numbers: first-last.
      num_styles: L, how many there are.

    Returns:
      Their indices, at least one.

    Raises:
      ValueError: for another name, or styles that the network does not have.
    """
    if name in _BANDS:
        first, end = _BANDS[name]
        end = num_styles if end is None else min(end, num_styles)
        if first >= end:
            raise ValueError(
                f'{name} styles are those from {first} on, and this network has 0 to '
                f'{num_styles - 1}: choose others'
            )
        return range(first, end)
    first, dash, last = name.partition('-')
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise ValueError(f'layers {name!r}: expected coarse, middle, fine, or first-last as in 2-5')
    if not int(first) <= int(last) < num_styles:
        raise ValueError(f'layers {name}: expected two of 0 to {num_styles - 1} in order')
    return range(int(first), int(last) + 1)


def bands(num_styles: int) -> tuple[str, ...]:
    """The names, of coarse, middle and fine, that a network of L style vectors has."""
    return tuple(name for name, (first, _) in _BANDS.items() if first < num_styles)


def mix(
    generator: EditableGenerator, rows: np.ndarray, columns: np.ndarray, taken: range
) -> np.ndarray:
    """Style mixing: every row's image with some of the styles of every column's.

    Args:
      generator: one with w.
      rows: w `[R, D]`, or `[R, L, D]`, a vector for each layer.
      columns: w, `[C, D]` or `[C, L, D]`.
      taken: indices of the style vectors that come from the column's w.

    Returns:
      `[R, C, H, W, ch]`, uint8.
    """
    count = generator.num_styles
    chosen = np.isin(np.arange(count), taken)[:, None]
    # A vector for all layers is one for each.
    rows, columns = (each[:, None] if each.ndim == 2 else each for each in (rows, columns))
    images = [
        generator.points(np.where(chosen, columns, row), then=reporting.to_uint8) for row in rows
    ]
    return np.stack(images)


def draw(
    cells: np.ndarray,
    *,
    top: np.ndarray | None = None,
    left: np.ndarray | None = None,
    scale: int = 1,
) -> np.ndarray:
    """Lays images out in rows and columns.

    Args:
      cells: `[R, C, H, W, ch]`, uint8.
      top: `[C, H, W, ch]`, a further row above them.
      left: `[R, H, W, ch]`, a further column beside them; the corner stays white.
      scale: each pixel is drawn as a square of this side.

    Returns:
      uint8 `[height, width, ch]`, see `reporting.grid`.
    """
    if left is not None:
        cells = np.concatenate([left[:, None], cells], axis=1)
    if top is not None:
        if left is not None:
            top = np.concatenate([np.full_like(top[:1], 255), top])
        cells = np.concatenate([top[None], cells])
    images = cells.reshape(-1, *cells.shape[2:])
    return reporting.grid(images, columns=cells.shape[1], scale=scale)


def spread(count: int, columns: int) -> np.ndarray:
    """Indices of the frames, of `count`, shown in so many columns: evenly, with both ends."""
    return np.unique(np.rint(np.linspace(0, count - 1, columns)).astype(int))
