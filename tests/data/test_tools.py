"""`python -m osgan_jax.data.describe` and `convert`: what a folder holds, and our files of it."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from osgan_jax import data
from osgan_jax.data import convert, describe, images
from tests.data.test_formats import LABELS, STORED, cifar


@pytest.fixture
def folder(tmp_path):
    for index, (image, label) in enumerate(zip(STORED, LABELS, strict=True)):
        path = tmp_path / 'in' / f'class{label + 9}' / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.to_png(image))
    (tmp_path / 'in' / 'broken.png').write_bytes(b'x')
    return tmp_path / 'in'


def test_describe_prints_classes_counts_and_what_is_odd(folder, tmp_path, capsys):
    flags = [f'--data_dir={folder}', '--image_size=8', f'--sheet={tmp_path / "a.png"}']
    assert describe.main(flags) == 0
    out = capsys.readouterr().out
    assert 'folder (train): 4 images, 8x8x3' in out
    assert '0  class9           2' in out
    assert '2  class11          1' in out
    assert 'skipped 1 of 5: broken.png' in out
    with Image.open(tmp_path / 'a.png') as sheet:
        assert sheet.size == (8 * 66, 3 * 66)
    assert describe.main(['--dataset=digits']) == 0
    assert '10, named by their numbers' in capsys.readouterr().out
    assert describe.main(['--data_dir=/nowhere']) == 1
    assert capsys.readouterr().err.startswith('error: no file or folder /nowhere')


def test_an_uneven_dataset_and_one_without_labels(tmp_path):
    dataset = data.from_arrays(np.zeros((30, 8, 8, 1), np.uint8), [0] * 28 + [1, 1])
    assert describe.lines(dataset)[-1] == '  uneven: 0 has 28 images and 1 2'
    plain = data.from_arrays(np.zeros((3, 8, 8, 1), np.uint8))
    assert describe.lines(plain)[-1] == '  no classes'
    assert describe.sheet(plain).shape == (66, 3 * 66, 1)


@pytest.mark.parametrize('ending', ['npz', 'zip'])
def test_convert_keeps_images_and_labels(folder, tmp_path, capsys, ending):
    path = tmp_path / f'out.{ending}'
    assert convert.main([f'--data_dir={folder}', f'--to={path}']) == 0
    # What it advises works.
    advice = capsys.readouterr().out.split('read it by ')[1].split()
    name, place = (flag.split('=')[1] for flag in advice[:2])
    before = data.load('folder', data_dir=folder, image_size=8)
    after = data.load(name, data_dir=place, image_size=8)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one['image'], other['image'])
        assert one['label'] == other['label']
    if ending == 'npz':
        assert after.class_names == before.class_names == ('class9', 'class10', 'class11')
    else:
        with zipfile.ZipFile(path) as archive:
            listed = json.loads(archive.read('dataset.json'))['labels']
            assert listed[0] == ['00000/img00000000.png', int(before[0]['label'])]
            image = Image.open(io.BytesIO(archive.read(listed[0][0])))
            np.testing.assert_array_equal(np.asarray(image), before[0]['image'])


def written_labels(path):
    with zipfile.ZipFile(path) as archive:
        return [label for _, label in json.loads(archive.read('dataset.json'))['labels']]


def test_a_zip_keeps_the_numbers_of_classes(tmp_path):
    np.savez(tmp_path / 'a.npz', images=STORED, labels=[2, 0, 2, 7])
    for source, path in (('a.npz', 'b.zip'), ('b.zip', 'c.zip')):
        flags = [f'--data_dir={tmp_path / source}', f'--to={tmp_path / path}']
        assert convert.main(flags) == 0
        assert written_labels(tmp_path / path) == [2, 0, 2, 7]


def test_zips_of_two_parts_have_the_same_classes(tmp_path, capsys):
    for index, place in enumerate(('train/a', 'train/b', 'train/c', 'test/a', 'test/c')):
        path = tmp_path / 'in' / place / f'{index}.png'
        path.parent.mkdir(parents=True)
        path.write_bytes(images.to_png(STORED[index % len(STORED)]))
    for part, labels in (('train', [0, 1, 2]), ('test', [0, 2])):
        path = tmp_path / f'{part}.zip'
        flags = [f'--data_dir={tmp_path / "in"}', f'--split={part}', f'--to={path}']
        assert convert.main(flags) == 0
        assert written_labels(path) == labels
        assert 'in place of the names of classes: 0 a, 1 b, 2 c' in capsys.readouterr().out


def test_zips_of_two_parts_have_the_classes_of_one_file(tmp_path, capsys):
    for index, place in enumerate(('train/1', 'train/2', 'train/3', 'test/1', 'test/3')):
        path = tmp_path / 'in' / f'{place}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.to_png(STORED[index % len(STORED)]))
    (tmp_path / 'a.csv').write_text('1,a\n2,b\n3.png,c\n')

    def written(part):
        flags = [f'--data_dir={tmp_path / "in"}', f'--labels={tmp_path / "a.csv"}']
        assert convert.main([*flags, f'--split={part}', f'--to={tmp_path / "a.zip"}']) == 0
        return written_labels(tmp_path / 'a.zip')

    assert [written(part) for part in ('train', 'test', 'all')] == [
        [0, 1, 2],
        [0, 2],
        [0, 2, 0, 1, 2],  # test/1.png goes before train/1.png
    ]
    said = capsys.readouterr()
    assert ('uneven: a has 1 image and b 0' in said.out, said.err) == (True, '')
    # Two of one name in a part: the other part can be read, but not both.
    (tmp_path / 'in' / 'train' / 'x').mkdir()
    (tmp_path / 'in' / 'train' / 'x' / '1.png').write_bytes(images.to_png(STORED[0]))
    assert written('test') == [0, 1]
    said = capsys.readouterr().err
    assert said.startswith('warning: the parts cannot be read together')
    assert said.count('\n') == 1
    assert '1 may be any of 3 images' in said


def test_one_command_makes_cifar10_train_npz(tmp_path, capsys):
    stored = cifar(tmp_path / 'cifar-10-batches-py')
    flags = [f'--data_dir={tmp_path / "cifar-10-batches-py"}', f'--to={tmp_path / "c.npz"}']
    assert convert.main(flags) == 0
    dataset = data.load('npz', data_dir=tmp_path / 'c.npz')
    np.testing.assert_array_equal([row['image'] for row in dataset], stored)
    assert (dataset.class_names, dataset.labels().tolist()) == (('cat', 'dog', 'owl'), LABELS)
    assert convert.main([*flags, '--split=test']) == 0
    assert len(data.load('npz', data_dir=tmp_path / 'c.npz')) == 2
    assert convert.main([flags[0], '--to=a.tar']) == 1
    assert 'expected a file that ends in .npz or .zip' in capsys.readouterr().err
    assert convert.main([flags[0], '--to=s3://b/a.npz']) == 1
    assert 'is a URL' in capsys.readouterr().err
