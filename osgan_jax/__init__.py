"""Train GANs in one stage: both networks' gradients from one pass through the discriminator.

The library's heart is `one_stage_grads`; `losses` holds the objectives, `gan.train` is the whole
trainer, `pretrained.load` draws from models that are part of the package. What is here is imported
when it is first used: `--help` needs nothing of it, the heart and the objectives cost jax, and
data, checkpoint, metric and plotting libraries load where used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osgan_jax.core import losses
    from osgan_jax.core.combining import Balancer, adaptive_weight
    from osgan_jax.core.losses import AdversarialLoss
    from osgan_jax.core.one_stage import (
        Grads,
        Info,
        one_stage_grads,
        shared_forward_grads,
        split_cotangent,
    )
    from osgan_jax.core.regularizers import Penalties
    from osgan_jax.core.samplewise import check_samplewise

__version__ = '0.2.0'

__all__ = [
    'AdversarialLoss',
    'Balancer',
    'Grads',
    'Info',
    'Penalties',
    'adaptive_weight',
    'check_samplewise',
    'losses',
    'one_stage_grads',
    'shared_forward_grads',
    'split_cotangent',
]

_HOMES = {
    'AdversarialLoss': 'losses',
    'Balancer': 'combining',
    'Penalties': 'regularizers',
    'adaptive_weight': 'combining',
    'check_samplewise': 'samplewise',
}


def __getattr__(name: str) -> Any:
    """Imports a public name where it is first used."""
    if name in ('gan', 'pretrained'):
        value = importlib.import_module(f'osgan_jax.{name}')
    elif name == 'losses':
        value = importlib.import_module('osgan_jax.core.losses')
    elif name in __all__:
        home = _HOMES.get(name, 'one_stage')
        value = getattr(importlib.import_module(f'osgan_jax.core.{home}'), name)
    else:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    globals()[name] = value
    return value
