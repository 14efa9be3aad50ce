"""What a person sees of a step of a GAN."""

import pytest

from osgan_jax.gan import recorder


@pytest.mark.parametrize(
    ('accuracy', 'alike', 'word'),
    [
        (1.0, False, 'D far ahead'),
        (0.8, False, 'balanced'),
        (0.5, False, 'D fooled'),
        (0.8, True, 'samples alike'),
    ],
)
def test_health(accuracy, alike, word):
    assert recorder.health(accuracy, alike=alike) == word


def test_what_helps_is_shown_and_gamma_is_not():
    metrics = {
        'accuracy_d': 0.75,
        'floored': 0.0,
        'gamma': -48.0,
        'gamma_q50': -1.0,
        'logit_fake': 0.25,
        'logit_real': 0.5,
        'loss_d': 0.125,
        'loss_g': 1.0,
        'margin': 2.0,
    }
    shown = recorder.shown(metrics)
    assert list(shown.items()) == [
        ('loss_d', 0.125),
        ('loss_g', 1.0),
        ('real', 0.5),
        ('fake', 0.25),
        ('accuracy_d', 0.75),
        ('margin', 2.0),
        ('health', 'balanced'),
    ]
