import concurrent.futures
import dataclasses
import hashlib
import os
import threading

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.evaluation.features import cache, extractors
from osgan_jax.io import checked_npz

COUNT, SIZE = 50, 8


class CountingSource:
    """Images that know how often they were read."""

    def __init__(self, images):
        self.images = images
        self.reads = 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads += 1
        return self.images[index], 0


def make_dataset(count=COUNT, seed=0, name='small'):
    shape = (count, SIZE, SIZE, 1)
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    dataset = data.from_arrays(images, name=name)
    return dataclasses.replace(dataset, source=CountingSource(images))


def make_extractor(fingerprint='f' * 64, convention='means of rows', function=None):
    """Means of rows: `[N, 8]`, and which calls it got."""
    calls = []

    def apply(images):
        calls.append(images)
        pooled = images.astype(np.float32).mean((2, 3)) if function is None else function(images)
        return extractors.Features(pooled, pooled[:, :3])

    return extractors.Extractor('rows', convention, fingerprint, apply), calls


def refuse(message):
    raise AssertionError(message)


def arrays(statistics):
    found = (statistics.pooled, statistics.logits, statistics.class_counts)
    return [x for part in (statistics.moments, *(statistics.halves or ())) for x in part] + [*found]


def equal(a, b):
    for left, right in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(left, right)
        assert np.asarray(left).dtype == np.asarray(right).dtype
    assert a.provenance == b.provenance


def test_statistics_are_those_of_all_images_in_order(tmp_path):
    dataset = make_dataset()
    extractor, calls = make_extractor()
    done = []
    found = cache.real_statistics(
        dataset, extractor, tmp_path, batch_size=16, progress=lambda *at: done.append(at)
    )
    features = dataset.source.images.astype(np.float64).mean((2, 3))
    assert [len(images) for images in calls] == [16, 16, 16, 2]
    assert done == [(0, 50), (16, 50), (32, 50), (48, 50), (50, 50)]
    np.testing.assert_array_equal(np.concatenate(calls), dataset.source.images)
    assert found.moments.count == COUNT
    np.testing.assert_allclose(found.moments.mean, features.mean(0), rtol=1e-6)
    # numpy's covariance, times its denominator
    np.testing.assert_allclose(
        found.moments.scatter, np.cov(features.T) * (COUNT - 1), rtol=1e-5, atol=1e-2
    )
    # In an order of the seed's: datasets are often sorted by class.
    order = np.random.default_rng(0).permutation(COUNT)
    np.testing.assert_allclose(found.pooled, features[order], rtol=1e-6)
    np.testing.assert_array_equal(found.logits, found.pooled[:, :3])
    assert found.pooled.dtype == np.float32
    assert found.halves is None
    assert not len(found.class_counts)


def test_a_hit_is_identical_and_reads_no_more_than_the_look_at_the_images(tmp_path):
    dataset = make_dataset(count=200)
    extractor, _ = make_extractor()
    first = cache.real_statistics(dataset, extractor, tmp_path, warn=refuse)
    dataset.source.reads = 0
    unused, calls = make_extractor()
    second = cache.real_statistics(
        dataset, unused, tmp_path, batch_size=7, progress=lambda *_: refuse('computed'), warn=refuse
    )
    equal(first, second)
    assert not calls
    assert dataset.source.reads <= 64
    assert len(list(tmp_path.iterdir())) == 1


def test_a_subset_of_features_is_drawn(tmp_path):
    dataset = make_dataset()
    extractor, _ = make_extractor()

    def pooled(**arguments):
        return cache.real_statistics(dataset, extractor, tmp_path, batch_size=16, **arguments)

    whole, few = pooled(), pooled(max_features=20)
    equal(few, pooled(max_features=20))
    assert few.pooled.shape == (20, 8)
    np.testing.assert_allclose(few.moments.scatter, whole.moments.scatter, rtol=1e-10)
    np.testing.assert_array_equal(few.pooled, whole.pooled[:20])
    # Where not all features are kept, the covariances of two halves are.
    for half, rows in zip(few.halves, (slice(25), slice(25, 50)), strict=True):
        np.testing.assert_allclose(half.mean, whole.pooled[rows].mean(0), rtol=1e-6)
        assert half.count == 25


def test_classes_are_counted_on_the_way(tmp_path):
    images = make_dataset().source.images
    dataset = data.from_arrays(images, np.repeat([0, 2], (45, 5)), class_names='abc')
    extractor, _ = make_extractor()
    for _ in range(2):  # computed, and read
        found = cache.real_statistics(dataset, extractor, tmp_path, batch_size=16, warn=refuse)
        np.testing.assert_array_equal(found.class_counts, [45, 0, 5])


def test_images_that_the_sample_does_not_show_have_another_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (100, SIZE, SIZE, 1), dtype=np.uint8)
    changed = images.copy()
    changed[1] = 255 - changed[1]
    first, second = (data.from_arrays(each, name='small') for each in (images, changed))
    known, other = map(identity.identify, (first, second))
    assert known['content'] == other['content']  # 64 of the 100 images, not this one
    before = cache.real_statistics(first, make_extractor()[0], tmp_path, warn=refuse)
    after = cache.real_statistics(second, make_extractor()[0], tmp_path, warn=refuse)
    # The mean of the features of one image moves, by a hundredth of its change.
    moved = (255 - 2 * images[1].astype(np.float64)).mean((1, 2)) / 100
    np.testing.assert_allclose(after.moments.mean - before.moments.mean, moved, atol=1e-4)
    assert before.provenance['images'] == known['fingerprint']
    assert before.provenance['fingerprint'] == 'f' * 64  # the extractor's


def test_other_images_or_features_have_other_files(tmp_path):
    base = make_dataset()
    changed = make_dataset()
    changed.source.images[0] = 255 - changed.source.images[0]
    datasets = [
        base,
        changed,
        make_dataset(count=49),
        make_dataset(name='other'),
        dataclasses.replace(base, split='test'),
    ]
    for dataset in datasets:
        cache.real_statistics(dataset, make_extractor()[0], tmp_path, warn=refuse)
    cache.real_statistics(base, make_extractor(fingerprint='0' * 64)[0], tmp_path, warn=refuse)
    cache.real_statistics(base, make_extractor(convention='other')[0], tmp_path, warn=refuse)
    assert len(list(tmp_path.iterdir())) == 7


def test_names_of_files_suit_any_system(tmp_path):
    dataset = dataclasses.replace(make_dataset(name='tfds:a/b:1.0'), split='train[:10%]')
    cache.real_statistics(dataset, make_extractor()[0], tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith('statistics-tfds_a_b_1.0-train_10_-8-')


@pytest.fixture
def written(tmp_path):
    """A cached file with what it was made of and what it holds."""
    dataset = make_dataset()
    statistics = cache.real_statistics(dataset, make_extractor()[0], tmp_path)
    (path,) = tmp_path.iterdir()
    return dataset, statistics, path


def rebuilt(written):
    """Asserts that the file is passed over, said, and replaced by a good one."""
    dataset, statistics, path = written
    said = []
    extractor, calls = make_extractor()
    equal(cache.real_statistics(dataset, extractor, path.parent, warn=said.append), statistics)
    assert calls
    assert len(said) == 1
    assert str(path) in said[0]
    assert 'computing it again' in said[0]
    equal(cache.real_statistics(dataset, extractor, path.parent, warn=refuse), statistics)
    return said[0]


@pytest.mark.parametrize('length', [0, 1, 100, 0.3, 0.9, -30, -1])
def test_a_truncated_file_is_rebuilt(written, length):
    path = written[2]
    content = path.read_bytes()
    length = int(length * len(content)) if isinstance(length, float) else length
    path.write_bytes(content[:length])
    assert 'damaged' in rebuilt(written)


def test_a_flipped_byte_is_noticed_or_changes_nothing(written):
    _, statistics, path = written
    content = path.read_bytes()
    noticed = 0
    for position in range(0, len(content), 23):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
        )
        try:
            # Some bytes of a zip archive, the time of a file for one, mean nothing to its content.
            equal(cache._load(path, statistics.provenance), statistics)
        except ValueError as error:
            assert '\n' not in str(error)  # noqa: PT017
            noticed += 1
    assert noticed > 0.8 * len(content) / 23
    path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    rebuilt(written)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'not an archive', 'damaged, or not an .npz file'),
        (b'\x93NUMPY', 'damaged, or not an .npz file'),
    ],
)
def test_a_foreign_file_is_rebuilt(written, content, message):
    written[2].write_bytes(content)
    assert message in rebuilt(written)


def test_an_npz_of_something_else_is_rebuilt(written):
    np.savez(written[2], mean=np.zeros(3))
    assert 'not written by osgan_jax' in rebuilt(written)
    np.savez(written[2], about=np.zeros(3), mean=np.zeros(3))
    assert 'not written by osgan_jax' in rebuilt(written)
    checked_npz.write(written[2], 'shopping list', 1, {}, {})
    assert 'holds the shopping list' in rebuilt(written)


def test_stale_files_are_rebuilt(written):
    dataset, statistics, path = written
    for changes, message in [
        ({'fingerprint': '0' * 64}, 'fingerprint'),
        ({'num_images': 51}, 'num_images 51, not 50'),
        ({'content': 'other'}, 'content'),
        ({'convention': 'other'}, "convention 'other', not 'means of rows'"),
    ]:
        provenance = {**statistics.provenance, **changes}
        cache._save(path, dataclasses.replace(statistics, provenance=provenance))
        assert message in rebuilt((dataset, statistics, path))
    about, arrays = checked_npz.read(path, cache.KIND, cache.FORMAT)
    checked_npz.write(path, cache.KIND, cache.FORMAT + 1, about, arrays)
    assert 'a newer version of osgan_jax' in rebuilt(written)


def test_content_that_does_not_fit_its_checksum(written):
    path = written[2]
    with np.load(path) as file:
        arrays = dict(file)
    arrays['mean'] += 1
    np.savez(path, **arrays)
    assert 'does not match its checksum' in rebuilt(written)


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    (tmp_path / 'file').touch()
    said = []
    found = cache.real_statistics(
        make_dataset(), make_extractor()[0], tmp_path / 'file' / 'cache', warn=said.append
    )
    assert found.moments.count == COUNT
    assert len(said) == 1
    assert 'cannot write' in said[0]
    cache.real_statistics(make_dataset(), make_extractor()[0], tmp_path / 'file' / 'cache')
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('warning: cannot write')


def test_two_at_once(tmp_path):
    together = threading.Barrier(2, timeout=20)

    def function(images):
        together.wait()
        return images.astype(np.float32).mean((2, 3))

    def compute(_):
        extractor, calls = make_extractor(function=function)
        found = cache.real_statistics(make_dataset(), extractor, tmp_path, warn=refuse)
        assert calls
        return found

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        equal(*pool.map(compute, range(2)))
    # Nothing temporary is left.
    assert [path.suffix for path in tmp_path.iterdir()] == ['.npz']


def test_the_first_of_two_stays(tmp_path):
    path = tmp_path / 'value'

    def build():
        path.write_text('theirs')
        return 'mine'

    found = checked_npz.reuse(
        path, load=path.read_text, build=build, save=path.write_text, warn=refuse
    )
    assert (found, path.read_text()) == ('theirs', 'theirs')


def test_an_interruption_leaves_no_file(tmp_path):
    def interrupt(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.real_statistics(make_dataset(), make_extractor(function=interrupt)[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_features_that_are_not_finite(tmp_path):
    extractor, _ = make_extractor(function=lambda images: np.full((len(images), 4), np.nan))
    with pytest.raises(ValueError, match='not finite for images 0 to 15 of small'):
        cache.real_statistics(make_dataset(), extractor, tmp_path, batch_size=16)


def test_identity_of_a_dataset():
    dataset = make_dataset(count=3)
    found = identity.identify(dataset)
    assert {key: found[key] for key in found if key != 'content'} == {
        'dataset': 'small',
        'split': 'train',
        'num_images': 3,
        'image_size': SIZE,
        'channels': 1,
    }
    assert found == identity.identify(make_dataset(count=3))
    assert found['content'] != identity.identify(make_dataset(count=3, seed=1))['content']
    labelled = data.from_arrays(dataset.source.images, [0, 1, 0], name='small')
    relabelled = data.from_arrays(dataset.source.images, [0, 1, 1], name='small')
    assert identity.identify(labelled) != identity.identify(relabelled)


def test_digest_tells_types_and_shapes_apart():
    zeros = np.zeros(4, np.uint8)
    digests = {
        checked_npz.digest(part)
        for part in (zeros, zeros.reshape(2, 2), zeros.astype(np.int8), 'a', 1)
    }
    assert len(digests) == 5
    assert checked_npz.digest(1) == hashlib.sha256(b'1\n').hexdigest()
    assert checked_npz.digest(np.zeros((0, 3))) == checked_npz.digest(np.zeros((0, 3)))
    assert checked_npz.digest(np.arange(6)[::2]) == checked_npz.digest(np.arange(0, 6, 2))


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / 'own'))
    cache.real_statistics(make_dataset(), make_extractor()[0])
    assert len(os.listdir(tmp_path / 'own')) == 1
