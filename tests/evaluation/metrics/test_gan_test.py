"""GAN-test: the accuracy of the real images' classifier on samples."""

import numpy as np
import pytest

from osgan_jax.evaluation import score_text
from osgan_jax.evaluation.metrics import gan_test, registry

LOGITS = np.array([[2, 1, 0], [0, 3, 1], [0, 1, 5], [4, 1, 2]], np.float32)


@pytest.mark.parametrize(
    ('labels', 'expected'),
    [((0, 1, 2, 0), 1), ((1, 2, 0, 2), 0), ((0, 1, 0, 2), 0.5), ((0, -1, 0, -1), 0.5)],
)
def test_it_is_the_share_that_is_taken_for_what_was_asked(labels, expected):
    assert gan_test.gan_test(LOGITS, np.array(labels)) == expected


@pytest.mark.parametrize(
    ('logits', 'labels', 'message'),
    [
        (LOGITS, (0, 1), 'expected logits'),
        (LOGITS, (-1, -1, -1, -1), 'expected logits'),
        (LOGITS, (0, 1, 2, 3), 'label 3 is not one of the 3 classes'),
        (np.full((1, 2), np.nan), (0,), 'not finite'),
    ],
)
def test_what_it_cannot_judge_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        gan_test.gan_test(logits, np.array(labels))


def test_it_rises_and_is_left_out_without_labels():
    assert score_text.direction('classifier_gan_test') == 'higher'
    chosen, said = registry.select(('fid', 'gan_test'), has_labels=False)
    assert [metric.name for metric in chosen] == ['fid']
    assert said == 'Left out: gan_test, for the images have no labels.'
    with pytest.raises(ValueError, match='without gan_test, for the images have no labels'):
        registry.select(('gan_test',), has_labels=False)
    both = registry.select(('fid', 'modes', 'gan_test'), own_classes=False, has_labels=False)[1]
    assert both == (
        "Left out: modes, gan_test, for these features have no logits of the real images' own "
        'classes.'
    )
