"""A folder of images, read recursively.

Subfolders of the folder are classes, if every image lies in one and there are at least two.
Order is by path. Files are images by their ending (`ENDINGS`) and are then opened by their
content. Hidden files and folders are passed over; symbolic links are followed, each folder once.

Every image is decoded once when the folder is first opened, so that a damaged file is known,
named and left out before training begins, and the order of images is the same on every run.
The verdicts are remembered in the user's cache by path, size and time of change: later loads
only list the folder.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import stat
from collections import Counter

import numpy as np

from osgan_jax.data import images
from osgan_jax.io import atomic, paths
from osgan_jax.io.messages import printable

ENDINGS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.gif')

_NAMED = 10  # skipped files that a report names


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The readable images of a folder.

    Attributes:
      root: the folder.
      paths: of the images, relative to it, sorted.
      sizes: `[M, 2]` width and height in pixels.
      labels: `[M]` int32, zeros without classes.
      class_names: the subfolders, sorted; empty without classes.
      report: a sentence on skipped files, or None.
    """

    root: str
    paths: tuple[str, ...]
    sizes: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    report: str | None


class FolderSource:
    """The images of a folder, decoded, resized and cropped when read."""

    def __init__(self, found: ImageFolder, *, image_size: int, channels: int):
        self._root = found.root
        self._paths = found.paths
        self._labels = found.labels
        self._image_size = image_size
        self._channels = channels

    def __len__(self) -> int:
        return len(self._paths)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = os.path.join(self._root, self._paths[index])
        try:
            image = images.load(path, image_size=self._image_size, channels=self._channels)
        except images.UnreadableImageError as error:
            raise images.UnreadableImageError(
                f'{printable(path)} was readable when the folder was opened and is not '
                f'now ({error}): restore it to go on, or start afresh without it'
            ) from None
        return image, int(self._labels[index])


def scan(root: str | os.PathLike, *, labelled: bool = True) -> ImageFolder:
    """Finds the images of a folder and decodes each once, unless that was done before.

    Args:
      root: the folder.
      labelled: whether subfolders may be classes.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a file, or no readable image in it.
    """
    root = os.path.abspath(paths.expand(root))
    shown = printable(root)
    if not os.path.exists(root):
        raise FileNotFoundError(f'no folder {shown}')
    if not os.path.isdir(root):
        raise ValueError(f'{shown} is a file; give the folder that holds the images')
    listing = _Listing(root)
    verdicts = _verdicts(root, listing.files)
    skipped = listing.skipped + [
        (path, verdict) for path, verdict in verdicts.items() if isinstance(verdict, str)
    ]
    sizes = {path: verdict for path, verdict in verdicts.items() if not isinstance(verdict, str)}
    said = report(skipped, listing.ignored, len(sizes) + len(skipped))
    if not sizes:
        raise ValueError(f'no readable image in {shown}' + (f': {said}' if said else ''))
    found = tuple(sorted(sizes))
    labels, class_names = classes(found) if labelled else unlabelled(found)
    return ImageFolder(
        root=root,
        paths=found,
        sizes=np.asarray([sizes[path] for path in found]),
        labels=labels,
        class_names=class_names,
        report=said,
    )


def check_sizes(found: ImageFolder, image_size: int) -> None:
    """Refuses images whose shorter side is below `image_size` pixels.

    Raises:
      ValueError: says how many, and names the smallest.
    """
    short = found.sizes.min(axis=1)
    small = int(np.sum(short < image_size))
    if small:
        smallest = int(np.argmin(short))
        width, height = found.sizes[smallest]
        raise ValueError(
            f'{small:,} of {len(short):,} images in {printable(found.root)} are smaller '
            f'than {image_size}x{image_size}, the smallest is '
            f'{printable(found.paths[smallest])} with {width}x{height} pixels: ask for '
            f'--image_size={min(width, height)} or less, remove them, or allow upscaling'
        )


class _Listing:
    """The files below a folder: candidates with their status, and those left out."""

    def __init__(self, root: str):
        self.files: dict[str, os.stat_result] = {}
        self.skipped: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()
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

    def _sort(self, root: str, path: str) -> bool:
        """Adds a path to the files, the skipped or the ignored; returns whether it is a folder."""
        ending = os.path.splitext(path)[1].lower()
        try:
            status = os.stat(os.path.join(root, path))
        except OSError as error:
            if ending in ENDINGS:
                self.skipped.append((path, error.strerror or str(error)))
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        if ending not in ENDINGS:
            self.ignored[printable(ending) or '(no ending)'] += 1
        # Opening a pipe would wait for ever.
        elif not stat.S_ISREG(status.st_mode):
            self.skipped.append((path, 'not a regular file'))
        elif not status.st_size:
            self.skipped.append((path, 'empty file'))
        else:
            self.files[path] = status
        return False


def _verdicts(root: str, files: dict[str, os.stat_result]) -> dict[str, str | tuple[int, int]]:
    """Returns, per file, its width and height, or why it cannot be read."""
    import PIL

    # The verdicts depend on these too.
    header = {'version': 1, 'root': root, 'pillow': PIL.__version__, 'max': images.MAX_PIXELS}
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    index = paths.cache_dir() / 'folders' / f'{digest}.json'
    known = _read_index(index, header)
    verdicts = {}
    todo, transient = [], set()
    for path, status in files.items():
        row = known.get(path)
        if row and row[:2] == [status.st_size, status.st_mtime_ns]:
            verdicts[path] = row[2] if isinstance(row[2], str) else (row[2][0], row[2][1])
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
    root: str, todo: list[str], verdicts: dict[str, str | tuple[int, int]], transient: set[str]
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
            verdicts[path] = verdict if isinstance(verdict, tuple) else str(verdict)


def say_long(count: int, root: str) -> None:
    """Says that images are checked, where it takes up to minutes in which nothing else happens."""
    if count > 2_000:
        logging.getLogger(__name__).warning(
            'checking %s images in %s, once', f'{count:,}', printable(root)
        )


def _verdict(path: str) -> images.UnreadableImageError | tuple[int, int]:
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


def _is_row(size: int, time: int, verdict: str | list[int]) -> bool:
    del size, time  # compared with the file's
    return isinstance(verdict, str) or [type(side) for side in verdict] == [int, int]


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


def classes(paths: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The label `[M]` of each path, by its first folder, and the names of the classes."""
    tops = [path.split(os.sep, 1)[0] if os.sep in path else '' for path in paths]
    class_names = sorted(set(tops))
    if '' in class_names or len(class_names) < 2:
        return unlabelled(paths)
    number = {name: value for value, name in enumerate(class_names)}
    labels = np.asarray([number[top] for top in tops], np.int32)
    return labels, tuple(printable(name) for name in class_names)


def unlabelled(paths: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `classes`, of images that have none."""
    return np.zeros(len(paths), np.int32), ()


def report(skipped: list[tuple[str, str]], ignored: Counter[str], total: int) -> str | None:
    """A sentence on files that were skipped, each with its reason, or passed over; or None."""
    parts = []
    if skipped:
        shown = [
            f'{printable(path or ".")} ({reason})' for path, reason in sorted(skipped)[:_NAMED]
        ]
        if len(skipped) > _NAMED:
            shown.append(f'and {len(skipped) - _NAMED:,} more')
        parts.append(f'skipped {len(skipped):,} of {total:,}: ' + ', '.join(shown))
    if ignored:
        endings = ', '.join(f'{ending} {count:,}' for ending, count in ignored.most_common(5))
        parts.append(f'passed over {ignored.total():,} files that are not images: {endings}')
    return '; '.join(parts) or None
