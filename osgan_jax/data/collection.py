"""Images that lie in folders, on disk or in an archive: which ones, with which labels."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from osgan_jax.data import label_file, labelling, survey
from osgan_jax.data.reading import Note, Reading
from osgan_jax.data.verdicts import Verdicts
from osgan_jax.io.messages import counted, printable, shorten

STYLEGAN = 'dataset.json'
"""StyleGAN's list of labels, beside the folders."""

_NAMED = 10  # skipped files that a report names


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder or an archive holds.

    Attributes:
      verdicts: on each image.
      files: `[M]`, what its source keeps of each file: bytes, or where it lies in the archive.
      skipped: further files that cannot be read, and why.
      ignored: other files, by their endings.
      hidden: how many files or folders are passed over because they are hidden.
      twice: folders that are found by another path too, and that path.
      folders: all folders.
      listed: the content of StyleGAN's list; None where there is none.
      list_folder: the folder that the list lies in, to which its names are relative.
      archived: whether it is an archive.
    """

    verdicts: Verdicts
    files: np.ndarray
    skipped: list[tuple[str, str]]
    ignored: Counter[str]
    folders: tuple[str, ...] = ()
    listed: bytes | None = None
    list_folder: str = ''
    hidden: int = 0
    twice: tuple[tuple[str, str], ...] = ()
    archived: bool = False


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The readable images of a folder or an archive.

    Attributes:
      root: the folder or the archive.
      paths: of the images, relative to it, sorted; of files with frames that are all taken, as
        often as there are.
      frames: `[M]` int32, which frame of its file each is.
      files: `[M]`, see `Found`.
      survey: facts of each.
      labels: `[M]` int32, zeros without classes.
      class_names: in label order; empty without classes.
      notes: what was inferred.
      report: a sentence on skipped files, or None.
    """

    root: str
    paths: tuple[str, ...]
    frames: np.ndarray
    files: np.ndarray
    survey: survey.Survey
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[Note, ...]
    report: str | None

    @property
    def sizes(self) -> np.ndarray:
        """Width and height of each, `[M, 2]`."""
        return self.survey.sizes


def place_of_list(files: Collection[str], images: Collection[str], reading: Reading) -> str:
    """Where StyleGAN's list of labels is: at the top, or in the one folder of all images.

    Args:
      files: paths of all files.
      images: paths of the images.
      reading: how they are read.
    """
    tops = {path.partition('/')[0] for path in images}
    below = f'{next(iter(tops))}/{STYLEGAN}' if len(tops) == 1 else STYLEGAN
    if reading.recognises and STYLEGAN not in files and below in files:
        return below
    return STYLEGAN


def collect(root: str, found: Found, reading: Reading, split: str) -> ImageFolder:
    """Chooses images and labels among what a folder or an archive holds.

    Args:
      root: its path.
      found: its content.
      reading: how it is read.
      split: the part that is wanted.

    Raises:
      FileNotFoundError: there is no file of labels.
      ValueError: no image can be read, labels do not fit the images, or there is no such part.
    """
    judged = found.verdicts
    order = sorted(judged.readable().tolist(), key=judged.names.__getitem__)
    skipped = [(judged.names[index], why) for index, why in judged.unreadable.items()]
    skipped = found.skipped + skipped
    said = report(skipped, found.ignored, len(order) + len(skipped), found.twice)
    if not order:
        if found.hidden:
            hidden = counted(found.hidden, 'hidden file or folder', 'hidden files or folders')
            said = f'{said}, and {hidden}' if said else f'passed over {hidden}'
        raise ValueError(f'no readable image in {printable(root)}' + (f': {said}' if said else ''))
    names = [judged.names[index] for index in order]
    plain = names
    if found.archived and reading.recognises:
        plain = list(map(plain_path, names))
        plain = plain if len(set(plain)) == len(plain) else names
    labelled = _label(root, plain, found, reading, split)
    rows, paths, labels = np.asarray(order), tuple(names), labelled.labels
    if labelled.paths != tuple(plain):
        places = {name: place for place, name in enumerate(plain)}
        chosen = [places[path] for path in labelled.paths]
        rows, paths = rows[chosen], tuple(names[place] for place in chosen)
    frames = np.zeros(len(rows), np.int32)
    if reading.frames == 'all':
        repeats = judged.facts['frames'][rows]
        frames = np.concatenate([np.arange(count, dtype=np.int32) for count in repeats])
        paths = tuple(itertools.chain.from_iterable(map(itertools.repeat, paths, repeats)))
        rows, labels = np.repeat(rows, repeats), np.repeat(labels, repeats)
    return ImageFolder(
        root=root,
        paths=paths,
        frames=frames,
        files=found.files[rows],
        survey=survey.Survey(paths, judged.facts[rows]),
        labels=labels,
        class_names=labelled.class_names,
        notes=labelled.notes,
        report=said,
    )


def plain_path(name: str) -> str:
    """A path of an archive as the others are, however the program that wrote it did it."""
    name = name.replace('\\', '/')
    while name.startswith(('/', './')):
        name = name.lstrip('/').removeprefix('./')
    return name


def _label(
    root: str, paths: list[str], found: Found, reading: Reading, split: str
) -> labelling.Labelled:
    asked, notes, of_all = reading.labels, [], paths
    if not reading.recognises:
        return _label_as_before(root, paths, found, split, asked)
    plain = rows = None
    use_list = found.listed is not None and asked is None
    if use_list:
        # Where two images have one plain path, both are called as the archive calls them.
        tidy = found.archived and all(path == plain_path(path) for path in paths)
        rows = _rows(found, root, tidy=tidy)
        if rows is False:
            use_list = False
            notes.append(('passed over', f'{_where(root)} is not a list of labels as StyleGAN has'))
    if not use_list:
        beside, kept, plain, said = labelling.split_of(paths, split)
        if kept is None:
            labelling.check_whole(split, 'a folder without parts train, val or test')
            plain = None
        else:
            paths = next(iter(kept.values())) if len(kept) == 1 else list(plain)
            notes.append(said)
            if beside:
                notes.append(('left out', f'{labelling.files(beside)} beside the parts'))
    else:
        labelling.check_whole(split, f'a dataset with {STYLEGAN}')
    if use_list:
        labelled = labelling.listed(paths, rows, _where(root))
    elif asked == labelling.NONE:
        labelled = labelling.unlabelled(paths, ('labels', 'none: not read (--labels=none)'))
    elif asked not in (None, labelling.FOLDERS):
        given, parts = label_file.read(asked), (kept or {}).values()
        labelled = labelling.from_rows(paths, given, printable(asked), of_all, parts)
    elif plain is None:
        strays = asked == labelling.FOLDERS
        labelled = labelling.by_folder(paths, found.folders, strays=strays)
    else:
        back = {plain[path]: path for path in paths}
        if len(back) < len(paths):  # both parts, of --split=all, have images of one name
            back = {
                '/'.join([*plain[path].split('/')[:-1], path.replace('/', ' ')]): path
                for path in paths
            }
        labelled = labelling.by_folder(
            sorted(back), strays=asked == labelling.FOLDERS, of_all=list(plain.values())
        )
        order = sorted(range(len(labelled.paths)), key=lambda i: back[labelled.paths[i]])
        labelled = dataclasses.replace(
            labelled,
            paths=tuple(back[labelled.paths[i]] for i in order),
            labels=labelled.labels[order],
        )
    return dataclasses.replace(labelled, notes=(*notes, *labelled.notes))


def _label_as_before(
    root: str, paths: list[str], found: Found, split: str, asked: str | None
) -> labelling.Labelled:
    labelling.check_whole(split, 'a folder')
    if asked == labelling.NONE:
        return labelling.unlabelled(paths)
    if not found.archived or found.listed is None:
        return labelling.by_top_folder(paths)
    labelled = labelling.listed(paths, _rows(found, root), _where(root))
    if not labelled.class_names:
        return labelled
    labels = np.asarray([int(name) for name in labelled.class_names], np.int32)[labelled.labels]
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return dataclasses.replace(labelled, labels=labels, class_names=names)


def _where(root: str) -> str:
    return f'{STYLEGAN} of {printable(root)}'


def _rows(found: Found, root: str, *, tidy: bool = False):
    """The labels of StyleGAN's list; False where it is another's file of that name.

    `tidy` says whether the images are called by their plain paths.
    """
    try:
        body = json.loads(found.listed)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{_where(root)} is not JSON: {str(error)[:200]}') from None
    if not isinstance(body, dict) or 'labels' not in body:
        return False
    rows = body['labels']
    if isinstance(rows, dict):
        rows = list(rows.items())
    if not isinstance(rows, list) or not (tidy or found.list_folder):
        return rows
    above = f'{found.list_folder}/' if found.list_folder else ''
    call = plain_path if tidy else str
    try:
        return [(above + call(str(name)), label) for name, label in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{_where(root)} is not a list of names and labels: {error}') from None


def report(
    skipped: list[tuple[str, str]],
    ignored: Counter[str],
    total: int,
    twice: Sequence[tuple[str, str]] = (),
) -> str | None:
    """A sentence on files that were skipped, each with its reason, or passed over; or None."""
    parts = []
    if skipped:
        shown = [
            f'{printable(path or ".")} ({reason})' for path, reason in sorted(skipped)[:_NAMED]
        ]
        if len(skipped) > _NAMED:
            shown.append(f'and {len(skipped) - _NAMED:,} more')
        parts.append(f'skipped {len(skipped):,} of {total:,}: ' + ', '.join(shown))
    if twice:
        pairs = [f'{printable(path)} (the same folder as {printable(as_)})' for path, as_ in twice]
        parts.append(f'read once: {shorten(pairs)}')
    if ignored:
        endings = ', '.join(f'{ending} {count:,}' for ending, count in ignored.most_common(5))
        count = counted(ignored.total(), 'file that is not an image', 'files that are not images')
        parts.append(f'passed over {count}: {endings}')
    return '; '.join(parts) or None
