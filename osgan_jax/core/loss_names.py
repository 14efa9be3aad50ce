"""The names of the objectives, without jax: `--help` lists them."""

from collections.abc import Callable
from typing import Any

# Functions of `osgan_jax.core.losses`, in the order of Table S1, and one that is not in Table S1.
_BUILT_IN = (
    'minimax',
    'wasserstein',
    'non_saturating',
    'least_squares',
    'geometric',
    'relativistic',
    'fisher',
    'boundary_seeking',
    'hinge',
    'relativistic_pairing',
)

REGISTERED: dict[str, Callable[..., Any]] = {}
"""Factories that `osgan_jax.core.losses.register` added, by name."""


def names() -> tuple[str, ...]:
    """The names of all objectives, in the order of Table S1, others after them."""
    return (*_BUILT_IN, *REGISTERED)
