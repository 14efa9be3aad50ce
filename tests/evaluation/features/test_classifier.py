import dataclasses
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.linalg
from PIL import Image

from osgan_jax import data
from osgan_jax.data import digits
from osgan_jax.evaluation.features import (
    CLASSIFIERS,
    classifier,
    classifier_network,
    classifier_training,
)
from osgan_jax.io import checked_npz
from tests.support import modules


def small(count=80, size=8, channels=1, classes=4, name='small'):
    """Images whose brightness tells their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    images = rng.integers(0, 60, (count, size, size, channels)) + 60 * labels[:, None, None, None]
    return data.from_arrays(images.astype(np.uint8), labels, name=name)


@pytest.fixture(scope='module')
def trained():
    return classifier.train(small(), epochs=2)


@pytest.fixture(scope='module')
def on_digits():
    return classifier.train(data.from_arrays(*digits.arrays('train'), name='digits'), epochs=3)


def frechet(a, b):
    """Squared Frechet distance of two sets of features `[N, F]`, by scipy's matrix root."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(
        np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    )


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def refuse(*message):
    raise AssertionError(message)


def test_the_small_classifier_is_another_and_says_so(trained, tmp_path, caplog, monkeypatch):
    """Half the channels; its name is part of scores, record and file."""
    monkeypatch.setattr(classifier_training, '_IMAGES_SEEN', 320)
    classifier_training._programs.cache_clear()
    with jax.log_compiles():
        fewer = classifier.trained_for(small(), tmp_path, size='small')
    # Once, although batches and fresh parameters come to the device in different ways.
    assert sum('Compiling jit(update)' in line for line in caplog.messages) == 1
    assert fewer.network.size == 'small'
    again = classifier.trained_for(small(), tmp_path, size='small', progress=refuse)
    equal(fewer.variables, again.variables)
    assert [path.name.startswith('small-classifier-') for path in tmp_path.iterdir()] == [True]
    one, other = classifier.extractor(trained), classifier.extractor(fewer)
    assert (one.name, other.name) == ('classifier', 'small_classifier')
    assert one.convention == 'classifier, 8 pixels, grey, bilinear antialiased, [-1, 1]'
    assert other.convention == f'small_{one.convention}'
    assert one.fingerprint != other.fingerprint
    images = np.zeros((2, 8, 8, 1), np.uint8)
    assert other.apply(images).pooled.shape == (2, 64)
    with pytest.raises(ValueError, match="classifier='tiny': expected one of standard, small"):
        classifier.train(small(), size='tiny')
    assert tuple(classifier_network.SIZES) == CLASSIFIERS


@pytest.mark.slow
def test_digits_are_learnt(on_digits):
    # Of 150 held-out images; chance is 0.1.
    assert on_digits.accuracy > 0.85
    images, labels = digits.arrays('test')
    logits = np.asarray(classifier.extractor(on_digits).apply(images).logits)
    assert (logits.argmax(1) == labels).mean() > 0.8


@pytest.mark.slow
def test_worse_images_are_further_away(on_digits):
    images, labels = digits.arrays('train')
    see = classifier.extractor(on_digits).apply

    def features(images):
        return np.asarray(see(images).pooled)

    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    real, other = np.split(order, 2)
    real = features(images[real])
    another_half = frechet(real, features(images[other]))
    collapsed = images[rng.choice(np.flatnonzero(labels == 3), len(other))]
    blurred = (images[other].astype(int) + np.roll(images[other], 1, 2)) // 2
    noise = rng.integers(0, 256, images[other].shape, dtype=np.uint8)
    assert frechet(real, features(blurred.astype(np.uint8))) > 5 * another_half
    assert frechet(real, features(collapsed)) > 20 * another_half
    assert frechet(real, features(noise)) > 20 * another_half


@pytest.mark.slow
def test_digits_at_the_size_that_generators_are_trained_at():
    trained = classifier.train(data.load('digits'))
    assert trained.accuracy >= 0.95
    test = data.load('digits', split='test')
    logits = classifier.extractor(trained).apply(np.stack([row['image'] for row in test])).logits
    labels = [int(row['label']) for row in test]
    assert (np.asarray(logits).argmax(1) == labels).mean() >= 0.93


def test_training_is_a_function_of_the_seed(trained):
    again = classifier.train(small(), epochs=2)
    equal(again.variables, trained.variables)
    assert again.accuracy == trained.accuracy
    assert again.provenance == trained.provenance
    other = classifier.train(small(), epochs=1, seed=1)
    assert not np.array_equal(
        other.variables['params']['Dense_0']['kernel'],
        trained.variables['params']['Dense_0']['kernel'],
    )


def test_progress_and_what_is_recorded():
    steps = []
    dataset = small(count=60, channels=3)
    trained = classifier.train(dataset, epochs=2, progress=lambda *at: steps.append(at))
    # 6 of 60 held out, batches of 8
    assert steps == [(step, 12) for step in range(13)]
    assert (
        trained.provenance.items()
        >= {
            'dataset': 'small',
            'num_images': 60,
            'seed': 0,
            'epochs': 2,
            'flip': True,
        }.items()
    )
    assert 0 <= trained.accuracy <= 1


def test_images_that_are_read_one_by_one():
    class Reading:
        def __init__(self, source):
            self.source = source

        def __len__(self):
            return len(self.source)

        def __getitem__(self, index):
            return self.source[index]

    dataset = small()
    dataset = dataclasses.replace(dataset, source=Reading(dataset.source), flip=True)
    equal(
        classifier.train(dataset, epochs=1).variables,
        classifier.train(small(), epochs=1).variables,
    )


@pytest.mark.parametrize('size', [8, 9, 16, 28, 32, 64, 100, 256])
def test_every_size_ends_in_a_small_grid_and_128_features(size):
    layers = classifier_network.architecture(size)
    grid = size
    for _, kernel, stride in layers:
        grid = (grid + kernel - stride - kernel) // stride + 1 if stride > 1 else grid
    assert 4 <= grid < 8
    assert layers[-1][0] == classifier_network.FEATURES
    seen = jax.eval_shape(
        lambda: classifier_network.Network(size, 7).init_with_output(
            jax.random.key(0), jax.numpy.zeros((2, size, size, 3)), train=False
        )[0]
    )
    assert (seen.pooled.shape, seen.logits.shape) == ((2, 128), (2, 7))


def test_the_extractor_does_not_depend_on_batches_or_devices(trained):
    images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 1), dtype=np.uint8)
    one = classifier.extractor(trained, batch_size=16, num_devices=1)
    many = classifier.extractor(trained, batch_size=6)
    assert one.fingerprint == many.fingerprint
    expected = modules.apply(trained.network, trained.variables, images / 127.5 - 1, train=False)
    for see in (one, many):
        for seen, wanted in zip(see.apply(images), expected, strict=True):
            assert seen.shape == wanted.shape
            assert seen.dtype == np.float32
            np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-5)


def test_the_extractor_is_compiled_once_for_each_size(trained, monkeypatch):
    traced = []
    to_channels = classifier_network._to_channels

    def spy(images, channels):
        traced.append(images.shape)
        return to_channels(images, channels)

    monkeypatch.setattr(classifier_network, '_to_channels', spy)
    classifier_network._extract.cache_clear()
    see = classifier.extractor(trained, batch_size=8, num_devices=1).apply
    for count, size in ((3, 8), (8, 8), (30, 8), (5, 20), (9, 20)):
        assert see(np.zeros((count, size, size, 1), np.uint8)).pooled.shape == (count, 128)
    assert traced == [(8, 8, 8, 1), (8, 20, 20, 1)]


def test_other_sizes_and_channels(trained):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    see = classifier.extractor(trained, batch_size=4, num_devices=1).apply
    pooled = np.asarray(see(images).pooled)
    np.testing.assert_allclose(see(np.repeat(images, 3, 3)).pooled, pooled, rtol=1e-3, atol=1e-4)
    # Pillow's bilinear filter is antialiased too.
    large = rng.integers(0, 256, (4, 21, 21, 1), dtype=np.uint8)
    resized = np.stack(
        [
            Image.fromarray(image[:, :, 0].astype(np.float32)).resize((8, 8), Image.BILINEAR)
            for image in large
        ]
    )[..., None]
    expected = modules.apply(trained.network, trained.variables, resized / 127.5 - 1, train=False)
    np.testing.assert_allclose(see(large).pooled, expected.pooled, rtol=1e-3, atol=1e-4)
    constant = np.full((1, 8, 8, 1), 200, np.uint8)
    np.testing.assert_allclose(
        see(np.full((1, 20, 20, 1), 200, np.uint8)).pooled, see(constant).pooled, rtol=1e-3
    )


def test_the_extractor_refuses_other_arrays(trained):
    see = classifier.extractor(trained).apply
    with pytest.raises(ValueError, match=r'uint8 images .* got float32 \[2, 8, 8, 1\]'):
        see(np.zeros((2, 8, 8, 1), np.float32))
    with pytest.raises(ValueError, match=r'got uint8 \[2, 8, 8, 4\]'):
        see(np.zeros((2, 8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match='at least one image'):
        see(np.zeros((0, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match='1 to 4 devices, got 256 and 5'):
        classifier.extractor(trained, num_devices=5)


def test_names_of_what_was_seen(trained):
    made = classifier.extractor(trained)
    assert made.name == 'classifier'
    assert made.convention == 'classifier, 8 pixels, grey, bilinear antialiased, [-1, 1]'
    assert len(made.fingerprint) == 64
    variables = jax.tree.map(np.array, trained.variables)
    variables['batch_stats']['BatchNorm_0']['mean'][3] += 1e-6
    changed = dataclasses.replace(trained, variables=variables)
    assert classifier.extractor(changed).fingerprint != made.fingerprint


def test_saved_and_loaded(trained, tmp_path):
    path = tmp_path / 'deep' / 'classifier.npz'
    classifier.save(trained, path)
    loaded = classifier.load(path)
    equal(loaded.variables, trained.variables)
    assert classifier.extractor(loaded).fingerprint == classifier.extractor(trained).fingerprint
    for field in ('image_size', 'channels', 'num_classes', 'accuracy', 'provenance'):
        assert getattr(loaded, field) == getattr(trained, field)
    with np.load(path, allow_pickle=False) as file:
        assert 'params/Conv_0/kernel' in file.files


def test_files_that_cannot_be_loaded(trained, tmp_path, monkeypatch):
    path = tmp_path / 'classifier.npz'
    with pytest.raises(FileNotFoundError, match=r'no file .*classifier.npz'):
        classifier.load(path)
    classifier.save(trained, path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r'classifier.npz is damaged'):
            classifier.load(path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=r'classifier.npz is damaged'):
        classifier.load(path)
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(ValueError, match='not written by osgan_jax'):
        classifier.load(path)
    path.write_bytes(content)
    about, arrays = checked_npz.read(path, classifier.KIND, classifier.FORMAT)
    checked_npz.write(path, 'statistics of real images', 1, about, arrays)
    with pytest.raises(ValueError, match='holds the statistics of real images; expected the class'):
        classifier.load(path)
    checked_npz.write(path, classifier.KIND, classifier.FORMAT + 1, about, arrays)
    with pytest.raises(ValueError, match='newer version of osgan_jax: it has format 2'):
        classifier.load(path)
    checked_npz.write(path, classifier.KIND, classifier.FORMAT, {**about, 'num_classes': 5}, arrays)
    with pytest.raises(ValueError, match=r'params/Dense_0/bias should be \(5,\), is \(4,\)'):
        classifier.load(path)
    checked_npz.write(path, classifier.KIND, classifier.FORMAT, {**about, 'image_size': 16}, arrays)
    with pytest.raises(ValueError, match='another architecture'):
        classifier.load(path)


def test_trained_once_for_a_dataset(tmp_path, monkeypatch):
    calls = []
    real_train = classifier.train

    def train(dataset, **arguments):
        calls.append(arguments['seed'])
        return real_train(dataset, epochs=1, **arguments)

    monkeypatch.setattr(classifier, 'train', train)
    dataset = small()
    first = classifier.trained_for(dataset, tmp_path, warn=refuse)
    second = classifier.trained_for(dataset, tmp_path, warn=refuse)
    assert calls == [0]
    equal(first.variables, second.variables)
    other = classifier.trained_for(dataset, tmp_path, seed=1, warn=refuse)
    assert (calls, len(list(tmp_path.iterdir()))) == ([0, 1], 2)
    assert classifier.extractor(other).fingerprint != classifier.extractor(first).fingerprint
    # Other labels make another classifier.
    images = dataset.source.gather(np.arange(80))[0]
    classifier.trained_for(
        data.from_arrays(images, np.arange(80) % 2, name='small'), tmp_path, warn=refuse
    )
    assert len(list(tmp_path.iterdir())) == 3


def test_damaged_and_foreign_files_are_trained_again(tmp_path, monkeypatch):
    real_train = classifier.train
    monkeypatch.setattr(classifier, 'train', lambda *args, **kw: real_train(*args, epochs=1, **kw))
    dataset = small()
    found = classifier.trained_for(dataset, tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith('classifier-small-train-8-')
    path.write_bytes(path.read_bytes()[:-100])
    said = []
    equal(classifier.trained_for(dataset, tmp_path, warn=said.append).variables, found.variables)
    assert len(said) == 1
    assert 'computing it again' in said[0]
    other = dataclasses.replace(found, provenance={**found.provenance, 'dataset': 'mnist'})
    classifier.save(other, path)
    classifier.trained_for(dataset, tmp_path, warn=said.append)
    assert "it has dataset 'mnist', not 'small'" in said[1]
    (tmp_path / 'file').touch()
    classifier.trained_for(dataset, tmp_path / 'file' / 'x', warn=said.append)
    assert 'cannot write' in said[2]
    assert len(said) == 3


@pytest.mark.parametrize(
    ('dataset', 'arguments', 'message'),
    [
        (data.from_arrays(np.zeros((30, 8, 8, 1), np.uint8)), {}, r'no labels .*inception_weights'),
        (small(classes=1), {}, r'small \(train\) has no labels'),
        (small(count=19), {}, 'has 19 images, too few'),
        (small(size=4), {}, 'images of 4 pixels .* 8 to 256'),
        (small(), {'epochs': 0}, 'epochs: expected at least 1, got 0'),
        (small(), {'seed': -1}, 'seed: expected at least 0, got -1'),
    ],
)
def test_what_cannot_be_trained(dataset, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        classifier.train(dataset, **arguments)
    if not arguments:
        with pytest.raises(ValueError, match=message):
            classifier.trained_for(dataset, tmp_path)


def test_divergence_is_said(monkeypatch):
    monkeypatch.setattr(classifier_training, '_LEARNING_RATE', np.inf)
    with pytest.raises(FloatingPointError, match='small diverged'):
        classifier.train(small(), epochs=1)


def test_the_smallest_dataset():
    assert classifier.train(small(count=20, classes=2), epochs=1).accuracy in (0, 0.5, 1)


def test_importing_it_needs_no_library_for_images_or_plots():
    program = (
        'import sys\n'
        "absent = ('grain', 'tensorflow_datasets', 'PIL', 'sklearn', 'matplotlib')\n"
        'sys.modules.update(dict.fromkeys(absent))\n'
        'from osgan_jax.evaluation.features import cache, classifier\n'
    )
    root = pathlib.Path(data.__file__).parents[2]
    subprocess.run(
        [sys.executable, '-c', program],
        check=True,
        env={**os.environ, 'PYTHONPATH': str(root)},
        timeout=60,
    )
