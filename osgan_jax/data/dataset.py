"""Datasets: random access to images that are decoded, resized and cropped.

A *source* is anything with `len(source)` and `source[i] -> (image, label)`, where the image is
uint8 `[H, W, C]` and the label an int. A source that can be read from several processes must
survive pickling. `MemorySource` adds `gather`, which reads a whole batch in one call. A source may
add `labels() -> [M] int32`, for whoever needs no images, and `fingerprint() -> str`, see
`osgan_jax.data.fingerprints`.
"""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import fingerprints, fitting, survey
from osgan_jax.data import images as decoding
from osgan_jax.io.messages import shorten

# A greater label is taken for a mistake: networks have weights for each class.
MAX_CLASSES = 1_000_000
_NAMED_CLASSES = 12  # that a person is shown


class Source(Protocol):
    """Random access to images of one size."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Returns image `[H, W, C]`, uint8, and its label."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images of one size with their labels.

    Attributes:
      name: the name it was loaded under.
      split: the split it was loaded from.
      image_size: height and width in pixels: 64, or '64x128' where they differ.
      channels: 1 (grey) or 3 (RGB).
      num_classes: number of classes, 0 where the images are not labelled.
      class_names: `num_classes` names, in label order.
      source: the images.
      flip: whether batches mirror each image left to right with probability 1/2. Reading
        `dataset[i]` never does.
      report: a sentence on files that were skipped, or None.
      notes: what was inferred, left out or converted: pairs of what it is of and a clause.
      stack_of: the dataset whose images are the channels of this one's, or None. Labels then have
        its labels as digits: in base 10 of ten classes, the first channel's ahead.
    """

    name: str
    split: str
    image_size: ImageSize
    channels: int
    num_classes: int
    class_names: tuple[str, ...]
    source: Source = dataclasses.field(repr=False)
    flip: bool = False
    report: str | None = None
    notes: tuple[tuple[str, str], ...] = ()
    stack_of: 'Dataset | None' = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `{'image': uint8 [H, W, C], 'label': int32 scalar}`.

        Args:
          index: position, `-len(dataset) <= index < len(dataset)`.

        Raises:
          IndexError: outside that range.
        """
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f'dataset {self.name} has {len(self)} images, got index {index}')
        image, label = self.source[position % len(self)]
        return {'image': image, 'label': np.int32(label)}

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def remarks(self) -> tuple[tuple[str, str], ...]:
        """Lines for a person: the classes, the notes, and what was skipped."""
        classes = (('classes', describe_classes(self.class_names)),) if self.num_classes else ()
        skipped = (('files', self.report),) if self.report else ()
        return (*classes, *self.notes, *skipped)

    def labels(self) -> np.ndarray:
        """The labels `[M]` of all images, int32; no image is decoded where the source can tell."""
        if not self.num_classes:
            return np.zeros(len(self), np.int32)
        return labels_of(self.source)

    def class_counts(self) -> np.ndarray:
        """The number of images of each class, `[num_classes]` int64."""
        return np.bincount(self.labels(), minlength=self.num_classes)[: self.num_classes]


class MemorySource:
    """Images in memory, each decoded when it is first read.

    Keeping the decoded bytes costs `len * H * W * C` bytes and makes every epoch after the first
    a gather. An array of decoded images leaves nothing to decode.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, encoded: Source | None = None):
        """Makes a source.

        Args:
          images: `[M, H, W, C]` uint8; written to when `encoded` is given.
          labels: `[M]` int32.
          encoded: the images to be decoded; None if `images` holds them already.
        """
        self._images = images
        self._labels = labels
        self._encoded = encoded
        self._present = None if encoded is None else np.zeros(len(images), bool)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        images, labels = self.gather(np.asarray([index]))
        return images[0], int(labels[0])

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels if self._encoded is None else labels_of(self._encoded)

    def fingerprint(self) -> str | None:
        """The fingerprint of the images, see `osgan_jax.data.fingerprints`."""
        if self._encoded is not None:
            return fingerprints.of_source(self._encoded)
        return fingerprints.of_arrays(self._images, self._labels)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads images `[N, H, W, C]` uint8 and labels `[N]` int32 at `indices` `[N]`.

        Safe from several threads: two of them may decode the same image, with the same result.
        """
        if self._present is not None:
            for index in indices[~self._present[indices]]:
                self._images[index], self._labels[index] = self._encoded[int(index)]
                self._present[index] = True
        return self._images[indices], self._labels[indices]


def describe_classes(class_names: Sequence[str]) -> str:
    """How many classes there are, with number and name of the first and the last."""
    count = len(class_names)
    numbers = [str(number) for number in range(count)]
    if list(class_names) == numbers:
        return f'{count:,}, named by their numbers'
    if count <= _NAMED_CLASSES:
        pairs = zip(numbers, class_names, strict=True)
        return f'{count:,}: ' + ', '.join(f'{number} {name}' for number, name in pairs)
    first = ', '.join(f'{number} {class_names[number]}' for number in range(_NAMED_CLASSES - 2))
    return f'{count:,}: {first}, ..., {count - 1} {class_names[-1]}'


def labels_of(source: Source) -> np.ndarray:
    """A source's labels, `[M]` int32, read with the images where there is no other way."""
    if hasattr(source, 'labels'):
        return np.asarray(source.labels(), np.int32)
    return np.asarray([source[index][1] for index in range(len(source))], np.int32)


def check_dataset(dataset: Any) -> None:
    """Raises ValueError, with what to give instead, for what is neither None nor a `Dataset`."""
    if dataset is None or isinstance(dataset, Dataset):
        return
    shape = f' {list(dataset.shape)}' if hasattr(dataset, 'shape') else ''
    raise ValueError(
        f'dataset: expected an osgan_jax.data.Dataset, got {type(dataset).__name__}{shape}: give '
        'osgan_jax.data.from_arrays(images, labels), or osgan_jax.data.load(name) of files'
    )


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    name: str = 'arrays',
    class_names: Sequence[str] | None = None,
    flip: bool = False,
    image_size: ImageSize | tuple[int, int] | None = None,
    fit: str = 'crop',
) -> Dataset:
    """Makes a dataset of arrays in memory.

    Args:
      images: `[M, H, W, C]` uint8 with C 1 or 3.
      labels: `[M]` integers from 0, or None for images without labels.
      name: its name.
      class_names: one name a class; by default the class numbers. Classes are counted by it, or
        by the largest label.
      flip: see `Dataset`.
      image_size: that images get; their own by default.
      fit: how they get its shape, one of `fitting.FITS`.

    Raises:
      ValueError: arrays of another shape, dtype or length, or no images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            'images: expected a uint8 array [M, H, W, C] with C 1 or 3, '
            f'got {images.dtype} {list(images.shape)}' + _advice(images)
        )
    if not images.size:
        raise ValueError(f'images: expected at least one image, got {list(images.shape)}')
    if fit not in fitting.FITS:
        raise ValueError(f'fit={fit!r}: expected one of {", ".join(fitting.FITS)}')
    notes = []
    if image_size is not None:
        size = {'image_size': image_sizes.parse(image_size), 'channels': images.shape[3]}
        notes += survey.notes_of_shape(name, images.shape[1:3], fit, size['image_size'])
        images = np.stack([decoding.from_array(image, fit=fit, **size) for image in images])
    if labels is None:
        labels = np.zeros(len(images), np.int32)
        class_names = ()
    else:
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f'labels: expected {len(images)} integers, got {labels.dtype} {list(labels.shape)}'
            )
        advice = ''
        if class_names is None:
            advice = '; numpy.unique(labels, return_inverse=True)[1] numbers those that occur'
            count = min(int(labels.max()) + 1, MAX_CLASSES)
            class_names = [str(value) for value in range(count)]
        if labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError(
                f'labels: expected values from 0 to {len(class_names) - 1}, '
                f'got {labels.min()} to {labels.max()}'
            )
        empty = np.setdiff1d(np.arange(len(class_names)), labels)
        if len(empty):
            names = shorten([str(class_names[number]) for number in empty])
            notes.append(('empty', f'classes without images: {names}{advice}'))
    return Dataset(
        name=name,
        split='train',
        image_size=image_sizes.of(*images.shape[1:3]),
        channels=images.shape[3],
        num_classes=len(class_names),
        class_names=tuple(str(value) for value in class_names),
        source=MemorySource(images, labels.astype(np.int32)),
        flip=flip,
        notes=tuple(notes),
    )


def _advice(images: np.ndarray) -> str:
    """How arrays of other makers become what `from_arrays` takes."""
    if images.ndim == 3:
        return ': images[..., None] adds the channel'
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        return ': images.transpose(0, 2, 3, 1) puts channels last'
    if images.ndim == 4 and images.dtype.kind == 'f':
        return ': of [0, 1], (images * 255).round().astype(numpy.uint8) makes them'
    return ''
