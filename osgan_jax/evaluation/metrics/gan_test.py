"""Whether samples are of the class that was asked for.

GAN-test (Shmelkov et al. 2018, https://arxiv.org/abs/1807.09499, section 3) is the accuracy that a
classifier, trained on real images, has on generated ones. It falls where a generator ignores its
label or draws what is not recognised. It does not measure variety: a generator with one good image
per class scores 1.
"""

import numpy as np


def gan_test(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that a classifier gives the class they were drawn for, 0 to 1.

    Args:
      logits: `[N, K]`, of the dataset's classes.
      labels: `[N]`, classes asked for; images with a negative one do not count.

    Raises:
      ValueError: if shapes do not fit, logits are not finite, or no image counts.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    counted = labels >= 0
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not counted.any():
        raise ValueError(
            f'expected logits [N, K] and N labels, some of them not negative, got {logits.shape} '
            f'and {labels.shape}'
        )
    if labels.max() >= logits.shape[1]:
        raise ValueError(f'label {labels.max()} is not one of the {logits.shape[1]} classes')
    if not np.isfinite(logits).all():
        raise ValueError('logits are not finite')
    return float(np.mean(logits.argmax(1)[counted] == labels[counted]))
