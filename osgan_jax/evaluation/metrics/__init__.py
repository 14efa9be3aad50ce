"""How far generated images are from real ones.

Metrics are pure functions of features. Features come from an `Extractor` of
`osgan_jax.evaluation.features`: the FID Inception network with weights from a file, or a classifier
trained on the dataset itself, whose distances are never called FID.
"""

from osgan_jax.evaluation.metrics.frechet import frechet_distance
from osgan_jax.evaluation.metrics.inception_score import inception_score
from osgan_jax.evaluation.metrics.kernel import kernel_distance
from osgan_jax.evaluation.metrics.moments import Moments
from osgan_jax.evaluation.metrics.precision_recall import density_coverage, precision_recall

__all__ = [
    'Moments',
    'density_coverage',
    'frechet_distance',
    'inception_score',
    'kernel_distance',
    'precision_recall',
]
