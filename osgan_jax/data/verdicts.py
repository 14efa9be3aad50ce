"""What was found when images were decoded once, kept in the user's cache.

A verdict on a file is kept by its path below its root, its size and a stamp of its content, and is
given again while these are the same: later starts only list the files. The verdicts of many files
are a few arrays; one Python object each would take ten times the memory, and longer to make than
the files take to be listed.
"""

import concurrent.futures
import dataclasses
import hashlib
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from osgan_jax.data import facts, formats, images
from osgan_jax.data.facts import Facts
from osgan_jax.data.name_list import Names
from osgan_jax.io import checked_npz, paths
from osgan_jax.io.messages import printable

_KIND = 'verdicts on the images of a folder or an archive'
# Raised when facts are measured otherwise: 4 has the greatest value of 16-bit colour.
_VERSION = 4
_UNKNOWN, _READABLE = -2, -1  # as codes; others number the reasons
_AT_ONCE = 4_096  # files that are queued to be checked


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """Files, and whether each is an image that can be read.

    Attributes:
      names: paths below the root.
      facts: `[M]` of `facts.DTYPE`, zeros of what cannot be read.
      unreadable: by index in `names`, why a file cannot be read.
    """

    names: Sequence[str]
    facts: np.ndarray
    unreadable: dict[int, str]

    def readable(self) -> np.ndarray:
        """Indices of images that can be read."""
        chosen = np.ones(len(self.names), bool)
        chosen[list(self.unreadable)] = False
        return np.flatnonzero(chosen)


def judge(
    root: str,
    names: Sequence[str],
    sizes: np.ndarray,
    stamps: np.ndarray,
    inspect: Callable[[int], Facts],
    frames: str = 'first',
    **origin: Any,
) -> Verdicts:
    """Judges files, of which those that were judged before are not opened.

    Args:
      root: the folder or archive.
      names: of the files, below it.
      sizes: `[M]` int64, in bytes.
      stamps: `[M]` int64, which change with a file's content.
      inspect: decodes a file by its index, as `images.inspect` does. What it raises as
        `InaccessibleImageError` is not kept: permission to read a file, given later, would change
        neither its size nor its stamp.
      frames: that it decodes of each file; verdicts on all are kept beside those on the first.
      **origin: values for JSON; verdicts are kept while these are the same.
    """
    import PIL

    origin |= {
        'root': printable(root),
        # Verdicts depend on these too.
        'pillow': [PIL.__version__, *formats.readable()],
        'max': images.MAX_PIXELS,
        'facts': str(facts.DTYPE),
    }
    key = root if frames == 'first' else f'{root}\0{frames}'
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
    index = paths.cache_dir() / 'folders' / f'{digest}.npz'
    table = _Table(Names.of(names), sizes, stamps)
    known = _read(index, origin)
    table.adopt(known, names)
    todo = np.flatnonzero(table.codes == _UNKNOWN)
    passing: dict[int, str] = {}
    try:
        if len(todo):
            _say_long(len(todo), root)
        for position, verdict in _inspect(todo.tolist(), inspect):
            if isinstance(verdict, images.InaccessibleImageError):
                passing[position] = str(verdict)
            else:
                table.enter(position, verdict)
    finally:
        # Also those of an interrupted check, which the next one continues.
        if len(todo) or len(known.codes) != len(names):
            _write(index, origin, table)
    reasons = list(table.reasons)
    unreadable = {int(i): reasons[table.codes[i]] for i in np.flatnonzero(table.codes >= 0)}
    return Verdicts(names, table.facts, unreadable | passing)


class _Table:
    """Verdicts in columns.

    Attributes:
      codes: `[M]` int32, `_UNKNOWN`, `_READABLE` or the number of a reason.
      reasons: why files cannot be read, with their numbers.
    """

    def __init__(self, names: Names, sizes: np.ndarray, stamps: np.ndarray):
        self.names, self.sizes, self.stamps = names, sizes, stamps
        self.facts = np.zeros(len(names), facts.DTYPE)
        self.codes = np.full(len(names), _UNKNOWN, np.int32)
        self.reasons: dict[str, int] = {}

    def enter(self, position: int, verdict: Facts | images.UnreadableImageError) -> None:
        """Notes one verdict."""
        if isinstance(verdict, Facts):
            self.facts[position] = verdict
            self.codes[position] = _READABLE
            return
        self.codes[position] = self.reasons.setdefault(str(verdict), len(self.reasons))

    def adopt(self, known: '_Table', names: Sequence[str]) -> None:
        """Takes another's verdicts on files that have not changed."""
        mine = theirs = np.arange(len(names))
        if self.names != known.names:
            places = {name: place for place, name in enumerate(known.names)}
            theirs = np.fromiter((places.get(name, -1) for name in names), int, len(names))
            mine = np.flatnonzero(theirs >= 0)
            theirs = theirs[mine]
        same = (self.sizes[mine] == known.sizes[theirs]) & (
            self.stamps[mine] == known.stamps[theirs]
        )
        mine, theirs = mine[same], theirs[same]
        self.facts[mine], self.codes[mine] = known.facts[theirs], known.codes[theirs]
        self.reasons = dict(known.reasons)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is written of it, beside the reasons."""
        return {
            'names': self.names.joined,
            'ends': self.names.ends,
            'sizes': self.sizes,
            'stamps': self.stamps,
            'codes': self.codes,
            'facts': self.facts.view(np.uint8),
        }


def _inspect(
    todo: list[int], inspect: Callable[[int], Facts]
) -> Iterator[tuple[int, Facts | images.UnreadableImageError]]:
    def verdict(position: int) -> Facts | images.UnreadableImageError:
        try:
            return inspect(position)
        except images.UnreadableImageError as error:
            return error

    # Pillow decodes outside the interpreter's lock. All files at once would be queued as objects.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(todo), _AT_ONCE):
            part = todo[start : start + _AT_ONCE]
            yield from zip(part, pool.map(verdict, part), strict=True)


def _say_long(count: int, root: str) -> None:
    """Says that images are checked, where it takes up to minutes in which nothing else happens."""
    if count > 2_000:
        logging.getLogger(__name__).warning(
            'checking %s images in %s, once', f'{count:,}', printable(root)
        )


def _read(index: pathlib.Path, origin: dict[str, Any]) -> _Table:
    """The verdicts that were kept; none where they are of another origin."""
    nothing = np.zeros(0, np.int64)
    table = _Table(Names.of([]), nothing, nothing)
    try:
        about, arrays = checked_npz.read(index, _KIND, _VERSION)
    # Absent, damaged or something else: it is only a cache, and is written anew.
    except (OSError, ValueError):
        return table
    if about['origin'] != origin:
        return table
    table = _Table(Names(arrays['names'], arrays['ends']), arrays['sizes'], arrays['stamps'])
    table.codes = arrays['codes']
    table.facts = arrays['facts'].view(facts.DTYPE)
    table.reasons = {reason: number for number, reason in enumerate(about['reasons'])}
    return table


def _write(index: pathlib.Path, origin: dict[str, Any], table: _Table) -> None:
    about = {'origin': origin, 'reasons': list(table.reasons)}
    try:
        checked_npz.write(index, _KIND, _VERSION, about, table.arrays())
    except OSError as error:
        logging.getLogger(__name__).warning(
            'cannot remember in %s which images are readable (%s): they are checked again next '
            'time',
            index,
            error,
        )
