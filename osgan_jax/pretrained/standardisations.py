"""How published classifiers standardise images: usual means and deviations by name."""

from collections.abc import Mapping

STANDARDISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    'cifar10': ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    'cifar10_pixels': ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    'cifar100': ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    'imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'mnist': ((0.1307,), (0.3081,)),
    'half': ((0.5,), (0.5,)),
    'unit': ((0.0,), (1.0,)),
}
"""Means and deviations of channels, of images in [0, 1]; one number is that of all channels.

`cifar10` has the deviations that most teachers were trained with, which are means of those of
single images; `cifar10_pixels` has those of all pixels. `half` is [-1, 1], `unit` [0, 1].
"""


def names() -> tuple[str, ...]:
    """The names of all standardisations."""
    return tuple(STANDARDISATIONS)
