"""Modules drawn and applied as one program each, compiled once for a module and its shapes.

Layer by layer, as outside of jit, the same takes ten times as long.
"""

import functools
from typing import Any

import jax

_OPTIONS = ('train', 'method', 'mutable', 'capture_intermediates')


@functools.partial(jax.jit, static_argnums=0, static_argnames=_OPTIONS)
def init(module, key: jax.Array, *inputs: Any, **options: Any) -> Any:
    """`module.init(key, *inputs, **options)`."""
    return module.init(key, *inputs, **options)


@functools.partial(jax.jit, static_argnums=0, static_argnames=_OPTIONS)
def apply(module, variables: Any, *inputs: Any, **options: Any) -> Any:
    """`module.apply(variables, *inputs, **options)`; `mutable` is the name of one collection."""
    return module.apply(variables, *inputs, **options)
