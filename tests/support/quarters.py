"""Features that take no network: means of the quarters of an image tell any two apart."""

import jax.numpy as jnp
import numpy as np

from osgan_jax.evaluation.features.extractors import Extractor, Features


def see(images: np.ndarray) -> Features:
    """Means of the quarters of `[N, H, W, C]`, H and W even; five times those as logits."""
    x = jnp.asarray(images, jnp.float32) / 255
    n, h, w, _ = x.shape
    quarters = x.reshape(n, 2, h // 2, 2, w // 2, -1).mean((2, 4, 5)).reshape(n, 4)
    return Features(quarters, 5 * quarters)


EXTRACTOR = Extractor('classifier', 'quarters', 'f00d', see)
