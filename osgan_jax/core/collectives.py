"""Communication between devices within a step.

An update on several devices equals the update on one because every device computes the loss of the
whole batch's logits. Cotangents are then gradients of the global loss, and parameter gradients are
summed, not averaged. That holds for any loss, paired and constrained ones included.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax.core import losses

PyTree = Any
AXIS = 'devices'


@dataclasses.dataclass(frozen=True)
class Collectives:
    """Collectives of an update's devices; on one device every method returns its argument.

    Attributes:
      axis_name: name of the mapped axis, None on one device.
      size: number of devices along the axis.
    """

    axis_name: str | None = None
    size: int = 1

    def sum(self, tree: PyTree) -> PyTree:
        """The sum over devices of every leaf."""
        return tree if self.axis_name is None else jax.lax.psum(tree, self.axis_name)

    def mean(self, tree: PyTree) -> PyTree:
        """The mean over devices of every leaf of floats; others as they are here."""

        def mean(leaf: jax.Array) -> jax.Array:
            is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
            return jax.lax.pmean(leaf, self.axis_name) if is_float else leaf

        return tree if self.axis_name is None else jax.tree.map(mean, tree)

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
    return Collectives(AXIS, len(devices)) if len(devices) > 1 else ONE_DEVICE
