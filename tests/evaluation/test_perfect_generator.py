"""A perfect generator scores what one half of the real images scores against the other.

Its images are of the real distribution and none of them is in the set. Whatever order the set is
in, and however often each class occurs, a fair score cannot tell them apart.
"""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.evaluation import evaluators, score_log
from osgan_jax.evaluation.features.extractors import Extractor, Features
from osgan_jax.evaluation.metrics import registry
from osgan_jax.networks import inference

CLASSES, Z, SIZE, SAMPLES = 10, 4, 8, 300
# The mean brightness of each quarter of a class's images.
MEANS = np.random.default_rng(3).uniform(-0.7, 0.7, (CLASSES, Z)).astype(np.float32)


def draw(z, labels, means=MEANS):
    """Images `[N, 8, 8, 1]` of the distribution: quarters about their class's brightness."""
    quarters = (means[labels] + 0.1 * z).reshape(-1, 2, 2, 1)
    return quarters.repeat(4, 1).repeat(4, 2)


class Perfect(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels, *, train):
        return draw(z, labels, jnp.asarray(MEANS))


GAN = types.SimpleNamespace(
    network=types.SimpleNamespace(has_styles=False, latents=None),
    generator=Perfect(),
    latent_dim=Z,
    image_shape=(SIZE, SIZE, 1),
    num_classes=CLASSES,
)


@jax.jit
def _see(images):
    quarters = images.astype(jnp.float32)[:, ::4, ::4, 0].reshape(-1, Z) / 127.5 - 1
    distances = jnp.sum((quarters[:, None] - MEANS) ** 2, -1)
    return Features(quarters, -20 * distances)


EXTRACTOR = Extractor('classifier', 'quarters', 'f00d', _see)


def dataset(order, shares):
    """Twice as many images as are drawn, so that a half has as many as the generator makes."""
    counts = np.round(np.array(shares) * 2 * SAMPLES).astype(int)
    labels = np.repeat(np.arange(CLASSES), counts)
    rng = np.random.default_rng(7)
    if order == 'drawn':
        rng.shuffle(labels)
    images = draw(rng.standard_normal((len(labels), Z)).astype(np.float32), labels)
    return data.from_arrays(np.uint8(np.clip(127.5 * images + 128, 0, 255)), labels)


BALANCED, UNEVEN = [0.1] * CLASSES, [0.82] + [0.02] * (CLASSES - 1)


@pytest.mark.parametrize('order', ['sorted', 'drawn'])
@pytest.mark.parametrize('shares', [BALANCED, UNEVEN], ids=['balanced', 'uneven'])
def test_a_perfect_generator_scores_what_halves_of_the_real_images_score(order, shares, tmp_path):
    real = dataset(order, shares)
    options = {'metrics': registry.names(), 'num_samples': SAMPLES, 'cache_dir': tmp_path}
    scored = evaluators.Evaluator(GAN, real, EXTRACTOR, **options)
    found = scored({})
    halves = {name: half['value'] for name, half in scored.halves.items()}
    # Two classes may be alike; nobody asks for a real image by its class.
    assert found.pop('classifier_gan_test') > 0.9
    assert halves.keys() == found.keys()
    assert {half['count'] for half in scored.halves.values()} == {SAMPLES}
    assert found['classifier_fd'] < 3 * halves['classifier_fd'] < 0.05
    assert abs(found['classifier_kd'] - halves['classifier_kd']) < 0.01
    assert found['classifier_is'] == pytest.approx(halves['classifier_is'], rel=0.1)
    for name in ('classifier_precision', 'classifier_recall'):
        assert found[name] == pytest.approx(halves[name], abs=0.08)
    if shares is UNEVEN:
        # The same generator, asked for another mixture of classes than the real images are.
        evenly = evaluators.Evaluator(GAN, real, EXTRACTOR, label_policy='uniform', **options)
        assert evenly.about == {**scored.about, 'label_policy': 'uniform'}
        assert evenly({})['classifier_fd'] > 20 * halves['classifier_fd']


class Swapped(nn.Module):
    """It draws every class, and two of them for each other."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels, *, train):
        return draw(z, jnp.array([1, 0, *range(2, CLASSES)])[labels], jnp.asarray(MEANS))


def test_classes_that_are_drawn_for_each_other_show_within_classes(tmp_path):
    gan = types.SimpleNamespace(**{**vars(GAN), 'generator': Swapped()})
    options = {'metrics': ('fid', 'is'), 'num_samples': SAMPLES, 'cache_dir': tmp_path}
    done = []
    scored = evaluators.Evaluator(
        gan,
        dataset('sorted', BALANCED),
        EXTRACTOR,
        by_class=True,
        class_progress=lambda *parts: done.append(parts),
        **options,
    )
    found = scored({})
    assert found['classifier_fd'] < 0.05
    classes = found['per_class']
    assert sum(of_class['num_fake'] for of_class in classes.values()) == SAMPLES
    assert all(of_class['num_real'] == 2 * SAMPLES // CLASSES for of_class in classes.values())
    for name, of_class in classes.items():
        assert (of_class['classifier_fd'] > 0.3) == (name in ('0', '1'))
        assert of_class['diversity'] == pytest.approx(1, abs=0.3)
    assert done[-1] == (CLASSES, CLASSES)
    assert 'per_class' in scored.names
    # The record keeps it, and it is not taken for a score.
    score_log.write(tmp_path, scored.entry(5, None, found))
    assert score_log.read(tmp_path)[0]['per_class'] == classes
    assert 'per_class' not in score_log.metric_names(found)


def test_scores_within_classes_need_labels(tmp_path):
    gan = types.SimpleNamespace(**{**vars(GAN), 'num_classes': 0})
    with pytest.raises(
        ValueError, match='scores per class need labels: the generator was trained with 0'
    ):
        evaluators.Evaluator(gan, dataset('drawn', BALANCED), EXTRACTOR, by_class=True)


class Noisy(nn.Module):
    """Its images are its noise."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels, *, train):
        return jax.random.normal(self.make_rng('style'), (len(z), SIZE, SIZE, 1))


def test_noise_is_drawn_for_each_image_by_the_seed(tmp_path):
    real = dataset('drawn', BALANCED)
    gan = types.SimpleNamespace(**{**vars(GAN), 'generator': Noisy(), 'num_classes': 0})

    def images(seed, start):
        options = {'num_samples': 30, 'seed': seed, 'batch_size': 10, 'cache_dir': tmp_path}
        return evaluators.Evaluator(gan, real, EXTRACTOR, **options)._samples.images({}, start)

    drawn = np.concatenate([images(0, 0), images(0, 10), images(1, 0)])
    assert len({image.tobytes() for image in drawn}) == 30
    np.testing.assert_array_equal(images(0, 10), drawn[10:20])


def test_labels_are_drawn_as_often_as_asked_for():
    key = jax.random.key(0)
    labels = inference.draw_labels(key, 20_000, 4, [90, 0, 9, 1])
    shares = np.bincount(labels, minlength=4) / 20_000
    # Three deviations of a share of 20,000 are 0.006.
    np.testing.assert_allclose(shares, [0.9, 0, 0.09, 0.01], atol=0.007)
    assert shares[1] == 0
    evenly = np.bincount(inference.draw_labels(key, 20_000, 4), minlength=4) / 20_000
    np.testing.assert_allclose(evenly, 0.25, atol=0.01)


def test_a_generator_of_other_classes_cannot_follow_the_labels(tmp_path):
    few = data.from_arrays(np.zeros((80, SIZE, SIZE, 1), np.uint8), np.arange(80) % 2)
    options = {'num_samples': 30, 'cache_dir': tmp_path}
    with pytest.raises(
        ValueError, match=r'trained with 10 classes and the dataset has 2, .*=uniform'
    ):
        evaluators.Evaluator(GAN, few, EXTRACTOR, **options)


def test_halves_are_kept(tmp_path, monkeypatch):
    real = dataset('sorted', BALANCED)
    options = {'metrics': ('fid', 'is'), 'num_samples': SAMPLES, 'cache_dir': tmp_path}
    first = evaluators.Evaluator(GAN, real, EXTRACTOR, **options).halves
    for metric in map(registry.get, registry.names()):
        monkeypatch.setitem(
            registry._METRICS, metric.name, metric.__class__(**{**vars(metric), 'compute': None})
        )
    assert evaluators.Evaluator(GAN, real, EXTRACTOR, **options).halves == first


def test_what_so_few_real_images_do_not_define_is_left_out(tmp_path):
    real = data.from_arrays(
        np.zeros((3, SIZE, SIZE, 1), np.uint8), np.arange(3), class_names='abcdefghij'
    )
    few = evaluators.Evaluator(
        GAN, real, EXTRACTOR, metrics=('fid', 'pr'), num_samples=30, cache_dir=tmp_path
    )
    assert few.names == ('classifier_fd',)
    assert few.left_out == 'Left out: pr, for it takes 4 real images, and there are 3.'


def test_scores_of_few_images_are_warned_of_with_what_halves_score(tmp_path):
    real = dataset('drawn', BALANCED)
    few = evaluators.Evaluator(
        GAN, real, EXTRACTOR, metrics=('fid', 'is'), num_samples=30, cache_dir=tmp_path
    )
    half = few.halves['classifier_fd']
    assert half['count'] == 30
    assert few.few.startswith(
        'too few images for a reliable score: 30 samples for classifier_fd (1,000 or more), '
        'classifier_is (5,000 or more); 600 real images for classifier_fd (1,000 or more); '
        f'one half of the real images scores classifier_fd {half["value"]:.4g} (30 images)'
    )
    # More than there are for two halves: the largest ones, and their number.
    many = evaluators.Evaluator(
        GAN, real, EXTRACTOR, metrics=('fid',), num_samples=5_000, cache_dir=tmp_path
    )
    assert many.halves['classifier_fd']['count'] == SAMPLES
