"""Classes of two datasets: whether they are the same, in the same order."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from osgan_jax.data.dataset import Dataset, MemorySource, Source, labels_of
from osgan_jax.io.messages import shorten


def difference(recorded: Sequence[str], found: Sequence[str]) -> str | None:
    """How classes differ by name or order, in a clause.

    Classes that are named by their numbers alone are not told from others of the same number.

    Args:
      recorded: names of the first, in label order; empty for none, or where they are not known.
      found: names of the second.

    Returns:
      The clause; None where they do not differ, or one has none.
    """
    recorded, found = list(recorded), list(found)
    if not recorded or not found or recorded == found:
        return None
    if len(recorded) == len(found) and (_unnamed(recorded) or _unnamed(found)):
        return None
    there, now = set(recorded), set(found)
    if there == now:
        label = next(i for i, name in enumerate(found) if recorded[i] != name)
        name = found[label]
        return (
            f'its classes were in another order ({name} had the label {recorded.index(name)} and '
            f'has {label})'
        )
    gone = [name for name in recorded if name not in now]
    new = [name for name in found if name not in there]
    parts = [f'without {shorten(gone)}'] if gone else []
    parts += [f'with {shorten(new)}'] if new else []
    return (
        f'its classes are others: {len(recorded):,} there and {len(found):,} now, '
        f'{" and ".join(parts)}'
    )


def align(dataset: Dataset, class_names: Sequence[str], whose: str) -> Dataset:
    """A dataset whose labels are those of other classes, some of which it may lack.

    Args:
      dataset: with labels, its classes among the others, in the same order.
      class_names: the others', in label order.
      whose: what the others are of, for the message.

    Raises:
      ValueError: its classes have other names, or another order.
    """
    own, others = list(dataset.class_names), list(class_names)
    if not own or not others or difference(others, own) is None:
        return dataset
    places = {name: label for label, name in enumerate(others)}
    if all(name.isdecimal() for name in own) and not set(own) <= set(others):
        places = {str(label): label for label in range(len(others))}
    table = [places.get(name, -1) for name in own]
    if table != sorted(table) or table[0] < 0:
        raise ValueError(
            f'{dataset.name} ({dataset.split}) does not have the classes of {whose}: '
            f'{difference(others, own)}'
        )
    present = set(table)
    lacking = [name for name in others if places[name] not in present]
    return dataclasses.replace(
        dataset,
        num_classes=len(others),
        class_names=tuple(others),
        source=_relabelled(dataset.source, np.asarray(table, np.int32)),
        notes=(*dataset.notes, ('empty', f'{shorten(lacking)}: no images in this part')),
    )


def find(label: int | str, class_names: Sequence[str], num_classes: int) -> int:
    """The number of a class that is given by its name, or else by its number.

    Args:
      label: as a person gave it; an integer is a number, whatever the names are, so that what was
        found is found again.
      class_names: by number; empty where they are not known.
      num_classes: how many there are.

    Raises:
      ValueError: there is no such class.
    """
    text, names = str(label), list(class_names) if isinstance(label, str) else []
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < num_classes:
        return int(text)
    folded = [name.casefold() for name in names]
    if folded.count(text.casefold()) == 1:
        return folded.index(text.casefold())
    named = '' if _unnamed(list(class_names)) else f', or a name: {shorten(list(class_names))}'
    raise ValueError(f'label={label}: expected 0 to {num_classes - 1}{named}')


def _unnamed(names: list[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def _relabelled(source: Source, table: np.ndarray) -> Source:
    kind = _RelabelledMemory if isinstance(source, MemorySource) else _Relabelled
    return kind(source, table)


class _Relabelled:
    """A source whose labels are replaced by a table's."""

    def __init__(self, source: Source, table: np.ndarray):
        self._source, self._table = source, table

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self._source[index]
        return image, int(self._table[label])

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._table[labels_of(self._source)]


class _RelabelledMemory(_Relabelled, MemorySource):
    """As `_Relabelled`, of images in memory."""

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `MemorySource`."""
        images, labels = self._source.gather(indices)
        return images, self._table[labels]
