"""Reading strangers' .npz and .safetensors files: what is in them, and what is refused."""

import hashlib
import io
import json
import os
import struct

import numpy as np
import pytest

from osgan_jax.io import weights
from tests.support import untrusted

ARRAYS = {
    'a': np.arange(6, dtype=np.float32).reshape(2, 3),
    'b.weight': np.array([0.5, -2], np.float64),
    'c': np.array(7, np.int64),
    'd': np.array([1, 2], np.float16),
    'e': np.array([3], np.int32),
    'f': np.arange(4, dtype=np.uint8),
    'g': np.zeros((0, 2), np.float32),
}


# Any kind.


def test_missing_and_unknown_files(tmp_path):
    for name in ('none.npz', 'none.pth'):
        with pytest.raises(FileNotFoundError, match=r'no file of weights .*none\.'):
            weights.read(tmp_path / name)
    (tmp_path / 'weights.h5').touch()
    untrusted.refused(tmp_path / 'weights.h5', r'ending in \.npz, \.safetensors, \.pth, \.pt')
    (tmp_path / 'folder.npz').mkdir()
    untrusted.refused(tmp_path / 'folder.npz', 'it is not a regular file')
    os.mkfifo(tmp_path / 'pipe.npz')
    untrusted.refused(tmp_path / 'pipe.npz', 'it is not a regular file')


@pytest.mark.parametrize('suffix', ['npz', 'safetensors', 'pth', 'pt', 'PTH'])
@pytest.mark.parametrize('content', [b'', b'PK', b'not at all', bytes(1000), b'\xff' * 100])
def test_files_of_something_else(tmp_path, suffix, content):
    path = tmp_path / f'weights.{suffix}'
    path.write_bytes(content)
    untrusted.refused(path, 'cannot read weights')


def test_checksum(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'content')
    full = hashlib.sha256(b'content').hexdigest()
    assert weights.verify(path, full[:8]) == full
    assert weights.verify(path, full.upper()) == full
    with pytest.raises(ValueError, match=f'begins with {full[:8]}, not with 6726825d'):
        weights.verify(path, '6726825d')
    with pytest.raises(FileNotFoundError, match='no file of weights'):
        weights.verify(tmp_path / 'none', full)


# .npz


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / 'weights.npz'
    save(path, **ARRAYS, fortran=np.asfortranarray(ARRAYS['a']))
    untrusted.equal(weights.read(path), {**ARRAYS, 'fortran': ARRAYS['a']})


def test_damaged_npz(tmp_path):
    path = tmp_path / 'weights.npz'
    np.savez(path, a=ARRAYS['a'], c=ARRAYS['c'])
    untrusted.hurt(path, step=7)


def test_npz_that_pickles(tmp_path):
    path = tmp_path / 'weights.npz'
    np.savez(path, a=np.array([untrusted.Evil(tmp_path / 'ran')], object))
    untrusted.refused(path, r"'a\.npy' holds object")
    assert not (tmp_path / 'ran').exists()
    np.savez(path, a=np.array(['text']))
    untrusted.refused(path, r"'a\.npy' holds <U4")


def npy(shape, data, descr='<f4'):
    file = io.BytesIO()
    header = {'descr': descr, 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


@pytest.mark.parametrize(
    ('members', 'message'),
    [
        ([('a.npy', npy((3,), bytes(8)))], 'claims 140 bytes and has 136'),
        ([('a.npy', npy((1 << 40, 1 << 40), bytes(8)))], 'claims .* and has 136'),
        ([('a.npy', npy((-1,), bytes(8)))], "'a.npy' is described by sizes that are not counts"),
        ([('a.npy', npy((1,) * 40, bytes(4)))], "'a.npy' is described without sizes, or with too"),
        ([('a.npy', b'\x93NUMPY\x03\x00' + bytes(100))], r'version \(3, 0\)'),
        ([('a.npy', b'')], 'EOF'),
        ([('a.txt', b'text')], r"'a\.txt' is not an array"),
        ([('\n\x1b[31m' + 'x' * 200, b'')], r"'\\n\\x1b\[31mx+\.\.\.' is not an array"),
    ],
)
def test_npz_that_lies(tmp_path, members, message):
    path = tmp_path / 'weights.npz'
    untrusted.archive(path, members)
    untrusted.refused(path, message)


def test_npz_that_would_unpack_to_much_more(tmp_path):
    path = tmp_path / 'weights.npz'
    zeros = np.zeros(1 << 20, np.float32)
    np.savez_compressed(path, a=zeros)
    assert path.stat().st_size < 1e4
    untrusted.refused(path, 'would unpack to 4,194,432 bytes, expected at most 1,048,576')
    # Small ones may.
    np.savez_compressed(path, a=zeros[: 1 << 15])
    untrusted.equal(weights.read(path), {'a': zeros[: 1 << 15]})


def test_archive_whose_directory_lies(tmp_path):
    """Sizes of the central directory, which nothing but the end of the data can contradict."""
    path = tmp_path / 'weights.npz'
    untrusted.archive(path, [('a.npy', npy((2,), bytes(8)))])
    content = path.read_bytes()
    directory = content.index(b'PK\x01\x02')
    for offset in (20, 24):  # compressed and uncompressed size
        claimed = bytearray(content)
        claimed[directory + offset : directory + offset + 4] = struct.pack('<I', 1 << 30)
        path.write_bytes(claimed)
        untrusted.refused(path, 'exceed the file|would unpack')


def test_archive_with_a_name_twice(tmp_path):
    path = tmp_path / 'weights.npz'
    with pytest.warns(UserWarning, match='Duplicate'):
        untrusted.archive(path, [('a.npy', npy((2,), bytes(8)))] * 2)
    untrusted.refused(path, 'two members of one name')


# .safetensors


def safetensors(path, header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(struct.pack('<Q', length) + text + data)


def describe(dtype, shape, start, end):
    return {'dtype': dtype, 'shape': list(shape), 'data_offsets': [start, end]}


def test_safetensors(tmp_path):
    names = {'f4': 'F32', 'f8': 'F64', 'f2': 'F16', 'i8': 'I64', 'i4': 'I32', 'u1': 'U8'}
    header, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, array in ARRAYS.items():
        end = len(data) + array.nbytes
        header[name] = describe(names[array.dtype.str[1:]], array.shape, len(data), end)
        data += array.tobytes()
    path = tmp_path / 'weights.safetensors'
    safetensors(path, header, data)
    untrusted.equal(weights.read(path), ARRAYS)
    untrusted.hurt(path, step=3)
    safetensors(path, {}, b'')
    untrusted.equal(weights.read(path), {})


def test_bfloat16_becomes_float32(tmp_path):
    path = tmp_path / 'weights.safetensors'
    # 1, -2.5 and the least above 1, by hand: sign, 8 bits of exponent, 7 of fraction.
    data = struct.pack('<3H', 0x3F80, 0xC020, 0x3F81)
    safetensors(path, {'a': describe('BF16', [3], 0, 6)}, data)
    untrusted.equal(weights.read(path), {'a': np.array([1, -2.5, 1 + 2**-7], np.float32)})


GOOD = describe('F32', [2], 0, 8)


@pytest.mark.parametrize(
    ('header', 'message'),
    [
        (b'[]', 'invalid JSON in header'),
        (b'{"a": ', 'invalid JSON in header'),
        (b'[' * 100_000, 'invalid JSON in header'),
        (b'{"a": {}, "a": {}}', 'invalid JSON in header'),
        ({'a': 1}, 'invalid JSON in header'),
        ({'a': {'dtype': 'F32', 'shape': [4]}}, 'missing field `data_offsets`'),
        ({'a': describe('F8', [16], 0, 16)}, 'unknown variant `F8`'),
        ({'a': describe('BOOL', [16], 0, 16)}, "'a' is of type BOOL; known are F64, F32"),
        ({'a': {**GOOD, 'dtype': ['F32']}}, 'invalid JSON in header'),
        ({'a': {**GOOD, 'shape': 4}}, 'invalid JSON in header'),
        ({'a': {**GOOD, 'shape': [-2, -2]}}, 'invalid value: integer `-2`'),
        ({'a': {**GOOD, 'shape': [True, 2]}}, 'invalid JSON in header'),
        ({'a': {**GOOD, 'shape': [2.0]}}, 'invalid JSON in header'),
        ({'a': describe('F32', [1] * 100 + [4], 0, 16)}, "'a' is described .* with too many"),
        ({'a': {**GOOD, 'shape': [3]}}, 'invalid shape, data type, or offset'),
        ({'a': {**GOOD, 'shape': [1 << 62, 1 << 62]}}, 'overflow'),
        ({'a': {**GOOD, 'data_offsets': [0]}}, 'invalid length 1'),
        ({'a': {**GOOD, 'data_offsets': [8, 0]}}, 'invalid offset for tensor `a`'),
        ({'a': {**GOOD, 'data_offsets': [12, 20]}}, 'invalid offset for tensor `a`'),
        ({'a': GOOD, 'b': describe('F32', [2], 4, 12)}, 'invalid offset for tensor `b`'),
        ({'a': GOOD, 'b': describe('F32', [1], 12, 16)}, 'invalid offset for tensor `b`'),
        ({'a': GOOD}, 'file not fully covered'),
    ],
)
def test_safetensors_that_lie(tmp_path, header, message):
    path = tmp_path / 'weights.safetensors'
    safetensors(path, header, bytes(16))
    untrusted.refused(path, message)


def test_safetensors_whose_header_is_longer_than_the_file(tmp_path):
    path = tmp_path / 'weights.safetensors'
    safetensors(path, {'a': GOOD}, bytes(8), length=1 << 60)
    untrusted.refused(path, 'header too large')
    path.write_bytes(bytes(7))
    untrusted.refused(path, 'header too small')
