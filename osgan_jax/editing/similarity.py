"""How alike two images are: what a projection lowers.

LPIPS where its weights are given. Otherwise the mean square of pixels and, by features of a network
at hand, the mean over grids of squared differences between features that were brought to length 1
at each place, as in LPIPS with equal weights of channels. The network is the run's own
discriminator, which exists for every run, or the classifier of its dataset.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.evaluation.features.classifier_network import Classifier
from osgan_jax.evaluation.features.lpips import Distance

Array = jax.Array
PyTree = Any

LPIPS_PIXELS = 256
"""Larger images are averaged down to this before LPIPS sees them (Karras et al. 2020, D)."""

_EPSILON = 1e-6


class Similarity(NamedTuple):
    """A distance between images, its weights apart so that they can be passed to compiled code.

    Attributes:
      name: what compares the images, in words.
      constants: the weights.
      prepare: `(constants, targets [N, H, W, C], labels [N] or None) -> prepared`, what has to be
        computed of the targets once.
      compare: `(constants, prepared, images [N, H, W, C], labels) -> [N]` float32, 0 for equal
        images. All images are in [-1, 1]; no image sees another.
    """

    name: str
    constants: PyTree
    prepare: Callable[[PyTree, Array, Array | None], PyTree]
    compare: Callable[[PyTree, PyTree, Array, Array | None], Array]


def by_pixels() -> Similarity:
    """The mean squared difference of pixels, in [0, 4]."""
    return Similarity(
        'pixels',
        {},
        lambda constants, targets, labels: targets,
        lambda constants, prepared, images, labels: _square(images - prepared),
    )


def by_lpips(distance: Distance) -> Similarity:
    """LPIPS alone.

    Args:
      distance: of `osgan_jax.evaluation.features.lpips.distance`.
    """

    def compare(constants, prepared, images, labels):
        del labels
        return constants(_averaged_down(images), prepared)

    return Similarity(
        'LPIPS',
        distance.apply,
        lambda constants, targets, labels: _averaged_down(targets),
        compare,
    )


def by_discriminator(module: nn.Module, variables: PyTree) -> Similarity:
    """Pixels and features of a discriminator in inference mode.

    Args:
      module: the discriminator.
      variables: its own.
    """
    module = module.clone(axis_name=None)

    def activations(variables, image, label):
        labels = None if label is None else label[None]
        return _activations(module, variables, image[None], labels)

    return _by_features('pixels and features of D', activations, variables)


def by_classifier(classifier: Classifier) -> Similarity:
    """Pixels and features of the dataset's classifier, the one of `classifier_fd`.

    Args:
      classifier: of the images' size and channels.
    """

    def activations(variables, image, label):
        del label
        return _activations(classifier.network, variables, image[None])

    return _by_features('pixels and features of the classifier', activations, classifier.variables)


def _by_features(
    name: str, activations: Callable[[PyTree, Array, Array | None], list[Array]], constants: PyTree
) -> Similarity:
    # One image at a time: the minibatch deviation of some D would let images see each other.
    every = jax.vmap(activations, (None, 0, 0))

    def prepare(constants, targets, labels):
        return targets, every(constants, targets, labels)

    def compare(constants, prepared, images, labels):
        targets, features = prepared
        found = every(constants, images, labels)
        by_grid: dict[int, list[Array]] = {}
        for a, b in zip(found, features, strict=True):
            by_grid.setdefault(a.shape[1], []).append(jnp.mean(jnp.sum((a - b) ** 2, -1), (1, 2)))
        grids = [sum(values) / len(values) for values in by_grid.values()]
        return _square(images - targets) + sum(grids) / len(grids)

    return Similarity(name, constants, prepare, compare)


def _activations(module: nn.Module, variables: PyTree, *inputs: Any) -> list[Array]:
    """What the layers of a network give for one image, `[h, w, C]` each, of length 1 at places."""
    _, kept = module.apply(
        variables,
        *inputs,
        train=False,
        capture_intermediates=True,
        mutable=['batch_stats', 'intermediates'],
    )
    found = [
        _normalise(jnp.asarray(leaf[0], jnp.float32))
        for leaf in jax.tree.leaves(kept['intermediates'])
        # Where there is one place or one channel a length says nothing.
        if leaf.ndim == 4 and leaf.shape[1] > 1 and leaf.shape[3] > 1
    ]
    if not found:
        raise ValueError('this network has no features on a grid: compare by pixels')
    return found


def _normalise(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + _EPSILON)


def _square(x: Array) -> Array:
    return jnp.mean(x * x, axis=(1, 2, 3))


def _averaged_down(images: Array) -> Array:
    n, height, width, channels = images.shape
    # Of oblong images the shorter side; blocks of pixels have to fill both.
    largest = max(1, min(height, width) // LPIPS_PIXELS)
    factor = max(f for f in range(1, largest + 1) if not (height % f or width % f))
    if factor < 2:
        return images
    parts = images.reshape(n, height // factor, factor, width // factor, factor, channels)
    return parts.mean((2, 4))
