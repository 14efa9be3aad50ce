"""Fields of what is measured while a GAN trains."""

import dataclasses
import functools

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import field
from osgan_jax.evaluation.features import CLASSIFIERS, CONVENTIONS, DINOV2_CONVENTIONS
from osgan_jax.evaluation.label_policies import POLICIES

_evaluation = functools.partial(field, group='evaluation', may_change=True)


@dataclasses.dataclass(frozen=True)
class ScoreFields(Config):
    """When a run is scored, and how."""

    eval_every: int | None = _evaluation(
        None,
        'steps between evaluations, which also keep the best checkpoint in WORKDIR/best; none by '
        'default',
        at_least=1,
    )
    eval_samples: int = _evaluation(
        2048,
        'number of images that each evaluation draws; its time is proportional to this number',
        at_least=2,
    )
    inception_weights: str | None = _evaluation(
        None,
        'file of Inception weights for FID, or fetch to download it; by default a classifier '
        'trained on the dataset provides the features',
        path=True,
    )
    dinov2_weights: str | None = _evaluation(
        None,
        "file of DINOv2's weights for fd_dinov2, such as dinov2_vitl14_pretrain.pth",
        path=True,
    )
    convention: str = _evaluation(
        'torch',
        'how images are resized and scaled: as in an implementation of FID (torch, tf1, clean), '
        'or of fd_dinov2 (torch, pil)',
        choices=tuple(dict.fromkeys((*CONVENTIONS, *DINOV2_CONVENTIONS))),
    )
    classifier: str = _evaluation(
        'standard',
        'classifier that provides features if you give no weights; the small one trains several '
        'times as fast, and its scores are named small_classifier_fd, ...',
        choices=CLASSIFIERS,
    )
    label_policy: str = _evaluation(
        'data',
        "label frequencies of a conditional generator's scored images: data for those of the "
        'real images, uniform for equal ones',
        choices=POLICIES,
    )
    collapse_alarm: bool = field(
        True,
        'warn if samples stay far more alike than real images',
        group='output',
        may_change=True,
    )
