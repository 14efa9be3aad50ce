"""Images and labels in the files that others write: read where only one thing can be meant."""

import gzip
import json
import pickle
import sys
import types
import zipfile

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from osgan_jax import data
from osgan_jax.data import array_names, images
from osgan_jax.io import pickled_arrays

STORED = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
LABELS = [2, 0, 1, 0]


def check(dataset, labels=LABELS, stored=STORED, atol=0):
    read = np.stack([row['image'] for row in dataset]).astype(int)
    np.testing.assert_allclose(read, stored, atol=atol)
    assert dataset.labels().tolist() == labels
    return dict(dataset.remarks())


def load(path, name='npz', **options):
    return data.load(name, data_dir=path, **options)


# Arrays.


@pytest.mark.parametrize(
    ('array', 'said'),
    [
        (STORED.transpose(0, 3, 1, 2), 'channels first'),
        (STORED.astype(np.float32) / 255, 'float32 in [0, 1]'),
        (STORED / 127.5 - 1, 'float64 in [-1, 1]'),
        (STORED / 255 * 1.0000001, 'float64 in [0, 1]'),
        (np.where(STORED == 0, -1e-4, STORED / 255), 'float64 in [0, 1]'),
        ((STORED / 127.5 - 1) * 1.0000001, 'float64 in [-1, 1]'),
        (STORED.astype(np.float16), 'float16 in [0, 255]'),
        (STORED.astype(np.int64), 'int64 from 0 to 255, taken as uint8'),
        (STORED.astype(np.uint16) * 257, '16 bits, up to 65,535'),
    ],
)
def test_arrays_of_other_kinds(tmp_path, array, said):
    np.savez(tmp_path / 'a.npz', images=array, labels=LABELS)
    assert said in check(load(tmp_path / 'a.npz'))['arrays']


def test_arrays_of_two_levels_and_of_12_bits(tmp_path):
    bits = STORED[..., 0] > 100
    np.savez(tmp_path / 'a.npz', images=bits, labels=LABELS)
    check(load(tmp_path / 'a.npz'), stored=bits[..., None] * 255)
    wide = STORED.astype(np.uint16) * 16
    np.savez(tmp_path / 'a.npz', images=wide, labels=LABELS)
    said = dict(load(tmp_path / 'a.npz').remarks())['arrays']
    assert said.endswith('and will be dark; --white_level=4095')
    check(load(tmp_path / 'a.npz', white_level=4080))


@pytest.mark.parametrize(
    ('dtype', 'advice'),
    [
        (np.uint8, 'array * 255'),
        (np.int64, 'array * 255'),
        (np.int8, 'array.astype(numpy.uint8) * 255'),
    ],
)
def test_arrays_of_0_and_1_are_said_to_be_black(tmp_path, dtype, advice):
    bits = (STORED > 100).astype(dtype)
    np.savez(tmp_path / 'a.npz', images=bits, labels=LABELS)
    said = check(load(tmp_path / 'a.npz'), stored=bits)['dark']
    assert said.endswith(f'at most 1 of 255, nearly black; {advice} brightens it')


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (
            STORED * 3.0 - 300,
            r'float64 from -300 to 465, a range in which the values of black and white',
        ),
        (STORED / 255 * 1.5, 'from 0 to 1.5, a range in which'),
        (np.where(STORED > 9, np.nan, 0.5), 'not finite'),
        (STORED[0], r'looks like one image in colour: array\[None\] makes a list of it'),
        (STORED.astype(np.int32) - 9, 'whole numbers from -9 to 246: scale them'),
        (np.concatenate([STORED, STORED[..., :1]], 3), 'leave out the fourth channel'),
        (STORED.reshape(4, -1), r'images in rows: array.reshape\(-1, 3, 8, 8\) makes them'),
        (STORED[..., 0].reshape(4, -1), r'array.reshape\(-1, 8, 8\) makes them'),
        (STORED.astype(complex), 'holds complex128'),
    ],
)
def test_arrays_that_could_be_anything_are_refused_with_what_to_do(tmp_path, array, message):
    np.savez(tmp_path / 'a.npz', images=array)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / 'a.npz')


@pytest.mark.parametrize(
    ('labels', 'said'),
    [
        (np.eye(3)[LABELS], 'one-hot, taken as numbers'),
        (np.float32(LABELS), 'float32, of whole numbers'),
        (np.asarray(LABELS)[:, None], None),
        (np.asarray(['c', 'a', 'b', 'a']), 'are names, in natural order'),
        (np.asarray([b'c', b'a', b'b', b'a']), 'are names'),
    ],
)
def test_labels_of_other_kinds(tmp_path, labels, said):
    np.savez(tmp_path / 'a.npz', images=STORED, labels=labels)
    found = check(load(tmp_path / 'a.npz'))
    assert said is None or said in found['labels']


def test_labels_that_are_none_of_these(tmp_path):
    for labels in (np.full((4, 3), 0.3), np.ones((4, 2)), np.zeros(3, int), np.ones(4) / 2):
        np.savez(tmp_path / 'a.npz', images=STORED, labels=labels)
        with pytest.raises(ValueError, match='labels must be 4 integers'):
            load(tmp_path / 'a.npz')


@pytest.mark.parametrize(
    ('names', 'split', 'chosen'),
    [
        ('images labels', 'train', ('images', 'labels')),
        ('arr_0', 'train', ('arr_0', None)),
        ('arr_0 arr_1', 'train', ('arr_0', 'arr_1')),
        ('image label', 'train', ('image', 'label')),
        ('X y', 'train', ('X', 'y')),
        ('data targets', 'train', ('data', 'targets')),
        ('x_train y_train x_test y_test', 'train', ('x_train', 'y_train')),
        ('x_train y_train x_test y_test', 'test', ('x_test', 'y_test')),
        ('train_images train_labels val_images val_labels', 'val', ('val_images', 'val_labels')),
        ('x_train y_train x_test y_test', 'Testing', ('x_test', 'y_test')),
        ('x_train', 'test', (None, None)),
        ('images val_images', 'train', ('images', None)),
        ('mu sigma', 'train', (None, None)),
    ],
)
def test_names_of_arrays(names, split, chosen):
    assert array_names.choose(names.split(), split)[:2] == chosen


def test_parts_of_an_npz(tmp_path):
    parts = {'x_train': STORED, 'y_train': LABELS, 'x_test': STORED[:2], 'y_test': [1, 0]}
    np.savez(tmp_path / 'a.npz', **parts)
    said = check(load(tmp_path / 'a.npz'))
    assert said['split'] == 'train, of train, test'
    assert said['arrays'] == "images are 'x_train', labels are 'y_train'"
    check(load(tmp_path / 'a.npz', split='test'), [1, 0], STORED[:2])
    with pytest.raises(ValueError, match="has no part 'val', only train, test: choose by --split"):
        load(tmp_path / 'a.npz', split='val')


def test_npy(tmp_path):
    np.save(tmp_path / 'a.npy', STORED)
    np.save(tmp_path / 'labels.npy', LABELS)
    check(load(tmp_path / 'a.npy'), [0] * 4)
    check(load(tmp_path / 'a.npy', 'folder', labels=str(tmp_path / 'labels.npy')))
    content = (tmp_path / 'a.npy').read_bytes()
    (tmp_path / 'a.npy').write_bytes(content[:-9])
    with pytest.raises(ValueError, match=r'a\.npy cannot be read as an \.npy file: it claims'):
        load(tmp_path / 'a.npy')
    np.save(tmp_path / 'b.npy', np.asarray([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match='holds object'):
        load(tmp_path / 'b.npy')


def test_a_path_decides_and_not_the_name_of_the_dataset(tmp_path):
    np.savez(tmp_path / 'a.npz', images=STORED, labels=LABELS)
    check(load(tmp_path / 'a.npz', 'folder'))
    (tmp_path / 'a.npz').rename(tmp_path / 'a.bin')
    check(load(tmp_path / 'a.bin'))
    with zipfile.ZipFile(tmp_path / 'b.bin', 'w') as archive:
        for index, image in enumerate(STORED):
            archive.writestr(f'{LABELS[index]}/{index}.png', images.to_png(image))
    assert load(tmp_path / 'b.bin', image_size=8).class_names == ('0', '1', '2')
    for name, message in [('a.tar.gz', 'is a tar archive: unpack it'), ('a.rar', 'is not read')]:
        (tmp_path / name).write_bytes(b'Rar!' + bytes(20))
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)


# Parquet.


def table(images_as='struct', label=LABELS, names=('x', 'y', 'z'), column='image'):
    files = [images.to_png(image) for image in STORED]
    cells = [{'bytes': f, 'path': None} for f in files] if images_as == 'struct' else files
    about = {'info': {'features': {'label': {'names': list(names), '_type': 'ClassLabel'}}}}
    columns = {column: cells} | ({} if label is None else {'label': label})
    return pyarrow.table(columns).replace_schema_metadata({'huggingface': json.dumps(about)})


def test_parquet_as_the_hub_has_it(tmp_path):
    path = tmp_path / 'train-00000-of-00001.parquet'
    parquet.write_table(table(), path)
    dataset = load(path)
    check(dataset)
    assert dataset.class_names == ('x', 'y', 'z')
    parquet.write_table(table('bytes', None, column='img'), tmp_path / 'b.parquet')
    assert check(load(tmp_path / 'b.parquet'), [0] * 4)['columns'] == "images are 'img'"
    parquet.write_table(table(label=['b', 'a', 'b', 'a']), tmp_path / 'b.parquet')
    assert load(tmp_path / 'b.parquet').class_names == ('a', 'b')


def test_parquet_of_several_files(tmp_path):
    folder = tmp_path / 'mine' / 'data'
    folder.mkdir(parents=True)
    for name in ('train-00000-of-00002', 'train-00001-of-00002', 'test-00000-of-00001'):
        parquet.write_table(table(), folder / f'{name}.parquet')
    train = load(tmp_path / 'mine', 'folder')
    said = check(train, LABELS * 2, np.concatenate([STORED] * 2))
    assert said['split'] == 'train: 2 of 3 files, of test, train'
    check(load(folder, split='test'))
    with pytest.raises(ValueError, match="no part 'val' among the files, only test, train"):
        load(folder, split='val')


def test_parts_anywhere_in_the_names_of_parquet_files(tmp_path):
    for name in ('svhn-train', 'svhn-test', 'extra'):
        parquet.write_table(table(), tmp_path / f'{name}.parquet')
    said = check(load(tmp_path))
    assert said['split'] == 'train: 1 of 3 files, of test, train'
    assert said['left out'].startswith(
        'files whose names tell no part (extra.parquet); --split=all'
    )
    check(load(tmp_path, split='test'))
    assert len(load(tmp_path, split='all')) == 12
    # A file of a path is the dataset that it is said to be.
    check(load(tmp_path / 'svhn-test.parquet'))
    check(load(tmp_path / 'svhn-test.parquet', split='test'))
    with pytest.raises(ValueError, match="no part 'val' among the files, only test"):
        load(tmp_path / 'svhn-test.parquet', split='val')
    for name in ('svhn-train', 'svhn-test'):
        (tmp_path / f'{name}.parquet').rename(tmp_path / f'{name[-2:]}.parquet')
    assert dict(load(tmp_path).remarks())['split'] == 'all 3 files, whose names tell no part'


def test_a_table_beside_image_files_is_not_the_dataset(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '0.png').write_bytes(images.to_png(STORED[0]))
    parquet.write_table(pyarrow.table({'file_name': ['a/0.png']}), tmp_path / 'metadata.parquet')
    assert len(load(tmp_path, 'folder', image_size=8)) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'pyarrow', None)
        with pytest.raises(ValueError, match='not installed here: pip install pyarrow'):
            load(tmp_path)
    # One with images is, whatever lies beside it.
    parquet.write_table(table(), tmp_path / 'train.parquet')
    (tmp_path / 'metadata.parquet').unlink()
    check(load(tmp_path))


@pytest.mark.parametrize('name', ['imgs', 'train-0'])
def test_a_table_beside_tables_of_images_is_left_out(tmp_path, name):
    parquet.write_table(pyarrow.table({'caption': ['a cat']}), tmp_path / 'metadata.parquet')
    parquet.write_table(table(), tmp_path / f'{name}.parquet')
    for split in ('train', 'all'):
        said = check(load(tmp_path, split=split))
        assert said['left out'] == 'files without images (metadata.parquet)'


def test_verdicts_on_parts_of_parquet_files_are_kept_side_by_side(tmp_path, monkeypatch):
    for name in ('train-0', 'train-1', 'test-0'):
        parquet.write_table(table(), tmp_path / f'{name}.parquet')
    for split in ('all', 'train', 'test'):
        load(tmp_path, split=split)
    monkeypatch.setattr(images, 'inspect', None)
    for split in ('all', 'train', 'test'):
        load(tmp_path, split=split)


def test_the_column_of_labels_is_said(tmp_path):
    columns = table(label=None).append_column('coarse_label', [[0] * 4])
    parquet.write_table(columns.append_column('fine_label', [LABELS]), tmp_path / 'a.parquet')
    assert check(load(tmp_path / 'a.parquet'))['columns'] == "labels are 'fine_label'"


def test_other_parquet(tmp_path):
    path = tmp_path / 'a.parquet'

    def refused(columns, message):
        parquet.write_table(pyarrow.table(columns), path)
        with pytest.raises(ValueError, match=message):
            load(path)

    refused({'a': [1, 2]}, 'has the columns a; expected one called image')
    refused({'image': [{'bytes': None, 'path': 'a.png'}, {'bytes': b'x', 'path': ''}]}, 'no bytes')
    refused({'image': [b'text']}, r'no readable image in .*: skipped 1 of 1: image 0 \(not an')
    png = images.to_png(STORED[0])
    refused({'image': [png, png], 'label': [1, None]}, 'missing labels; --labels=none ignores')
    refused({'image': [png], 'label': [[1, 2]]}, 'or lists; --labels=none ignores')
    assert load(path, labels='none').num_classes == 0
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match='cannot be read as parquet'):
        load(path)


# HDF5.


def test_hdf5(tmp_path, monkeypatch):
    path = tmp_path / 'a.hdf5'
    path.write_bytes(b'\x89HDF\r\n\x1a\n')
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ValueError, match='is read with h5py, not installed here: pip install h5py'):
        load(path)
    # Its file is a mapping of arrays, as that of BigGAN's ILSVRC128.hdf5.
    content = {'imgs': STORED.transpose(0, 3, 1, 2), 'labels': np.asarray(LABELS)}

    class File(dict):
        def __init__(self, name, mode):
            super().__init__(content)

        def __enter__(self):
            return self

        def __exit__(self, *unused):
            pass

    monkeypatch.setitem(sys.modules, 'h5py', types.SimpleNamespace(File=File))
    assert 'channels first' in check(load(path))['arrays']
    del content['imgs']
    with pytest.raises(ValueError, match='it holds the arrays labels; expected images and labels'):
        load(path)


# The originals.


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, '>u4').tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    'pattern', ['{}-{}-idx{}-ubyte', '{}-{}.idx{}-ubyte', '{}-{}-idx{}-ubyte.gz']
)
def test_mnists_own_files(tmp_path, pattern):
    grey = STORED[..., 0]
    for part, rows in (('train', slice(None)), ('t10k', slice(2))):
        for what, axes, array in (('images', 3, grey), ('labels', 1, np.asarray(LABELS))):
            content = idx(array[rows])
            path = tmp_path / pattern.format(part, what, axes)
            path.write_bytes(gzip.compress(content) if pattern.endswith('gz') else content)
    check(load(tmp_path, 'folder'), stored=grey[..., None])
    test = load(tmp_path, split='test')
    assert (len(test), test.class_names) == (2, ('0', '2'))
    assert len(load(tmp_path, split='All')) == 6
    with pytest.raises(ValueError, match="has the parts 'train' and 'test', got 'val'"):
        load(tmp_path, split='val')
    path = tmp_path / pattern.format('train', 'images', 3)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match='train-images'):
        load(tmp_path)


def cifar(folder, fine=False):
    folder.mkdir()
    rows = np.zeros((4, 3, 32, 32), np.uint8)
    rows[:, :, ::4, ::4] = STORED.transpose(0, 3, 1, 2)
    key = b'fine_labels' if fine else b'labels'
    names = {b'fine_label_names' if fine else b'label_names': [b'cat', b'dog', b'owl']}
    files = {'train': rows, 'test': rows[:2]} if fine else {
        'data_batch_1': rows[:2], 'data_batch_2': rows[2:], 'test_batch': rows[:2],
        **{f'data_batch_{number}': rows[:0] for number in (3, 4, 5)},
    }  # fmt: skip
    start = {'data_batch_2': 2}
    for name, part in files.items():
        first = start.get(name, 0)
        labels = LABELS[first : first + len(part)]
        body = {b'data': part.reshape(len(part), 3072), key: labels, b'batch_label': b'x'}
        (folder / name).write_bytes(pickle.dumps(body, protocol=2))
    (folder / ('meta' if fine else 'batches.meta')).write_bytes(pickle.dumps(names, protocol=2))
    return rows.transpose(0, 2, 3, 1)


@pytest.mark.parametrize('fine', [False, True])
def test_cifars_own_files(tmp_path, fine):
    stored = cifar(tmp_path / 'a', fine)
    dataset = load(tmp_path / 'a')
    check(dataset, stored=stored)
    assert dataset.class_names == ('cat', 'dog', 'owl')
    assert load(tmp_path / 'a', split='test').class_names == ('cat', 'owl')


def test_files_of_python_2():
    """As CIFAR's own: texts are bytes, arrays rebuilt by the older module's name."""
    content = pickle.dumps({'data': STORED}, protocol=2)
    content = content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    np.testing.assert_array_equal(pickled_arrays.read(content)['data'], STORED)


class _Evil:
    def __reduce__(self):
        return (print, ('executed',))


class _Claims:
    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return (np._core.multiarray._reconstruct, (np.ndarray, (0,), b'b'), self.state)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (_Evil(), "it asks for '.*print'.*not executed"),
        (np.asarray([_Evil()], object), 'asks for|of type'),
        ([1], 'values by name'),
        ({'data': _Claims(1, (2**40,), np.dtype('u1'), False, b'x')}, 'has 1 bytes'),
        ({'data': _Claims(1, (-1,), np.dtype('u1'), False, b'x')}, 'not counts'),
        ({'data': _Claims(1, (1,), 3, False, b'x')}, 'without numbers'),
    ],
)
def test_pickles_make_arrays_and_nothing_else(capsys, value, message):
    with pytest.raises(ValueError, match=message):
        pickled_arrays.read(pickle.dumps(value, protocol=2))
    assert capsys.readouterr().out == ''


def test_pickles_that_are_cut_are_refused(tmp_path):
    cifar(tmp_path / 'a')
    path = tmp_path / 'a' / 'data_batch_1'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='data_batch_1: '):
        load(tmp_path / 'a')
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ValueError, match='it was not executed'):
        load(tmp_path / 'a')
