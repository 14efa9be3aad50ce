"""Labels of images in folders: natural order, parts, strays, StyleGAN's list, files of labels."""

import csv
import json
import time
import zipfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import classes, images, label_file, labelling

RED = images.to_png(np.full((8, 8, 3), (200, 30, 30), np.uint8))


def make(root, *names, form='folder'):
    """Images of one colour by name, in a folder or in a zip archive of it."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(RED)
    if form == 'folder':
        return root
    place = root.parent / f'{root.name}.zip'
    with zipfile.ZipFile(place, 'w') as archive:
        for path in sorted(root.rglob('*')):
            archive.write(path, path.relative_to(root))
    return place


def load(root, **options):
    return data.load('folder', data_dir=root, image_size=8, **options)


def labels(dataset):
    return dataset.labels().tolist()


def notes(dataset):
    return dict(dataset.remarks())


@pytest.fixture(params=['folder', 'zip'])
def form(request):
    return request.param


# Order.


def test_classes_are_in_natural_order_and_are_shown(tmp_path, form):
    names = [f'{number}/a.png' for number in range(12)]
    dataset = load(make(tmp_path / 'a', *names, form=form))
    assert dataset.class_names == tuple(map(str, range(12)))
    # Images stay in the order of text: 0, 1, 10, 11, 2.
    assert labels(dataset) == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    said = notes(dataset)
    assert said['classes'] == '12, named by their numbers'
    assert said['labels'] == 'by folder, in natural order'
    named = load(make(tmp_path / 'b', 'x10y2/a.png', 'x9y10/a.png', 'x9y9/a.png', 'b/a.png'))
    assert named.class_names == ('b', 'x9y9', 'x9y10', 'x10y2')
    assert notes(named)['classes'] == '4: 0 b, 1 x9y9, 2 x9y10, 3 x10y2'


def test_older_runs_keep_their_order_parts_and_files(tmp_path):
    root = make(tmp_path, '2/a.png', '10/b.png', '1/c.jfif', 'train/d.png')
    old = load(root, layout='top_folders')
    assert old.class_names == ('10', '2', 'train')
    assert labels(old) == [0, 1, 2]
    assert load(root).class_names == ('1', '2', '10', 'train')
    (root / '1' / 'e.png').write_bytes(RED)
    (root / 'dataset.json').write_text('{"labels": null}')
    assert load(root, layout='top_folders').class_names == ('1', '10', '2', 'train')


# Parts.


@pytest.mark.parametrize(
    ('names', 'counts'),
    [
        (['train/cat/1.png', 'train/dog/1.png', 'val/cat/1.png'], {'train': 2, 'val': 1}),
        (['Training/cat/1.png', 'Training/dog/1.png', 'testing/dog/1.png'], {'test': 1}),
        (['imgs/valid/cat/1.png', 'imgs/train/cat/1.png', 'imgs/train/dog/2.png'], {'val': 1}),
        (['cat/train/1.png', 'dog/train/1.png', 'dog/validation/1.png'], {'validation': 1}),
        (['train/cat/1.png', 'train/dog/1.png', 'test/cat/1.png', 'stray.png'], {'all': 3}),
        (['train/cat/1.png', 'train/dog/1.png', 'test/cat/1.png'], {'all': 3, 'train': 2}),
    ],
)
def test_parts_are_recognised_at_any_one_level(tmp_path, form, names, counts):
    root = make(tmp_path / 'a', *names, form=form)
    train = load(root)
    assert train.class_names == ('cat', 'dog')
    assert notes(train)['split'].startswith(f'train: 2 of {sum("/" in n for n in names)} images')
    for split, count in counts.items():
        assert len(load(root, split=split)) == count
    with pytest.raises(ValueError, match="there is no part 'nope', only the folders"):
        load(root, split='nope')
    if 'stray.png' in names:
        assert notes(train)['left out'] == '1 image lies (stray.png) beside the parts'


def test_parts_without_classes_and_parts_that_are_none(tmp_path):
    plain = load(make(tmp_path / 'a', 'train/1.png', 'train/2.png', 'test/1.png'))
    assert (len(plain), plain.num_classes) == (2, 0)
    both = load(tmp_path / 'a', split='all')
    assert (len(both), both.num_classes) == (3, 0)
    mixed = load(make(tmp_path / 'b', 'train/1.png', 'bus/1.png'))
    assert mixed.class_names == ('bus', 'train')
    assert notes(mixed)['split'] == 'none: train lies beside bus, and all of them are classes'
    with pytest.raises(ValueError, match="without parts train, val or test has one split, 'train'"):
        load(tmp_path / 'b', split='val')


# What lies beside.


def test_strays_and_empty_classes_are_named(tmp_path, form):
    root = make(tmp_path / 'a', 'cat/1.png', 'dog/1.png', 'stray.png')
    (root / 'cow').mkdir()
    root = make(root, form=form)
    dataset = load(root)
    assert (len(dataset), dataset.num_classes) == (3, 0)
    why = notes(dataset)['labels']
    assert why.startswith('none: 1 image lies (stray.png) beside the folders cat, dog; --labels=')
    # The advice, followed to the letter.
    assert '--labels=folders' in why
    asked = load(root, labels='folders')
    assert (labels(asked), asked.class_names) == ([0, 1], ('cat', 'dog'))
    assert notes(asked)['left out'] == '1 image lies (stray.png) beside the class folders'
    assert notes(asked)['empty'] == 'cow holds no readable image and is not a class'
    assert load(root, labels='none').num_classes == 0


@pytest.mark.parametrize('around', ['photos/', 'my/photos/'])
def test_a_folder_around_all_is_named(tmp_path, form, around):
    names = [f'{around}{name}' for name in ('cat/1.png', 'dog/1.png', 'dog/old/1.png')]
    root = make(tmp_path / 'a', *names, form=form)
    dataset = load(root)
    assert dataset.num_classes == 0
    why = f'none: only the folder {around.split("/")[0]} holds images; --labels=folders takes '
    assert notes(dataset)['labels'] == why + 'cat, dog below it for classes'
    asked = load(root, labels='folders')
    assert (labels(asked), asked.class_names) == ([0, 1, 1], ('cat', 'dog'))
    more = make(tmp_path / 'b', *names, 'stray.png')
    (more / 'none' / 'below').mkdir(parents=True)
    asked = load(make(more, form=form), labels='folders')
    assert labels(asked) == [0, 1, 1]
    assert notes(asked)['left out'].startswith('1 image lies (stray.png) beside')
    assert 'empty' not in notes(asked)


def test_a_folder_around_all_is_that_of_all_parts(tmp_path, form):
    names = ('train/photos/cat/1.png', 'train/photos/dog/1.png', 'test/photos/cat/2.png')
    root = make(tmp_path / 'a', *names, form=form)
    assert load(root, labels='folders').class_names == ('cat', 'dog')
    assert load(root, labels='folders', split='test').class_names == ('cat',)
    assert 'takes cat, dog below it' in notes(load(root, split='test'))['labels']


def test_a_folder_with_images_beside_its_folders_is_a_class(tmp_path, form):
    names = ('cat/1.png', 'cat/2.png', 'cat/2019/3.png', 'cat/2020/4.png')
    root = make(tmp_path / 'a', *names, form=form)
    asked = load(root, labels='folders')
    assert (labels(asked), asked.class_names) == ([0] * 4, ('cat',))
    expected = 'cat, since 2 images lie (cat/1.png, cat/2.png) beside the folders in it'
    assert notes(asked)['one class'] == expected
    assert '--labels' not in notes(load(root))['labels']


def test_one_folder_is_one_class_where_it_is_asked_for(tmp_path):
    asked = load(make(tmp_path, 'cat/1.png', 'cat/old/2.png'), labels='folders')
    assert (labels(asked), asked.class_names) == ([0, 0], ('cat',))


# StyleGAN's list.

BLOCKS = ('00000/img0.png', '00000/img1.png', '00001/img2.png')


@pytest.mark.parametrize('below', ['', 'ffhq/'])
def test_stylegans_list_counts_and_its_blocks_do_not(tmp_path, form, below):
    root = make(tmp_path / 'a', *(below + name for name in BLOCKS))
    rows = [[name, label] for name, label in zip(BLOCKS, (2, 0, 2), strict=True)]
    (root / f'{below}dataset.json').write_text(json.dumps({'labels': rows}))
    root = make(root, form=form)
    dataset = load(root)
    assert (labels(dataset), dataset.class_names) == ([1, 0, 1], ('0', '2'))
    assert 'folders are blocks, not classes' in notes(dataset)['labels']
    assert notes(dataset)['empty'].startswith('no image has label 1; the 2 labels that occur')
    assert dataset.report is None
    assert load(root, labels='none').num_classes == 0


def test_other_lists(tmp_path, form):
    def opened(content, **options):
        (tmp_path / 'a' / 'dataset.json').write_text(content)
        return load(make(tmp_path / 'a', *BLOCKS, form=form), **options)

    (tmp_path / 'a').mkdir()
    rows = lambda *values: json.dumps({'labels': list(zip(BLOCKS, values, strict=True))})  # noqa: E731
    null = opened('{"labels": null}')
    assert null.num_classes == 0
    assert 'says null' in notes(null)['labels']
    one_hot = opened(rows([0, 1], [1, 0], [0, 1]))
    assert labels(one_hot) == [1, 0, 1]
    assert 'one-hot' in notes(one_hot)['labels']
    for values, message in [
        (([0.5, 0.1],) * 3, r'got \[0\.5, 0\.1\] \(vectors\); --labels=none ignores them'),
        ((1, None, 0), r'got None \(null for some images\); --labels=none ignores them'),
        ((1, 0, -1), 'expected whole numbers from 0 as labels, got -1'),
    ]:
        with pytest.raises(ValueError, match=message):
            opened(rows(*values))
        assert opened(rows(*values), labels='none').num_classes == 0
    with pytest.raises(ValueError, match='has no label for 2 images, such as 00000/img1'):
        opened(json.dumps({'labels': [[BLOCKS[0], 1]]}))
    assert opened('{"labels": 5}', labels='none').num_classes == 0
    with pytest.raises(ValueError, match='not a list of names and labels'):
        opened('{"labels": 5}')
    another = opened('{"name": "mine"}')
    assert another.class_names == ('00000', '00001')
    assert 'is not a list of labels as StyleGAN has' in notes(another)['passed over']


# Files of labels.


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('a.csv', 'x/1.png,dog\nx/2.png,cat\ny/3.png,dog\n'),
        ('a.csv', 'id,breed,age\n1,dog,3\n2,cat,4\n3,dog,5\n'),
        ('a.tsv', 'filename\tlabel\n1.png\tdog\n2.png\tcat\n3.png\tdog\n'),
        ('a.csv', 'label;image\ndog;1.png\ncat;2.png\ndog;3.png\n'),
        ('a.json', '{"1.png": "dog", "2.png": "cat", "3.png": "dog"}'),
        ('a.json', '[["x/1.png", "dog"], ["./x/2.png", "cat"], ["y/3.png", "dog"]]'),
        ('a.json', '{"labels": [["x/1.png", "dog"], ["x/2.png", "cat"], ["y/3.png", "dog"]]}'),
        ('a.jsonl', '{"file_name": "x/1.png", "label": "dog"}\n'
                    '{"file_name": "x/2.png", "label": "cat"}\n\n'
                    '{"file_name": "y/3.png", "label": "dog"}\n'),
        ('a.json', '["x/1.png", "dog"]\n["x/2.png", "cat"]\r\n["y/3.png", "dog"]'),
        ('a.jsonl', '{"labels": [\n ["x/1.png", "dog"],\n ["2", "cat"], ["3", "dog"]]}\n'),
        ('a.csv', '\ufeffimage,label\r\n"x/1.png",dog\r\n\r\nx/2.png,cat\ry/3.png,"dog"'),
        ('a.json', '[{"id": "1", "y": "dog"}, {"id": "2", "y": "cat"}, {"id": "3", "y": "dog"}]'),
    ],
)  # fmt: skip
def test_files_of_labels(tmp_path, form, name, content):
    (tmp_path / name).write_text(content)
    root = make(tmp_path / 'a', 'x/1.png', 'x/2.png', 'y/3.png', 'y/4.png', form=form)
    dataset = load(root, labels=str(tmp_path / name))
    assert (labels(dataset), dataset.class_names) == ([1, 0, 1], ('cat', 'dog'))
    assert '1 image has no label' in notes(dataset)['left out']


def test_files_of_labels_that_do_not_fit(tmp_path):
    root = make(tmp_path / 'a', '1.png', '2.png')

    def refused(content, message, **options):
        (tmp_path / 'a.csv').write_text(content, **options)
        with pytest.raises(ValueError, match=message):
            load(root, labels=str(tmp_path / 'a.csv'))

    refused(
        'other.png,1\n', "names none of the 2 images: it has 'other.png', the images are '1.png'"
    )
    refused('1.png,1\n1.png,2\n', '1.png two labels')
    refused('image,label\n\n1.png,\n', 'line 3 has no label')
    refused('1.png,"cat\n2.png,dog\n', 'line 1 has a quote that is not closed')
    several = 'line 2 has a name or label over several lines, or a quote that is not closed'
    refused('1.png,a\n2.png,"cat\n3.png,"dog\n', several)
    refused('1.png,a\n2.png,"cat\r3.png"\n', several, newline='')
    refused('1.png,"' + 'cat\n' * 2**16, 'line 1 is not CSV')
    refused('1.png,Léa\n', 'is not UTF-8: save it as CSV UTF-8', encoding='cp1252')
    refused('a,b,c\n', 'expected two columns, name and label')
    refused('{"1.png": [0.5]}', 'expected a whole number or a name')
    refused('[3]', 'expected pairs')
    refused('[', 'not JSON: Expecting value: line 1 column 2')
    refused('[["1.png", 1]]\n\n{"id": }\n', 'line 3 is not JSON: Expecting value')
    refused('{"file_name": "1.png", "text": "a dog"}\n' * 2,
            r'a label \(label, class, .*\) in each row, got file_name, text')  # fmt: skip
    refused('', 'holds no labels')
    with pytest.raises(FileNotFoundError, match='--labels is a CSV or JSON file'):
        load(root, labels=str(tmp_path / 'none.csv'))
    (tmp_path / 'b.csv').write_text('1.png,3\n2.png,70000\n9.png,1\n')
    dataset = load(root, labels=str(tmp_path / 'b.csv'))
    assert dataset.class_names == ('3', '70000')
    assert '1 row of' in notes(dataset)['absent']
    assert 'no image has label 0, 1, 2 and so on' in notes(dataset)['empty']
    assert label_file.read(tmp_path / 'b.csv')['9.png'] == '1'
    for line in ('{"id": "a", "label": "dog", "age": 3}', '["a", "dog"]'):
        (tmp_path / 'b.jsonl').write_text(line)
        assert label_file.read(tmp_path / 'b.jsonl') == {'a': 'dog'}


def test_files_of_labels_of_other_systems(tmp_path):
    # A Mac's é is two characters, and Excel's Unicode text is UTF-16.
    root = make(tmp_path / 'a', 'e\u0301.png', 'è.png')
    (tmp_path / 'a.csv').write_text('\xe9.png\tLéa\nè.png\tLèa\n', encoding='utf-16')
    dataset = load(root, labels=str(tmp_path / 'a.csv'))
    assert (labels(dataset), dataset.class_names) == ([1, 0], ('Lèa', 'Léa'))


def test_rows_may_name_images_in_several_ways(tmp_path, form):
    root = make(tmp_path / 'a', '0.png', 'x/1.png', 'x/2.png', 'y/2.jpg', form=form)
    (tmp_path / 'a.csv').write_text('0.png,a\n1.png,b\nx/2.png,c\n2.jpg,d\n')
    dataset = load(root, labels=str(tmp_path / 'a.csv'))
    assert (labels(dataset), dataset.class_names) == ([0, 1, 2, 3], ('a', 'b', 'c', 'd'))
    assert set(notes(dataset)) == {'labels', 'classes'}


def test_a_name_that_several_images_have_is_refused(tmp_path):
    root = make(tmp_path / 'a', 'x/0.png', 'x/1.png', 'y/0.png')
    for rows, message in [
        ('0.png,a\n1.png,b\n', r'0\.png may be any of 2 images \(x/0\.png, y/0\.png\): name each'),
        ('1,a\n0,b\n', r'0 may be any of 2 images .*: name each by its path below the folder'),
        ('1,a\n1.png,b\n', r'gives x/1\.png two labels'),
        (
            'a/x/0.png,b\n',
            r"names none of the 3 images: it has 'a/x/0\.png'.* paths below the folder",
        ),
    ]:
        (tmp_path / 'a.csv').write_text(rows)
        with pytest.raises(ValueError, match=message):
            load(root, labels=str(tmp_path / 'a.csv'))


def test_rows_of_another_part_are_not_missed(tmp_path, form):
    root = make(tmp_path / 'a', 'train/0.png', 'test/0.png', 'test/1.png', form=form)
    (tmp_path / 'a.csv').write_text('train/0.png,a\ntest/0.png,b\n1.png,a\n2.png,a\n')
    dataset = load(root, labels=str(tmp_path / 'a.csv'))
    assert dataset.class_names == ('a',)
    assert notes(dataset)['absent'].startswith('1 row of')


def test_numbers_in_csv_written_by_a_library(tmp_path):
    with open(tmp_path / 'a.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['image', 'class'], ['1.png', 10], ['2.png', 9]])
    dataset = load(make(tmp_path / 'a', '1.png', '2.png'), labels=str(tmp_path / 'a.csv'))
    assert (labels(dataset), dataset.class_names) == ([1, 0], ('9', '10'))


# Labels of arrays.


@pytest.mark.parametrize(
    ('given', 'names', 'expected', 'found', 'said'),
    [
        ([1, 2, 3], None, [0, 1, 2], ('1', '2', '3'), 'no image has label 0'),
        ([3, 70_000, 3], None, [0, 1, 0], ('3', '70000'), 'up to 70,000'),
        ([0, 2, 2], ['a', 'b', 'c'], [0, 1, 1], ('a', 'c'), 'b has no images and is not a class'),
    ],
)
def test_labels_of_npz_without_images_are_no_classes(tmp_path, given, names, expected, found, said):
    arrays = {'images': np.zeros((3, 8, 8, 3), np.uint8), 'labels': given}
    np.savez(tmp_path / 'a.npz', **arrays, **({} if names is None else {'class_names': names}))
    dataset = data.load('npz', data_dir=tmp_path / 'a.npz')
    assert (labels(dataset), dataset.class_names, dataset.num_classes) == (
        expected,
        found,
        len(found),
    )
    assert said in notes(dataset)['empty']
    old = data.load('npz', data_dir=tmp_path / 'a.npz', layout='top_folders')
    assert (labels(old), old.num_classes) == (given, len(names) if names else max(given) + 1)
    with pytest.raises(ValueError, match='--labels=folders is for images in folders'):
        data.load('npz', data_dir=tmp_path / 'a.npz', labels='folders')
    assert data.load('npz', data_dir=tmp_path / 'a.npz', labels='none').num_classes == 0


# Classes of two datasets.


def test_classes_differ_by_name_and_order():
    for one, other, clause in [
        (('a', 'b'), ('a', 'b'), None),
        (('0', '1'), ('a', 'b'), None),
        ((), ('a', 'b'), None),
        (('a', 'b'), ('b', 'a'), 'another order (b had the label 1 and has 0)'),
        (('a', 'b'), ('a', 'c'), 'without b and with c'),
        (('Cat', 'Dog'), ('cat', 'dog'), 'without Cat, Dog and with cat, dog'),
        (('0', '1', '2'), ('a', 'b'), '3 there and 2 now'),
        (('1', '10', '2'), ('1', '2', '10'), 'another order'),
    ]:
        found = classes.difference(one, other)
        assert found == clause or clause in found


def test_a_part_may_lack_classes_but_not_have_others(tmp_path):
    part = load(make(tmp_path, 'b/1.png', 'd/1.png', 'd/2.png'), split='train')
    aligned = classes.align(part, ('a', 'b', 'c', 'd'), 'the teacher')
    assert [int(row['label']) for row in aligned] == labels(aligned) == [1, 3, 3]
    assert notes(aligned)['empty'] == 'a, c: no images in this part'
    np.testing.assert_array_equal(aligned.class_counts(), [0, 1, 0, 2])
    memory = data.from_arrays(np.zeros((2, 8, 8, 1), np.uint8), [1, 0])
    memory = classes.align(memory, ('0', '1', '2'), 'the teacher')
    np.testing.assert_array_equal(memory.source.gather(np.arange(2))[1], [1, 0])
    for names in (('a', 'b'), ('d', 'b', 'x'), ('B', 'D')):
        with pytest.raises(ValueError, match=r'folder \(train\) does not have the classes of the'):
            classes.align(part, names, 'the teacher')


def test_many_classes_take_no_longer_each():
    names = [f'c{number}' for number in range(30_000)]
    before = time.process_time()
    assert 'without c0' in classes.difference(names, names[1:])
    assert 'c0' in labelling.compact(np.arange(1, len(names)), names)[2][0][1]
    assert 'label 0' in labelling.gaps(range(1, len(names)))
    part = data.from_arrays(
        np.zeros((29_999, 1, 1, 1), np.uint8), np.arange(29_999), class_names=names[1:]
    )
    assert classes.align(part, names, 'the teacher').notes[-1][1].startswith('c0: ')
    assert time.process_time() - before < 2


def test_a_class_is_found_by_name_or_number():
    names = ('cat', 'Dog', '10', '2')
    for label, number in [('cat', 0), ('dog', 1), ('10', 2), ('2', 3), ('1', 1)]:
        assert classes.find(label, names, 4) == number
        assert classes.find(number, names, 4) == number  # not the class that is called so
    with pytest.raises(ValueError, match='label=cow: expected 0 to 3, or a name: cat, Dog'):
        classes.find('cow', names, 4)
    with pytest.raises(ValueError, match=r'label=4: expected 0 to 3$'):
        classes.find('4', ('0', '1', '2', '3'), 4)
