"""Communication between devices within a step.

An update on several devices equals the update on one because every device computes the loss of the
whole batch's logits. Cotangents are then gradients of the global loss, and parameter gradients are
summed, whole or into shards, not averaged. That holds for any loss, paired and constrained ones
included.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core import losses

PyTree = Any
AXIS = 'devices'


@functools.partial(jax.tree_util.register_dataclass, data_fields=['value'], meta_fields=['axis'])
@dataclasses.dataclass(frozen=True)
class Shard:
    """A tensor of which each of a process's D devices holds a part; a node of a pytree.

    Attributes:
      value: within a mapped function this device's part, `[..., n / D, ...]` of `[..., n, ...]`;
        outside of it all parts, `[..., D, n / D, ...]`.
      axis: the axis of n.
    """

    value: Any
    axis: int


def is_shard(node: Any) -> bool:
    """Whether a node of a pytree is a `Shard`; for `is_leaf`."""
    return isinstance(node, Shard)


@dataclasses.dataclass(frozen=True)
class Collectives:
    """Collectives of an update's devices; on one device every method returns its argument.

    Attributes:
      axis_name: name of the mapped axis, None on one device.
      size: number of devices along the axis.
      num_processes: number of processes that the devices belong to, in order and equally many to
        each.
    """

    axis_name: str | None = None
    size: int = 1
    num_processes: int = 1

    @property
    def _per_process(self) -> int:
        return self.size // self.num_processes

    @property
    def _of_a_process(self) -> list[list[int]] | None:
        """The devices of each process, which divide a state; None for those of one."""
        if self.num_processes == 1:
            return None
        return np.arange(self.size).reshape(self.num_processes, -1).tolist()

    @property
    def _alike(self) -> list[list[int]]:
        """The devices that hold the same shards, one of each process."""
        return np.arange(self.size).reshape(self.num_processes, -1).T.tolist()

    def sum(self, tree: PyTree) -> PyTree:
        """The sum over devices of every leaf."""
        return tree if self.axis_name is None else jax.lax.psum(tree, self.axis_name)

    def mean(self, tree: PyTree) -> PyTree:
        """The mean over devices of every leaf of floats; others as they are here."""

        def mean(leaf: jax.Array) -> jax.Array:
            is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
            return jax.lax.pmean(leaf, self.axis_name) if is_float else leaf

        return tree if self.axis_name is None else jax.tree.map(mean, tree)

    def every(self, flag: jax.Array) -> jax.Array:
        """Whether a flag, a bool scalar, is set on every device."""
        if self.axis_name is None:
            return flag
        return jax.lax.pmin(flag.astype(jnp.int32), self.axis_name) == 1

    def gather(self, tree: PyTree) -> PyTree:
        """The pytree with whole tensors in the place of shards."""

        def whole(node: Any) -> Any:
            if not is_shard(node):
                return node
            return jax.lax.all_gather(
                node.value,
                self.axis_name,
                axis=node.axis,
                tiled=True,
                axis_index_groups=self._of_a_process,
            )

        return jax.tree.map(whole, tree, is_leaf=is_shard)

    def shard(self, tree: PyTree, like: PyTree) -> PyTree:
        """Whole tensors, the same on every device, divided as those of `like` are."""

        def own(node: Any, leaf: jax.Array) -> Any:
            if not is_shard(node):
                return leaf
            size = node.value.shape[node.axis]
            index = jax.lax.axis_index(self.axis_name) % self._per_process
            part = jax.lax.dynamic_slice_in_dim(leaf, index * size, size, node.axis)
            return Shard(part, node.axis)

        return jax.tree.map(own, like, tree, is_leaf=is_shard)

    def sum_into(self, tree: PyTree, like: PyTree) -> PyTree:
        """The sum over devices of every leaf, divided as the leaves of `like` are."""

        def own_sum(node: Any, leaf: jax.Array) -> Any:
            if not is_shard(node):
                return self.sum(leaf)
            total = jax.lax.psum_scatter(
                leaf,
                self.axis_name,
                scatter_dimension=node.axis,
                tiled=True,
                axis_index_groups=self._of_a_process,
            )
            if self.num_processes > 1:
                total = jax.lax.psum(total, self.axis_name, axis_index_groups=self._alike)
            return Shard(total, node.axis)

        return jax.tree.map(own_sum, like, tree, is_leaf=is_shard)

    def own_part(self, batch: jax.Array) -> jax.Array:
        """This device's rows of an array that every device holds whole, `[N, ...]`."""
        if self.axis_name is None:
            return batch
        rows = batch.shape[0] // self.size
        start = jax.lax.axis_index(self.axis_name) * rows
        return jax.lax.dynamic_slice_in_dim(batch, start, rows)

    def whole(self, part: jax.Array) -> jax.Array:
        """The rows of all devices, `[N, ...]`, with gradients to this device's own part alone."""
        if self.axis_name is None:
            return part
        # The gradient of an all_gather would add up every device's copy of the same loss; here
        # only this device's rows are variable.
        gathered = jax.lax.all_gather(
            jax.lax.stop_gradient(part), self.axis_name, axis=0, tiled=True
        )
        start = jax.lax.axis_index(self.axis_name) * part.shape[0]
        return jax.lax.dynamic_update_slice_in_dim(gathered, part, start, axis=0)

    def loss(self, loss: losses.AdversarialLoss) -> losses.AdversarialLoss:
        """`loss` over the logits of all devices, with gradients to this device's rows."""
        if self.axis_name is None:
            return loss

        def every(logits: PyTree) -> PyTree:
            return jax.tree.map(self.whole, logits)

        def on_whole(function):
            return lambda s_real, s_fake, state=None: function(every(s_real), every(s_fake), state)

        def update(state, s_real, s_fake):
            return loss.update(state, every(s_real), every(s_fake))

        return dataclasses.replace(
            loss,
            discriminator=on_whole(loss.discriminator),
            generator=on_whole(loss.generator),
            update=update,
        )


ONE_DEVICE = Collectives()


def collectives_over(devices: Sequence[jax.Device]) -> Collectives:
    """The collectives of an update that is mapped over these devices."""
    if len(devices) == 1:
        return ONE_DEVICE
    return Collectives(AXIS, len(devices), count_processes(devices))


def count_processes(devices: Sequence[jax.Device]) -> int:
    """The number of processes that devices belong to."""
    return len({device.process_index for device in devices})
