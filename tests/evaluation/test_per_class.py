"""Scores within classes, against those of each class alone."""

import numpy as np
import pytest

from osgan_jax.evaluation import per_class
from osgan_jax.evaluation.metrics import (
    frechet,
    kernel,
    moments,
    precision_recall,
    registry,
)

NAMES = ('cat', 'dog', 'rare', 'none')
METRICS = registry.select(('fid', 'kid', 'is', 'pr'))[0]


def make(features, seed=0):
    """Features and labels of forty cats, thirty dogs, two rare ones."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0] * 40 + [1] * 30 + [2] * 2)
    spread = np.where(labels == 1, 2.0, 1.0)[:, None]
    return (rng.normal(size=(72, features)) * spread + labels[:, None]).astype(np.float32), labels


def score(real, fake, **options):
    return per_class.scores(
        *real, *fake, metrics=METRICS, extractor='classifier', class_names=NAMES, **options
    )


# Fewer dimensions than images of a class, and more: then they are rotated into a few.
@pytest.mark.parametrize('features', [5, 100])
def test_a_class_is_scored_as_if_it_were_alone(features):
    real, fake = make(features), make(features, seed=1)
    values = score(real, fake)
    for label, name in enumerate(('cat', 'dog')):
        ours, theirs = real[0][real[1] == label], fake[0][fake[1] == label]
        precision, recall = precision_recall.precision_recall(ours, theirs)
        expected = {
            'num_real': len(ours),
            'num_fake': len(theirs),
            'classifier_fd': frechet.frechet_distance(moments.of(ours), moments.of(theirs)),
            'classifier_kd': kernel.kernel_distance(ours, theirs)[0],
            'classifier_precision': precision,
            'classifier_recall': recall,
            'diversity': np.sqrt(theirs.var(0, ddof=1).sum() / ours.var(0, ddof=1).sum()),
        }
        found = {key: values[name][key] for key in expected}
        assert found == pytest.approx(expected, rel=1e-5)
        half = len(ours) // 2
        between = frechet.frechet_distance(
            moments.of(ours[:half]), moments.of(ours[half : 2 * half])
        )
        assert values[name]['halves']['classifier_fd'] == {
            'value': pytest.approx(between, rel=1e-5),
            'count': half,
        }
        # It tells classes apart, and there is one.
        assert 'classifier_is' not in values[name]


def test_a_class_that_collapsed_shows_it():
    real, fake = make(5), make(5, seed=1)
    fake[0][fake[1] == 0] = real[0][0]
    values = score(real, fake)
    assert values['cat']['diversity'] == 0
    assert values['dog']['diversity'] > 0.7
    assert (
        values['cat']['classifier_recall'] < values['cat']['halves']['classifier_recall']['value']
    )


def test_classes_of_too_few_images_are_named():
    done = []
    values = score(make(5), make(5, seed=1), progress=lambda *parts: done.append(parts))
    assert values['rare'] == {'num_real': 2, 'num_fake': 2}
    assert per_class.too_few(values) == ['rare', 'none']
    text = per_class.lines(values)
    assert text[-1] == 'Not scored, for fewer than 4 images: rare, none'
    assert [line.split()[0] for line in text[1:4]] == ['class', 'cat', 'dog']
    assert text[1].split()[-1] == 'diversity'
    assert done == [(count, 4) for count in range(5)]
    assert per_class.lines({}) == []
