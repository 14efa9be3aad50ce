"""What a classifier learns from samples: all of a faithful generator, nothing where labels lie."""

import types

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.evaluation import score_log, score_text
from osgan_jax.evaluation.classification_accuracy import NAME, ClassificationAccuracy

CLASSES, SIZE, SAMPLES = 4, 8, 400


def draw(z, labels):
    """A class is the quarter that is bright."""
    quarters = 1.2 * (jnp.arange(CLASSES) == labels[:, None]) - 0.6 + 0.1 * z
    return quarters.reshape(-1, 2, 2, 1).repeat(4, 1).repeat(4, 2)


class Generator(nn.Module):
    """`lies` asks for each class's image under the name of the next."""

    lies: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, labels, *, train):
        return draw(z, (labels + self.lies) % CLASSES)


def gan(generator, **fields):
    values = {
        'network': types.SimpleNamespace(has_styles=False, latents=None),
        'generator': generator,
        'latent_dim': CLASSES,
        'image_shape': (SIZE, SIZE, 1),
        'num_classes': CLASSES,
    }
    return types.SimpleNamespace(**{**values, **fields})


def real(classes=CLASSES, channels=1):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, 80)
    images = np.asarray(draw(rng.standard_normal((80, CLASSES)), labels))
    images = np.uint8(np.clip(127.5 * images + 128, 0, 255)).repeat(channels, -1)
    return data.from_arrays(images, labels, class_names=[str(i) for i in range(classes)])


def score(generator, **options):
    steps = []
    measured = ClassificationAccuracy(
        gan(generator),
        real(),
        num_samples=SAMPLES,
        size='small',
        batch_size=128,
        progress=lambda *at: steps.append(at),
        **options,
    )
    values = measured({})
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1]
    return measured, values


def test_real_images_are_recognised_by_what_was_learnt_from_faithful_samples_alone(tmp_path):
    measured, values = score(Generator())
    assert values[NAME] > 0.95
    entry = measured.entry(3, None, values)
    assert (entry['step'], entry[NAME], entry['num_real']) == (3, values[NAME], 80)
    assert entry['learner'] == 'small classifier'
    score_log.write(tmp_path, entry)
    assert score_log.read(tmp_path) == [entry]
    assert score_text.lines(entry) == [f'{NAME}  {values[NAME]:.4g}  higher is better']
    _, lied = score(Generator(lies=True))
    assert lied[NAME] < 0.05


@pytest.mark.parametrize(
    ('fields', 'dataset', 'message'),
    [
        ({'num_classes': 0}, real(), 'needs labels: the generator was trained with 0 classes'),
        ({}, real(classes=5), 'with 4 classes and arrays has 5'),
        ({}, real(channels=3), 'images of 1 channels, and those of arrays have 3'),
        ({'image_shape': (512, 512, 1)}, real(), '512'),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_drawn(fields, dataset, message):
    with pytest.raises(ValueError, match=message):
        ClassificationAccuracy(gan(Generator(), **fields), dataset, num_samples=SAMPLES)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match='too few to train a classifier'):
        ClassificationAccuracy(gan(Generator()), real(), num_samples=10)
