"""Files that lie, and how readers must answer."""

import os
import zipfile

import numpy as np
import pytest

from osgan_jax.io import weights


def equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        weights.read(path)
    text = str(caught.value)
    assert str(path) in text
    assert '\n' not in text
    assert len(text) < 400 + len(str(path))


def hurt(path, *, flips=True, step=1):
    """Every truncation is refused; a flipped byte is, or something is read all the same."""
    content = path.read_bytes()
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        refused(path, 'cannot read weights')
    for position in range(0, len(content), step) if flips else ():
        for bits in (0x01, 0x80, 0xFF):
            changed = bytearray(content)
            changed[position] ^= bits
            path.write_bytes(changed)
            try:
                weights.read(path)
            except ValueError as error:
                assert str(error).startswith('cannot read weights from')  # noqa: PT017
    path.write_bytes(content)


class Evil:
    """Makes a folder when it is unpickled by a reader that trusts."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as file:
        for name, content in members:
            # Of one date: a byte that is flipped must not mean something else tomorrow.
            file.writestr(zipfile.ZipInfo(name), content, compression)
