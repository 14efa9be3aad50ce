"""The labels of images that lie in folders: by folder, by StyleGAN's list or by a file."""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from osgan_jax.data import label_file
from osgan_jax.data.dataset import MAX_CLASSES
from osgan_jax.data.reading import Note
from osgan_jax.io.messages import counted, printable, shorten

SPLITS = {
    'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val',
    'test': 'test', 'testing': 'test',
}  # fmt: skip
"""Names of folders that are parts of a dataset, and one name for each part."""

FOLDERS, NONE = 'folders', 'none'
"""Values of --labels that are not files."""

_DEEPEST_SPLIT = 4  # folders above a split's


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images with their labels.

    Attributes:
      paths: of the images that are kept, parts joined by '/', sorted.
      labels: `[M]` int32, zeros without classes.
      class_names: in label order; empty without classes.
      notes: what was inferred.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[Note, ...] = ()


def natural(name: str) -> tuple:
    """The key of natural order: class2 before class10."""
    parts = re.split(r'([0-9]+)', name)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def unlabelled(paths: Sequence[str], *notes: Note) -> Labelled:
    """Images that have no labels."""
    return Labelled(tuple(paths), np.zeros(len(paths), np.int32), (), notes)


def by_name(
    paths: Sequence[str], names: Sequence[str], notes: Sequence[Note] = (), *, key=natural
) -> Labelled:
    """Images labelled by names of classes, which are numbered in their natural order."""
    class_names = sorted(set(names), key=key)
    if len(class_names) > MAX_CLASSES:
        raise ValueError(f'{len(class_names):,} classes, more than {MAX_CLASSES:,}')
    number = {name: value for value, name in enumerate(class_names)}
    labels = np.asarray([number[name] for name in names], np.int32)
    shown = tuple(printable(name) for name in class_names)
    return Labelled(tuple(paths), labels, shown, tuple(notes))


def by_top_folder(paths: Sequence[str]) -> Labelled:
    """Labels as older runs had them: by the first folder, in the order of text."""
    tops = [path.partition('/')[0] if '/' in path else '' for path in paths]
    if '' in tops or len(set(tops)) < 2:
        return unlabelled(paths)
    return by_name(paths, tops, key=lambda name: name)


def by_folder(
    paths: Sequence[str],
    folders: Sequence[str] = (),
    *,
    strays: bool = False,
    of_all: Sequence[str] | None = None,
) -> Labelled:
    """Labels by the first folder, in natural order.

    Args:
      paths: of the images.
      folders: all folders, to name those without images.
      strays: whether images beside the folders are left out, so that the others have labels. A
        folder around all folders is then passed over, unless images lie in it too.
      of_all: paths of the images of all parts, where `paths` are those of one: the same folders are
        passed over in all of them.
    """
    of_all = paths if of_all is None else of_all
    around, between = _around(of_all) if strays else ([], [])
    level = len(around)
    beside = [path for path in paths if path.count('/') <= level]
    within = [path for path in paths if path.count('/') > level]
    tops = [path.split('/')[level] for path in within]
    names = sorted(set(tops), key=natural)
    notes = []
    pieces = [folder.split('/') for folder in folders]
    there = {each[level] for each in pieces if len(each) > level and each[:level] == around}
    empty = sorted(there - set(tops) - {''}, key=natural)
    if empty and len(names) > 1:
        notes.append(
            ('empty', _no_class(empty, 'holds no readable image', 'hold no readable image'))
        )
    if len(names) < 2 and not (strays and names):
        return unlabelled(paths, *_why_none(of_all, names))
    if beside and not strays:
        return unlabelled(
            paths,
            (
                'labels',
                f'none: {files(beside)} beside the folders {shorten(_shown(names))}; '
                '--labels=folders leaves what lies there out and takes the folders for classes',
            ),
        )
    if beside:
        notes.append(('left out', f'{files(beside)} beside the class folders'))
    notes.insert(0, ('labels', 'by folder, in natural order'))
    if between:
        why = f'since {files(between)} beside the folders in it'
        notes.append(('one class', f'{printable(names[0])}, {why}'))
    if mixed := [name for name in names if name.lower() in SPLITS]:
        others = [name for name in names if name not in mixed]
        if others:
            notes.append(
                (
                    'split',
                    f'none: {shorten(_shown(mixed))} lies beside {shorten(_shown(others))}, and '
                    'all of them are classes',
                )
            )
    return by_name(within, tops, notes)


def listed(paths: Sequence[str], rows: Any, where: str) -> Labelled:
    """Labels of StyleGAN's list.

    Args:
      paths: of the images.
      rows: the content of `labels`: pairs of name and label, or None.
      where: the file, for messages.

    Raises:
      ValueError: it is not such a list, lacks images, or has labels that are not whole numbers.
    """
    if rows is None:
        return unlabelled(paths, ('labels', f'none: {where} says null'))
    try:
        known = dict(rows)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where} is not a list of names and labels: {error}') from None
    if missing := [name for name in paths if name not in known]:
        raise ValueError(
            f'{where} has no label for {counted(len(missing), "image")}, such as '
            f'{printable(missing[0])}; --labels=none or --labels=folders ignores this file'
        )
    notes = [('labels', f'those of {where}; folders are blocks, not classes')]
    values = [known[name] for name in paths]
    if all(isinstance(value, list) for value in values) and _are_one_hot(values):
        values = [value.index(1) for value in values]
        notes[0] = ('labels', f'one-hot vectors of {where}, as numbers')
    if odd := [v for v in values if type(v) is not int or not 0 <= v < MAX_CLASSES]:
        what = {type(None): 'null for some images', list: 'vectors'}.get(type(odd[0]), 'others')
        raise ValueError(
            f'{where}: expected whole numbers from 0 as labels, got {printable(str(odd[0]))[:40]} '
            f'({what}); --labels=none ignores them'
        )
    if absent := len(set(known) - set(paths)):
        notes.append(
            (
                'absent',
                f'{counted(absent, "image")} of {where} {"is" if absent == 1 else "are"} not here',
            )
        )
    return by_name(paths, [str(value) for value in values], [*notes, *_gaps(values)])


def from_rows(
    paths: Sequence[str],
    rows: Mapping[str, str],
    where: str,
    of_all: Sequence[str] = (),
    parts: Iterable[Sequence[str]] = (),
) -> Labelled:
    """Labels of a file of names and labels; images that it does not name are left out.

    Args:
      paths: of the images.
      rows: labels by path, by file name, or by file name without its ending.
      where: the file, for messages.
      of_all: paths of the images of all parts, where `paths` are those of one: rows may name them.
      parts: paths of the images of each part, where `paths` are those of several: a row is for the
        image of its name in each.

    Raises:
      ValueError: it names none of the images, gives one two labels, or a name stands for several.
    """
    named, in_parts = _by_any_name(paths), [_by_any_name(part) for part in parts]
    found: dict[str, str] = {}
    absent = []
    for name, label in rows.items():
        if name not in named:
            absent.append(name)
            continue
        places = [named[name]]
        if places == [None]:
            places = [each[name] for each in in_parts if name in each]
        if not places or None in places:
            several = [path for path in paths if name in _names(path)]
            raise ValueError(
                f'{where}: {printable(name)} may be any of {len(several):,} images '
                f'({shorten(_shown(several))}): name each by its path below the folder'
            )
        for path in places:
            if found.setdefault(path, label) != label:
                raise ValueError(f'{where} gives {printable(path)} two labels')
    if not found:
        raise ValueError(
            f'{where} names none of the {len(paths):,} images: it has '
            f'{printable(next(iter(rows), "no rows"))!r}, the images are {printable(paths[0])!r} '
            'and so on: give their paths below the folder, or file names that only one image has'
        )
    if absent and len(of_all) > len(paths):
        elsewhere = _by_any_name(of_all)
        absent = [name for name in absent if name not in elsewhere]
    kept = [path for path in paths if path in found]
    notes = [('labels', f'those of {where}')]
    if without := [path for path in paths if path not in found]:
        count = counted(len(without), 'image has', 'images have')
        notes.append(('left out', f'{count} no label in {where} ({shorten(_shown(without))})'))
    if absent:
        verb = 'names' if len(absent) == 1 else 'name'
        rows_of = f'{counted(len(absent), "row")} of {where}'
        notes.append(('absent', f'{rows_of} {verb} no readable image'))
    names = [found[path] for path in kept]
    if all(name.isdecimal() for name in set(names)):
        notes += _gaps([int(name) for name in names])
    return by_name(kept, names, notes)


def compact(
    labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...], list[Note]]:
    """Makes classes of the labels that there are: networks would learn nothing of the others.

    Args:
      labels: `[M]`, from 0.
      class_names: by label; None for classes named by their numbers.

    Returns:
      `(labels, class_names, notes)`, the labels int32 and without gaps.
    """
    present, numbers = np.unique(labels, return_inverse=True)
    notes = []
    if class_names is None:
        shown = tuple(str(value) for value in present)
        if present[-1] + 1 > len(present):
            notes.append(('empty', gaps(present.tolist())))
    else:
        shown = tuple(class_names[value] for value in present)
        if without := np.delete(np.asarray(class_names, object), present).tolist():
            notes.append(('empty', _no_class(without, 'has no images', 'have no images')))
    return numbers.astype(np.int32), shown, notes


def split_of(
    paths: Sequence[str], split: str
) -> tuple[list[str], dict[str, list[str]] | None, dict[str, str], Note]:
    """Finds folders that are parts of a dataset, and the images of one part.

    Such folders lie at one level, below one folder, or below each class's, and hold all images but
    those that lie at the top.

    Args:
      paths: of the images.
      split: 'train', 'val', 'test' or one of their other names, or 'all'.

    Returns:
      `(beside, kept, plain, note)`: the images beside all parts; those of the part, or for 'all' of
      every part, by the part's name, None if the dataset has no parts; the path of each image of
      any part without the part's folder; and which parts there are.

    Raises:
      ValueError: there are parts, but not this one.
    """
    beside = [path for path in paths if '/' not in path]
    within = [path for path in paths if '/' in path]
    # By folder: there are far fewer than images.
    within_of = Counter(path.rpartition('/')[0] for path in within)
    pieces = [folder.split('/') for folder in within_of]
    for level in range(min(min(map(len, pieces), default=0), _DEEPEST_SPLIT)):
        parts = [each[level].lower() for each in pieces]
        if set(parts) <= set(SPLITS):
            break
    else:
        return [], None, {}, ('split', '')
    counts: Counter[str] = Counter()
    for part, count in zip(parts, within_of.values(), strict=True):
        counts[SPLITS[part]] += count
    folders = {SPLITS[part]: each[level] for part, each in zip(parts, pieces, strict=True)}
    wanted = part_of(split)
    if wanted != 'all' and wanted not in counts:
        raise ValueError(
            f'there is no part {split!r}, only the folders '
            f'{", ".join(map(printable, folders.values()))}: choose one by --split, or all'
        )
    # What all images share above the parts is not a class.
    start = level if len({tuple(each[:level]) for each in pieces}) == 1 else 0
    shorter = {
        folder: '/'.join(each[start:level] + each[level + 1 :] + [''])
        for folder, each in zip(within_of, pieces, strict=True)
    }
    part_at = {folder: SPLITS[part] for folder, part in zip(within_of, parts, strict=True)}
    plain, kept = {}, {}
    for path in within:
        folder, _, name = path.rpartition('/')
        plain[path] = shorter[folder] + name
        if wanted in ('all', part_at[folder]):
            kept.setdefault(part_at[folder], []).append(path)
    others = ', '.join(f'{name} ({count:,})' for name, count in counts.items() if name != wanted)
    count = sum(map(len, kept.values()))
    text = f'{wanted}: {count:,} of {len(within):,} images'
    return beside, kept, plain, ('split', text + (f'; also {others}, by --split' * bool(others)))


def part_of(split: str) -> str:
    """The one name of a part that is asked for, 'all' among them; others as they are."""
    return SPLITS.get(split.lower(), split.lower())


def check_whole(split: str, what: str) -> None:
    """Raises ValueError for a part of what has none."""
    if part_of(split) not in ('train', 'all'):
        raise ValueError(
            f"{what} has one split, 'train', got {split!r}: give --split=train, or "
            '--test_split=train if it is what accuracy is measured on'
        )


def _around(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders, one in the other, around the level at which folders part, if there is one.

    Where images lie in these folders too, the first of them is a class of its own, and there are
    none around: `(folders, [])` or `([], images that lie in them)`.
    """
    # By folder: there are far fewer than images.
    pieces = [folder.split('/') for folder in {path.rpartition('/')[0] for path in paths} - {''}]
    for level in range(max(map(len, pieces), default=0)):
        deep = [each for each in pieces if len(each) > level]
        if len({each[level] for each in deep}) > 1:
            between = [path for path in paths if 0 < path.count('/') <= level]
            return [] if between else deep[0][:level], between
    return [], []


def _why_none(paths: Sequence[str], names: Sequence[str]) -> list[Note]:
    """Why images have no labels where one might expect them."""
    if not names:
        return []
    text = f'none: only the folder {printable(names[0])} holds images'
    if level := len(_around(paths)[0]):
        below = {path.split('/')[level] for path in paths if path.count('/') > level}
        inside = shorten(_shown(sorted(below, key=natural)))
        text += f'; --labels=folders takes {inside} below it for classes'
    return [('labels', text)]


def _are_one_hot(values: Sequence[list]) -> bool:
    widths = {len(value) for value in values}
    return len(widths) == 1 and all(
        value.count(1) == 1 and value.count(0) == len(value) - 1 for value in values
    )


def _gaps(values: Sequence[int]) -> list[Note]:
    """Says which numbers no image has, where classes are numbers."""
    found = sorted(set(values))
    if found == list(range(len(found))):
        return []
    return [('empty', gaps(found))]


def gaps(found: Sequence[int]) -> str:
    """A clause on labels `found`, rising, which are not 0, 1 and so on."""
    high = found[-1]
    missing = high + 1 - len(found)
    present = set(found)
    first = list(itertools.islice((v for v in range(high) if v not in present), 3))
    shown = ', '.join(map(str, first)) + (' and so on' if missing > len(first) else '')
    if len(found) == 1:
        return f'no image has label {shown}; the one that occurs, {high:,}, is the only class'
    return (
        f'no image has label {shown}; the {len(found):,} labels that occur, up to {high:,}, are '
        'the classes and keep their numbers as names'
    )


def _names(path: str) -> tuple[str, str, str]:
    """Names by which a list may call an image: its path, its file name, that without its ending."""
    path = label_file.same_name(path)
    name = path.rpartition('/')[2]
    return path, name, name.rpartition('.')[0] or name


def _by_any_name(paths: Sequence[str]) -> dict[str, str | None]:
    """Paths by their names, of which longer ones go first; None where a name stands for several."""
    longer: dict[str, str | None] = {}
    for names in zip(*map(_names, paths), strict=True):
        found: dict[str, str | None] = {}
        for name, path in zip(names, paths, strict=True):
            found[name] = None if name in found else path
        longer = found | longer
    return longer


def _shown(names: Sequence[str]) -> list[str]:
    return [printable(name) for name in names]


def files(paths: Sequence[str]) -> str:
    """How many images lie somewhere, and the first names: the beginning of a clause."""
    return f'{counted(len(paths), "image lies", "images lie")} ({shorten(_shown(paths))})'


def _no_class(names: Sequence[str], one: str, many: str) -> str:
    """Says of folders or names, by a verb and its object, that they are not classes."""
    said = f'{one} and is not a class' if len(names) == 1 else f'{many} and are not classes'
    return f'{shorten(_shown(names))} {said}'
