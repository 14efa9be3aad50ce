import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import catalogue, digits, images, loading, prepare, tfds_source
from osgan_jax.data.dataset import MemorySource
from tests.support import prepared


def test_names():
    assert set(data.names()) == {
        'digits', 'stacked_digits', 'mnist', 'cifar10', 'cifar100', 'celeb_a', 'lsun_church',
        'ffhq', 'folder', 'npz',
    }  # fmt: skip


@pytest.mark.parametrize('name', ['', 'nope', 'tfds:', 'Digits '])
def test_unknown_names(name):
    with pytest.raises(
        ValueError, match=r'unknown dataset .*choose one of digits, stacked_digits, mnist'
    ):
        data.load(name)


def test_a_misspelt_name_is_guessed():
    with pytest.raises(ValueError, match=r'did you mean celeb_a\?'):
        data.load('celeba')


def test_wrong_arguments():
    with pytest.raises(ValueError, match='image_size: expected at least 1 pixel, got 0'):
        data.load('digits', image_size=0)
    with pytest.raises(ValueError, match=r'channels: expected 1 \(grey\) or 3 \(colour\), got 2'):
        data.load('digits', channels=2)
    with pytest.raises(ValueError, match="unknown split 'valid', choose one of train, test, all"):
        data.load('digits', split='valid')
    with pytest.raises(ValueError, match='8x8 pixels, smaller than the requested 32x32'):
        data.load('digits', upscale=False)


# Digits.


def test_digits_are_scikit_learns():
    train, test, every = (data.load('digits', split=split) for split in ('train', 'test', 'all'))
    assert (len(train), len(test), len(every)) == (1500, 297, 1797)
    assert (train.image_size, train.channels, train.num_classes) == (32, 1, 10)
    # scikit-learn's documentation: 1,797 samples, about 180 a class; the first ten are 0 to 9.
    assert [int(train[index]['label']) for index in range(10)] == list(range(10))
    counts = np.bincount([int(row['label']) for row in every])
    np.testing.assert_array_equal(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(every[1500]['image'], test[0]['image'])


def test_digits_without_resizing_are_the_raw_levels():
    from sklearn import datasets

    dataset = data.load('digits', image_size=8)
    raw = datasets.load_digits().images
    for index in (0, 700, 1499):
        np.testing.assert_allclose(
            dataset[index]['image'][..., 0] * (16 / 255), raw[index], atol=0.04
        )
    assert max(row['image'].max() for row in dataset) == 255


def test_digits_of_a_scikit_learn_that_keeps_its_file_elsewhere_are_the_same(monkeypatch):
    expected = digits.arrays('all')
    monkeypatch.setattr(digits, '_FILE', 'datasets/elsewhere.csv')
    for found, array in zip(digits.arrays('all'), expected, strict=True):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def test_digits_need_no_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
    dataset = data.load('digits', data_dir=tmp_path / 'none')
    np.testing.assert_array_equal(dataset[5]['image'], data.load('digits')[5]['image'])


def test_stacked_digits_are_three_digits_of_their_split_and_every_class_is_as_frequent():
    parts = {split: data.load('stacked_digits', split=split) for split in ('train', 'test', 'all')}
    assert {split: len(part) for split, part in parts.items()} == {
        'train': 50_000, 'test': 10_000, 'all': 60_000,
    }  # fmt: skip
    for split, each in {'train': 50, 'test': 10}.items():
        part = parts[split]
        assert (part.image_size, part.channels, part.num_classes) == (32, 3, 1000)
        np.testing.assert_array_equal(part.class_counts(), np.full(1000, each))
        # Channels are digits of the same split, red hundreds, green tens and blue ones.
        names = {
            row['image'].tobytes(): str(row['label']) for row in data.load('digits', split=split)
        }
        for index in (0, 1, len(part) - 1):
            channels = np.moveaxis(part[index]['image'], 2, 0)
            digits = ''.join(names[np.ascontiguousarray(channel).tobytes()] for channel in channels)
            assert digits == part.class_names[int(part[index]['label'])]
    images, labels = parts['test'].source.gather(np.arange(50))
    np.testing.assert_array_equal(parts['all'].source.gather(np.arange(50_000, 50_050))[0], images)
    np.testing.assert_array_equal(parts['all'].labels()[50_000:50_050], labels)
    assert len(set(labels[:10].tolist())) > 5  # not sorted
    small = data.load('stacked_digits', image_size=8)
    assert small[7]['image'].shape == (8, 8, 3)
    np.testing.assert_array_equal(small.labels(), parts['train'].labels())
    with pytest.raises(ValueError, match='stacked_digits: a digit a channel, three in all, got'):
        data.load('stacked_digits', channels=1)
    with pytest.raises(ValueError, match='ships with scikit-learn'):
        prepare.prepare('stacked_digits')


# Any tfds dataset.


def picture(value, height=20, width=30):
    return images.to_png(np.full((height, width, 3), value, np.uint8))


def test_any_tfds_dataset(tmp_path, capfd):
    examples = [
        {'id': str(index), 'picture': picture(index), 'kind': index % 2} for index in range(6)
    ]
    prepared.write(
        tmp_path,
        'pictures',
        lambda features: {
            'id': features.Text(),
            'picture': features.Image(),
            'kind': features.ClassLabel(names=['even', 'odd']),
        },
        examples,
    )
    capfd.readouterr()
    dataset = data.load('tfds:pictures', data_dir=tmp_path)
    assert capfd.readouterr() == ('', '')
    assert (dataset.name, dataset.image_size, dataset.channels) == ('tfds:pictures', 64, 3)
    assert dataset.class_names == ('even', 'odd')
    assert [int(row['image'][0, 0, 0]) for row in dataset] == list(range(6))
    assert [int(row['label']) for row in dataset] == [0, 1] * 3
    assert len(data.load('tfds:pictures', data_dir=tmp_path, split='test')) == 2
    assert len(data.load('tfds:pictures', data_dir=tmp_path, split='train[:50%]')) == 3
    assert pickle.loads(pickle.dumps(dataset))[5]['label'] == 1
    assert data.load('tfds:pictures:1.2.3', data_dir=tmp_path, channels=1).channels == 1
    with pytest.raises(ValueError, match="has no split 'valid', choose one of test, train"):
        data.load('tfds:pictures', data_dir=tmp_path, split='valid')
    with pytest.raises(ValueError, match='20x30 pixels, smaller than the requested 64x64'):
        data.load('tfds:pictures', data_dir=tmp_path, upscale=False)
    with data.batches(dataset, 4, seed=0) as iterator:
        batch = next(iterator)
    np.testing.assert_array_equal(batch['image'][:, 0, 0, 0] % 2, batch['label'])


def test_celeb_a_is_labelled_by_gender(tmp_path):
    # The features of tfds's celeb_a that matter, under its name.
    examples = [
        {
            'image': images.to_png(np.full((218, 178, 3), index, np.uint8)),
            'attributes': {'Male': index % 3 == 0, 'Smiling': True},
        }
        for index in range(4)
    ]
    prepared.write(
        tmp_path,
        'celeb_a',
        lambda features: {
            'image': features.Image(shape=(218, 178, 3), encoding_format='jpeg'),
            'attributes': {'Male': np.bool_, 'Smiling': np.bool_},
        },
        examples,
    )
    dataset = data.load('celeb_a', data_dir=tmp_path)
    assert dataset.class_names == ('female', 'male')
    assert [int(row['label']) for row in dataset] == [1, 0, 0, 1]
    assert dataset[2]['image'].shape == (64, 64, 3)
    with pytest.raises(ValueError, match='218x178 pixels, smaller than the requested 256x256'):
        data.load('celeb_a', data_dir=tmp_path, image_size=256)


def test_small_tfds_images_are_kept_in_memory_unless_too_many(tmp_path, monkeypatch):
    examples = [
        {'image': images.to_png(np.full((28, 28, 1), index, np.uint8)), 'label': index}
        for index in range(10)
    ]
    prepared.write(
        tmp_path,
        'mnist',
        lambda features: {
            'image': features.Image(shape=(28, 28, 1)),
            'label': features.ClassLabel(num_classes=10),
        },
        examples,
    )
    dataset = data.load('mnist', data_dir=tmp_path)
    assert isinstance(dataset.source, data.dataset.MemorySource)
    assert (dataset.image_size, dataset.channels, dataset.num_classes) == (32, 1, 10)
    assert data.load('tfds:mnist', data_dir=tmp_path).image_size == 32
    monkeypatch.setattr(loading, 'MAX_MEMORY', 10 * 32 * 32 - 1)
    large = data.load('mnist', data_dir=tmp_path)
    assert isinstance(large.source, tfds_source.TfdsSource)
    with data.batches(dataset, 4, seed=1) as left, data.batches(large, 4, seed=1) as right:
        for _ in range(5):
            np.testing.assert_array_equal(next(left)['image'], next(right)['image'])


def test_tfds_without_an_image(tmp_path):
    prepared.write(tmp_path, 'words', lambda features: {'text': features.Text()}, [{'text': 'a'}])
    with pytest.raises(ValueError, match='got no images among its features text'):
        data.load('tfds:words', data_dir=tmp_path)


def test_tfds_images_that_are_damaged_are_named(tmp_path):
    examples = [{'image': picture(0)}, {'image': picture(1)[:60]}]
    prepared.write(tmp_path, 'broken', lambda features: {'image': features.Image()}, examples)
    dataset = data.load('tfds:broken', data_dir=tmp_path)
    assert dataset.num_classes == 0
    with pytest.raises(ValueError, match=r'image 1 of split train in .*/broken/1.2.3: '):
        dataset[1]


@pytest.mark.parametrize(
    'name', ['mnist', 'cifar100', 'celeb_a', 'lsun_church', 'tfds:svhn_cropped']
)
def test_unprepared_datasets_say_what_to_run(tmp_path, name, capfd):
    with pytest.raises(FileNotFoundError) as error:
        data.load(name, data_dir=tmp_path)
    command = f'python -m osgan_jax.data.prepare --dataset={name} --data_dir={tmp_path}'
    assert f"pip install 'osgan_jax[tensorflow]' && {command}" in str(error.value)
    assert '\n' not in str(error.value)
    assert capfd.readouterr() == ('', '')


def test_unknown_tfds_names(tmp_path):
    with pytest.raises(ValueError, match="has no dataset 'nope'") as error:
        data.load('tfds:nope', data_dir=tmp_path)
    assert '\n' not in str(error.value)


def test_tfds_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
    with pytest.raises(ValueError, match='pip install tensorflow-datasets'):
        data.load('mnist')


# Preparing.


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('digits', 'digits needs no preparation'),
        ('folder', 'folder needs no preparation'),
        ('nope', 'unknown dataset'),
        ('tfds:nope', 'has no dataset'),
        ('mnist', "needs tensorflow, not installed here: pip install 'osgan_jax[tensorflow]'"),
        ('lsun_church', 'needs tensorflow and tensorflow_io, not installed here'),
    ],
)
def test_prepare_says_what_is_missing(tmp_path, capsys, monkeypatch, name, message):
    monkeypatch.setattr(prepare.importlib.util, 'find_spec', lambda module: None)
    assert prepare.main([f'--dataset={name}', f'--data_dir={tmp_path}']) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


# Memory.


def test_what_is_kept_in_memory_is_decided_by_what_is_found(tmp_path):
    file = images.to_png(np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'a.png').write_bytes(file)
    np.savez(tmp_path / 'a.npz', jpeg=np.frombuffer(file, np.uint8), offset=[0, len(file)])
    for name in ('folder', 'npz'):
        for place, kept in (('a', False), ('a.npz', True)):
            dataset = data.load(name, data_dir=tmp_path / place, image_size=8)
            assert isinstance(dataset.source, MemorySource) == kept


# Arrays.


def test_from_arrays():
    stored = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    dataset = data.from_arrays(stored, [0, 1, 2, 1, 0], name='mine')
    assert (dataset.name, dataset.num_classes, dataset.class_names) == ('mine', 3, ('0', '1', '2'))
    assert dataset[-1]['label'] == 0
    np.testing.assert_array_equal(dataset[np.int64(2)]['image'], stored[2])
    assert data.from_arrays(stored).num_classes == 0
    assert data.from_arrays(stored, [0] * 5, class_names=['a', 'b']).num_classes == 2
    assert not dataset.notes
    gaps = data.from_arrays(stored, [1, 2, 3, 1, 1])
    assert gaps.num_classes == 4
    assert dict(gaps.notes)['empty'].startswith('classes without images: 0; numpy.unique(labels, ')
    named = data.from_arrays(stored, [0] * 5, class_names=['a', 'b'], image_size='8x4')
    assert dict(named.notes)['empty'] == 'classes without images: b'
    assert dict(named.notes)['fit'].startswith('crop: the centre is kept, 50% of the pixels go')
    for index in (5, -6):
        with pytest.raises(IndexError, match='5 images'):
            dataset[index]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'images': np.zeros((2, 8, 8, 3))}, r'expected a uint8 array.*\(images \* 255\).round'),
        ({'images': np.zeros((2, 3, 8, 8), np.uint8)}, r'images.transpose\(0, 2, 3, 1\) puts'),
        (
            {'images': np.zeros((2, 8, 8), np.uint8)},
            r'images\[\.{3}, None\] adds',
        ),
        ({'image_size': '8x'}, 'image_size=8x: expected pixels'),
        ({'fit': 'squash'}, "fit='squash': expected one of crop, pad, stretch"),
        ({'images': np.zeros((0, 8, 8, 1), np.uint8)}, 'at least one'),
        ({'labels': [0]}, 'expected 2 integers'),
        ({'labels': [0.0, 1.0]}, 'expected 2 integers'),
        ({'labels': [0, -1]}, 'got -1 to 0'),
        ({'labels': [0, 2], 'class_names': ['a', 'b']}, 'values from 0 to 1, got 0 to 2'),
    ],
)
def test_other_arrays(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(**{'images': np.zeros((2, 8, 8, 1), np.uint8), **arguments})


def test_every_entry_can_be_opened():
    assert {entry.kind for entry in catalogue.CATALOGUE.values()} == set(loading._OPEN)
    assert Image.MAX_IMAGE_PIXELS, 'the limit of Pillow itself must stay'
