"""Data-free adversarial distillation (Section 4.4 of the paper) and what it is compared with.

`train_teacher` trains a classifier on data; `distill` trains a smaller one to imitate it, with data
(`kd`) or on the images of a generator that seeks out where the two disagree (`zskt`, `dfad`,
`one_stage`); `load` reads either back. Configurations cost no jax; the rest loads where it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from osgan_jax.distillation.config import ALGORITHMS, DistillConfig, TeacherConfig

if TYPE_CHECKING:
    from osgan_jax.distillation.classifiers import Classifier, load
    from osgan_jax.distillation.students import distill
    from osgan_jax.distillation.teachers import train_teacher

__all__ = [
    'ALGORITHMS',
    'Classifier',
    'DistillConfig',
    'TeacherConfig',
    'distill',
    'load',
    'train_teacher',
]

_HOMES = {
    'Classifier': 'classifiers',
    'load': 'classifiers',
    'distill': 'students',
    'train_teacher': 'teachers',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
