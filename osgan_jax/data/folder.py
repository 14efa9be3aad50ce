"""Images in folders: where each lies, and which files could not be used.

Every image is decoded once when the folder is first opened, so that a damaged file is known,
named and left out before training begins, and the order of images is the same on every run.
`osgan_jax.data.verdicts` keeps what was found, by path, size and time of change: later loads only
list the folder.
"""

import array
import os
import pathlib
import stat
from collections import Counter
from typing import Any

import numpy as np

from osgan_jax.data import collection, fingerprints, formats, images, verdicts
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.name_list import Names
from osgan_jax.data.reading import Reading
from osgan_jax.io import paths
from osgan_jax.io.messages import printable

_MOST_LIST = 2**30  # bytes of StyleGAN's list


class FolderSource:
    """The images of a folder, decoded and fitted when read."""

    def __init__(self, found: ImageFolder, **options: Any):
        """Makes a source; options are those of `images.load`."""
        self._root = found.root
        self._paths = Names.of(found.paths)
        self._sizes = found.files
        self._frames = found.frames
        self._labels = found.labels
        self._options = options

    def __len__(self) -> int:
        return len(self._paths)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def fingerprint(self) -> str:
        """See `osgan_jax.data.fingerprints`."""
        return fingerprints.of_files(
            [path.replace(os.sep, '/') for path in self._paths],
            self._sizes.tolist(),
            self._labels,
            lambda index: pathlib.Path(self._root, self._paths[index]).read_bytes(),
            self._frames,
        )

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = os.path.join(self._root, self._paths[index])
        try:
            image = images.load(path, frame=int(self._frames[index]), **self._options)
        except images.UnreadableImageError as error:
            raise images.UnreadableImageError(
                f'{printable(path)} was readable when the folder was opened but is not readable '
                f'now ({error}): restore it to resume, or start a new run without it'
            ) from None
        return image, int(self._labels[index])


def scan(
    root: str | os.PathLike, reading: Reading | None = None, split: str = 'train'
) -> ImageFolder:
    """Finds the images of a folder and decodes each once, unless that was done before.

    Args:
      root: the folder.
      reading: how images and labels are read.
      split: the part that is wanted.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a file, no readable image in it, or as `collection.collect`.
    """
    reading = reading or Reading()
    root = os.path.abspath(paths.expand(root))
    shown = printable(root)
    if not os.path.exists(root):
        raise FileNotFoundError(f'no folder {shown}')
    if not os.path.isdir(root):
        raise ValueError(f'{shown} is a file; give the folder that holds the images')
    listing = _Listing(root, by_content=reading.recognises)
    sizes, names = listing.sizes, listing.files
    judged = verdicts.judge(
        root,
        names,
        sizes,
        listing.times,
        lambda index: images.inspect(os.path.join(root, names[index]), reading.frames),
        reading.frames,
    )
    place, listed = collection.place_of_list(listing.lists, names, reading), None
    if reading.recognises and place in listing.lists:
        listed = (pathlib.Path(root) / place).read_bytes()
        listing.ignored -= Counter({'.json': 1})
    found = collection.Found(
        judged,
        sizes,
        listing.skipped,
        listing.ignored,
        tuple(listing.folders),
        listed,
        place.rpartition('/')[0],
        hidden=listing.hidden,
        twice=tuple(listing.twice),
    )
    return collection.collect(root, found, reading, split)


class _Listing:
    """The files below a folder: candidates with size and time of change, and those left out."""

    def __init__(self, root: str, *, by_content: bool):
        self.files: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()
        self.hidden = 0
        self.twice: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.lists: set[str] = set()
        # Not objects: a status of each would take more memory than all else.
        self._sizes, self._times = array.array('q'), array.array('q')
        self._by_content = by_content
        self._seen: dict[tuple[int, int], str] = {}
        self._walk(root)

    @property
    def sizes(self) -> np.ndarray:
        """Of the files, in bytes, `[M]` int64."""
        return np.asarray(self._sizes, np.int64)

    @property
    def times(self) -> np.ndarray:
        """When the files changed, in nanoseconds, `[M]` int64."""
        return np.asarray(self._times, np.int64)

    def _walk(self, root: str) -> None:
        # A list of folders to do rather than recursion: depth has no limit.
        pending = ['']
        while pending:
            folder = pending.pop()
            try:
                # A link to a folder above, or a second link to the same one, ends here.
                status = os.stat(os.path.join(root, folder))
                first = self._seen.setdefault((status.st_dev, status.st_ino), folder)
                if first != folder:
                    if not folder.startswith(os.path.join(first, '')):
                        self.twice.append((folder, first))
                    continue
                with os.scandir(os.path.join(root, folder)) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                self.skipped.append((folder, error.strerror or str(error)))
                continue
            beginning = os.path.join(folder, '')
            seen = [entry for entry in entries if not entry.name.startswith('.')]
            self.hidden += len(entries) - len(seen)
            folders = [
                beginning + entry.name
                for entry in seen
                if self._sort(entry, beginning + entry.name)
            ]
            pending.extend(reversed(folders))
            self.folders.append(folder)

    def _sort(self, entry: os.DirEntry, path: str) -> bool:
        """Adds a path to the files, the skipped or the ignored; returns whether it is a folder."""
        ending = os.path.splitext(entry.name)[1].lower()
        try:
            status = entry.stat()
        except OSError as error:
            if ending in formats.ENDINGS:
                self.skipped.append((path, error.strerror or str(error)))
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        if ending not in formats.ENDINGS and not self._is_image(entry.path, ending, status):
            self.ignored[printable(ending) or '(no ending)'] += 1
            if entry.name == collection.STYLEGAN and _is_list(status):
                self.lists.add(path)
        # Opening a pipe would wait for ever.
        elif not stat.S_ISREG(status.st_mode):
            self.skipped.append((path, 'not a regular file'))
        elif not status.st_size:
            self.skipped.append((path, 'empty file'))
        else:
            self.files.append(path)
            self._sizes.append(status.st_size)
            self._times.append(status.st_mtime_ns)
        return False

    def _is_image(self, path: str, ending: str, status: os.stat_result) -> bool:
        """Whether a file whose name does not say so is an image; foreign ones are skipped."""
        if not self._by_content or not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        try:
            with open(path, 'rb') as file:
                head = file.read(formats.HEAD)
        except OSError:
            return False
        return formats.is_image(ending, head) or formats.foreign(head) is not None


def _is_list(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_LIST
