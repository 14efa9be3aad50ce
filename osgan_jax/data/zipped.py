"""A zip archive of images, read as a folder of them is.

Every image is decoded once when the archive is opened, so that damaged ones are named and left out;
archives change too seldom for verdicts to be kept.
"""

import concurrent.futures
import os
import zipfile
from collections import Counter
from typing import Any

import numpy as np

from osgan_jax.data import collection, fingerprints, folder, formats, images
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.facts import Facts
from osgan_jax.data.reading import Reading
from osgan_jax.io import checks, paths
from osgan_jax.io.messages import printable, reason

# The most that a member may unpack to, times its size in the archive: images are compressed
# already, but for those of one colour. Up to _SMALL bytes any member may unpack to.
_MOST_EXPANSION = 200
_SMALL = 2**24


class ZipSource:
    """The images of an archive, decoded and fitted when read."""

    def __init__(self, found: ImageFolder, **options: Any):
        """Makes a source; options are those of `images.load`."""
        self._root = found.root
        self._paths = found.paths
        self._frames = found.frames
        self._labels = found.labels
        self._options = options
        self._archive: zipfile.ZipFile | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self._paths[index]
        try:
            archive = self._open()
            content = _read(archive, archive.getinfo(path))
            image = images.load(content, frame=int(self._frames[index]), **self._options)
        except checks.DAMAGE as error:
            raise images.UnreadableImageError(
                f'{printable(path)} of {printable(self._root)} was readable when the archive was '
                f'opened but is not readable now ({reason(error)}): restore it to resume'
            ) from None
        return image, int(self._labels[index])

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            opened = zipfile.ZipFile(self._root)
            checks.members(opened, os.path.getsize(self._root))
            self._archive = opened
        return self._archive

    def fingerprint(self) -> str:
        """See `osgan_jax.data.fingerprints`."""
        try:
            archive = self._open()
            infos = [archive.getinfo(path) for path in self._paths]
            return fingerprints.of_files(
                self._paths,
                [info.file_size for info in infos],
                self._labels,
                lambda index: _read(archive, infos[index]),
                self._frames,
            )
        except checks.DAMAGE as error:
            raise ValueError(
                f'{printable(self._root)} is not readable now ({reason(error)}): restore it'
            ) from None

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_archive': None}


def is_zip(path: str | os.PathLike) -> bool:
    """Whether a path names a file that ends in .zip."""
    path = paths.expand(path)
    return path.lower().endswith('.zip') and os.path.isfile(path)


def scan(
    path: str | os.PathLike, reading: Reading | None = None, split: str = 'train'
) -> ImageFolder:
    """Finds the images of an archive and decodes each once.

    Args:
      path: the archive.
      reading: how images and labels are read.
      split: the part that is wanted.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, has no readable image, or as `collection.collect`.
    """
    reading = reading or Reading()
    path = os.path.abspath(paths.expand(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = checks.members(archive, os.path.getsize(path))
            files = {n: info for n, info in members.items() if not n.endswith('/')}
            names = [n for n in files if _is_candidate(archive, files[n], reading.recognises)]
            verdicts = _verdicts(archive, [files[name] for name in names])
            place = collection.place_of_list(files, names, reading)
            listed = _read(archive, files[place]) if place in files else None
    except checks.DAMAGE as error:
        raise ValueError(f'cannot read images from {printable(path)}: {reason(error)}') from None
    ignored = Counter(
        printable(os.path.splitext(name)[1].lower()) or '(no ending)'
        for name in files
        if name not in verdicts and name != place
    )
    folders = {name.rpartition('/')[0] for name in members if '/' in name}
    found = collection.Found(
        verdicts,
        skipped=[],
        ignored=ignored,
        folders=tuple(sorted(each for each in folders if not _is_hidden(each))),
        listed=listed,
        list_folder=place.rpartition('/')[0],
        archived=True,
    )
    return collection.collect(path, found, reading, split)


def _is_hidden(name: str) -> bool:
    parts = name.split('/')
    return any(part.startswith('.') for part in parts) or parts[0] == '__MACOSX'


def _is_candidate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, by_content: bool) -> bool:
    name = info.filename
    if _is_hidden(name):
        return False
    ending = os.path.splitext(name)[1].lower()
    if ending in formats.ENDINGS:
        return True
    if not by_content or not info.file_size:
        return False
    with archive.open(info) as file:
        head = file.read(formats.HEAD)
    return formats.is_image(ending, head) or formats.foreign(head) is not None


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's content, unless it claims more than its bytes can hold."""
    most = max(_MOST_EXPANSION * info.compress_size, _SMALL)
    checks.expansion([info], min(most, images.MAX_BYTES))
    return archive.read(info)


def _verdicts(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> dict[str, Facts | str]:
    """By name an image's facts, or why it cannot be read."""

    def verdict(info: zipfile.ZipInfo) -> Facts | str:
        try:
            return images.inspect(_read(archive, info))
        except checks.DAMAGE as error:
            return reason(error)

    folder.say_long(len(infos), archive.filename)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip([info.filename for info in infos], pool.map(verdict, infos), strict=True))
