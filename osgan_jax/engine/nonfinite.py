"""Numbers that are not finite: the tensors that hold them, and steps that are skipped."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core.collectives import ONE_DEVICE, Collectives, is_shard

PyTree = Any
_NAMED = 3  # tensors in a message; the others are counted


class NonFiniteError(RuntimeError):
    """A loss or a tensor became NaN or infinite; the message names it and the step."""


def finite_leaves(tree: PyTree) -> np.ndarray | jax.Array:
    """Whether each real or complex leaf is finite, `[leaves]` bool, in the order of `names`.

    On a CPU they are checked with numpy, which waits for them and copies none but shards. Compiling
    a program would take half a second of a launch, and it runs no faster.
    """
    leaves = [leaf for _, leaf in _inexact(tree)]
    if all(_on_cpu(leaf) for leaf in leaves):
        return np.array([np.isfinite(np.asarray(leaf)).all() for leaf in leaves] or [True])
    return _finite(leaves)


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every real or complex leaf is finite, a bool scalar; for traced functions, too."""
    return jnp.all(_finite([leaf for _, leaf in _inexact(tree)]))


@jax.jit
def _finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] or [True])


def _on_cpu(leaf: np.ndarray | jax.Array) -> bool:
    devices = leaf.devices() if isinstance(leaf, jax.Array) else ()
    return all(device.platform == 'cpu' for device in devices)


def names(tree: PyTree) -> list[str]:
    """The paths of a pytree's real and complex leaves, such as `params_g/Dense_0/kernel`."""
    return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in _inexact(tree)]


def describe(tree: PyTree, finite: np.ndarray | jax.Array | None = None) -> str:
    """The leaves that are not finite, for a person; '' where all are.

    Args:
      tree: any pytree.
      finite: its `finite_leaves`, where they are known.
    """
    finite = np.asarray(finite_leaves(tree) if finite is None else finite)
    bad = [name for name, good in zip(names(tree), finite, strict=False) if not good]
    if not bad:
        return ''
    more = f' and {len(bad) - _NAMED} more of {len(finite)} tensors' if len(bad) > _NAMED else ''
    return ', '.join(bad[:_NAMED]) + more


def skipping(
    update: Callable[..., tuple[PyTree, dict[str, jax.Array]]],
    collectives: Collectives = ONE_DEVICE,
):
    """An update that skips steps with NaN or infinity: of the state, only the step number changes.

    The old state is kept beside the new one while a step runs, so a state takes twice the memory.

    Args:
      update: `(state, batch, *constants) -> (state, metrics)`; the state has a `step`.
      collectives: of the devices that it is mapped over; all skip a step or none.

    Returns:
      A function of the same arguments, whose metrics have `skipped`: 1 where state or metrics were
      not finite, else 0. The next step tries another batch and other random numbers.
    """

    def guarded(state, batch, *constants):
        new, metrics = update(state, batch, *constants)
        good = collectives.every(all_finite((new, metrics)))
        kept = jax.tree.map(lambda after, before: jnp.where(good, after, before), new, state)
        return kept.replace(step=new.step), {**metrics, 'skipped': 1.0 - good}

    return guarded


def _inexact(tree: PyTree) -> list[tuple[Any, jax.Array]]:
    leaves = [
        (path, leaf.value if is_shard(leaf) else leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_shard)
    ]
    return [(path, leaf) for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
