"""What the classifiers of distillation declare of themselves; without jax, as `--help` needs it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class ClassifierSpec(NamedTuple):
    """A classifier.

    Attributes:
      family: name of its class in `osgan_jax.networks.classifiers`.
      options: attributes of the class.
      image_size: the one size it is defined for, pixels; None for all multiples of 8.
      channels: channels of the images that it is usually trained on.
      student: name of the usual student of such a teacher.
      learning_rate: usual first rate of SGD.
    """

    family: str
    options: Mapping[str, Any]
    image_size: int | None = None
    channels: int = 3
    student: str = 'resnet18'
    learning_rate: float = 0.1


def _lenet(*features: int) -> ClassifierSpec:
    return ClassifierSpec('LeNet', {'features': features}, 32, 1, 'lenet5_half', 0.01)


def _large(*blocks: int, bottleneck: bool = False) -> ClassifierSpec:
    options = {'blocks': blocks, 'bottleneck': bottleneck, 'large': True}
    return ClassifierSpec('ResNet', options, student='resnet18_imagenet')


_CLASSIFIERS = {
    'resnet18': ClassifierSpec('ResNet', {'blocks': (2, 2, 2, 2)}),
    'resnet34': ClassifierSpec('ResNet', {'blocks': (3, 4, 6, 3)}),
    'resnet18_imagenet': _large(2, 2, 2, 2),
    'resnet34_imagenet': _large(3, 4, 6, 3),
    'resnet50_imagenet': _large(3, 4, 6, 3, bottleneck=True),
    'wrn16_1': ClassifierSpec('WideResNet', {'depth': 16, 'widening': 1}),
    'wrn16_2': ClassifierSpec('WideResNet', {'depth': 16, 'widening': 2}),
    'wrn40_1': ClassifierSpec('WideResNet', {'depth': 40, 'widening': 1}),
    'wrn40_2': ClassifierSpec('WideResNet', {'depth': 40, 'widening': 2}),
    'lenet5': _lenet(6, 16, 120, 84),
    'lenet5_half': _lenet(3, 8, 60, 42),
}


def names() -> tuple[str, ...]:
    """The names of all classifiers."""
    return tuple(_CLASSIFIERS)


def get(name: str) -> ClassifierSpec:
    """The classifier of a name.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in _CLASSIFIERS:
        raise ValueError(f'unknown classifier {name!r}: use one of {", ".join(names())}')
    return _CLASSIFIERS[name]
