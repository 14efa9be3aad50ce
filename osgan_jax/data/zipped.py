"""A zip archive of images, read as a folder of them is.

Subfolders are classes as in a folder, unless the archive has StyleGAN's `dataset.json` at its top:
then its labels count, whole numbers by name of image, or its images have none, and subfolders are
blocks of numbers. Every image is decoded once when the archive is opened, so that damaged ones are
named and left out; archives change too seldom for verdicts to be kept.
"""

import concurrent.futures
import json
import os
import zipfile
from collections import Counter
from typing import Any

import numpy as np

from osgan_jax.data import folder, images
from osgan_jax.data.dataset import MAX_CLASSES
from osgan_jax.io import checks, paths
from osgan_jax.io.messages import printable, reason

_LABELS = 'dataset.json'

# The most that a member may unpack to, times its size in the archive: images are compressed
# already, but for those of one colour. Up to _SMALL bytes any member may unpack to.
_MOST_EXPANSION = 200
_SMALL = 2**24


class ZipSource:
    """The images of an archive, decoded, resized and cropped when read."""

    def __init__(self, found: folder.ImageFolder, *, image_size: int, channels: int):
        self._root = found.root
        self._paths = found.paths
        self._labels = found.labels
        self._size = {'image_size': image_size, 'channels': channels}
        self._archive: zipfile.ZipFile | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self._paths[index]
        try:
            if self._archive is None:
                opened = zipfile.ZipFile(self._root)
                checks.members(opened, os.path.getsize(self._root))
                self._archive = opened
            image = images.load(_read(self._archive, self._archive.getinfo(path)), **self._size)
        except checks.DAMAGE as error:
            raise images.UnreadableImageError(
                f'{printable(path)} of {printable(self._root)} was readable when the archive was '
                f'opened and is not now ({reason(error)}): restore it to go on'
            ) from None
        return image, int(self._labels[index])

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_archive': None}


def is_zip(path: str | os.PathLike) -> bool:
    """Whether a path names a file that ends in .zip."""
    path = paths.expand(path)
    return path.lower().endswith('.zip') and os.path.isfile(path)


def scan(path: str | os.PathLike, *, labelled: bool = True) -> folder.ImageFolder:
    """Finds the images of an archive and decodes each once.

    Args:
      path: the archive.
      labelled: whether its images may have labels.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, has no readable image, or labels that are not those of its images.
    """
    path = os.path.abspath(paths.expand(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = checks.members(archive, os.path.getsize(path))
            names = [name for name in members if _is_candidate(name)]
            endings = [os.path.splitext(name)[1].lower() for name in members]
            verdicts = _verdicts(archive, [members[name] for name in names])
            listed = _read_labels(archive, members[_LABELS]) if _LABELS in members else False
    except checks.DAMAGE as error:
        raise ValueError(f'cannot read images from {printable(path)}: {reason(error)}') from None
    sizes = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, tuple)}
    skipped = [(name, verdict) for name, verdict in verdicts.items() if isinstance(verdict, str)]
    ignored = Counter(
        printable(ending) or '(no ending)'
        for name, ending in zip(members, endings, strict=True)
        if name not in verdicts and name != _LABELS and not name.endswith('/')
    )
    report = folder.report(skipped, ignored, len(verdicts))
    if not sizes:
        raise ValueError(
            f'no readable image in {printable(path)}' + (f': {report}' if report else '')
        )
    found = tuple(sorted(sizes))
    if not labelled or listed is None:
        labels, class_names = folder.unlabelled(found)
    elif listed is False:
        labels, class_names = folder.classes(found)
    else:
        labels, class_names = _listed(path, found, listed)
    shape = np.asarray([sizes[name] for name in found])
    return folder.ImageFolder(path, found, shape, labels, class_names, report)


def _is_candidate(name: str) -> bool:
    parts = name.split('/')
    hidden = any(part.startswith('.') for part in parts) or parts[0] == '__MACOSX'
    return not hidden and name.lower().endswith(folder.ENDINGS)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's content, unless it claims more than its bytes can hold."""
    most = max(_MOST_EXPANSION * info.compress_size, _SMALL)
    checks.expansion([info], min(most, images.MAX_BYTES))
    return archive.read(info)


def _verdicts(
    archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]
) -> dict[str, str | tuple[int, int]]:
    """By name an image's width and height, or why it cannot be read."""

    def verdict(info: zipfile.ZipInfo) -> str | tuple[int, int]:
        try:
            return images.inspect(_read(archive, info))
        except checks.DAMAGE as error:
            return reason(error)

    folder.say_long(len(infos), archive.filename)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip([info.filename for info in infos], pool.map(verdict, infos), strict=True))


def _read_labels(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any] | None:
    """The labels of StyleGAN's list, by name; None where it says that there are none."""
    rows = json.loads(_read(archive, info))['labels']
    return None if rows is None else dict(rows)


def _listed(
    path: str, paths: tuple[str, ...], listed: dict[str, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    where = f'{_LABELS} of {printable(path)}'
    if missing := [name for name in paths if name not in listed]:
        raise ValueError(f'{where} has no label for {len(missing):,} images, {missing[0]} for one')
    values = [listed[name] for name in paths]
    if odd := [v for v in values if type(v) is not int or not 0 <= v < MAX_CLASSES]:
        raise ValueError(
            f'{where}: expected whole numbers from 0 as labels, got {printable(str(odd[0]))[:40]}'
        )
    class_names = tuple(str(value) for value in range(max(values) + 1))
    return np.asarray(values, np.int32), class_names
