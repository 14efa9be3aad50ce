"""Several devices: compilation for them, and the placement of batches and states.

Data parallelism is `jax.pmap`: the batch is split, and the state is donated; it is replicated
(`in_axes=None`, `out_axes=None`), or its large tensors are divided (`osgan_jax.runtime.shards`).
`osgan_jax.core.collectives` has what devices exchange.

With several processes (`osgan_jax.runtime.processes`) the devices are those of all of them, in
their order. Each process hands in its own rows of the batch and holds the state on its own devices.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core.collectives import AXIS, Shard, is_shard
from osgan_jax.runtime import shards

PyTree = Any


def local_devices(count: int | None, batch_size: int) -> list[jax.Device]:
    """The first `count` devices of every process, process by process; by default all.

    Raises:
      ValueError: if a process has fewer, or the batch does not divide among all.
    """
    of_process = [jax.local_devices(process_index=i) for i in range(jax.process_count())]
    sizes = [len(devices) for devices in of_process]
    if count is None and len(set(sizes)) > 1:
        raise ValueError(
            f'the processes have {", ".join(map(str, sizes))} devices: pass --num_devices, at most '
            f'{min(sizes)}, to use as many in each'
        )
    count = sizes[0] if count is None else count
    if count > min(sizes):
        which = 'this machine' if len(sizes) == 1 else f'process {sizes.index(min(sizes))}'
        platform = of_process[0][0].platform
        raise ValueError(f'num_devices={count}: {which} has {min(sizes)} {platform} devices')
    total = count * len(sizes)
    if batch_size % total:
        among = f'{total} devices'
        if len(sizes) > 1:
            among += f' ({count} in each of {len(sizes)} processes)'
        raise ValueError(
            f'batch_size={batch_size} does not divide among {among}: choose a multiple of {total} '
            'or fewer devices with --num_devices'
        )
    return [device for devices in of_process for device in devices[:count]]


def compile_update(
    update: Callable[..., tuple[PyTree, PyTree]],
    devices: Sequence[jax.Device],
    *,
    state: PyTree = None,
    steps_per_call: int = 1,
    num_constants: int = 0,
) -> Callable[..., tuple[PyTree, PyTree]]:
    """Compiles `(state, batch) -> (state, metrics)` for these devices.

    The state's buffers are donated: the one passed in must not be used again.

    Args:
      update: one step. Mapped over several devices it sees the axis `AXIS`.
      devices: where to run.
      state: what `place` returns, or its `shapes`; may be left out for one that is not divided.
      num_constants: number of further arguments, pytrees that every device is given whole and that
        are not donated.
      steps_per_call: with more than one, batches carry a leading axis of that length (after the
        devices' axis), the steps run in one dispatch, and metrics come back stacked.

    Returns:
      The compiled function; it has `.lower` for ahead-of-time compilation.
    """
    if steps_per_call > 1:
        one_step = update

        def update(state, batches, *constants):
            return jax.lax.scan(lambda s, batch: one_step(s, batch, *constants), state, batches)

    axes, constants = shards.axes(state), (None,) * num_constants
    if axes is not None and jax.process_count() > 1:
        return _map_leaves(update, devices, state, constants)
    return _map(update, devices, (axes, 0, *constants), (axes, None), donate=(0,))


def map_rows(
    function: Callable[[PyTree, jax.Array], PyTree],
    variables: PyTree,
    *,
    batch_size: int,
    num_devices: int | None = None,
) -> Callable[[np.ndarray], PyTree]:
    """Compiles a function of independent rows for any number of them, over local devices.

    Args:
      function: `(variables, rows [n, ...]) -> pytree of [n, ...]`.
      variables: its first argument in every call; placed on the devices here.
      batch_size: rows a call on all devices; fewer are padded, so that it is compiled once for each
        shape of a row. Rounded up to a multiple of the devices.
      num_devices: local devices to share the work; by default all.

    Returns:
      A function of rows `[N, ...]`, N of at least 1.

    Raises:
      ValueError: if a number is out of range.
    """
    devices = jax.local_devices()
    num_devices = len(devices) if num_devices is None else num_devices
    if batch_size < 1 or not 1 <= num_devices <= len(devices):
        raise ValueError(
            f'expected a batch_size of at least 1 and 1 to {len(devices)} devices, '
            f'got {batch_size} and {num_devices}'
        )
    batch_size = -(-batch_size // num_devices) * num_devices
    devices = devices[:num_devices]
    variables = replicate(variables, devices)
    mapped = _map(function, devices, (None, 0), 0)

    def join(*parts: jax.Array) -> jax.Array:
        if num_devices > 1:  # [D, n / D, ...] each
            parts = [part.reshape(-1, *part.shape[2:]) for part in parts]
        return jnp.concatenate(parts)

    def apply(rows: np.ndarray) -> PyTree:
        parts = []
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            filled = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
            filled[: len(part)] = part
            parts.append(mapped(variables, put_batch(filled, devices)))
        return jax.tree.map(lambda x: x[: len(rows)], jax.tree.map(join, *parts))

    return apply


def flops(compiled: Any, num_devices: int) -> float | None:
    """FLOPs a step, over all devices, of a compiled update.

    The compiler counts the body of a loop once: one of several steps a call, as wanted here, but
    also one part of an accumulated step.

    Returns:
      None where the compiler does not say.
    """
    count = (compiled.cost_analysis() or {}).get('flops')
    return None if count is None else count * num_devices


def put_batch(batch: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Moves a host batch to the devices, as `compile_update`'s function takes it.

    Args:
      batch: arrays `[N, ...]`, or `[K, N, ...]` as a list of K batches for K steps a call, or for
        a step that takes K; lists may be nested. N are the rows of this process.
      devices: as for `compile_update`.

    Returns:
      Arrays `[N, ...]` (or `[K, N, ...]`) on one device; `[D, N / D, ...]` (or
      `[D, K, N / D, ...]`) split over the first axis on the D devices of this process.
    """
    batch, axis = _stack(batch)
    if len(devices) == 1:
        return jax.device_put(batch, devices[0])
    own = _own(devices)
    sharding = _sharding(own, AXIS)

    def split(array):
        rows = array.shape[axis] // len(own)
        shape = (*array.shape[:axis], len(own), rows, *array.shape[axis + 1 :])
        return jax.device_put(np.moveaxis(array.reshape(shape), axis, 0), sharding)

    return jax.tree.map(split, batch)


def replicate(state: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Places the state where `compile_update`'s function keeps it, so that it compiles once."""
    if len(devices) == 1:
        return jax.device_put(state, devices[0])
    # On this process's devices alone: what comes back from pmap lies there too.
    return jax.device_put(state, _sharding(_own(devices)))


def place(state: PyTree, devices: Sequence[jax.Device], divided: Sequence[str] = ()) -> PyTree:
    """Like `replicate`, but each device receives only its own shards of large tensors.

    Args:
      state: whole.
      devices: as for `compile_update`; those of each process divide the state among themselves.
      divided: paths in the state, see `shards.divide`.
    """
    own = _own(devices)
    if len(own) == 1 or not divided:
        return replicate(state, devices)
    state = shards.divide(state, len(own), divided)

    def sharding(node: Any) -> Any:
        if not is_shard(node):
            return _sharding(own)
        return Shard(_sharding(own, *[None] * node.axis, AXIS), node.axis)

    return jax.device_put(state, jax.tree.map(sharding, state, is_leaf=is_shard))


def collect(state: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """A state that `place` returned, or a step, with whole tensors on this process's devices."""
    return _joining(tuple(_own(devices)))(state) if shards.has_any(state) else state


@functools.lru_cache
def _joining(devices: tuple[jax.Device, ...]) -> Callable[[PyTree], PyTree]:
    return jax.jit(shards.join, out_shardings=_sharding(devices))


def shapes(
    state: PyTree, batch: PyTree, devices: Sequence[jax.Device], divided: Sequence[str] = ()
) -> tuple[PyTree, PyTree]:
    """What `compile_update`'s function lowers for without arrays, also for devices not there.

    Args:
      state: whole, arrays or their shapes.
      batch: on the host, as `put_batch` takes it.
      devices: as for `compile_update`; those of a topology will do.
      divided: as for `place`.

    Returns:
      Shapes as of `place(state, devices, divided)` and `put_batch(batch, devices)` of one process.
    """
    batch, axis = _stack(batch)
    place = {}
    if len(devices) == 1:
        place['sharding'] = jax.sharding.SingleDeviceSharding(devices[0])

    def split(array):
        shape = list(array.shape)
        if len(devices) > 1:
            shape[axis] //= len(devices)
            shape.insert(0, len(devices))
        return jax.ShapeDtypeStruct(tuple(shape), array.dtype, **place)

    whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, **place), state)
    if len(devices) > 1:
        whole = shards.divide(whole, len(devices), divided)
    return whole, jax.tree.map(split, batch)


def maximum(devices: Sequence[jax.Device]) -> Callable[[int], jax.Array]:
    """The maximum over processes: a function that all call together, each with its own number.

    It returns an int32 scalar before that is computed; reading it waits.
    """
    mapped = _map(lambda number: jax.lax.pmax(number, AXIS), devices, 0, None)
    own = _own(devices)
    sharding = _sharding(own, AXIS)
    return lambda number: mapped(jax.device_put(np.full(len(own), number, np.int32), sharding))


def _map(
    function: Callable[..., PyTree],
    devices: Sequence[jax.Device],
    in_axes: Any,
    out_axes: Any,
    donate: tuple[int, ...] = (),
) -> Callable[..., PyTree]:
    """Compiles a function for one device, or for each of several, mapped over `AXIS`."""
    if len(devices) == 1:
        return jax.jit(function, donate_argnums=donate)
    axes = {'axis_name': AXIS, 'in_axes': in_axes, 'out_axes': out_axes}
    return jax.pmap(function, devices=list(devices), donate_argnums=donate, **axes)


def _map_leaves(
    update: Callable[..., tuple[PyTree, PyTree]],
    devices: Sequence[jax.Device],
    state: PyTree,
    constants: tuple[None, ...],
) -> Callable[..., tuple[PyTree, PyTree]]:
    """Maps an update of a divided state, for several processes.

    `jax.pmap` hashes the axes of what it returns there (jax 0.10): a tuple, not a state.
    """
    structure = jax.tree.structure(state)
    nodes = jax.tree.leaves(state, is_leaf=is_shard)
    axes = tuple(node.axis if is_shard(node) else None for node in nodes)

    def update_leaves(leaves, batch, *constants):
        new, metrics = update(structure.unflatten(leaves), batch, *constants)
        return tuple(jax.tree.leaves(new)), metrics

    mapped = _map(update_leaves, devices, (axes, 0, *constants), (axes, None), donate=(0,))

    def mapped_update(state, batch, *constants):
        leaves, metrics = mapped(tuple(jax.tree.leaves(state)), batch, *constants)
        return structure.unflatten(leaves), metrics

    mapped_update.lower = lambda state, *others: mapped.lower(
        tuple(jax.tree.leaves(state)), *others
    )
    return mapped_update


def _stack(batch: PyTree) -> tuple[PyTree, int]:
    """The batches of nested lists as one, and the number of axes before its rows."""
    if not isinstance(batch, list):
        return batch, 0
    parts, axes = zip(*map(_stack, batch), strict=True)
    return jax.tree.map(lambda *arrays: np.stack(arrays), *parts), 1 + axes[0]


def _own(devices: Sequence[jax.Device]) -> list[jax.Device]:
    return [device for device in devices if device.process_index == jax.process_index()]


def _sharding(devices: Sequence[jax.Device], *axes: str) -> jax.sharding.NamedSharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
