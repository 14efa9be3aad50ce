"""Reading members of a zip archive whose directory was read before.

`zipfile` keeps an object of half a kilobyte for each member, and every process that opens an
archive reads all of its directory. Of an archive of many small images that is more than the images
take that are read at a time. Here a member is 29 bytes of an array, and opening costs nothing.
"""

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

DTYPE = np.dtype(
    [
        ('offset', '<i8'),
        ('packed', '<i8'),
        ('size', '<i8'),
        ('crc', '<u4'),
        ('deflated', '?'),
    ]
)
"""Where a member's header begins, its bytes in the archive and unpacked, its checksum, and whether
it is compressed."""

_HEADER = struct.Struct('<4s2xH18xHH')  # signature, flags, lengths of name and of extra fields
_SIGNATURE = b'PK\x03\x04'
_ENCRYPTED = 0x1
_MOST = 2**62  # of a directory that lies


def table(infos: Iterable[zipfile.ZipInfo]) -> np.ndarray:
    """Members of a directory, `[M]` of `DTYPE`; stored or deflated ones alone can be read."""
    rows = [
        (
            *(min(n, _MOST) for n in (info.header_offset, info.compress_size, info.file_size)),
            info.CRC,
            info.compress_type == zipfile.ZIP_DEFLATED,
        )
        for info in infos
    ]
    return np.asarray(rows, DTYPE)


class Reader:
    """Reads members of one archive, in any thread; survives pickling."""

    def __init__(self, path: str | os.PathLike[str]):
        self._path = os.fspath(path)
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def read(self, member: np.void) -> bytes:
        """Returns a member's content.

        Its size and checksum tell it from others, not its name: directories also have names in
        Unicode, in fields that headers lack.

        Args:
          member: of `table`.

        Raises:
          OSError: the archive cannot be read.
          ValueError: there is no such member there, it is encrypted, or damaged.
        """
        packed, size = int(member['packed']), int(member['size'])
        with self._lock:
            if self._file is None:
                self._file = open(self._path, 'rb')  # noqa: SIM115 (kept)
            self._file.seek(int(member['offset']))
            head = self._file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                raise ValueError('the archive is cut short')
            signature, flags, length, extra = _HEADER.unpack(head)
            self._file.seek(length + extra, os.SEEK_CUR)
            content = self._file.read(packed)
        if signature != _SIGNATURE:
            raise ValueError('it is not where the directory of the archive says')
        if flags & _ENCRYPTED:
            raise ValueError('it is encrypted')
        if len(content) < packed:
            raise ValueError('the archive is cut short')
        if member['deflated']:
            # Never more than it claims to be.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        if len(content) != size or zlib.crc32(content) != member['crc']:
            raise ValueError('its checksum (CRC-32) does not fit its content')
        return content

    def close(self) -> None:
        """Closes the archive, which reading opens again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {'path': self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state['path'])

    def __del__(self):
        if getattr(self, '_file', None) is not None:
            self._file.close()
