"""A state as named arrays in host memory, and back onto devices.

Names are paths like `params_g/Dense_0/kernel`; typed PRNG keys become their uint32 words.
"""

import zlib
from typing import Any

import jax
import numpy as np

ShapeAndDtype = tuple[tuple[int, ...], str]


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Flattens `tree` to a dict from leaf names like `params_g/Dense_0/kernel`."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(path)
        if name in named:
            raise ValueError(f'two leaves of the state are both called {name}; rename one.')
        named[name] = leaf
    return named


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, 'dtype') and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _shape_and_dtype(leaf: Any) -> ShapeAndDtype:
    if not hasattr(leaf, 'dtype'):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def expected(like_state: Any) -> dict[str, ShapeAndDtype]:
    """Shape and type of each leaf by name, of concrete arrays or `jax.ShapeDtypeStruct`."""
    return {name: _shape_and_dtype(leaf) for name, leaf in _named_leaves(like_state).items()}


def differences(
    described: dict[str, dict[str, Any]], expected: dict[str, ShapeAndDtype]
) -> list[str]:
    """How a stored state differs from the one expected, one phrase a leaf.

    Args:
      described: the manifest's entries, see `to_host`.
      expected: see `expected`.
    """
    return [f'{name} is {how}' for name, how in fitting(described, expected)[1].items()]


def fitting(
    described: dict[str, dict[str, Any]], expected: dict[str, ShapeAndDtype]
) -> tuple[set[str], dict[str, str]]:
    """Which leaves of a stored state fit another one.

    Args:
      described: the manifest's entries, see `to_host`.
      expected: see `expected`.

    Returns:
      `(fit, misfits)`: names of those with the same shape and type, and of all others, stored or
      expected, how they differ.
    """
    have = {name: (tuple(leaf['shape']), leaf['dtype']) for name, leaf in described.items()}
    misfits = {
        name: f'{_describe(have.get(name))} there and {_describe(expected.get(name))} here'
        for name in [*expected, *(name for name in have if name not in expected)]
        if have.get(name) != expected.get(name)
    }
    return have.keys() & expected.keys() - misfits.keys(), misfits


def to_host(state: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Copies a state to host memory of its own.

    Returns:
      `(described, arrays)`: the manifest's entry and the values of each leaf by name. Empty
      arrays, which orbax refuses, are only in the manifest.

    Raises:
      ValueError: two leaves have one name, or one is split over processes.
    """
    named = _named_leaves(state)
    data = {k: jax.random.key_data(v) if _is_key(v) else v for k, v in named.items()}
    for name, leaf in data.items():
        if not isinstance(leaf, jax.Array):
            continue
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            raise ValueError(f'{name} is split over processes; only replicated states are saved.')
        leaf.copy_to_host_async()  # all transfers run while the first is waited for
    # A plain conversion may be a view of the device's own buffer (it is on CPU), and the caller is
    # free to donate that while it is still being written out: copy.
    arrays = {name: np.array(leaf) for name, leaf in data.items()}
    described = {}
    for name, array in arrays.items():
        shape, dtype = _shape_and_dtype(named[name])
        described[name] = {
            'shape': list(shape),
            'dtype': dtype,
            'stored_shape': list(array.shape),
            'stored_dtype': str(array.dtype),
            'crc32': crc(array),
        }
    return described, {name: array for name, array in arrays.items() if array.size}


def to_devices(like_state: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Puts host arrays where the leaves of `like_state` are, in its structure.

    Args:
      like_state: the structure; a concrete leaf gives the devices, numpy leaves stay numpy.
      arrays: the values by leaf name, see `to_host`; leaves without one stay as they are.
    """

    def put(path: tuple[Any, ...], like: Any) -> Any:
        value: Any = arrays.get(_name(path))
        if value is None:
            return like
        if isinstance(like, np.ndarray | np.generic):
            return value
        if not hasattr(like, 'dtype'):
            return type(like)(value.item())
        # Uncommitted arrays stay so: pinned to device 0 they could not enter a computation over
        # several devices.
        committed = getattr(like, 'committed', True)
        sharding = getattr(like, 'sharding', None) if committed else None
        if sharding is not None and not sharding.is_fully_addressable:
            # Over several processes; all hold the same values, see to_host.
            whole = value
            value = jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
            return jax.random.wrap_key_data(value, impl=_key_impl(like)) if _is_key(like) else value
        if _is_key(like):
            value = jax.random.wrap_key_data(value, impl=_key_impl(like))
        return jax.device_put(value, sharding, may_alias=False)

    return jax.tree_util.tree_map_with_path(put, like_state)


def crc(array: np.ndarray) -> int:
    """CRC-32 of the values' bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _key_impl(like: Any) -> Any:
    """The generator of a typed key, concrete or abstract."""
    found = []
    # Tracing, because key_impl takes no ShapeDtypeStruct itself.
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/') or 'state'


def _describe(shape_and_dtype: ShapeAndDtype | None) -> str:
    if shape_and_dtype is None:
        return 'absent'
    shape, dtype = shape_and_dtype
    return f'{dtype}[{", ".join(map(str, shape))}]'
