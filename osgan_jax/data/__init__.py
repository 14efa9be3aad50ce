"""Datasets of images and the batches made of them.

`load(name)` opens a dataset, `batches(dataset, batch_size, seed=...)` iterates over it for ever
in a seeded order, and `prefetch` moves batches to the device ahead of their use. Images are
uint8 NHWC until they are on the device, where `to_float` makes them float32 in [-1, 1].

Importing this module costs nothing: numpy and jax load with what needs them; Pillow,
tensorflow-datasets, grain and scikit-learn where a dataset does.
"""

import importlib
from typing import TYPE_CHECKING, Any

from osgan_jax.data.catalogue import names

if TYPE_CHECKING:
    from osgan_jax.data.dataset import Dataset, check_dataset, from_arrays
    from osgan_jax.data.loading import load
    from osgan_jax.data.pipeline import Batches, batches
    from osgan_jax.data.prefetching import Prefetch, prefetch
    from osgan_jax.data.scaling import to_float

__all__ = [
    'Batches',
    'Dataset',
    'Prefetch',
    'batches',
    'check_dataset',
    'from_arrays',
    'load',
    'names',
    'prefetch',
    'to_float',
]

_HOMES = {
    'Dataset': 'dataset',
    'check_dataset': 'dataset',
    'from_arrays': 'dataset',
    'load': 'loading',
    'Batches': 'pipeline',
    'batches': 'pipeline',
    'Prefetch': 'prefetching',
    'prefetch': 'prefetching',
    'to_float': 'scaling',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
