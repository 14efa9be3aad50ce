"""Datasets of images and the batches made of them.

`load(name)` opens a dataset, `batches(dataset, batch_size, seed=...)` iterates over it for ever
in a seeded order, and `prefetch` moves batches to the device ahead of their use. Images are
uint8 NHWC inside a dataset and float32 NHWC in [-1, 1] in a batch.

Importing this module costs numpy alone: Pillow, tensorflow-datasets, grain and scikit-learn are
imported where a dataset needs them.
"""

from osgan_jax.data.catalogue import describe, names
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
