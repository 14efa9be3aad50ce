"""The network of a dataset's classifier, and the extractor made of it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.evaluation.features import extractors
from osgan_jax.io import checked_npz
from osgan_jax.layers import modules, norms
from osgan_jax.runtime import parallel

FEATURES = 128
SIZES = {'standard': 1, 'small': 2}
"""The classifiers by name, each with what it divides the standard one's channels by."""
IMAGE_SIZES = (8, 256)  # the least and the greatest

_he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'truncated_normal')


class Network(nn.Module):
    """Convolutions that halve the grid down to about 4x4, then the mean over it.

    Attributes:
      image_size: Height and width of the images.
      num_classes: Number of classes.
      size: One of `SIZES`.
      dtype: Dtype of the computation; features and logits are float32.
    """

    image_size: int
    num_classes: int
    size: str = 'standard'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> extractors.Features:
        """Classifies images `[N, image_size, image_size, C]` in [-1, 1]."""
        x = jnp.asarray(images, self.dtype)
        for features, kernel, stride in architecture(self.image_size, self.size):
            x = modules.Conv(
                features,
                (kernel, kernel),
                stride=stride,
                use_bias=False,
                kernel_init=_he_normal,
                dtype=self.dtype,
            )(x)
            x = nn.relu(norms.batch_norm(x, train=train, dtype=self.dtype))
        pooled = jnp.asarray(x, jnp.float32).mean((1, 2))
        return extractors.Features(pooled, nn.Dense(self.num_classes)(pooled))


def architecture(image_size: int, size: str = 'standard') -> tuple[tuple[int, int, int], ...]:
    """Returns the convolutions for images of a size, each as (features, kernel size, stride).

    Raises:
      ValueError: for an unknown `size` of the network.
    """
    if size not in SIZES:
        raise ValueError(f'classifier={size!r}: expected one of {", ".join(SIZES)}')
    halvings = int(math.log2(image_size / 4))
    layers = []
    for index in range(halvings):
        # Counted from the smallest grid: 128 channels at 4x4 and 8x8, fewer where there is more
        # to compute.
        features = (FEATURES, FEATURES, 64, 32, 16, 16)[halvings - 1 - index]
        # A stem of 4x4 looks at every pixel equally often.
        layers.append((features, 4 if index == 0 else 3, 2))
    # One more at 8x8, where depth is cheap.
    layers.insert(len(layers) - 1, (layers[max(0, len(layers) - 2)][0], 3, 1))
    return tuple((features // SIZES[size], kernel, stride) for features, kernel, stride in layers)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
      image_size: height and width it judges at, in pixels.
      channels: 1 or 3.
      num_classes: number of classes.
      accuracy: share of the held-out images that it gets right.
      variables: 'params' and 'batch_stats', float32 arrays on the host.
      provenance: its data and its training: 'dataset', 'split', 'num_images', 'image_size',
        'channels', 'content', 'seed', 'epochs', 'flip'.
      size: one of `SIZES`.
    """

    image_size: int
    channels: int
    num_classes: int
    accuracy: float
    variables: dict[str, Any] = dataclasses.field(repr=False)
    provenance: dict[str, Any] = dataclasses.field(repr=False)
    size: str = 'standard'

    @property
    def network(self) -> Network:
        """The network that `variables` belong to."""
        return Network(self.image_size, self.num_classes, self.size)


def extractor(
    classifier: Classifier, *, batch_size: int = 256, num_devices: int | None = None
) -> extractors.Extractor:
    """Makes a classifier into an extractor: pooled features `[N, 128]` and logits `[N, K]`.

    The small one has 64 features, and names its scores `small_classifier_fd` and so on.

    Images of another size or shape are resized (bilinear, antialiased); grey is repeated for a
    classifier of colour images, and colour turned to luma for one of grey images.

    Args:
      classifier: from `train` or `load`.
      batch_size: images a call on all devices; fewer are padded, so that it is compiled once for
        each size of images. Rounded up to a multiple of the devices.
      num_devices: local devices to share the work; by default all.

    Raises:
      ValueError: an argument out of range.
    """
    size, channels = classifier.image_size, classifier.channels
    extract_all = parallel.map_rows(
        _extract(classifier.network, channels),
        classifier.variables,
        batch_size=batch_size,
        num_devices=num_devices,
    )

    def apply(images: np.ndarray) -> extractors.Features:
        images = np.asarray(images)
        extractors.check_images(images, 'the classifier')
        return extractors.Features(*extract_all(images))

    colours = {1: 'grey', 3: 'colour'}[channels]
    name = 'classifier' if classifier.size == 'standard' else f'{classifier.size}_classifier'
    convention = f'{name}, {size} pixels, {colours}, bilinear antialiased, [-1, 1]'
    classifier_architecture = architecture(size, classifier.size)
    arrays = flatten(classifier.variables)
    parts = [part for name in sorted(arrays) for part in (name, arrays[name])]
    fingerprint = checked_npz.digest(convention, list(classifier_architecture), *parts)
    return extractors.Extractor(name, convention, fingerprint, apply, image_size=size)


@functools.lru_cache(maxsize=4)
def _extract(network: Network, channels: int) -> Callable[[Any, jax.Array], extractors.Features]:
    """A function of variables and images; the same for the same network, so compiled once."""
    size = network.image_size

    def extract(variables, images):
        images = resize(_to_channels(jnp.asarray(images, jnp.float32), channels), size)
        return network.apply(variables, images / 127.5 - 1, train=False)

    return extract


def resize(images: jax.Array, size: int) -> jax.Array:
    """Images `[N, H, W, C]` as squares of `size` pixels, stretched where they were not square."""
    if images.shape[1:3] == (size, size):
        return images
    shape = (images.shape[0], size, size, images.shape[3])
    return jax.image.resize(images, shape, 'bilinear', antialias=True)


def _to_channels(images: jax.Array, channels: int) -> jax.Array:
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return jnp.repeat(images, 3, axis=3)
    # Rec. 601, as Pillow turns colour to grey.
    return images @ jnp.array([[0.299], [0.587], [0.114]], images.dtype)


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of nested dicts by name, such as 'params/Conv_0/kernel'."""
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(tree), sep='/')
