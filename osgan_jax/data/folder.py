"""Images in folders: where each lies, and which files could not be used.

Every image is decoded once when the folder is first opened, so that a damaged file is known,
named and left out before training begins, and the order of images is the same on every run.
The verdicts are remembered in the user's cache by path, size and time of change: later loads
only list the folder.
"""

import concurrent.futures
import hashlib
import json
import logging
import os
import pathlib
import stat
from collections import Counter
from typing import Any

import numpy as np

from osgan_jax.data import collection, facts, fingerprints, formats, images
from osgan_jax.data.collection import ImageFolder
from osgan_jax.data.facts import Facts
from osgan_jax.data.reading import Reading
from osgan_jax.io import atomic, paths
from osgan_jax.io.messages import printable

_VERSION = 2
_MOST_LIST = 2**30  # bytes of StyleGAN's list


class FolderSource:
    """The images of a folder, decoded and fitted when read."""

    def __init__(self, found: ImageFolder, **options: Any):
        """Makes a source; options are those of `images.load`."""
        self._root = found.root
        self._paths = found.paths
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
        files = [os.path.join(self._root, path) for path in self._paths]
        names = [path.replace(os.sep, '/') for path in self._paths]
        return fingerprints.of_files(
            names,
            [os.stat(file).st_size for file in files],
            self._labels,
            lambda index: pathlib.Path(files[index]).read_bytes(),
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
    verdicts = _verdicts(root, listing.files)
    place, listed = collection.place_of_list(listing.lists, verdicts, reading), None
    if reading.recognises and place in listing.lists:
        listed = (pathlib.Path(root) / place).read_bytes()
        listing.ignored -= Counter({'.json': 1})
    found = collection.Found(
        verdicts,
        listing.skipped,
        listing.ignored,
        tuple(listing.folders),
        listed,
        place.rpartition('/')[0],
    )
    return collection.collect(root, found, reading, split)


class _Listing:
    """The files below a folder: candidates with their status, and those left out."""

    def __init__(self, root: str, *, by_content: bool):
        self.files: dict[str, os.stat_result] = {}
        self.skipped: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()
        self.folders: list[str] = []
        self.lists: set[str] = set()
        self._by_content = by_content
        self._seen: set[tuple[int, int]] = set()
        self._walk(root)

    def _walk(self, root: str) -> None:
        # A list of folders to do rather than recursion: depth has no limit.
        pending = ['']
        while pending:
            folder = pending.pop()
            try:
                # A link to a folder above, or a second link to the same one, ends here.
                status = os.stat(os.path.join(root, folder))
                if (status.st_dev, status.st_ino) in self._seen:
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                entries = sorted(os.listdir(os.path.join(root, folder)))
            except OSError as error:
                self.skipped.append((folder, error.strerror or str(error)))
                continue
            folders = []
            for name in entries:
                if not name.startswith('.') and self._sort(root, os.path.join(folder, name)):
                    folders.append(os.path.join(folder, name))
            pending.extend(reversed(folders))
            self.folders += folders

    def _sort(self, root: str, path: str) -> bool:
        """Adds a path to the files, the skipped or the ignored; returns whether it is a folder."""
        ending = os.path.splitext(path)[1].lower()
        try:
            status = os.stat(os.path.join(root, path))
        except OSError as error:
            if ending in formats.ENDINGS:
                self.skipped.append((path, error.strerror or str(error)))
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        if ending not in formats.ENDINGS and not self._is_image(root, path, ending, status):
            self.ignored[printable(ending) or '(no ending)'] += 1
            if os.path.basename(path) == collection.STYLEGAN and _is_list(status):
                self.lists.add(path)
        # Opening a pipe would wait for ever.
        elif not stat.S_ISREG(status.st_mode):
            self.skipped.append((path, 'not a regular file'))
        elif not status.st_size:
            self.skipped.append((path, 'empty file'))
        else:
            self.files[path] = status
        return False

    def _is_image(self, root: str, path: str, ending: str, status: os.stat_result) -> bool:
        """Whether a file whose name does not say so is an image; foreign ones are skipped."""
        if not self._by_content or not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        try:
            with open(os.path.join(root, path), 'rb') as file:
                head = file.read(formats.HEAD)
        except OSError:
            return False
        return formats.is_image(ending, head) or formats.foreign(head) is not None


def _is_list(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_LIST


def _verdicts(root: str, files: dict[str, os.stat_result]) -> dict[str, Facts | str]:
    """Returns, per file, its facts, or why it cannot be read."""
    import PIL

    # The verdicts depend on these too.
    header = {
        'version': _VERSION,
        'root': root,
        'pillow': [PIL.__version__, *formats.readable()],
        'max': images.MAX_PIXELS,
    }
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    index = paths.cache_dir() / 'folders' / f'{digest}.json'
    known = _read_index(index, header)
    verdicts = {}
    todo, transient = [], set()
    for path, status in files.items():
        row = known.get(path)
        if row and row[:2] == [status.st_size, status.st_mtime_ns]:
            verdicts[path] = row[2] if isinstance(row[2], str) else Facts(*row[2])
        else:
            todo.append(path)
    try:
        _check(root, todo, verdicts, transient)
    finally:
        # Also the verdicts of an interrupted check, which the next one continues.
        if todo or len(known) != len(files):
            rows = {
                path: [files[path].st_size, files[path].st_mtime_ns, verdict]
                for path, verdict in verdicts.items()
                if path not in transient
            }
            _write_index(index, {**header, 'files': rows})
    return verdicts


def _check(
    root: str, todo: list[str], verdicts: dict[str, Facts | str], transient: set[str]
) -> None:
    """Decodes files and adds their verdicts.

    Files that cannot be read this time are added to `transient`: permission to read them, given
    later, would change neither their size nor their time.
    """
    if not todo:
        return
    say_long(len(todo), root)
    # Pillow decodes outside the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = pool.map(lambda path: _verdict(os.path.join(root, path)), todo)
        for path, verdict in zip(todo, results, strict=True):
            if isinstance(verdict, images.InaccessibleImageError):
                transient.add(path)
            verdicts[path] = verdict if isinstance(verdict, Facts) else str(verdict)


def say_long(count: int, root: str) -> None:
    """Says that images are checked, where it takes up to minutes in which nothing else happens."""
    if count > 2_000:
        logging.getLogger(__name__).warning(
            'checking %s images in %s, once', f'{count:,}', printable(root)
        )


def _verdict(path: str) -> images.UnreadableImageError | Facts:
    try:
        return images.inspect(path)
    except images.UnreadableImageError as error:
        return error


def _read_index(index: pathlib.Path, header: dict) -> dict[str, list]:
    try:
        saved = json.loads(index.read_bytes())
        files = saved.pop('files')
        rows = {path: row for path, row in files.items() if _is_row(*row)}
    # Absent, damaged or something else: it is only a cache, and is written anew.
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}
    return rows if saved == header else {}


def _is_row(size: int, time: int, verdict: str | list) -> bool:
    del size, time  # compared with the file's
    return isinstance(verdict, str) or facts.is_like(verdict)


def _write_index(index: pathlib.Path, content: dict) -> None:
    try:
        with atomic.replacing(index) as file:
            file.write(json.dumps(content).encode())
    except OSError as error:
        logging.getLogger(__name__).warning(
            'cannot remember in %s which images are readable (%s): they are checked again next '
            'time',
            index,
            error,
        )
