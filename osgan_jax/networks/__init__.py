"""Generators and discriminators that fit each other, by name; classifiers.

`registry` says what a network declares of itself, and how one of your own joins them.
"""

from osgan_jax.networks.given import Networks, named
from osgan_jax.networks.registry import (
    OPTIONS,
    NetworkOptions,
    NetworkSpec,
    Pair,
    build,
    get,
    names,
    register,
)

__all__ = [
    'OPTIONS',
    'NetworkOptions',
    'NetworkSpec',
    'Networks',
    'Pair',
    'build',
    'get',
    'named',
    'names',
    'register',
]
