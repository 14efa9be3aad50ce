"""Sets of any number of images, written as they are drawn.

A set is a folder of PNG files, a zip of them, or an .npz of pixels. It is written to a folder
`NAME.unfinished` beside its place, and takes that place when it is whole: what has the set's name
is all of it. An interrupted one is continued by whoever describes the same images again. A set is
drawn by one process at a time.
"""

import json
import os
import pathlib
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from osgan_jax.io import atomic, locks, messages
from osgan_jax.reporting import images as pictures

KINDS = ('png', 'zip', 'npz')

_SUFFIXES = {'png': '', 'zip': '.zip', 'npz': '.npz'}
_ABOUT = 'about.json'  # of an unfinished set
_LABELS = 'dataset.json'  # as StyleGAN's tools name it
_PIXELS = 'pixels.npy'  # of an unfinished .npz
_LOCK = '.lock'  # of an unfinished set
_TEMPORARY = 'writing.{}.tmp'
_PNG_END = b'\0\0\0\0IEND\xaeB`\x82'  # the last chunk of a PNG file


class ImageSet:
    """A set of images in the making.

    Attributes:
      path: of the whole set.
      count: images, N.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str,
        kind: str,
        *,
        shape: tuple[int, int, int, int],
        file_name: Callable[[int], str],
        labels: np.ndarray | None,
        about: Mapping[str, Any],
    ):
        """Describes a set; nothing is written yet.

        Args:
          folder: where the set comes.
          name: of the set, without the ending of its kind.
          kind: one of `KINDS`. An .npz holds `arr_0`, the images `[N, H, W, C]`, and `arr_1`, the
            labels `[N]`. In the others labels are in dataset.json, as StyleGAN's tools write it.
          shape: `(N, H, W, C)`.
          file_name: of the i-th image.
          labels: `[N]`; None without.
          about: what decides the images, anything JSON can hold. It is written beside the set.
        """
        name += _SUFFIXES[kind]
        self.path = pathlib.Path(folder) / name
        self.count = shape[0]
        self._beside = self.path.with_name(f'{name}.json')
        self._work = self.path.with_name(f'{name}.unfinished')
        # No other process has this name, where a file system has no locks.
        self._temporary = self._work / _TEMPORARY.format(secrets.token_hex(8))
        self._kind, self._shape, self._file_name, self._labels = kind, shape, file_name, labels
        # As it is read again.
        self._about = json.loads(json.dumps({'kind': kind, 'shape': shape, **about}))

    def begin(self) -> int:
        """Makes the unfinished set, or finds one to go on with.

        Returns:
          The number of images that are there, from the first on; `count` if the set is whole.

        Raises:
          ValueError: other images have this name, or another process draws this set.
          OSError: nothing can be written there.
        """
        if os.path.lexists(self.path):
            self._check(self._beside, self.path)
            return self.count
        self._work.mkdir(parents=True, exist_ok=True)
        if {*os.listdir(self._work)} - {_LOCK}:
            about = self._work / _ABOUT
            self._check(about if about.exists() else self._beside, self._work)
        try:
            self._lock = locks.take(self._work / _LOCK, wait=False)
        except BlockingIOError:
            raise ValueError(
                f'another process is drawing {messages.printable(self.path)}: wait for its end, or '
                'give another --out'
            ) from None
        done = self._done({*os.listdir(self._work)})
        self._write_json(self._work / _ABOUT, self._about)
        return done

    def put(self, start: int, images: np.ndarray) -> None:
        """Writes images `[n, H, W, C]`, uint8, from the place `start` on.

        Raises:
          OSError: they cannot be written.
        """
        if self._kind != 'npz':
            # Not forced to the disk one by one, which takes longer than all else; `finish` does.
            for index, image in enumerate(images, start):
                self._temporary.write_bytes(pictures.to_png(image))
                os.replace(self._temporary, self._work / self._file_name(index))
            return
        with open(self._work / _PIXELS, 'r+b' if start else 'wb') as file:
            offset = self._write_header(file)
            file.seek(offset + start * self._row_bytes)
            file.write(np.ascontiguousarray(images).data)

    def finish(self) -> None:
        """Gives the set its name, once all of its images are there.

        Raises:
          OSError: it cannot be written.
        """
        for left in self._work.glob(_TEMPORARY.format('*')):
            left.unlink(missing_ok=True)
        if self._kind == 'png':
            if self._labels is not None:
                with atomic.replacing(self._work / _LABELS) as file:
                    file.writelines(self._label_file())
            self._write_json(self._beside, self._about)
            (self._work / _ABOUT).unlink()
            os.sync()
            os.rename(self._work, self.path)
            # Not before: another process could begin meanwhile.
            (self.path / _LOCK).unlink(missing_ok=True)
            self._lock.close()
            return
        with (
            atomic.replacing(self.path) as file,
            zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive,
        ):
            (self._fill_zip if self._kind == 'zip' else self._fill_npz)(archive)
            self._write_json(self._beside, self._about)
        shutil.rmtree(self._work)
        self._lock.close()

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self._shape[1:]))

    def _done(self, entries: set[str]) -> int:
        """The images that an interruption left, from the first on."""
        if self._kind != 'npz':
            places = (i for i in range(self.count) if not self._is_whole(i, entries))
            return next(places, self.count)
        if _PIXELS not in entries:
            return 0
        with open(self._work / _PIXELS, 'r+b') as file:
            size = os.fstat(file.fileno()).st_size - self._write_header(file)
        return max(0, size // self._row_bytes)

    def _is_whole(self, index: int, entries: set[str]) -> bool:
        """Whether an image is there: a machine that lost its power may have cut it short."""
        name = self._file_name(index)
        if name not in entries:
            return False
        with open(self._work / name, 'rb') as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(_PNG_END)))
            return file.read() == _PNG_END

    def _write_header(self, file: BinaryIO) -> int:
        """Writes the header of the pixels, and returns its bytes."""
        header = {'descr': '|u1', 'fortran_order': False, 'shape': self._shape}
        np.lib.format.write_array_header_1_0(file, header)
        return file.tell()

    def _fill_zip(self, archive: zipfile.ZipFile) -> None:
        for index in range(self.count):
            name = self._file_name(index)
            archive.writestr(zipfile.ZipInfo(name), (self._work / name).read_bytes())
        if self._labels is not None:
            with archive.open(zipfile.ZipInfo(_LABELS), 'w', force_zip64=True) as file:
                file.writelines(self._label_file())

    def _fill_npz(self, archive: zipfile.ZipFile) -> None:
        with (
            open(self._work / _PIXELS, 'rb') as pixels,
            archive.open(zipfile.ZipInfo('arr_0.npy'), 'w', force_zip64=True) as file,
        ):
            shutil.copyfileobj(pixels, file, 1 << 20)
        if self._labels is not None:
            with archive.open(zipfile.ZipInfo('arr_1.npy'), 'w', force_zip64=True) as file:
                np.lib.format.write_array(file, self._labels)

    def _label_file(self) -> Iterator[bytes]:
        """The lines of a dataset.json of StyleGAN's tools."""
        for index, label in enumerate(self._labels):
            row = json.dumps([self._file_name(index), int(label)])
            yield (f'{{"labels": [\n{row}' if not index else f',\n{row}').encode()
        yield b'\n]}\n'

    def _check(self, path: pathlib.Path, there: pathlib.Path) -> None:
        """Raises ValueError unless a file describes this set."""
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if found != self._about:
            raise ValueError(
                f'{messages.printable(there)} already exists and holds other images: delete it, or '
                'give another --out'
            )

    def _write_json(self, path: pathlib.Path, body: Any) -> None:
        with atomic.replacing(path) as file:
            file.write((json.dumps(body, indent=2) + '\n').encode())
