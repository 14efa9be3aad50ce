"""What a value is, in the words of messages."""

from typing import Any

import jax

PyTree = Any


def is_array(value: Any) -> bool:
    """Whether a value is an array of any library, or an abstract one."""
    return hasattr(value, 'shape') and hasattr(value, 'dtype')


def is_traced(tree: PyTree) -> bool:
    """Whether an array of a pytree has no values yet, because a program is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def describe(value: Any) -> str:
    """A value's kind in a few words, such as `a tuple (an array [6, 2] of float32, None)`."""
    if is_array(value):
        return f'an array {list(value.shape)} of {value.dtype}'
    if isinstance(value, tuple) and not hasattr(value, '_fields'):
        return f'a tuple ({", ".join(map(describe, value))})'
    if isinstance(value, list):
        return f'a list [{", ".join(map(describe, value))}]'
    if isinstance(value, dict):
        return f'a dict of {", ".join(map(repr, value)) or "nothing"}'
    return 'None' if value is None else f'a value of type {type(value).__name__}'


def leaves(name: str, tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves of a pytree with their names, such as `s_fake['scales'][0]`."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in found]
