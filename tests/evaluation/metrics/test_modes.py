"""Modes against sets whose classes are known, and the digits classifier on every channel."""

import math

import jax
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.evaluation import evaluators, score_text
from osgan_jax.evaluation.features import by_channel, classifier, extractors
from osgan_jax.evaluation.metrics import modes, registry

UNIFORM = np.full(1000, 50)


def logits(classes, num_classes=1000):
    """Logits whose greatest are those of given classes."""
    return 5 * np.eye(num_classes, dtype=np.float32)[classes]


@pytest.mark.parametrize(
    ('classes', 'expected'),
    [
        # Uniform shares q = p: nothing diverges.
        (np.arange(1000), (1000, 0.0)),
        # q = 1/10 on ten classes of p = 1/1000 each: log 100.
        (np.arange(10).repeat(26), (10, math.log(100))),
        # One class: log 1000.
        (np.full(7, 3), (1, math.log(1000))),
        # Half of them twice as often: sum of 500 times 1/500 log(2).
        (np.arange(0, 1000, 2), (500, math.log(2))),
    ],
    ids=['all', 'ten', 'one', 'half'],
)
def test_known_sets(classes, expected):
    assert modes.modes(logits(classes), UNIFORM) == pytest.approx(expected, abs=1e-12)


def test_data_that_are_not_uniform_are_what_is_compared_with():
    # q = (1/2, 1/2, 0), p = (3/4, 1/8, 1/8): 1/2 log(2/3) + 1/2 log 4.
    found = modes.modes(logits([0, 1], 3), np.array([6, 1, 1]))
    assert found == pytest.approx((2, 0.5 * math.log(8 / 3)))
    # A class that no real image has is not a mode, and is infinitely unlikely.
    assert modes.modes(logits([0, 2], 3), np.array([1, 1, 0])) == (1, math.inf)


def test_a_fair_sample_has_all_modes_and_the_reverse_kl_of_chance():
    drawn = np.random.default_rng(0).integers(0, 1000, 26_000)
    found, divergence = modes.modes(logits(drawn), UNIFORM)
    assert found == 1000
    # (K - 1) / 2N, whose deviation over draws is sqrt((K - 1) / 2) / N.
    assert divergence == pytest.approx(999 / 52_000, abs=4 * math.sqrt(999 / 2) / 26_000)


def test_logits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r'classifier of the 1000 classes .* are \[2, 1008\]'):
        modes.modes(np.zeros((2, 1008)), UNIFORM)
    with pytest.raises(ValueError, match='not finite'):
        modes.modes(np.full((2, 1000), np.nan), UNIFORM)


def test_modes_rise_and_their_divergence_falls():
    metric = registry.get('modes')
    assert metric.names('classifier') == ('classifier_modes', 'classifier_reverse_kl')
    assert score_text.direction('classifier_modes') == 'higher'
    assert score_text.direction('classifier_reverse_kl') == 'lower'
    assert score_text.direction('classifier_recall') == 'higher'


def test_channels_are_judged_by_themselves():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 10)).astype(np.float32)

    def see(images):
        pooled = images.reshape(-1, 4).astype(np.float32) / 255
        return extractors.Features(jax.numpy.asarray(pooled), jax.numpy.asarray(pooled @ weights))

    single = extractors.Extractor('classifier', 'pixels', 'f00d', see)
    images = rng.integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    seen = by_channel.extractor(single).apply(images)
    channels = [see(images[..., c]) for c in range(3)]
    np.testing.assert_array_equal(seen.pooled, np.hstack([c.pooled for c in channels]))
    probability = [np.asarray(jax.nn.softmax(c.logits)) for c in channels]
    joint = np.einsum('ni,nj,nk->nijk', *probability).reshape(5, 1000)
    np.testing.assert_allclose(jax.nn.softmax(seen.logits), joint, rtol=1e-5)
    places = np.stack([np.argmax(c.logits, 1) for c in channels]).T @ [100, 10, 1]
    np.testing.assert_array_equal(np.argmax(seen.logits, 1), places)
    assert by_channel.extractor(single).fingerprint != single.fingerprint


def test_real_stacks_have_their_modes_by_a_digits_classifier(monkeypatch):
    """What real images score is the bound of what a generator can."""
    dataset = data.load('stacked_digits', image_size=8)
    digits = dataset.stack_of

    # Linear least squares, in the place of a network that takes half a minute.
    rows, truth = digits.source.gather(np.arange(len(digits)))
    flat = lambda images: np.c_[images.reshape(-1, 64) / 255.0, np.ones(len(images))]  # noqa: E731
    weights = np.linalg.lstsq(flat(rows), np.eye(10)[truth], rcond=None)[0]

    def see(images):
        pooled = flat(np.asarray(images))
        return extractors.Features(jax.numpy.asarray(pooled), jax.numpy.asarray(pooled @ weights))

    single = extractors.Extractor('classifier', 'linear', 'f00d', see)
    asked = []
    monkeypatch.setattr(classifier, 'trained_for', lambda data, *_, **__: asked.append(data.name))
    monkeypatch.setattr(classifier, 'extractor', lambda _: single)
    extractor = evaluators.extractor_for(dataset)
    assert asked == ['digits']

    counts = dataset.class_counts()
    images, labels = dataset.source.gather(np.arange(6_000))
    found = np.asarray(extractor.apply(images).logits)
    # Three digits right at 0.95 each are 0.86 together.
    assert (found.argmax(1) == labels).mean() > 0.8
    count, divergence = modes.modes(found, counts)
    assert count > 990
    # Of 6,000 of 50,000 images, chance alone makes 999 / 12,000 times 44 / 50, and K^2 / 12 N^2 in
    # the second order, which is 0.076; its deviation over draws is 0.0033.
    chance = modes.modes(logits(labels), counts)[1]
    assert chance == pytest.approx(0.076, abs=0.01)
    assert divergence == pytest.approx(chance, abs=0.04)
    one = np.repeat(images[:1], 3, 0)
    assert modes.modes(extractor.apply(one).logits, counts) == (1, pytest.approx(math.log(1000)))
