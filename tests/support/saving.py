"""A state of every kind of leaf, and checkpoints of it."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from osgan_jax.engine import checkpoints


class State(NamedTuple):
    step: Any
    params: Any
    optimiser: Any
    ema: Any
    key: Any
    keys: Any


def make_state(seed: int = 0, width: int = 7) -> State:
    key = jax.random.key(seed)
    params = {
        'Dense_0': {
            'kernel': jax.random.normal(key, (width, 5)),
            'bias': jax.random.normal(key, (5,), jnp.bfloat16),
        },
        'empty': jnp.zeros((0, 3)),
        # Values that a detour through text or another type would lose.
        'odd': jnp.array([jnp.nan, jnp.inf, -0.0, 1e-45, 1 / 3]),
    }
    return State(
        step=jnp.int32(seed),
        params=params,
        optimiser=optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params),
        ema=None,
        key=jax.random.fold_in(key, 1),
        keys=jax.random.split(jax.random.key(seed, impl='rbg'), 3),
    )


def bits(tree):
    """Bytes and types of every leaf."""
    out = []
    for leaf in jax.tree.leaves(tree):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        data = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        out.append((str(leaf.dtype), data.shape, data.tobytes()))
    return out


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert bits(a) == bits(b)


def save_steps(workdir, steps, **kwargs):
    with checkpoints.Checkpoints(workdir, **kwargs) as saved:
        for step in steps:
            saved.save(step, make_state(step), iterator_state=b'at %d' % step)


def files_of(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in directory.rglob('*') if p.is_file() and p.stat().st_size)
