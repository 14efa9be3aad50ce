"""Hostile .npz files, and tfds folders that were left half prepared."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import array_files, images, places
from osgan_jax.data.reading import Reading
from tests.support import hostile, prepared

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def npy(array=None, **header):
    """Returns an array as .npy, its header as told."""
    buffer = io.BytesIO()
    array = np.zeros(4, np.uint8) if array is None else array
    said = {'descr': array.dtype.str, 'fortran_order': False, 'shape': array.shape, **header}
    np.lib.format.write_array_header_1_0(buffer, said)
    return buffer.getvalue() + array.tobytes()


def refused(path, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load('npz', data_dir=path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500 + len(str(path))


MEMBERS = {
    'text': (b'hello', 'EOF: reading magic string'),
    'huge': (npy(shape=(10**6, 1000, 1000, 3)), 'claims 3,000,000,000,128 bytes and has 132'),
    'endless': (npy(shape=(10**30, 8, 8, 3)), 'sizes that are not counts'),
    'negative': (npy(shape=(-1, 8, 8, 3)), 'sizes that are not counts'),
    'short': (npy(IMAGES)[:-1], 'claims'),
    'long': (npy(IMAGES) + b'\0', 'claims'),
    'pickled': (npy(descr='|O', shape=(1,)), 'holds object, expected numbers'),
    'no type': (npy(descr='|zz'), 'descr'),
    'no numpy': (b'\x93NUMPY\x09\x00' + bytes(90), 'has version'),
    'open header': (b"\x93NUMPY\x01\x00\x0a\x00{'descr': (", 'EOF in multi-line statement'),
}


@pytest.mark.parametrize('kind', MEMBERS)
def test_arrays_that_lie(tmp_path, kind):
    content, message = MEMBERS[kind]
    for member in ('images', 'images.npy'):
        with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as file:
            file.writestr(member, content)
        refused(tmp_path / 'a.npz', rf'a.npz cannot be read as an .npz file: .*{message}')


@pytest.mark.parametrize('compression', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, compression):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w', compression) as file:
        file.writestr('images.npy', npy(IMAGES))
    refused(tmp_path / 'a.npz', 'compressed in a way that is not supported')


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / 'a.npz'
    np.savez_compressed(path, images=np.zeros((4000, 16, 16, 3), np.uint8))
    assert len(data.load('npz', data_dir=path)) == 4000
    monkeypatch.setattr(array_files, '_SMALL', 2**20)
    refused(path, 'it would unpack to 3,072,128 bytes, expected at most 1,048,576')
    # Arrays that are not ours are not read at all.
    np.savez_compressed(path, images=IMAGES, other=np.zeros(4_000_000, np.uint8))
    assert len(data.load('npz', data_dir=path)) == 6


def test_two_arrays_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as file:
        file.writestr('images', npy(IMAGES))
        file.writestr('images.npy', npy(IMAGES))
    refused(tmp_path / 'a.npz', 'it has two arrays of one name')


def test_every_cut_is_refused_and_every_flipped_byte_is_an_error_or_nothing(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez_compressed(path, images=IMAGES // 64, labels=[0, 1, 2, 0, 1, 2])
    content = path.read_bytes()
    for length in range(0, len(content), 20):
        path.write_bytes(content[:length])
        refused(path, r'a.npz cannot be read as an .npz file: .')
    kinds = set()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            places.read(path, Reading(), 'train')
        except ValueError as error:
            assert str(error).isprintable()  # noqa: PT017
            kinds.add(str(error).split(': ')[-1][:10])
    assert len(kinds) > 3


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ([0, 1, 2, 3, 4], 'labels must be 6 integers, got int64'),
        ([[0, 1, 2, 3, 4, 5]], r'labels must be 6 integers, got int64 \[1, 6\]'),
        ([0, 1, 2, 3, 4, np.nan], 'labels must be 6 integers, got float64'),
        ([0, 1, 2, 3, 4, -1], 'labels run from -1 to 4, but'),
        ([-2] * 6, 'labels run from -2 to -2, but'),
        ([0, 0, 0, 0, 0, 2**62], 'labels run from 0 to 4611686018427387904, but labels are num'),
        (np.uint64([0, 0, 0, 0, 0, 2**64 - 1]), 'to 18446744073709551615, but labels are'),
        (np.asarray([object()] * 6), 'holds object, expected numbers'),
    ],
)
def test_labels_that_are_not_class_numbers(tmp_path, labels, message):
    np.savez(tmp_path / 'a.npz', images=IMAGES, labels=labels)
    refused(tmp_path / 'a.npz', message)


def test_labels_in_memory_that_are_not_class_numbers():
    with pytest.raises(ValueError, match='values from 0 to 999999, got 0 to 4611686018427387904'):
        data.from_arrays(IMAGES, [0, 0, 0, 0, 0, 2**62])


def test_class_names(tmp_path):
    path = tmp_path / 'a.npz'
    values = {'images': IMAGES, 'labels': [0, 1] * 3}
    np.savez(path, **values, class_names=['\x1b[31mred', 'two\nlines'])
    assert data.load('npz', data_dir=path).class_names == ('\\x1b[31mred', 'two\\nlines')
    np.savez(path, **values, class_names=[['a', 'b'], ['c', 'd']])
    refused(path, r'class_names must be a list, got \[2, 2\]')
    np.savez(path, **values, class_names='ab')
    refused(path, r'class_names must be a list, got \[\]')
    np.savez(path, **values, class_names=np.full(2, 0x110000, np.uint32).view('<U1'))
    refused(path, 'class_names are not text')
    np.savez(path, **{'\x1b[31m\n': IMAGES}, **{f'x{number}': IMAGES for number in range(30)})
    refused(path, r'holds the arrays \\x1b\[31m\\n, x0, .*x3 and 26 more; expected images')


@pytest.mark.parametrize('class_names', [np.zeros(2_000_000, 'S1'), np.array(['x' * 20_000])])
def test_more_names_than_there_can_be_classes(tmp_path, class_names):
    path = tmp_path / 'names.npz'
    images = np.zeros((2, 8, 8, 1), np.uint8)
    np.savez(path, images=images, labels=np.zeros(2, int), class_names=class_names)
    with pytest.raises(ValueError, match=r'class_names of .* bytes are more than'):
        places.read(path, Reading(), 'train')


def test_a_small_file_among_larger_ones(tmp_path):
    files = [hostile.plain(size=(16, 16)), hostile.plain(size=(4, 4))]
    offset = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / 'a.npz', jpeg=np.frombuffer(b''.join(files), np.uint8), offset=offset)
    options = {'data_dir': tmp_path / 'a.npz', 'image_size': 16}
    assert data.load('npz', **options)[1]['image'].shape[:2] == (16, 16)
    with pytest.raises(ValueError, match=r'a.npz is smaller than 16x16, .* image 1 with 4x4'):
        data.load('npz', **options, upscale=False)[1]


# tfds.


@pytest.fixture(scope='module')
def mnist(tmp_path_factory):
    """The root of a dataset of 40 images of ten classes, under a name that tfds knows."""
    root = tmp_path_factory.mktemp('tfds')
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    prepared.write(
        root,
        'mnist',
        lambda features: {
            'image': features.Image(shape=(8, 8, 3), encoding_format='png'),
            'label': features.ClassLabel(num_classes=10),
        },
        [{'image': images.to_png(each), 'label': row % 10} for row, each in enumerate(noise)],
    )
    return root


def _cut(name):
    def hurt(folder):
        (path,) = folder.glob(name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return hurt


def _lose(name):
    return lambda folder: next(folder.glob(name)).unlink()


def _empty(name):
    return lambda folder: next(folder.glob(name)).write_bytes(b'')


def _flip(folder):
    (path,) = folder.glob('*train*')
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)


def _as_tfrecord(folder):
    path = folder / 'dataset_info.json'
    info = json.loads(path.read_bytes())
    info['fileFormat'] = 'tfrecord'
    path.write_text(json.dumps(info))
    shard = next(folder.glob('*train*'))
    shard.rename(folder / shard.name.replace('array_record', 'tfrecord')).write_bytes(b'\1\2\3')


def _lie(folder):
    path = folder / 'dataset_info.json'
    path.write_text(path.read_text().replace('"40"', '"50"'))


HALF = {
    # What a killed preparation leaves.
    'killed': (
        lambda folder: folder.rename(folder.with_name('incomplete.ABCDEF_1.2.3')),
        'is not prepared in .* prepare it once with: ',
    ),
    'nothing': (lambda folder: [path.unlink() for path in folder.iterdir()], 'is not prepared in'),
    'a file': (lambda folder: (shutil.rmtree(folder), folder.touch()), 'is not prepared in'),
    'no info': (_lose('dataset_info.json'), 'cannot be opened in .*if it is half prepared'),
    'cut info': (_cut('dataset_info.json'), 'cannot be opened in .*if it is half prepared'),
    'empty info': (_empty('dataset_info.json'), 'cannot be opened in .*if it is half prepared'),
    'no features': (_lose('features.json'), 'is not prepared in'),
    'cut features': (_cut('features.json'), 'cannot be opened in .*if it is half prepared'),
    'no shard': (_lose('*train*'), 'files in .* are damaged or missing .*delete that folder'),
    'empty shard': (_empty('*train*'), 'files in .* are damaged or missing .*delete that folder'),
    'cut shard': (_cut('*train*'), 'files in .* are damaged or missing .*delete that folder'),
    'flipped byte': (_flip, 'files in .* are damaged or missing .*delete that folder'),
    'more promised': (_lie, 'files in .* are damaged or missing .*delete that folder'),
    'cut tfrecord': (_as_tfrecord, 'as tfrecord, which cannot be read at random; prepare it again'),
}


@pytest.mark.parametrize('kind', HALF)
def test_tfds_half_prepared(tmp_path, mnist, capfd, kind):
    hurt, message = HALF[kind]
    root = tmp_path / 'root'
    shutil.copytree(mnist, root)
    hurt(root / 'mnist' / prepared.VERSION)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        list(data.load('tfds:mnist', data_dir=root))
    assert str(error.value).isprintable()
    assert str(root) in str(error.value)
    assert capfd.readouterr() == ('', '')


def test_tfds_labels_out_of_range(tmp_path, mnist):
    root = tmp_path / 'root'
    shutil.copytree(mnist, root)
    features = root / 'mnist' / prepared.VERSION / 'features.json'
    features.write_text(features.read_text().replace('"10"', '"5"'))
    dataset = data.load('tfds:mnist', data_dir=root)
    assert dataset.num_classes == 5
    assert dataset[4]['label'] == 4
    with pytest.raises(
        ValueError, match=r'image 5 of split train in .* has the label 5, outside 0'
    ):
        dataset[5]
