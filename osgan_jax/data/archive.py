"""Images in one .npz file, as arrays or as JPEG bytes.

Two layouts are read:

* `images` uint8 `[M, H, W, C]` or `[M, H, W]`, and optionally `labels` (or `label`) `[M]`;
* `jpeg` uint8, all files end to end, `offset` `[M + 1]`, and optionally `label` (or `labels`):
  image i is `jpeg[offset[i]:offset[i + 1]]`. Any format `images.decode` knows will do.

`class_names` names the labels. Nothing is ever unpickled, and what the file claims of its arrays is
held against its size before memory is taken for them.
"""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np

from osgan_jax.data import images, labelling, survey
from osgan_jax.data.dataset import MAX_CLASSES
from osgan_jax.data.facts import Facts
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io import checks, messages, npz, paths

_ARRAYS = ('images', 'jpeg', 'offset', 'label', 'labels', 'class_names')

# The most that a file may unpack to, times its size: images of one colour come near it, and a
# thousand times is possible. Up to _SMALL bytes any file may unpack to.
_MOST_EXPANSION = 200
_SMALL = 2**28
_LONGEST_NAME = 10_000  # bytes of a class's name


class ArraySource:
    """Decoded images `[M, H, W, C]` uint8, made squares when read."""

    def __init__(self, stored: np.ndarray, labels: np.ndarray, **options: Any):
        """Makes a source; options are those of `images.from_array`."""
        self._stored = stored
        self._labels = labels
        self._options = options

    def __len__(self) -> int:
        return len(self._stored)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = images.from_array(self._stored[index], **self._options)
        return image, int(self._labels[index])


class EncodedSource:
    """Image files end to end, decoded and made squares when read."""

    def __init__(
        self,
        name: str,
        content: np.ndarray,
        offset: np.ndarray,
        labels: np.ndarray,
        **options: Any,
    ):
        """Makes a source; options are those of `images.load`."""
        self._name = name
        self._content = content
        self._offset = offset
        self._labels = labels
        self._options = options

    def __len__(self) -> int:
        return len(self._offset) - 1

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        file = self._content[self._offset[index] : self._offset[index + 1]].tobytes()
        try:
            image = images.load(file, **self._options)
        except images.UnreadableImageError as error:
            raise images.UnreadableImageError(f'image {index} of {self._name}: {error}') from None
        return image, int(self._labels[index])


@dataclasses.dataclass(frozen=True)
class Archive:
    """The content of an .npz file.

    Attributes:
      name: its path, for messages.
      content: decoded images `[M, H, W, C]`, or bytes of all files.
      offset: `[M + 1]`, or None where the images are decoded.
      labels: `[M]` int32, zeros without labels.
      class_names: empty without labels.
      survey: facts of the images, of their headers alone where they are files.
      notes: what was inferred of the labels.
    """

    name: str
    content: np.ndarray
    offset: np.ndarray | None
    labels: np.ndarray
    class_names: tuple[str, ...]
    survey: survey.Survey
    notes: tuple[Note, ...] = ()

    def source(
        self, *, reading: Reading, image_size: int, channels: int, upscale: bool = True
    ) -> ArraySource | EncodedSource:
        """Returns its images at one size.

        `upscale` says whether smaller ones are enlarged, or refused when read.
        """
        size = {'image_size': image_size, 'channels': channels}
        if self.offset is None:
            return ArraySource(self.content, self.labels, **size, **reading.of_arrays())
        return EncodedSource(
            self.name,
            self.content,
            self.offset,
            self.labels,
            upscale=upscale,
            **size,
            **reading.of_files(),
        )


def read(path: str | os.PathLike, reading: Reading | None = None) -> Archive:
    """Reads an .npz file.

    Args:
      path: the file.
      reading: how its labels are read.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not an .npz file, or its arrays are not those this module's docstring names.
    """
    asked = None if reading is None else reading.labels
    if asked not in (None, labelling.NONE):
        raise ValueError(f'--labels={asked} is for images in folders: this file has its own labels')
    path = paths.expand(path)
    name = messages.printable(path) or "''"
    if not os.path.exists(path):
        raise FileNotFoundError(f'no file {name}')
    if os.path.isdir(path):
        raise ValueError(f'{name} is a folder; npz needs the path of an .npz file')
    # Opening a pipe would wait for ever.
    if not os.path.isfile(path):
        raise ValueError(f'{name} is not a regular file; npz needs the path of an .npz file')
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            arrays = npz.read(
                file,
                size,
                wanted=_ARRAYS,
                kinds=npz.NUMBERS + npz.TEXT,
                most_bytes=max(_MOST_EXPANSION * size, _SMALL),
            )
            names = [messages.printable(each) for each in npz.names(file)]
    except checks.DAMAGE as error:
        raise ValueError(
            f'{name} cannot be read as an .npz file: {messages.reason(error)}'
        ) from None
    if 'images' in arrays:
        content, offset = _images(name, arrays['images']), None
        facts = [_facts(content.shape)] * len(content)
    elif 'jpeg' in arrays and 'offset' in arrays:
        content, offset = arrays['jpeg'], _offset(name, arrays['jpeg'], arrays['offset'])
        facts = _glances(name, content, offset)
    else:
        raise ValueError(
            f'{name} holds the arrays {messages.shorten(names) or "(none)"}; expected images, or '
            'jpeg and offset'
        )
    labels, class_names = _labels(name, arrays, len(facts))
    notes = []
    if asked == labelling.NONE:
        labels, class_names = np.zeros(len(facts), np.int32), ()
        notes = [('labels', 'none, as --labels=none says')]
    elif class_names and (reading is None or reading.recognises):
        named = class_names if 'class_names' in arrays else None
        labels, class_names, notes = labelling.compact(labels, named)
    found = survey.Survey([f'image {index}' for index in range(len(facts))], facts)
    return Archive(name, content, offset, labels, class_names, found, tuple(notes))


def _images(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3):
        raise ValueError(
            f'{name}: images must be uint8 [M, H, W, C] with C 1 or 3, '
            f'got {array.dtype} {list(array.shape)}'
        )
    if not array.size:
        raise ValueError(f'{name}: images is empty, {list(array.shape)}')
    return array


def _offset(name: str, content: np.ndarray, offset: np.ndarray) -> np.ndarray:
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(f'{name}: jpeg must be uint8 [bytes], got {content.dtype}')
    if offset.ndim != 1 or len(offset) < 2 or not np.issubdtype(offset.dtype, np.integer):
        raise ValueError(f'{name}: offset must be at least two integers')
    offset = offset.astype(np.int64)
    if offset[0] < 0 or offset[-1] > len(content) or np.any(np.diff(offset) < 0):
        raise ValueError(f'{name}: offset does not lie in jpeg, or does not grow')
    return offset


def _facts(shape: tuple[int, ...]) -> Facts:
    """The facts of decoded images `[M, H, W, C]`."""
    _, height, width, depth = shape
    return Facts(width, height, depth == 3, False, 0, 1, 'L' if depth == 1 else 'RGB', False)


def _glances(name: str, content: np.ndarray, offset: np.ndarray) -> list[Facts]:
    """The facts of image files, by their headers."""
    found = []
    whole = memoryview(np.ascontiguousarray(content))
    for index, (start, end) in enumerate(itertools.pairwise(offset.tolist())):
        try:
            found.append(images.glance(bytes(whole[start:end])))
        except images.UnreadableImageError as error:
            raise ValueError(f'image {index} of {name}: {error}') from None
    return found


def _labels(
    name: str, arrays: dict[str, np.ndarray], count: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = arrays.get('labels', arrays.get('label'))
    if labels is None:
        return np.zeros(count, np.int32), ()
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'{name}: labels must be {count} integers, got {labels.dtype} {list(labels.shape)}'
        )
    low, high = int(labels.min()), int(labels.max())
    class_names = arrays.get('class_names')
    if class_names is None:
        class_names = np.arange(min(max(high, 0) + 1, MAX_CLASSES))
    elif class_names.ndim != 1:
        raise ValueError(f'{name}: class_names must be a list, got {list(class_names.shape)}')
    elif len(class_names) > MAX_CLASSES or class_names.dtype.itemsize > _LONGEST_NAME:
        raise ValueError(
            f'{name}: {len(class_names):,} class_names of {class_names.dtype.itemsize} bytes are '
            f'more than {MAX_CLASSES:,} classes of {_LONGEST_NAME:,}'
        )
    if low < 0 or high >= len(class_names):
        known = f'there are {len(class_names)} class_names'
        if 'class_names' not in arrays:
            known = f'labels are numbers from 0 to {MAX_CLASSES - 1:,} at most'
        raise ValueError(f'{name}: labels run from {low} to {high}, but {known}')
    try:
        shown = [
            value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
            for value in class_names
        ]
    # Numbers that no character has.
    except (ValueError, SystemError):
        raise ValueError(f'{name}: class_names are not text') from None
    return labels.astype(np.int32), tuple(messages.printable(text) for text in shown)
