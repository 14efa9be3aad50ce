"""A feature extractor that needs no download: a classifier trained on the dataset itself.

Frechet and kernel distances between its features are called `classifier_fd` and `classifier_kd`.
They rank generators of one dataset as FID and KID do, but they are other numbers: they compare
with nothing outside that dataset and that classifier, whose fingerprint is recorded beside them.

The network is small enough to train in minutes on two CPU cores, and judges at 8 to 256 pixels.
The 'small' one has half the channels and sees half as many images: at 32 pixels a step takes 0.087
seconds of one CPU core, and 0.249 with the 'standard' one (a batch of 128, measured in turns).
`trained_for` trains it the first time and reads a file afterwards.
"""

import os
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp

from osgan_jax.data import dataset as datasets
from osgan_jax.data import identity
from osgan_jax.evaluation.features import cache, classifier_network, classifier_training
from osgan_jax.io import checked_npz

__all__ = ['Classifier', 'extractor', 'load', 'save', 'train', 'trained_for']

KIND = 'classifier of a dataset'
FORMAT = 1
"""Version of the file and of the recipe: classifiers of another one are not comparable."""

Classifier = classifier_network.Classifier
extractor = classifier_network.extractor
train = classifier_training.train


def save(classifier: Classifier, path: str | os.PathLike[str]) -> None:
    """Writes a classifier as one .npz file, in one piece.

    Raises:
      OSError: it cannot be written there.
    """
    about = {
        'image_size': classifier.image_size,
        'channels': classifier.channels,
        'num_classes': classifier.num_classes,
        'accuracy': classifier.accuracy,
        'size': classifier.size,
        'architecture': _architecture(classifier.image_size, classifier.size),
        'provenance': classifier.provenance,
    }
    checked_npz.write(path, KIND, FORMAT, about, classifier_network.flatten(classifier.variables))


def load(path: str | os.PathLike[str]) -> Classifier:
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, not a classifier, of another version, or of another architecture.
    """
    about, arrays = checked_npz.read(path, KIND, FORMAT)
    size, channels, classes = (about[key] for key in ('image_size', 'channels', 'num_classes'))
    network_size = about.get('size', 'standard')
    if about['architecture'] != _architecture(size, network_size):
        raise ValueError(f'{path} holds a classifier of another architecture than this version')
    shape = (1, size, size, channels)
    expected = jax.eval_shape(
        lambda: classifier_network.Network(size, classes, network_size).init(
            jax.random.key(0), jnp.zeros(shape), train=False
        )
    )
    expected = {name: leaf.shape for name, leaf in classifier_network.flatten(expected).items()}
    found = {name: array.shape for name, array in arrays.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f'{path} does not hold the arrays of its architecture: {name} should be '
                f'{expected.get(name, "absent")}, is {found.get(name, "absent")}'
            )
    variables = flax.traverse_util.unflatten_dict(arrays, sep='/')
    return Classifier(
        size, channels, classes, about['accuracy'], variables, about['provenance'], network_size
    )


def trained_for(
    dataset: datasets.Dataset,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    size: str = 'standard',
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Classifier:
    """Returns the classifier of a dataset: trained the first time, read from a file afterwards.

    Args:
      dataset: labelled images.
      cache_dir: folder of the files; None is the user's (`osgan_jax.io.paths.cache_dir`).
      size: of the network, see `train`; every size has its own file.
      seed: see `train`; every seed has its own file.
      progress: see `train`; not called where there is a file.
      warn: called with a sentence about a file that could not be used or written; by default they
        go to standard error.

    Raises:
      ValueError, FloatingPointError: as `train`.
    """
    classifier_training.check(dataset)
    wanted = {**identity.identify(dataset), 'seed': seed}
    prefix = 'classifier' if size == 'standard' else f'{size}-classifier'
    path = cache.file_path(cache_dir, prefix, wanted, FORMAT)

    def load_checked() -> Classifier:
        found = load(path)
        for key, value in wanted.items():
            if found.provenance.get(key) != value:
                raise ValueError(
                    f'{path} is the classifier of another dataset: it has {key} '
                    f'{found.provenance.get(key)!r}, not {value!r}'
                )
        return found

    return checked_npz.reuse(
        path,
        load=load_checked,
        build=lambda: train(dataset, size=size, seed=seed, progress=progress),
        save=lambda trained: save(trained, path),
        warn=warn,
    )


def _architecture(image_size: int, size: str) -> list[list[int]]:
    """The architecture as it comes back from JSON."""
    return [list(layer) for layer in classifier_network.architecture(image_size, size)]
