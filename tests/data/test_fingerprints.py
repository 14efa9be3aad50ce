"""Fingerprints: other images are told apart, and nothing else is."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import fingerprints, identity, images

COUNT, LABELS = 200, np.arange(200) % 2


def pictures(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)


def write(root, order=range(COUNT)):
    """Writes the pictures as BMP, all of one size, in class folders and an order."""
    found = pictures()
    for index in order:
        (root / 'ab'[LABELS[index]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(found[index]).save(root / 'ab'[LABELS[index]] / f'{index:03}.bmp')
    return root


def of_folder(root, **options):
    return identity.identify(data.load('folder', data_dir=root, image_size=8, **options))


def test_a_folder_is_the_same_wherever_it_lies(tmp_path):
    first = of_folder(write(tmp_path / 'one'))
    assert first['fingerprint'].startswith('files-1:')
    moved = write(tmp_path / 'deep' / 'two', order=reversed(range(COUNT)))
    for path in moved.rglob('*.bmp'):
        os.utime(path, (10**9, 10**9))
    assert of_folder(moved) == first
    with zipfile.ZipFile(tmp_path / 'three.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(moved.rglob('*.bmp')):
            archive.write(path, path.relative_to(moved))
    assert of_folder(tmp_path / 'three.zip')['fingerprint'] == first['fingerprint']


def test_a_swapped_folder_differs(tmp_path):
    root = write(tmp_path / 'one')
    first = of_folder(root)
    longer = (root / 'a' / '002.bmp').read_bytes() + b'\0'
    # The 64 images whose contents are read are not among these.
    assert 1 not in fingerprints.spread(COUNT, 64)
    changes = {
        'a file is longer': lambda to: (to / 'a' / '002.bmp').write_bytes(longer),
        'a file has another name': lambda to: (to / 'a' / '002.bmp').rename(to / 'a' / '002x.bmp'),
        'another class': lambda to: (to / 'a' / '002.bmp').rename(to / 'b' / '002.bmp'),
        'the first has other bytes': lambda to: Image.fromarray(pictures(1)[0]).save(
            to / 'a' / '000.bmp'
        ),
    }
    for name, change in changes.items():
        other = tmp_path / name
        shutil.copytree(root, other)
        change(other)
        found = of_folder(other)
        assert found['num_images'] == COUNT
        assert found['fingerprint'] != first['fingerprint'], name
        assert identity.difference(first, found) is not None, name


def test_arrays_are_told_by_all_of_their_images(tmp_path):
    found, changed = pictures(), pictures()
    changed[1, 3, 3, 0] ^= 1
    given = identity.identify(data.from_arrays(found, LABELS))
    other = identity.identify(data.from_arrays(changed, LABELS))
    assert given['content'] == other['content']
    assert 'fingerprint' in identity.difference(given, other)
    # A file of the same arrays holds the same images, under any name and at any number of bytes.
    np.savez(tmp_path / 'a.npz', image=found, label=LABELS)
    of_file = identity.identify(data.load('npz', data_dir=tmp_path / 'a.npz'))
    assert of_file['fingerprint'] == given['fingerprint']
    assert identity.difference(given, of_file) is None
    smaller = identity.identify(data.load('npz', data_dir=tmp_path / 'a.npz', image_size=4))
    assert smaller['fingerprint'].startswith('stored-1:')


def test_large_arrays_are_read_in_part(monkeypatch):
    monkeypatch.setattr(fingerprints, '_MOST_BYTES', 50 * 8 * 8 * 3)
    monkeypatch.setattr(fingerprints, '_CHUNK_BYTES', 1000)
    base = pictures()
    first = fingerprints.of_arrays(base, LABELS)
    unread, read = base.copy(), base.copy()
    unread[5] ^= 255
    read[196] ^= 255
    assert fingerprints.of_arrays(unread, LABELS) == first
    assert fingerprints.of_arrays(read, LABELS) != first
    assert fingerprints.of_arrays(base[:-1], LABELS[:-1]) != first


def test_encoded_files_in_an_archive(tmp_path):
    def write_npz(name, found):
        files = [np.frombuffer(images.to_png(image), np.uint8) for image in found]
        offset = np.cumsum([0, *map(len, files)])
        path = tmp_path / name
        np.savez(path, jpeg=np.concatenate(files), offset=offset, label=LABELS[: len(found)])
        return identity.identify(data.load('npz', data_dir=path))

    first, again = write_npz('a.npz', pictures()[:3]), write_npz('b.npz', pictures()[:3])
    assert first == again
    assert write_npz('c.npz', pictures(1)[:3])['fingerprint'] != first['fingerprint']


@pytest.mark.parametrize('name', ['digits', 'stacked_digits'])
def test_fingerprints_of_what_is_always_there_are_stable(name):
    expected = {'digits': 'stored-1:', 'stacked_digits': 'stacked-1:'}[name]
    found = identity.identify(data.load(name))
    assert found['fingerprint'].startswith(expected)
    assert found == identity.identify(data.load(name))


def test_an_older_record_is_compared_by_what_it_has():
    new = identity.identify(data.from_arrays(pictures(), LABELS))
    old = {key: value for key, value in new.items() if key != 'fingerprint'}
    assert identity.difference(old, new) is None
    assert 'digest' in identity.difference({**old, 'content': 'f' * 64}, new)
    # Another version's fingerprint says nothing of this one's.
    assert identity.difference({**new, 'fingerprint': 'arrays-0:12'}, new) is None
