"""Labels of samples, given by a person, by any program, or by a classifier of ours.

`write_samples` writes images and a `labels.csv` to fill in: a header `index,label`, then a line a
sample, a label being a whole number from 0. A sample without a label is not used. A program
may write the same as an .npz file of two arrays, `index` and `label`.
"""

import csv
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from osgan_jax import reporting
from osgan_jax.core import image_sizes
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.io import atomic, weights

CSV = 'labels.csv'

# The most samples of one seed.
MAX_SAMPLES = 1_000_000

_ABOUT = 'samples.json'
_AT_ONCE = 256  # images in memory before they are written
_HEADER = ['index', 'label']


def write_samples(
    folder: str | os.PathLike[str],
    generator: EditableGenerator,
    z: jax.Array,
    labels: jax.Array | None,
    about: dict[str, Any],
) -> pathlib.Path:
    """Writes samples as numbered PNG files, and a file of labels to fill in.

    A file of labels that is there already stays as it is.

    Args:
      folder: the folder; created.
      generator: the generator of the images.
      z: latents `[N, Z]`.
      labels: `[N]`, of a conditional generator.
      about: what made the samples, JSON; `check_samples` compares it.

    Returns:
      The file of labels.

    Raises:
      ValueError: if the folder's labels are those of other samples.
      OSError: if something cannot be written.
    """
    folder = pathlib.Path(folder)
    path, count = folder / CSV, z.shape[0]
    if path.exists():
        check_samples(path, about)
    for start in range(0, count, _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        images = generator.images(z[rows], None if labels is None else labels[rows])
        for index, image in enumerate(images, start):
            reporting.save_png(folder / f'{index:05d}.png', image)
    with atomic.replacing(folder / _ABOUT) as file:
        file.write((json.dumps(about, indent=2) + '\n').encode())
    if not path.exists():
        lines = [','.join(_HEADER), *(f'{index},' for index in range(count))]
        with atomic.replacing(path) as file:
            file.write(('\n'.join(lines) + '\n').encode())
    return path


def check_samples(path: str | os.PathLike[str], about: dict[str, Any]) -> None:
    """Raises ValueError if labels lie beside a record of samples made in another way."""
    try:
        text = (pathlib.Path(path).parent / _ABOUT).read_text()
    except FileNotFoundError:
        return
    try:
        made = json.loads(text)
        differ = [
            f'{name} {made[name]}, not {value}'
            for name, value in about.items()
            if made[name] != value
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{pathlib.Path(path).parent / _ABOUT} is damaged: remove it if the labels belong to '
            'the samples of this command'
        ) from error
    if differ:
        raise ValueError(
            f'{path} labels samples of {"; ".join(differ)}: give the flags with which they were '
            'made, or another --out'
        )


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Reads labels of samples.

    Args:
      path: a .csv or .npz file, see above.

    Returns:
      Indices of the samples, int64 `[N]`, and their labels, int64 `[N]`; N is at least 1.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged or holds something else; the message names the line.
    """
    path = pathlib.Path(path)
    pairs = _read_npz(path) if path.suffix.lower() == '.npz' else _read_csv(path)
    found: dict[int, int] = {}
    for place, index, label in pairs:
        if not 0 <= index < MAX_SAMPLES:
            raise ValueError(f'{place}: index {index} is not in 0 to {MAX_SAMPLES - 1}')
        if label < 0:
            raise ValueError(f'{place}: unknown label {label}, expected 0, 1 and so on')
        if index in found:
            raise ValueError(f'{place}: index {index} is labelled a second time')
        found[index] = label
    if not found:
        raise ValueError(f'{path} labels no sample: fill in its column label')
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def _read_csv(path: pathlib.Path) -> list[tuple[str, int, int]]:
    try:
        text = path.read_text(encoding='utf-8-sig')
        rows = list(csv.reader(text.splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{path} is damaged or not a CSV file ({error})') from None
    if not rows or [cell.strip() for cell in rows[0]] != _HEADER:
        raise ValueError(f'{path}: expected the header index,label in its first line')
    pairs = []
    for line, row in enumerate(rows[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        place = f'{path}, line {line}'
        if len(cells) != 2:
            raise ValueError(f'{place}: expected index,label, found {len(cells)} values')
        index, label = cells
        if not _is_number(index):
            raise ValueError(
                f'{place}: the index is missing or not a whole number ({index[:40]!r})'
            )
        if label and not _is_number(label):
            raise ValueError(f'{place}: unknown label {label[:40]!r}, expected 0, 1 and so on')
        if label:
            pairs.append((place, int(index), int(label)))
    return pairs


def _is_number(text: str) -> bool:
    # Few enough digits that a number stays one of NumPy's.
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _read_npz(path: pathlib.Path) -> list[tuple[str, int, int]]:
    try:
        arrays = weights.read(path)
    except ValueError as error:
        raise ValueError(f'{path} holds no labels that can be read ({error})') from None
    columns = [arrays.get(name) for name in _HEADER]
    for column in columns:
        if column is None or column.ndim != 1 or column.dtype.kind not in 'iub':
            raise ValueError(f'{path}: expected two arrays of whole numbers, index and label')
    if len(columns[0]) != len(columns[1]):
        raise ValueError(f'{path}: {len(columns[0])} in index, {len(columns[1])} in label')
    pairs = zip(*(column.tolist() for column in columns), strict=True)
    return [(f'{path}, row {row}', index, label) for row, (index, label) in enumerate(pairs)]


def by_classifier(
    generator: EditableGenerator, classifier: Any, z: jax.Array, labels: jax.Array | None
) -> np.ndarray:
    """The classes that a classifier sees in samples.

    Args:
      generator: the generator of the images.
      classifier: as `osgan_jax.distillation.load` returns it.
      z: latents `[N, Z]`.
      labels: `[N]`, of a conditional generator.

    Returns:
      Labels `[N]`, int64.

    Raises:
      ValueError: if the classifier takes images of another size.
    """
    config = classifier.run.config
    expected = (*image_sizes.sides(config.image_size), config.channels)
    if tuple(generator.gan.image_shape) != expected:
        sizes = [' x '.join(map(str, shape)) for shape in (expected, generator.gan.image_shape)]
        raise ValueError(f'the classifier takes images of {sizes[0]}, this run makes {sizes[1]}')
    classify = jax.jit(lambda images: classifier(images).argmax(-1))
    return generator.images(z, labels, then=classify).astype(np.int64)


def balanced(count: int, num_classes: int, target: int, against: int | None = None) -> np.ndarray:
    """Labels for a conditional generator: every second one the target, others in turn.

    Args:
      count: N.
      num_classes: classes of the generator.
      target: the label of half of the samples.
      against: the label of the other half; None for all others in turn.

    Returns:
      `[N]`.

    Raises:
      ValueError: for labels out of range, or the same one twice.
    """
    for label in (target, against):
        if label is not None and not 0 <= label < num_classes:
            raise ValueError(f'class {label}: expected 0 to {num_classes - 1}')
    others = [x for x in range(num_classes) if x != target and against in (None, x)]
    if not others:
        raise ValueError(f'two different labels are needed, got {target} alone')
    places = np.arange(count)
    return np.where(places % 2 == 0, target, np.array(others)[places // 2 % len(others)])


def split(
    labels: np.ndarray, target: int, against: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits samples into those with a label and those with others.

    Args:
      labels: `[N]`.
      target: the label.
      against: the only other label to keep; None for all others.

    Returns:
      `(kept, positive)`: indices of the samples kept `[K]`, and whether each has the label `[K]`.

    Raises:
      ValueError: if one side has no sample.
    """
    if target == against:
        raise ValueError(f'two different labels are needed, got {target} twice')
    positive = labels == target
    negative = ~positive if against is None else labels == against
    for side, name in ((positive, target), (negative, against)):
        if not side.any():
            what = 'any other label' if name is None else f'label {name}'
            there = ', '.join(map(str, np.unique(labels)[:20]))
            raise ValueError(f'no sample has {what}; there are: {there}')
    kept = np.flatnonzero(positive | negative)
    return kept, positive[kept]
