"""Labels of samples: files that people and programs write, and whose they are."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.editing import labels


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_file_is_read(tmp_path):
    # A byte-order mark, Windows' line ends and an empty line: as spreadsheets write.
    path = write(tmp_path / 'a.csv', '\ufeffindex,label\r\n0,1\r\n7, 0\r\n2,\r\n\r\n5,12\r\n')
    indices, found = labels.read(path)
    np.testing.assert_array_equal(indices, [0, 7, 5])
    np.testing.assert_array_equal(found, [1, 0, 12])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'expected the header index,label'),
        ('label,index\n1,0\n', 'expected the header index,label'),
        ('0,1\n1,0\n', 'expected the header index,label'),
        ('index,label\n0,1\n,1\n', r'line 3: the index is missing or not a whole number \(.*\)'),
        ('index,label\none,1\n', "line 2: the index is missing or not a whole number \\('one'"),
        ('index,label\n-1,1\n', 'line 2: the index is missing or not a whole number'),
        ('index,label\n0,1\n1,cat\n', "line 3: unknown label 'cat', expected 0, 1 and so on"),
        ('index,label\n0,-1\n', "line 2: unknown label '-1'"),
        ('index,label\n0,0.5\n', "line 2: unknown label '0.5'"),
        ('index,label\n0,' + '9' * 30 + '\n', 'line 2: unknown label'),
        ('index,label\n0,1,2\n', 'line 2: expected index,label, found 3 values'),
        ('index,label\n0,1\n0,0\n', 'line 3: index 0 is labelled a second time'),
        ('index,label\n1000000,1\n', 'line 2: index 1000000 is not in 0 to 999999'),
        ('index,label\n0,\n1,\n', 'labels no sample: fill in its column label'),
        (b'index,label\n0,\xff\xfe\n', 'is damaged or not a CSV file'),
        ('index,label\n"0,1\n', 'is damaged or not a CSV file'),
    ],
)
def test_a_wrong_csv_file_is_one_sentence(tmp_path, text, message):
    path = write(tmp_path / 'a.csv', text)
    with pytest.raises(ValueError, match=message) as caught:
        labels.read(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_an_npz_file_is_read(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, index=np.array([3, 1], np.uint8), label=np.array([False, True]))
    indices, found = labels.read(path)
    np.testing.assert_array_equal(indices, [3, 1])
    np.testing.assert_array_equal(found, [0, 1])


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'index': [0, 1]}, 'two arrays of whole numbers'),
        ({'index': [0, 1], 'label': [0.0, 1.0]}, 'two arrays of whole numbers'),
        ({'index': [[0, 1]], 'label': [[0, 1]]}, 'two arrays of whole numbers'),
        ({'index': [0, 1], 'label': [0]}, '2 in index, 1 in label'),
        ({'index': [0, -1], 'label': [0, 1]}, 'row 1: index -1'),
        ({'index': [0, 1], 'label': [0, -3]}, 'row 1: unknown label -3'),
        ({'index': np.array([0], object), 'label': [0]}, 'holds no labels that can be read'),
    ],
)
def test_a_wrong_npz_file_is_one_sentence(tmp_path, arrays, message):
    path = tmp_path / 'a.npz'
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        labels.read(path)
    assert str(path) in str(caught.value)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match='holds no labels that can be read'):
        labels.read(path)


def test_files_that_are_not_there(tmp_path):
    for name in ('a.csv', 'a.npz'):
        with pytest.raises(FileNotFoundError):
            labels.read(tmp_path / name)


def test_samples_are_split_by_label():
    found = np.array([3, 0, 3, 1, 0])
    kept, positive = labels.split(found, 3)
    np.testing.assert_array_equal(kept, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(positive, [True, False, True, False, False])
    kept, positive = labels.split(found, 3, 0)
    np.testing.assert_array_equal(kept, [0, 1, 2, 4])
    np.testing.assert_array_equal(positive, [True, False, True, False])
    for target, against, message in [
        (2, None, 'no sample has label 2; there are: 0, 1, 3'),
        (3, 2, 'no sample has label 2; there are: 0, 1, 3'),
        (3, 3, 'two different labels are needed'),
    ]:
        with pytest.raises(ValueError, match=message):
            labels.split(found, target, against)
    with pytest.raises(ValueError, match='no sample has any other label; there are: 1'):
        labels.split(np.ones(4, int), 1)


def test_balanced_labels_are_half_the_target():
    np.testing.assert_array_equal(labels.balanced(8, 4, 1), [1, 0, 1, 2, 1, 3, 1, 0])
    np.testing.assert_array_equal(labels.balanced(4, 4, 1, 3), [1, 3, 1, 3])
    for arguments, message in [
        ((4, 4), 'class 4: expected 0 to 3'),
        ((4, 1, 9), 'class 9: expected 0 to 3'),
        ((4, 2, 2), 'two different labels'),
    ]:
        with pytest.raises(ValueError, match=message):
            labels.balanced(8, *arguments)


class Bright:
    """A generator of grey images as bright as z says, and what edits ask of it."""

    gan = types.SimpleNamespace(image_shape=(8, 8, 1))

    def images(self, z, labels=None, then=None):
        del labels
        images = jnp.tile(z[:, :1, None, None], (1, 8, 8, 1))
        return np.asarray(then(images)) if then else np.uint8(100 * np.asarray(images))


class Judge:
    """Tells dark from bright."""

    def __init__(self, size):
        config = types.SimpleNamespace(image_size=size, channels=1)
        self.run = types.SimpleNamespace(config=config)

    def __call__(self, images):
        mean = images.mean((1, 2, 3))
        return jnp.stack([-mean, mean], axis=1)


def test_a_classifier_labels_samples():
    z = jnp.array([[0.5], [-0.5], [0.1]])
    found = labels.by_classifier(Bright(), Judge(8), z, None)
    np.testing.assert_array_equal(found, [1, 0, 1])
    with pytest.raises(ValueError, match='takes images of 16 x 16 x 1, this run makes 8 x 8 x 1'):
        labels.by_classifier(Bright(), Judge(16), z, None)


def test_samples_are_written_to_be_labelled(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, '_AT_ONCE', 2)
    z, about = jnp.linspace(0, 1, 3)[:, None], {'step': 4, 'seed': 0, 'label': None}
    path = labels.write_samples(tmp_path / 'new', Bright(), z, None, about)
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ['00000.png', '00001.png', '00002.png', 'labels.csv', 'samples.json']
    assert path.read_text() == 'index,label\n0,\n1,\n2,\n'
    assert json.loads((path.parent / 'samples.json').read_text()) == about
    # A person's work is kept.
    path.write_text('index,label\n0,1\n')
    labels.write_samples(tmp_path / 'new', Bright(), z, None, about)
    assert path.read_text() == 'index,label\n0,1\n'
    labels.check_samples(path, about)
    other = {**about, 'seed': 1}
    for use in (
        lambda: labels.check_samples(path, other),
        lambda: labels.write_samples(tmp_path / 'new', Bright(), z, None, other),
    ):
        with pytest.raises(ValueError, match='labels samples of seed 0, not 1: give the flags'):
            use()
    (path.parent / 'samples.json').write_text('{')
    with pytest.raises(ValueError, match=r'samples\.json is damaged'):
        labels.check_samples(path, about)
    # Labels that lie elsewhere say nothing of their samples.
    labels.check_samples(tmp_path / 'labels.csv', about)
