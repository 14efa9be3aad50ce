"""Data-free adversarial distillation (Section 4.4 of the paper) and what it is compared with.

`train_teacher` trains a classifier on data; `distill` trains a smaller one to do what that one
does, with data (`kd`) or on the images of a generator that seeks out where the two disagree
(`zskt`, `dfad`, `one_stage`); `load` reads either back.
"""

from osgan_jax.distillation.classifiers import Classifier, load
from osgan_jax.distillation.config import ALGORITHMS, DistillConfig, TeacherConfig
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
