import io
import pickle
import struct
import zipfile

import pytest

from osgan_jax.io import zip_members

FILES = {'a.txt': b'stored ' * 3, 'ü/b.txt': b'deflated ' * 400, 'c.bin': b''}


@pytest.fixture
def archive(tmp_path):
    """An archive behind other bytes, as self-extracting ones are; its infos."""
    body = io.BytesIO()
    body.write(b'#!/bin/sh\n')
    with zipfile.ZipFile(body, 'a') as opened:
        for name, content in FILES.items():
            kind = zipfile.ZIP_DEFLATED if 'b.' in name else zipfile.ZIP_STORED
            opened.writestr(name, content, kind)
    path = tmp_path / 'a.zip'
    path.write_bytes(body.getvalue())
    with zipfile.ZipFile(path) as opened:
        return path, opened.infolist()


def test_members_are_those_of_zipfile(archive):
    path, infos = archive
    reader = pickle.loads(pickle.dumps(zip_members.Reader(path)))
    members = zip_members.table(infos)
    for info, member in zip(infos, members, strict=True):
        assert reader.read(member) == FILES[info.filename]
    reader.close()
    assert reader.read(members[0]) == FILES['a.txt']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda b, at: b[: at + 20], 'cut short'),
        (lambda b, at: b[:at] + b'PK\1\2' + b[at + 4 :], 'not where the directory'),
        (lambda b, at: b[: at + 6] + struct.pack('<H', 1) + b[at + 8 :], 'encrypted'),
        (lambda b, at: b.replace(b'stored', b'stolen', 1), 'checksum'),
        (lambda b, at: b[: at + 40], 'cut short'),
    ],
)
def test_damage_is_a_value_error(archive, change, message):
    path, infos = archive
    path.write_bytes(change(path.read_bytes(), infos[0].header_offset))
    with pytest.raises(ValueError, match=message):
        zip_members.Reader(path).read(zip_members.table(infos)[0])


def test_a_directory_may_name_members_otherwise_than_their_headers(archive):
    """As newer versions of zipfile do where it has names in Unicode too."""
    path, _ = archive
    head, _, tail = path.read_bytes().rpartition(b'a.txt')
    path.write_bytes(head + b'z.txt' + tail)
    with zipfile.ZipFile(path) as opened:
        (member,) = zip_members.table([opened.getinfo('z.txt')])
    assert zip_members.Reader(path).read(member) == FILES['a.txt']


def test_no_more_is_unpacked_than_was_claimed(archive):
    path, infos = archive
    (member,) = zip_members.table(infos[1:2])
    member['size'] = 20
    with pytest.raises(ValueError, match='checksum'):
        zip_members.Reader(path).read(member)


def test_sizes_that_no_file_has_are_no_overflow():
    info = zipfile.ZipInfo('a')
    info.header_offset, info.compress_size, info.file_size = 2**64 - 1, 5, 2**64 - 1
    info.CRC = 2**32 - 1
    assert zip_members.table([info])['size'] > 2**60
    assert zip_members.table([]).shape == (0,)
