"""A zip archive of images, read as a folder of them is.

Every image is decoded once when the archive is first opened, so that damaged ones are named and
left out. What was found is kept while the archive has the same size and time of change. Its
directory is read once a start, and by no worker process.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from osgan_jax.data import collection, fingerprints, formats, images, verdicts
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.facts import Facts
from osgan_jax.data.name_list import Names
from osgan_jax.data.reading import Reading
from osgan_jax.io import checks, paths, zip_members
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
        self._paths = Names.of(found.paths)
        self._members = found.files
        self._frames = found.frames
        self._labels = found.labels
        self._options = options
        self._reader = zip_members.Reader(found.root)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self._paths[index]
        try:
            content = _read(self._reader, self._members[index])
            image = images.load(content, frame=int(self._frames[index]), **self._options)
        except checks.DAMAGE as error:
            raise images.UnreadableImageError(
                f'{printable(path)} of {printable(self._root)} was readable when the archive was '
                f'opened but is not readable now ({reason(error)}): restore it to resume'
            ) from None
        return image, int(self._labels[index])

    def fingerprint(self) -> str:
        """See `osgan_jax.data.fingerprints`."""
        try:
            return fingerprints.of_files(
                list(self._paths),
                self._members['size'].tolist(),
                self._labels,
                lambda index: _read(self._reader, self._members[index]),
                self._frames,
            )
        except checks.DAMAGE as error:
            raise ValueError(
                f'{printable(self._root)} is not readable now ({reason(error)}): restore it'
            ) from None

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels


def is_zip(path: str | os.PathLike) -> bool:
    """Whether a path names a file that ends in .zip."""
    path = paths.expand(path)
    return path.lower().endswith('.zip') and os.path.isfile(path)


def scan(
    path: str | os.PathLike, reading: Reading | None = None, split: str = 'train'
) -> ImageFolder:
    """Finds the images of an archive, and decodes each once unless that was done before.

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
    reader = zip_members.Reader(path)
    try:
        status = os.stat(path)
        found = _read_directory(reader, path, status.st_size, reading)
        judged = verdicts.judge(
            path,
            found.names,
            found.images['size'].astype(np.int64),
            found.images['crc'].astype(np.int64),
            lambda index: _inspect(reader, found.images[index], reading.frames),
            reading.frames,
            archive=[status.st_size, status.st_mtime_ns],
        )
    except checks.DAMAGE as error:
        raise ValueError(f'cannot read images from {printable(path)}: {reason(error)}') from None
    finally:
        reader.close()
    content = collection.Found(
        judged,
        found.images,
        skipped=[],
        ignored=found.ignored,
        hidden=found.hidden,
        folders=found.folders,
        listed=found.listed,
        list_folder=found.place.rpartition('/')[0],
        archived=True,
    )
    return collection.collect(path, content, reading, split)


class _Directory(NamedTuple):
    """What an archive says that it holds.

    Attributes:
      names: of images.
      images: `[M]` of `zip_members.DTYPE`.
      folders: all folders that are not hidden.
      ignored: other files, by their endings.
      hidden: how many files are hidden.
      place: where StyleGAN's list is, if there is one.
      listed: its content, or None.
    """

    names: list[str]
    images: np.ndarray
    folders: tuple[str, ...]
    ignored: Counter[str]
    hidden: int
    place: str
    listed: bytes | None


def _read_directory(
    reader: zip_members.Reader, path: str, size: int, reading: Reading
) -> _Directory:
    # The objects of `zipfile` do not outlive this function.
    with zipfile.ZipFile(path) as archive:
        members = checks.members(archive, size)
        files = {n: info for n, info in members.items() if not n.endswith(('/', '\\'))}
        names = [n for n in files if _is_candidate(archive, files[n], reading.recognises)]
    plain = collection.plain_path
    # Older runs, which do not recognise, know the list by the name that the archive gives it.
    lists = [name for name in files if name.endswith(collection.STYLEGAN)]
    known = {plain(name): name for name in lists if reading.recognises}
    known |= {name: name for name in lists}
    place = collection.place_of_list(known, list(map(plain, names)), reading)
    listed = None
    if place in known:
        listed = _read(reader, zip_members.table([files[known[place]]])[0])
    folders = {name.rpartition('/')[0] for name in map(plain, members) if '/' in name}
    return _Directory(
        names=names,
        images=zip_members.table(files[name] for name in names),
        folders=tuple(sorted(each for each in folders if not _is_hidden(each))),
        ignored=_endings(files, {*names, known.get(place)}),
        hidden=sum(map(_is_hidden, files)),
        place=place,
        listed=listed,
    )


def _endings(files: Iterable[str], known: set[str]) -> Counter[str]:
    """How many files that are neither known nor hidden there are of each ending."""
    return Counter(
        printable(os.path.splitext(name)[1].lower()) or '(no ending)'
        for name in files
        if name not in known and not _is_hidden(name)
    )


def _is_hidden(name: str) -> bool:
    parts = collection.plain_path(name).split('/')
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


def _read(reader: zip_members.Reader, member: np.void) -> bytes:
    """A member's content, unless it claims more than its bytes can hold."""
    most = max(_MOST_EXPANSION * int(member['packed']), _SMALL)
    checks.expansion([int(member['size'])], min(most, images.MAX_BYTES))
    return reader.read(member)


def _inspect(reader: zip_members.Reader, member: np.void, frames: str) -> Facts:
    try:
        return images.inspect(_read(reader, member), frames)
    except images.UnreadableImageError:
        raise
    except (OSError, MemoryError) as error:
        raise images.InaccessibleImageError(reason(error)) from None
    except checks.DAMAGE as error:
        raise images.UnreadableImageError(reason(error)) from None
