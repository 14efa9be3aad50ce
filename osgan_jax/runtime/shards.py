"""States whose large tensors are divided among devices: each holds, and updates, its own shards.

Each of D devices holds and updates a D-th of what is divided. In the step the networks' parameters
are gathered whole, and gradients are summed into shards (`osgan_jax.core.collectives`). That is the
third stage of ZeRO (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054), known as fully
sharded data parallelism.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax.core.collectives import Shard, is_shard

PyTree = Any

# Smaller tensors cost messages of their own and save next to nothing.
LEAST_SIZE = 2**16


def divide(state: PyTree, count: int, fields: Sequence[str]) -> PyTree:
    """The state with shards in the place of large tensors.

    Args:
      state: arrays or their shapes.
      count: devices, D.
      fields: paths of what is divided, such as `params_g` or `ema_g/params`.

    Returns:
      The same, where tensors of at least `LEAST_SIZE` floats, whose size along some axis is a
      multiple of D, are shards along the longest such axis, all parts together.
    """

    def divided(path: tuple[Any, ...], leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator='/') + '/'
        axis = _longest_axis(leaf, count)
        if axis is None or not any(name.startswith(f'{field}/') for field in fields):
            return leaf
        shape = (*leaf.shape[:axis], count, leaf.shape[axis] // count, *leaf.shape[axis + 1 :])
        return Shard(_reshape(leaf, shape), axis)

    return jax.tree_util.tree_map_with_path(divided, state)


def join(state: PyTree) -> PyTree:
    """The state with whole tensors; the inverse of `divide`."""

    def joined(node: Any) -> Any:
        if not is_shard(node):
            return node
        shape, axis = node.value.shape, node.axis
        whole = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        return _reshape(node.value, whole)

    return jax.tree.map(joined, state, is_leaf=is_shard)


def has_any(state: PyTree) -> bool:
    """Whether any tensor of a state is divided."""
    return any(map(is_shard, jax.tree.leaves(state, is_leaf=is_shard)))


def axes(state: PyTree) -> PyTree:
    """The mapped axes of a state's tensors, as `jax.pmap` takes them; None for none."""
    if not has_any(state):
        return None
    return jax.tree.map(
        lambda node: dataclasses.replace(node, value=node.axis) if is_shard(node) else None,
        state,
        is_leaf=is_shard,
    )


def _longest_axis(leaf: Any, count: int) -> int | None:
    if not jnp.issubdtype(leaf.dtype, jnp.floating) or math.prod(leaf.shape) < LEAST_SIZE:
        return None
    fitting = [axis for axis, size in enumerate(leaf.shape) if size % count == 0]
    return max(fitting, key=lambda axis: leaf.shape[axis], default=None)


def _reshape(leaf: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(shape, leaf.dtype)
    return leaf.reshape(shape)
