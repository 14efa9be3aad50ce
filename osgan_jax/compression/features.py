"""Features of networks made of blocks, by the grid they have, and how they are compared."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
PyTree = Any


def apply(module: nn.Module, variables: PyTree, *args: Any, **options: Any):
    """Applies a network and keeps what its blocks give.

    Args:
      module: a generator or discriminator of a network that `has_blocks`; one of one's own names
        its blocks in `taps`.
      variables: its own.
      *args: its inputs.
      **options: of `module.apply` but `mutable` and `capture_intermediates`; with `train=True` new
        statistics are thrown away.

    Returns:
      `(output, features)`, features `[n, grid, grid, C]` by grid, the last block of each.
    """
    rank = functools.partial(_rank, getattr(module, 'taps', ()))
    output, kept = module.apply(
        variables,
        *args,
        capture_intermediates=lambda part, method: (
            method == '__call__' and rank(part.name or '') is not None
        ),
        mutable=['batch_stats', 'intermediates'],
        **options,
    )
    return output, {leaf.shape[1]: leaf for leaf in _in_order(kept['intermediates'], rank)}


def _rank(taps: Sequence[str], name: str) -> int | None:
    """The place of a module among the blocks; None where it is not one."""
    if taps:
        return taps.index(name) if name in taps else None
    return int(name[6:]) if name.startswith('block_') else None


def _in_order(tree: PyTree, rank: Callable[[str], int | None]) -> list[Array]:
    """The grids that the blocks gave, one after the other; `block_10` is after `block_9`."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        names = [getattr(key, 'key', None) for key in path]
        block = next(place for name in names if name and (place := rank(name)) is not None)
        # Places after the method's name: of the call, and of a part where a block gives several;
        # features are the first.
        parts = [key.idx for key in path[names.index('__call__') + 1 :]]
        if leaf.ndim == 4 and parts[1:] in ([], [0]):
            found.append((block, leaf))
    return [leaf for _, leaf in sorted(found, key=lambda item: item[0])]


def distance(
    student: dict[int, Array],
    teacher: dict[int, Array],
    adapters: PyTree,
    mean: Callable[[Array], Array],
) -> Array:
    """Sum over grids of the l1 distance between adapted features and the teacher's (Eq. 7, 8).

    Args:
      student: by grid, `[n, grid, grid, C]`.
      teacher: likewise, of more channels.
      adapters: 1x1 kernels `[C, C']` by grid, as text; the grids that are compared.
      mean: of one value a sample, `[n]`.

    Returns:
      A scalar; each grid's is a mean over pixels and channels.
    """
    total = jnp.zeros(())
    for grid, kernel in adapters.items():
        adapted = student[int(grid)].astype(jnp.float32) @ kernel
        far = jnp.abs(adapted - jax.lax.stop_gradient(teacher[int(grid)].astype(jnp.float32)))
        total += mean(jnp.mean(far, axis=(1, 2, 3)))
    return total


def create_adapters(
    key: Array, student: dict[int, Any], teacher: dict[int, Any], chosen: Sequence[str]
) -> PyTree:
    """Kernels from a student's channels to its teacher's.

    Args:
      key: random key.
      student: features, or their shapes, by grid.
      teacher: likewise.
      chosen: grids in pixels, as text; none for the three largest.

    Raises:
      ValueError: for a grid that the networks have not.
    """
    grids = [int(each) for each in chosen if each != 'out']
    missing = [grid for grid in grids if grid not in student]
    if missing:
        known = ', '.join(map(str, sorted(student)))
        raise ValueError(
            f'imitated={missing[0]}: no block has this grid; the grids are {known} pixels'
        )
    if not grids and not chosen:
        grids = sorted(student)[-3:]
    kernels = {}
    for grid, own in zip(grids, jax.random.split(key, max(1, len(grids))), strict=False):
        shape = (student[grid].shape[-1], teacher[grid].shape[-1])
        kernels[str(grid)] = jax.random.normal(own, shape) / jnp.sqrt(shape[0])
    return kernels
