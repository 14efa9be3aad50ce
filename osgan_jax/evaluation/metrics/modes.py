"""Modes that a generator finds (Metz et al. 2017, https://arxiv.org/abs/1611.02163, section 4.3).

Every generated image is given the class that a classifier takes it for. The protocol of
StackedMNIST (1,000 classes) draws 26,000 images and reports how many classes occur, and the KL
divergence of the generated classes from those of the data, which is called reverse for the
generator's distribution comes first.

A perfect generator has some reverse KL too, for a sample's frequencies are not the data's: about
(K - 1) / 2N with K classes and N images, which is 0.019 in that protocol. It finds all modes but
about K exp(-N / K), which is none there.
"""

import numpy as np


def modes(logits: np.ndarray, class_counts: np.ndarray) -> tuple[float, float]:
    """The number of classes that generated images have, and their reverse KL divergence.

    Args:
      logits: `[N, K]`, of the dataset's classes.
      class_counts: `[K]`, real images of each class.

    Returns:
      Number of modes, 0 to K, among the classes that real images have; and
      sum_k q_k log(q_k / p_k) in nats, q the shares of the generated images' classes and p those of
      the real ones'. It is infinite where an image has a class that no real one has.

    Raises:
      ValueError: if the logits are of other classes, or not finite.
    """
    logits, class_counts = np.asarray(logits), np.asarray(class_counts)
    if logits.ndim != 2 or logits.shape[1] != len(class_counts) or not len(logits):
        raise ValueError(
            f'modes are counted by a classifier of the {len(class_counts)} classes of the real '
            f'images, and the logits are {list(logits.shape)}: score a labelled dataset without '
            '--inception_weights, or leave modes out of --metrics'
        )
    if not np.isfinite(logits).all():
        raise ValueError('logits are not finite')
    found = np.bincount(logits.argmax(1), minlength=len(class_counts))
    q, p = found / found.sum(), class_counts / class_counts.sum()
    present = found > 0
    if np.any(p[present] == 0):
        divergence = np.inf
    else:
        divergence = float(np.sum(q[present] * np.log(q[present] / p[present])))
    return float(np.sum(present & (p > 0))), divergence
