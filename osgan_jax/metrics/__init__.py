"""How far generated images are from real ones: functions of features, and what makes features.

Metrics are pure functions of features (`moments`, `frechet`, `kernel`, `inception_score`,
`precision_recall`). Features come from an `Extractor`: the FID Inception network with weights from
a file (`metrics.inception`), or a classifier trained on the dataset itself (`metrics.classifier`),
whose distances are never called FID.
"""

from osgan_jax.metrics.extractors import Extractor, Features
from osgan_jax.metrics.frechet import frechet_distance
from osgan_jax.metrics.inception_score import inception_score
from osgan_jax.metrics.kernel import kernel_distance
from osgan_jax.metrics.moments import Moments
from osgan_jax.metrics.precision_recall import density_coverage, precision_recall

__all__ = [
    'Extractor',
    'Features',
    'Moments',
    'density_coverage',
    'frechet_distance',
    'inception_score',
    'kernel_distance',
    'precision_recall',
]
