"""The identity of a dataset: which images it holds, told without reading all of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from osgan_jax.data.dataset import Dataset
from osgan_jax.io import checked_npz

_SAMPLED = 64  # images
# In the order in which a person asks: whose images, which part, how many, which ones.
_WORDS = {
    'dataset': 'its name was {} and is {}',
    'split': 'its split was {} and is {}',
    'num_images': 'it had {:,} images and has {:,}',
    'content': 'its images or labels are others (fingerprint {:.8} and {:.8})',
}


def identify(dataset: Dataset) -> dict[str, Any]:
    """The identity of a dataset, as values for JSON.

    Beside name, split, number of images, size and channels that is 'content', a sha256 of 64
    images and labels spread evenly: another file under the same name is noticed at the price of
    reading those. A change that avoids all of them is not.
    """
    count = len(dataset)
    parts = []
    for index in np.unique(np.linspace(0, count - 1, _SAMPLED).round().astype(int)).tolist():
        row = dataset[index]
        parts += [index, row['image'], int(row['label'])]
    return {
        'dataset': dataset.name,
        'split': dataset.split,
        'num_images': count,
        'image_size': dataset.image_size,
        'channels': dataset.channels,
        'content': checked_npz.digest(*parts),
    }


def difference(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """How one dataset differs from another, in a clause; None where they hold the same images.

    The same images may have another name: arrays that a program gave, say, and their file.

    Args:
      recorded: identity of the first, of `identify`.
      found: identity of the second.
    """
    if all(recorded[key] == found[key] for key in ('num_images', 'content')):
        return None
    for key, words in _WORDS.items():
        if recorded[key] != found[key]:
            return words.format(recorded[key], found[key])
    return None
