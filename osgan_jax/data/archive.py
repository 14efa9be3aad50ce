"""Sources of images in one file, as arrays or as encoded image files, and their reader."""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import (
    arrays,
    collection,
    facts,
    fingerprints,
    images,
    labelling,
    survey,
    verdicts,
)
from osgan_jax.data.dataset import MAX_CLASSES
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io import messages

_LONGEST_NAME = 10_000  # bytes of a class's name


class ArraySource:
    """Decoded images `[M, H, W, C]` uint8, fitted when read."""

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

    def fingerprint(self) -> str:
        """See `osgan_jax.data.fingerprints`."""
        first, _ = self[0]
        same = first.shape == self._stored.shape[1:]
        return fingerprints.of_arrays(self._stored, self._labels, as_served=same)


class EncodedSource:
    """Image files end to end, decoded and fitted when read."""

    def __init__(
        self,
        name: str,
        content: np.ndarray,
        spans: np.ndarray,
        labels: np.ndarray,
        **options: Any,
    ):
        """Makes a source; spans as of `Archive`, options are those of `images.load`."""
        self._name = name
        self._content = content
        self._spans = spans
        self._labels = labels
        self._options = options

    def __len__(self) -> int:
        return len(self._spans)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        file = _file(self._content, self._spans, index)
        try:
            image = images.load(file, **self._options)
        except images.UnreadableImageError as error:
            raise images.UnreadableImageError(f'image {index} of {self._name}: {error}') from None
        return image, int(self._labels[index])

    def fingerprint(self) -> str:
        """See `osgan_jax.data.fingerprints`."""
        return fingerprints.of_files(
            [''] * len(self),
            np.diff(self._spans)[:, 0].tolist(),
            self._labels,
            lambda index: _file(self._content, self._spans, index),
        )


@dataclasses.dataclass(frozen=True)
class Archive:
    """The content of a file of images.

    Attributes:
      name: its path, for messages.
      content: decoded images `[M, H, W, C]`, or bytes of all files, also of damaged ones.
      spans: `[M, 2]`, where each image's file begins and ends in the bytes, or None where the
        images are decoded.
      labels: `[M]` int32, zeros without labels.
      class_names: empty without labels.
      survey: facts of the images, of their headers alone where they are files.
      notes: what was inferred of the labels.
      report: a sentence on damaged images, which are left out, or None.
    """

    name: str
    content: np.ndarray
    spans: np.ndarray | None
    labels: np.ndarray
    class_names: tuple[str, ...]
    survey: survey.Survey
    notes: tuple[Note, ...] = ()
    report: str | None = None

    def source(
        self, *, reading: Reading, image_size: ImageSize, channels: int, upscale: bool = True
    ) -> ArraySource | EncodedSource:
        """Returns its images at one size.

        `upscale` says whether smaller ones are enlarged, or refused when read.
        """
        size = {'image_size': image_size, 'channels': channels}
        if self.spans is None:
            return ArraySource(self.content, self.labels, **size, **reading.of_arrays())
        return EncodedSource(
            self.name,
            self.content,
            self.spans,
            self.labels,
            upscale=upscale,
            **size,
            **reading.of_files(),
        )


def of_arrays(
    name: str,
    stored: np.ndarray,
    labels: np.ndarray | None,
    reading: Reading,
    *,
    class_names: np.ndarray | None = None,
    terms: tuple[str, str] = ('images', 'labels'),
    notes: tuple[Note, ...] = (),
) -> Archive:
    """The images and labels of arrays.

    Args:
      name: the file's path, for messages.
      stored: images, of any kind that `arrays.to_images` knows.
      labels: of any kind that `arrays.to_labels` knows; None for none.
      reading: how they are read.
      class_names: texts by label; None where labels are their own names.
      terms: names of both arrays, for messages.
      notes: what was inferred before.

    Raises:
      ValueError: arrays are not what they must be, or do not fit together.
    """
    content, said = arrays.to_images(stored, f'{name}: {terms[0]}', reading.white_level)
    known = np.repeat(facts.table([facts.of_array(content.shape[1:])]), len(content))
    notes = (*notes, *said)
    keep = np.ones(len(content), bool)
    return _assemble(
        name, content, None, keep, known, labels, class_names, reading, terms[1], notes
    )


def of_files(
    name: str,
    content: np.ndarray,
    offset: np.ndarray,
    labels: np.ndarray | None,
    reading: Reading,
    *,
    class_names: np.ndarray | None = None,
    notes: tuple[Note, ...] = (),
    root: str | None = None,
) -> Archive:
    """The images and labels of image files end to end; arguments and errors as `of_arrays`.

    Every image is decoded once, as those of folders are, and damaged ones are left out.

    Args:
      name: the file's path, for messages.
      content: bytes of all files, uint8.
      offset: `[M + 1]`, where each begins.
      labels: as `of_arrays`.
      reading: likewise.
      class_names: likewise.
      notes: likewise.
      root: what `verdicts` keeps the verdicts under; `name` by default.

    Raises:
      ValueError: none of the images can be read.
    """
    offset = _offset(name, content, offset)
    spans = np.stack([offset[:-1], offset[1:]], axis=1)
    judged = _judge(root or name, content, spans)
    keep = np.ones(len(spans), bool)
    keep[list(judged.unreadable)] = False
    skipped = [(f'image {index}', why) for index, why in judged.unreadable.items()]
    report = collection.report(skipped, Counter(), len(keep))
    if not keep.any():
        raise ValueError(f'no readable image in {name}: {report}')
    spans = spans[keep]
    known = np.zeros(len(spans), facts.DTYPE)
    # By their headers: what pixels show would give older runs of grey images in RGB other channels.
    for row in range(len(spans)):
        known[row] = images.glance(_file(content, spans, row))
    known['peak'] = judged.facts['peak'][keep]
    found = _assemble(
        name, content, spans, keep, known, labels, class_names, reading, 'labels', notes
    )
    return dataclasses.replace(found, report=report)


def _file(content: np.ndarray, spans: np.ndarray, index: int) -> bytes:
    begin, end = spans[index]
    return content[begin:end].tobytes()


def _judge(root: str, content: np.ndarray, spans: np.ndarray) -> verdicts.Verdicts:
    count = len(spans)
    return verdicts.judge(
        root,
        [str(index) for index in range(count)],
        np.diff(spans)[:, 0],
        np.asarray([zlib.crc32(_file(content, spans, i)) for i in range(count)], np.int64),
        lambda index: images.inspect(_file(content, spans, index)),
    )


def _assemble(
    name: str,
    content: np.ndarray,
    spans: np.ndarray | None,
    keep: np.ndarray,
    known: np.ndarray,
    labels: np.ndarray | None,
    class_names: np.ndarray | None,
    reading: Reading,
    term: str,
    notes: tuple[Note, ...],
) -> Archive:
    found = survey.Survey(_Numbered(np.flatnonzero(keep)), known)
    numbers, shown, said = np.zeros(len(known), np.int32), (), []
    if reading.labels == labelling.NONE:
        said = [('labels', 'none: not read (--labels=none)')]
    elif labels is not None:
        numbers, shown, said = _labels(name, labels, class_names, reading, term, keep)
    return Archive(name, content, spans, numbers, shown, found, (*notes, *said))


class _Numbered(Sequence[str]):
    """Names of images that have none, by their places in the file, made when asked for."""

    def __init__(self, places: np.ndarray):
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> str:
        return f'image {self._places[index]}'


def _offset(name: str, content: np.ndarray, offset: np.ndarray) -> np.ndarray:
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(f'{name}: jpeg must be uint8 [bytes], got {content.dtype}')
    if offset.ndim != 1 or len(offset) < 2 or not np.issubdtype(offset.dtype, np.integer):
        raise ValueError(f'{name}: offset must be at least two integers')
    offset = offset.astype(np.int64)
    if offset[0] < 0 or offset[-1] > len(content) or np.any(np.diff(offset) < 0):
        raise ValueError(f'{name}: offset does not lie in jpeg, or does not grow')
    return offset


def _labels(
    name: str,
    found: np.ndarray,
    class_names: np.ndarray | None,
    reading: Reading,
    term: str,
    keep: np.ndarray,
) -> tuple[np.ndarray, tuple[str, ...], list[Note]]:
    """Labels int32 of the images that are kept, names of classes, and what was inferred."""
    labels, named, notes = arrays.to_labels(found, len(keep), f'{name}: {term}')
    labels = labels[keep]
    if named:
        labelled = labelling.by_name([''] * len(labels), labels.tolist())
        notes.append(('labels', f'{term} are names, in natural order'))
        return labelled.labels, labelled.class_names, notes
    shown = None if class_names is None else _class_names(name, class_names)
    low, high = int(labels.min()), int(labels.max())
    most = MAX_CLASSES if shown is None else len(shown)
    if low < 0 or high >= most:
        known = f'there are {most} class_names'
        if shown is None:
            known = f'labels are numbers from 0 to {MAX_CLASSES - 1:,} at most'
        raise ValueError(f'{name}: {term} run from {low} to {high}, but {known}')
    if not reading.recognises:
        return labels.astype(np.int32), shown or tuple(map(str, range(high + 1))), notes
    numbers, shown, said = labelling.compact(labels, shown)
    return numbers, shown, notes + said


def _class_names(name: str, class_names: np.ndarray) -> tuple[str, ...]:
    if class_names.ndim != 1:
        raise ValueError(f'{name}: class_names must be a list, got {list(class_names.shape)}')
    if len(class_names) > MAX_CLASSES or class_names.dtype.itemsize > _LONGEST_NAME:
        raise ValueError(
            f'{name}: {len(class_names):,} class_names of {class_names.dtype.itemsize} bytes are '
            f'more than {MAX_CLASSES:,} classes of {_LONGEST_NAME:,}'
        )
    try:
        shown = [
            value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
            for value in class_names
        ]
    # Numbers that no character has.
    except (ValueError, SystemError):
        raise ValueError(f'{name}: class_names are not text') from None
    return tuple(messages.printable(text) for text in shown)
