"""From the pixels of a dataset to what networks take, on the device."""

import functools
from typing import Any

import numpy as np


def _levels() -> np.ndarray:
    """The float32 value of each uint8: x / 127.5 - 1, both ends exactly."""
    levels = np.arange(256, dtype=np.float32)
    levels /= 127.5
    levels -= 1.0
    return levels


LEVELS = _levels()


def to_float(batch: Any) -> Any:
    """Maps images from 0..255 to -1..1 where they lie: a quarter of the bytes goes to the device.

    Values are looked up in `LEVELS`, so that they are the same bits everywhere: XLA may divide by
    multiplying by the reciprocal.

    Args:
      batch: a pytree of arrays on devices.

    Returns:
      The pytree, with float32 arrays in place of its uint8 ones, on the same devices.
    """
    import jax

    return jax.tree.map(lambda x: _lookup(x.sharding)(x) if x.dtype == np.uint8 else x, batch)


@functools.cache
def _lookup(sharding: Any):
    import jax
    import jax.numpy as jnp

    def lookup(images: jax.Array) -> jax.Array:
        return jnp.asarray(LEVELS).at[images].get(mode='promise_in_bounds')

    return jax.jit(lookup, out_shardings=sharding)
