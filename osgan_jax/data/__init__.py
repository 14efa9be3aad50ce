"""Datasets of images and the batches made of them.

`load(name)` opens a dataset, `batches(dataset, batch_size, seed=...)` iterates over it for ever
in a seeded order, and `prefetch` moves batches to the device ahead of their use. Images are
uint8 NHWC inside a dataset and float32 NHWC in [-1, 1] in a batch.

Importing this module costs nothing: numpy and jax load with what needs them; Pillow,
tensorflow-datasets, grain and scikit-learn where a dataset does.
"""

import importlib
from typing import TYPE_CHECKING, Any

from osgan_jax.data.catalogue import describe, names

if TYPE_CHECKING:
    from osgan_jax.data.dataset import Dataset, from_arrays
    from osgan_jax.data.loading import load
    from osgan_jax.data.pipeline import Batches, batches
    from osgan_jax.data.prefetching import Prefetch, prefetch

__all__ = [
    'Batches',
    'Dataset',
    'Prefetch',
    'batches',
    'describe',
    'from_arrays',
    'load',
    'names',
    'prefetch',
]

_HOMES = {
    'Dataset': 'dataset',
    'from_arrays': 'dataset',
    'load': 'loading',
    'Batches': 'pipeline',
    'batches': 'pipeline',
    'Prefetch': 'prefetching',
    'prefetch': 'prefetching',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
