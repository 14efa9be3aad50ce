"""Two sets without a run: folders, archives, arrays, statistics, and what goes together."""

import dataclasses
import zipfile

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import images
from osgan_jax.evaluation import comparison, per_class
from osgan_jax.evaluation.features import cache, moments_file
from osgan_jax.evaluation.features.extractors import Extractor, Features
from osgan_jax.evaluation.metrics import frechet, moments, precision_recall, registry
from tests.support import quarters

SEEN = []


def _see(batch):
    SEEN.append(len(batch))
    return quarters.see(batch)


EXTRACTOR = Extractor('inception', 'torch', 'f00d', _see, image_size=8)
METRICS = ('fid', 'kid', 'is', 'pr')
CLASSES = ('cat', 'dog')


def pictures(count, seed, size=8):
    """Dogs are brighter; half of either."""
    labels = np.arange(count) * 2 // count
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 156, (count, size, size, 3)) + 100 * labels[:, None, None, None]
    ).astype(np.uint8), labels


def write(folder, count, seed, size=8, classes=CLASSES):
    for index, (image, label) in enumerate(zip(*pictures(count, seed, size), strict=True)):
        path = folder / classes[label] / f'{index:03}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.to_png(image))
    return folder


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """Real images as a folder, others as folder, zip and npz."""
    root = tmp_path_factory.mktemp('sets')
    write(root / 'real', 40, seed=0)
    write(root / 'fake', 30, seed=1)
    with zipfile.ZipFile(root / 'fake.zip', 'w') as archive:
        for path in (root / 'fake').rglob('*.png'):
            archive.write(path, path.relative_to(root / 'fake'))
    x, labels = pictures(30, seed=1)
    np.savez(root / 'fake.npz', images=x, labels=labels, class_names=CLASSES)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / 'cache'))


def compare(real, fake, extractor=EXTRACTOR, **options):
    warned = []
    options = {'metrics': METRICS, 'batch_size': 16, **options}
    entry = comparison.compare(real, fake, extractor, warn=warned.append, **options)
    return entry, warned


def test_scores_are_those_of_the_images_whatever_holds_them(sets):
    real = comparison.open_set(sets / 'real')
    assert comparison.describe(real) == 'real (train): 40 images of 8x8 pixels, 2 classes'
    features = [
        np.asarray(_see(pictures(count, seed)[0]).pooled) for count, seed in ((40, 0), (30, 1))
    ]
    distance = frechet.frechet_distance(*map(moments.of, features))
    del SEEN[:]
    entries = []
    for name in ('fake', 'fake.zip', 'fake.npz'):
        done = []
        fake = comparison.open_set(sets / name)
        entry, warned = compare(real, fake, progress=lambda *parts, done=done: done.append(parts))
        assert done == [(0, 30), (16, 30), (30, 30)]
        assert entry['fid'] == pytest.approx(distance, rel=1e-5)
        assert (entry['num_real'], entry['num_samples']) == (40, 30)
        assert entry['fake']['dataset'] == name
        assert entry['halves']['fid']['count'] == 20
        assert (
            'too few images for a reliable score: 30 samples for fid (1,000 or more), kid'
            in warned[0]
        )
        entries.append(entry)
    # Real images once, and then their statistics are known.
    assert sum(SEEN) == 40 + 3 * 30
    assert max(SEEN) <= 40
    for entry in entries[1:]:
        assert {**entry, 'fake': None} == {**entries[0], 'fake': None}
    # As many of either; the real ones are those that come first in the order that is drawn.
    chosen = features[0][cache.drawn(40)[:30]]
    precision, recall = precision_recall.precision_recall(chosen, features[1])
    assert (entries[0]['precision'], entries[0]['recall']) == (precision, recall)


def test_a_set_that_is_sorted_is_taken_in_an_order_that_is_drawn(sets, monkeypatch):
    monkeypatch.setattr(registry, 'MAX_FEATURES', 10)
    real, fake = (comparison.open_set(sets / name) for name in ('real', 'fake'))
    entry, _ = compare(real, fake, metrics=('pr',), by_class=True)
    counts = [entry['per_class'][name]['num_fake'] for name in CLASSES]
    assert sum(counts) == 10
    assert min(counts) > 0


def test_classes_are_matched_by_name(sets, tmp_path):
    real = comparison.open_set(sets / 'real')
    same, _ = compare(real, comparison.open_set(sets / 'fake'), by_class=True)
    x, labels = pictures(30, seed=1)
    names = ('ant', 'dog', 'cat')
    np.savez(tmp_path / 'b.npz', images=x, labels=2 - labels, class_names=names)
    opened = comparison.open_set(tmp_path / 'b.npz')
    assert ('empty', 'ant has no images and is not a class') in opened.remarks()
    other, _ = compare(real, opened, by_class=True)
    assert other['per_class'] == same['per_class']
    few = np.where(labels == 1, 1, 2 * (np.arange(30) % 2))
    np.savez(tmp_path / 'b.npz', images=x, labels=few, class_names=names)
    _, warned = compare(real, comparison.open_set(tmp_path / 'b.npz'), by_class=True)
    assert 'b.npz has classes that real has not: ant.' in warned
    assert len(per_class.lines(same['per_class'])) == 4


def test_gan_test_asks_for_the_class_of_the_name(sets, tmp_path):
    real = comparison.open_set(sets / 'real')
    x, labels = pictures(30, seed=1)

    def judge(batch):  # as a classifier of the real images: dogs are brighter
        bright = np.asarray(batch, np.float32).mean((1, 2, 3))
        return Features(quarters.see(batch).pooled, np.stack([0 * bright, bright - 127.5], 1))

    trained = Extractor('classifier', 'c', 'f00d', judge, image_size=8)
    wrong = labels.copy()
    wrong[:6] = 1
    for given, expected in ((labels, 1), (wrong, 0.8)):
        np.savez(tmp_path / 'b.npz', images=x, labels=1 - given, class_names=('dog', 'cat'))
        other = comparison.open_set(tmp_path / 'b.npz')
        entry, _ = compare(real, other, trained, metrics=('gan_test',))
        assert entry['classifier_gan_test'] == pytest.approx(expected)
    np.savez(tmp_path / 'b.npz', images=x)
    unlabelled = comparison.open_set(tmp_path / 'b.npz')
    _, said = comparison.choose(('fid', 'gan_test'), real, unlabelled, trained)
    assert said == 'Left out: gan_test, for the images have no labels.'


def test_statistics_have_no_classes(sets, tmp_path):
    moments_file.write(tmp_path / 's.npz', moments.of(np.eye(8)), {})
    real, fake = comparison.open_set(tmp_path / 's.npz'), comparison.open_set(sets / 'fake')
    with pytest.raises(ValueError, match=r'with labels, and \S*s\.npz holds mean and covariance'):
        comparison.choose(('fid',), real, fake, EXTRACTOR, by_class=True)


def test_metrics_that_so_few_images_do_not_define_are_left_out(sets):
    real = comparison.open_set(sets / 'real')
    few = data.from_arrays(pictures(3, seed=1)[0], name='few')
    entry, _ = compare(real, few, metrics=('fid', 'is', 'pr'))
    assert {'fid'} == {'fid', 'is', 'precision'} & entry.keys()
    said = comparison.choose(METRICS, real, few, EXTRACTOR)[1]
    assert 'is, for it takes 20 images, and there are 3' in said
    assert 'pr, for it takes 4 images, and there are 3' in said
    # The inception score reads no real images.
    chosen, said = comparison.choose(('is', 'pr'), few, real, EXTRACTOR)
    assert [metric.name for metric in chosen] == ['is']
    assert said == 'Left out: pr, for it takes 4 real images, and there are 3.'


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'class_names': ('a', 'b')}, 'real has the classes cat, dog, and b.npz a, b: scores per'),
        ({'labels': None}, r'scores per class need images with labels, and b\.npz has none'),
    ],
)
def test_classes_that_differ_are_refused(sets, tmp_path, fields, message):
    x, labels = pictures(30, seed=1)
    arrays = {'images': x, 'labels': labels, **fields}
    np.savez(tmp_path / 'b.npz', **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=message):
        compare(
            comparison.open_set(sets / 'real'),
            comparison.open_set(tmp_path / 'b.npz'),
            by_class=True,
        )


def test_statistics_stand_for_images_where_the_frechet_distance_is_asked_for(sets, tmp_path):
    real, fake = (comparison.open_set(sets / name) for name in ('real', 'fake'))
    comparison.save_statistics(tmp_path / 'real.npz', real, EXTRACTOR)
    comparison.save_statistics(tmp_path / 'fake.npz', fake, EXTRACTOR)
    saved = [comparison.open_set(tmp_path / name) for name in ('real.npz', 'fake.npz')]
    assert 'mean and covariance of the features of 40 images' in comparison.describe(saved[0])
    expected = compare(real, fake)[0]['fid']
    # A classifier's logits are of the real images' classes, which are not saved.
    trained = dataclasses.replace(EXTRACTOR, name='classifier')
    chosen, said = comparison.choose((*METRICS, 'modes'), saved[0], fake, trained)
    assert [metric.name for metric in chosen] == ['fid', 'is']
    left_out = 'Left out: kid, pr, modes, for mean and covariance tell nothing of single images.'
    assert said == left_out
    entry, _ = compare(saved[0], fake)
    assert entry['fid'] == pytest.approx(expected, rel=1e-9)
    assert (entry['dataset'], entry['num_real'], entry['halves']) == ('real', 40, {})
    # Of two files of statistics, which say whose features they are of.
    entry, warned = compare(*saved, extractor=None)
    assert entry['fid'] == pytest.approx(expected, rel=1e-5)  # batches of another size
    assert (entry['extractor'], entry['fingerprint']) == ('inception', 'f00d')
    assert not warned
    with pytest.raises(ValueError, match='metrics: nothing is left to compute without kid, pr'):
        comparison.choose(('kid', 'pr'), *saved, None)


def test_what_a_file_of_statistics_does_not_say_is_said(sets, tmp_path):
    fake = comparison.open_set(sets / 'fake')
    mu, sigma = np.zeros(4), np.eye(4)
    np.savez(tmp_path / 'theirs.npz', mu=mu, sigma=sigma)
    theirs = comparison.open_set(tmp_path / 'theirs.npz')
    entry, (said,) = compare(theirs, fake)
    assert 'theirs.npz does not say whose features it is of; with 4 of them' in said
    assert said.endswith('it is taken for inception, by convention torch.')
    assert (entry['num_real'], entry['num_samples']) == (None, 30)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'convention': 'clean'}, 'has features of convention torch and the images of clean'),
        ({'fingerprint': 'beef'}, 'has features of fingerprint f00d and the images of beef'),
        ({'name': 'dinov2'}, 'has features of extractor inception and the images of dinov2'),
    ],
)
def test_features_of_another_kind_are_refused(sets, tmp_path, change, message):
    real, fake = (comparison.open_set(sets / name) for name in ('real', 'fake'))
    comparison.save_statistics(tmp_path / 'real.npz', real, EXTRACTOR)
    other = dataclasses.replace(EXTRACTOR, **change)
    with pytest.raises(ValueError, match=rf'real\.npz {message}'):
        compare(comparison.open_set(tmp_path / 'real.npz'), fake, other, metrics=('fid',))


def test_features_of_another_number_are_refused(sets, tmp_path):
    moments_file.write(tmp_path / 'a.npz', moments.of(np.eye(5)), {})
    with pytest.raises(ValueError, match=r'4 features of inception and 5 features of .*a\.npz'):
        compare(comparison.open_set(tmp_path / 'a.npz'), comparison.open_set(sets / 'fake'))


def test_sizes_may_differ_where_the_extractor_resizes(sets, tmp_path):
    real = comparison.open_set(sets / 'real')
    larger = comparison.open_set(write(tmp_path / 'larger', 8, seed=2, size=16))
    said = comparison.describe_sizes(real, larger, EXTRACTOR)
    assert said.startswith('Real and fake images are of 8x8 and 16x16 pixels; for their features')
    assert comparison.describe_sizes(real, real, EXTRACTOR) is None
    whole = dataclasses.replace(EXTRACTOR, image_size=None)
    with pytest.raises(ValueError, match=r'does not resize images: .* --image_size'):
        compare(real, larger, whole)
    assert comparison.open_set(tmp_path / 'larger', image_size=8).image_size == 8


def test_images_of_several_sizes_need_one(tmp_path):
    folder = write(write(tmp_path / 'a', 4, seed=0), 4, seed=0, size=12, classes=('x', 'y'))
    with pytest.raises(ValueError, match=r'have 2 sizes, from 8x8 to 12x12: .*--image_size=8'):
        comparison.open_set(folder)
    assert len(comparison.open_set(folder, image_size=8)) == 8


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file or folder .*none: expected a folder'):
        comparison.open_set(tmp_path / 'none')
    digits = comparison.open_set('digits', split='test')
    assert isinstance(digits, data.Dataset)
    assert len(digits) == 297


def test_features_without_logits_have_no_inception_score(sets):
    real, fake = (comparison.open_set(sets / name) for name in ('real', 'fake'))
    dinov2 = Extractor(
        'dinov2', 'torch', 'd1', lambda x: Features(_see(x).pooled, None), has_logits=False
    )
    entry, _ = compare(real, fake, dinov2)
    assert entry['fd_dinov2'] == pytest.approx(compare(real, fake)[0]['fid'], rel=1e-6)
    assert not [name for name in entry if name.startswith('is')]
