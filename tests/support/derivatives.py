"""Convolutions and their derivatives of all orders, to be compared between formulations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def all_orders(apply: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[..., Any]:
    """A jitted function of (x, kernel): value, gradients, and gradients of a penalty on those."""
    gradients = jax.grad(lambda x, k: jnp.sin(apply(x, k)).sum(), (0, 1))

    def penalty(x, kernel):
        gx, gk = gradients(x, kernel)
        return (gx**2).sum() + jnp.cos(gk).sum()

    return jax.jit(lambda x, k: (apply(x, k), gradients(x, k), jax.grad(penalty, (0, 1))(x, k)))


def relative(actual: Any, expected: Any) -> float:
    """The greatest difference of two arrays over the greatest value of the second, in float64."""
    actual, expected = (np.asarray(v, np.float64) for v in (actual, expected))
    return np.abs(actual - expected).max() / (np.abs(expected).max() + 1e-30)
