"""The identity of a dataset: which images it holds, told without reading all of them."""

from collections.abc import Mapping
from typing import Any

from osgan_jax.data import fingerprints
from osgan_jax.data.dataset import Dataset
from osgan_jax.io import checked_npz

_SAMPLED = 64  # images
# In the order in which a person asks: whose images, which part, how many, which ones.
_WORDS = {
    'dataset': 'its name was {} and is {}',
    'split': 'its split was {} and is {}',
    'num_images': 'it had {:,} images and has {:,}',
    'content': 'its images or labels are others (digest {:.8} and {:.8})',
    'fingerprint': 'its images or labels are others (fingerprint {:.16} and {:.16})',
}


def identify(dataset: Dataset) -> dict[str, Any]:
    """The identity of a dataset, as values for JSON.

    Beside name, split, number of images, size and channels that is 'content', a sha256 of 64
    decoded images and labels spread evenly, and, where the source has one, the 'fingerprint' of all
    images as they are stored (`osgan_jax.data.fingerprints`).
    """
    count = len(dataset)
    parts = []
    for index in fingerprints.spread(count, _SAMPLED):
        row = dataset[index]
        parts += [index, row['image'], int(row['label'])]
    fingerprint = fingerprints.of_source(dataset.source)
    return {
        'dataset': dataset.name,
        'split': dataset.split,
        'num_images': count,
        'image_size': dataset.image_size,
        'channels': dataset.channels,
        'content': checked_npz.digest(*parts),
        **({} if fingerprint is None else {'fingerprint': fingerprint}),
    }


def difference(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """How one dataset differs from another, in a clause; None where they hold the same images.

    The same images may have another name: arrays that a program gave, say, and their file. Where
    both have fingerprints that can be compared these decide, and else the 64 images of 'content',
    which are all that an older run recorded.

    Args:
      recorded: identity of the first, of `identify`.
      found: identity of the second.
    """
    fingerprinted = fingerprints.comparable(*(x.get('fingerprint') for x in (recorded, found)))
    which = 'fingerprint' if fingerprinted else 'content'
    if all(recorded[key] == found[key] for key in ('num_images', which)):
        return None
    for key, words in _WORDS.items():
        if key in ('content', 'fingerprint') and key != which:
            continue
        if recorded[key] != found[key]:
            return words.format(recorded[key], found[key])
    return None
