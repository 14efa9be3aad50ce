"""Numbers that are not finite: in which tensors they are, and steps that are undone for them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any
# Tensors that a message names before it only counts.
_NAMED = 3


class NonFiniteError(RuntimeError):
    """A loss or a tensor became NaN or infinite; the message names it and the step."""


@jax.jit
def finite_leaves(tree: PyTree) -> jax.Array:
    """Whether each floating-point leaf is finite, `[leaves]` bool, in the order of `names`."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for _, leaf in _floating(tree)] or [True])


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every floating-point leaf is finite, a bool scalar."""
    return jnp.all(finite_leaves(tree))


def names(tree: PyTree) -> list[str]:
    """The paths of a pytree's floating-point leaves, such as `params_g/Dense_0/kernel`."""
    return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in _floating(tree)]


def describe(tree: PyTree, finite: np.ndarray | jax.Array | None = None) -> str:
    """Which leaves are not finite, for a person: '' where all are.

    Args:
      tree: what is described.
      finite: what `finite_leaves` said of it; by default it is asked.
    """
    finite = np.asarray(finite_leaves(tree) if finite is None else finite)
    bad = [name for name, good in zip(names(tree), finite, strict=False) if not good]
    if not bad:
        return ''
    more = f' and {len(bad) - _NAMED} more of {len(finite)} tensors' if len(bad) > _NAMED else ''
    return ', '.join(bad[:_NAMED]) + more


def skipping(update: Callable[..., tuple[PyTree, dict[str, jax.Array]]]):
    """An update that leaves everything but the step as it was where it would make NaN or Inf.

    The old state is kept beside the new one while a step runs, so that a state takes twice the
    memory.

    Args:
      update: `(state, batch, *constants) -> (state, metrics)`; the state has a `step`.

    Returns:
      A function of the same arguments, whose metrics have `skipped`, 1 where the step was left out
      (state or metrics were not finite) and 0 elsewhere. A step's random numbers follow from its
      number and its batch is gone, so that the next one tries others.
    """

    def guarded(state, batch, *constants):
        new, metrics = update(state, batch, *constants)
        good = all_finite((new, metrics))
        kept = jax.tree.map(lambda after, before: jnp.where(good, after, before), new, state)
        return kept.replace(step=new.step), {**metrics, 'skipped': 1.0 - good}

    return guarded


def _floating(tree: PyTree) -> list[tuple[Any, jax.Array]]:
    return [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
