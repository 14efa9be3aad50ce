"""Train GANs in one stage: both networks' gradients from one pass through the discriminator.

The library's heart is `one_stage_grads`; `losses` holds the objectives. Importing this package
costs jax and nothing heavier: data, checkpoint, metric and plotting libraries load where used.
"""

from osgan_jax.core import losses
from osgan_jax.core.losses import AdversarialLoss
from osgan_jax.core.one_stage import (
    Grads,
    Info,
    check_samplewise,
    one_stage_grads,
    shared_forward_grads,
    split_cotangent,
)

__version__ = '0.1.0'

__all__ = [
    'AdversarialLoss',
    'Grads',
    'Info',
    'check_samplewise',
    'losses',
    'one_stage_grads',
    'shared_forward_grads',
    'split_cotangent',
]
