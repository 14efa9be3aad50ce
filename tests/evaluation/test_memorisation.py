"""A generator that returns training images is noticed, one that returns held-out images is not."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from osgan_jax import data
from osgan_jax.data import digits
from osgan_jax.evaluation import memorisation
from osgan_jax.evaluation.features import extractors

IMAGES, LABELS = digits.arrays('all')
ORDER = np.random.default_rng(0).permutation(len(IMAGES))
IMAGES, LABELS = IMAGES[ORDER], LABELS[ORDER]
TRAINING = data.from_arrays(IMAGES[:1200], LABELS[:1200], name='digits')
HELD_OUT = IMAGES[1200:]
RNG = np.random.default_rng(1)
PIXELS = memorisation.pixels()


def _find(images, **options):
    return memorisation.find(np.asarray(images, np.uint8), TRAINING, PIXELS, **options)


def test_held_out_images_are_as_near_as_training_images_are_to_each_other():
    found = _find(HELD_OUT)
    assert found.real_copies == pytest.approx(0.05, abs=0.001)
    # Of 597 images; the deviation of 5% of them is 0.9%.
    assert found.copies == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize('held_out', [None, HELD_OUT])
@pytest.mark.parametrize('noise', [0, 10])
def test_copies_are_found(noise, held_out):
    copies = IMAGES[:100] + RNG.normal(0, noise, IMAGES[:100].shape)
    found = _find(copies.clip(0, 255), held_out=held_out)
    assert found.copies == 1
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(100))
    if not noise:
        np.testing.assert_array_equal(found.relative, 0)
    half = _find(np.concatenate([IMAGES[:50], HELD_OUT[:50]]), held_out=held_out)
    assert half.copies == pytest.approx(0.525, abs=0.05)


@pytest.mark.parametrize(
    'images',
    [
        # Nearer to everything than any real image is, and to nothing in particular.
        (IMAGES[:100].astype(float) + IMAGES[100:200] + IMAGES[200:300]) / 3,
        np.broadcast_to(IMAGES.mean(0), (100, 8, 8, 1)),
        RNG.integers(0, 256, (100, 8, 8, 1)),
    ],
    ids=['mixtures', 'mean', 'noise'],
)
def test_what_is_blurred_is_no_copy(images):
    assert _find(images).copies == 0


def test_nearest_are_those_of_all_distances():
    """Whatever the batches, and of the training images themselves not the image itself."""
    points = IMAGES.reshape(len(IMAGES), -1) / 255.0
    distances = np.sqrt(((points[1200:1210, None] - points[None, :1200]) ** 2).sum(-1))
    rows = np.argsort(distances, axis=1)[:, :20]
    for batch_size in (256, 1200, 7):
        found = _find(IMAGES[1200:1210], batch_size=batch_size)
        np.testing.assert_array_equal(found.rows, rows)
        nearest = np.take_along_axis(distances, rows, axis=1)
        np.testing.assert_allclose(found.relative, nearest[:, 0] / nearest.mean(1), rtol=1e-4)


def test_a_training_image_is_not_its_own_nearest():
    few = data.from_arrays(IMAGES[:100], name='few')
    points = IMAGES[:100].reshape(100, -1) / 255.0
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(-1)) + np.diag([np.inf] * 100)
    nearest = np.sort(distances, axis=1)[:, :20]
    limit = np.quantile(nearest[:, 0] / nearest.mean(axis=1), 0.05)
    found = memorisation.find(IMAGES[:10], few, PIXELS, batch_size=32)
    assert found.limit == pytest.approx(limit, rel=1e-4)
    assert found.real_copies == 0.05


def test_a_set_of_doubles_has_no_copies_to_speak_of():
    doubled = data.from_arrays(np.repeat(IMAGES[:300], 2, axis=0), name='doubled')
    found = memorisation.find(IMAGES[:50], doubled, PIXELS)
    assert found.real_copies == 1  # every real image is one


def test_pixels_are_reduced_and_kept():
    assert PIXELS.apply(IMAGES[:2]).pooled.shape == (2, 64)
    large = np.repeat(np.repeat(IMAGES[:2], 8, axis=1), 8, axis=2)
    # A grey of 8 pixels a side is 2 of 16.
    reduced = np.asarray(PIXELS.apply(large).pooled).reshape(2, 16, 16)
    assert np.abs(reduced[:, ::2, ::2].mean() - IMAGES[:2].mean() / 255) < 0.02
    with pytest.raises(ValueError, match='pixels takes uint8'):
        PIXELS.apply(np.zeros((1, 8, 8, 1)))


def test_two_images_are_nothing_to_compare_with():
    two = data.from_arrays(IMAGES[:2], name='two')
    with pytest.raises(ValueError, match='two has 2 images'):
        memorisation.find(IMAGES[:2], two, PIXELS)


class _Returns(nn.Module):
    """Returns images of a table, one a latent."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels=None, train=False):
        table = self.param('table', lambda _: jnp.zeros((200, 8, 8, 1)))
        chosen = jnp.abs(z[:, 0] * 1e4).astype(int) % 200
        return table[chosen]


@pytest.mark.parametrize(('source', 'noticed'), [(IMAGES[:200], True), (HELD_OUT[:200], False)])
def test_a_generator_that_returns_training_images_is_noticed(source, noticed, tmp_path):
    gan = types.SimpleNamespace(
        network=types.SimpleNamespace(latents=None),
        generator=_Returns(),
        latent_dim=2,
        num_classes=0,
        image_shape=(8, 8, 1),
    )
    warnings, seen = [], []
    search = memorisation.NearestTraining(
        gan,
        TRAINING,
        num_samples=150,
        batch_size=100,
        sheet=tmp_path / 'sheet.png',
        progress=lambda done, total: seen.append((done, total)),
        warn=warnings.append,
    )
    values = search({'params': {'table': jnp.asarray(source / 127.5 - 1)}})
    assert search.names == ('pixels_copies',)
    (copies,) = values.values()
    assert (copies == 1) if noticed else (copies < 0.15)
    assert len(warnings) == noticed
    if noticed:
        assert '100% of the samples are as near to one training image as 5% of these' in warnings[0]
        assert 'sheet.png shows them' in warnings[0]
    assert seen[-1] == (1200, 1200)
    entry = search.entry(3, None, values)
    assert (entry['extractor'], entry['num_samples'], entry['num_real']) == ('pixels', 150, 1200)
    with Image.open(tmp_path / 'sheet.png') as image:
        assert image.size == (6 * 66 + 2, 12 * 66 + 2)
        pixels = np.asarray(image)
    sample, nearest = pixels[2:66, 2:66], pixels[2:66, 68:132]
    assert np.array_equal(sample, nearest) == noticed


def test_features_are_an_extractors():
    """Here of which only the mean counts: images of one mean are copies."""
    mean = extractors.Extractor(
        'inception',
        'mean',
        'f00d',
        lambda images: extractors.Features(
            images.mean((1, 2, 3), keepdims=True)[:, 0, 0].astype(np.float32), None
        ),
    )
    turned = IMAGES[:30, ::-1]
    assert memorisation.find(turned, TRAINING, mean).copies == 1
    assert _find(turned).copies < 0.5
    gan = types.SimpleNamespace(generator=_Returns(), latent_dim=2, num_classes=0)
    assert memorisation.NearestTraining(gan, TRAINING, mean).names == ('copies',)
