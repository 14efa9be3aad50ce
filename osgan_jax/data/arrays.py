"""Images and labels from arrays of other makers, read where only one meaning is possible.

Images become uint8 `[M, H, W, C]`, labels whole numbers or names; what was inferred is said. Where
two readings are possible, or none, the error says how to convert the array.
"""

import numpy as np

from osgan_jax.data.images import FULL_SCALE
from osgan_jax.data.reading import Note

_CHUNK = 1024  # images at a time
# How far floats may lie outside [0, 1] or [-1, 1]: rounding and resizing leave some there.
_TOLERANCE = 1e-3


def to_images(
    array: np.ndarray, where: str, white_level: int = FULL_SCALE
) -> tuple[np.ndarray, list[Note]]:
    """Makes an array images, uint8 `[M, H, W, C]` with C 1 or 3.

    Args:
      array: `[M, H, W]`, `[M, H, W, C]` or `[M, C, H, W]`: uint8, bool, whole numbers up to 255 or
        of 16 bits, or floats in [0, 1], [-1, 1] or [0, 255].
      where: the array's name, for messages.
      white_level: white of 16 bits.

    Raises:
      ValueError: it is something else.
    """
    notes: list[Note] = []
    if not array.size:
        raise ValueError(f'{where} is empty, {list(array.shape)}')
    if array.ndim == 3 and array.shape[2] == 3:
        raise ValueError(
            f'{where} is {list(array.shape)}, which looks like one image in colour: array[None] '
            'makes a list of it'
        )
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
        notes.append(('arrays', f'{where} is channels first, [M, C, H, W]'))
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise ValueError(
            f'{where} must be [M, H, W, C] or [M, C, H, W] with C 1 or 3, or [M, H, W], got '
            f'{array.dtype} {list(array.shape)}{_advice(array)}'
        )
    if array.dtype.kind in 'iu' and array.dtype != np.uint16 and array.max() <= 1:
        # 255 is more than int8 holds.
        brighter = 'array.astype(numpy.uint8)' if array.dtype == np.int8 else 'array'
        notes.append(
            ('dark', f'{where} is at most 1 of 255, nearly black; {brighter} * 255 brightens it')
        )
    if array.dtype == np.uint8:
        return array, notes
    scale, said = _scale(array, where, white_level)
    notes.append(('arrays', said))
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = np.clip(np.rint(scale(array[part].astype(np.float64))), 0, 255)
    return images, notes


def _advice(array: np.ndarray) -> str:
    if array.ndim == 4 and 4 in (array.shape[1], array.shape[3]):
        return (
            '; leave out the fourth channel, or save the images as PNG files, which say what it is'
        )
    if array.ndim == 2 and (side := _side(array.shape[1])):
        return f'; images in rows: array.reshape(-1, {side}) makes them'
    return ''


def _side(count: int) -> str | None:
    """The shape of images that are rows of so many numbers, where they are squares."""
    for channels in (1, 3):
        side = round((count / channels) ** 0.5)
        if side * side * channels == count and side > 1:
            return f'{side}, {side}' if channels == 1 else f'3, {side}, {side}'
    return None


def _scale(array: np.ndarray, where: str, white_level: int):
    """How numbers become 0 to 255, and in which words."""
    low, high = array.min(), array.max()
    if array.dtype == bool:
        return (lambda x: x * 255), f'{where} holds true and false: black and white'
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > FULL_SCALE:
            raise ValueError(
                f'{where} holds whole numbers from {low:,} to {high:,}: scale them to 0 to 255, as '
                'uint8'
            )
        if high <= 255 and array.dtype != np.uint16:
            return (lambda x: x), f'{where} is {array.dtype} from {low} to {high}, taken as uint8'
        said = f'{where} has 16 bits, up to {high:,}, with {white_level:,} as white'
        if high < white_level / 2:
            said += f', and will be dark; --white_level={2 ** int(high).bit_length() - 1}'
        return (lambda x: x * (255 / white_level)), said
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f'{where} holds {array.dtype}: save it as uint8 from 0 to 255')
    if not np.isfinite([low, high]).all():
        raise ValueError(f'{where} holds numbers that are not finite')
    # Maxima of 1.5, say, fit neither 1 nor 255 as white.
    if high <= 1 + _TOLERANCE and low >= -_TOLERANCE:
        return (lambda x: x * 255), f'{where} is {array.dtype} in [0, 1]'
    if high <= 1 + _TOLERANCE and low >= -1 - _TOLERANCE:
        return (lambda x: (x + 1) * 127.5), f'{where} is {array.dtype} in [-1, 1]'
    if low >= 0 and 2 < high <= 255:
        return (lambda x: x), f'{where} is {array.dtype} in [0, 255]'
    raise ValueError(
        f'{where} is {array.dtype} from {low:.4g} to {high:.4g}, a range in which the values of '
        'black and white are not known: scale it to [0, 1], or save it as uint8 from 0 to 255'
    )


def to_labels(array: np.ndarray, count: int, where: str) -> tuple[np.ndarray, bool, list[Note]]:
    """Makes an array labels `[count]`.

    Args:
      array: `[count]` or `[count, 1]` whole numbers, also as floats, or texts; or one-hot
        `[count, K]`.
      count: images.
      where: the array's name, for messages.

    Returns:
      `(labels, named, notes)`: whole numbers, or texts where `named`.

    Raises:
      ValueError: it is something else.
    """
    notes: list[Note] = []
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and len(array) == count and array.dtype.kind in 'biuf':
        ones = array == 1
        if not (ones.sum(axis=1) == 1).all() or not (ones | (array == 0)).all():
            raise ValueError(
                f'{where} must be {count} integers, got {array.dtype} {list(array.shape)}, which '
                'is not one-hot: give one number per image'
            )
        array = ones.argmax(axis=1)
        notes.append(('labels', f'{where} is one-hot, taken as numbers'))
    if array.shape == (count,) and array.dtype.kind in 'SU':
        texts = np.asarray([_text(value) for value in array.tolist()])
        return texts, True, notes
    if array.shape == (count,) and array.dtype.kind == 'f' and (array == np.rint(array)).all():
        notes.append(('labels', f'{where} is {array.dtype}, of whole numbers'))
        array = array.astype(np.int64)
    if array.shape == (count,) and array.dtype == bool:
        array = array.astype(np.int64)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f'{where} must be {count} integers, got {array.dtype} {list(array.shape)}')
    return array, False, notes


def _text(value: str | bytes) -> str:
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value
