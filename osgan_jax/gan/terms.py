"""Terms that a caller adds to both objectives, such as a teacher's verdict."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from osgan_jax.core import one_stage
from osgan_jax.gan.model import TrainState
from osgan_jax.gan.optimisers import apply_gradients
from osgan_jax.gan.step_context import Inputs, StepContext

Array = jax.Array
PyTree = Any


class TermInputs(NamedTuple):
    """The inputs of a term that has gradients of its own, but for the parameters.

    Attributes:
      stats: statistics of the network whose objective the term joins.
      inputs: inputs of this part of the batch.
      key: random key of the stage.
      fake: fake images `[n, H, W, C]`, constants; None for terms of L_G.
    """

    stats: PyTree
    inputs: Inputs
    key: Array
    fake: Array | None = None


ImageTerm = Callable[[StepContext, Inputs, Array], Array]
Term = Callable[[StepContext, PyTree, PyTree, TermInputs], Array]


class TermValue(NamedTuple):
    """This device's share of a term, and its gradients."""

    value: Array
    grads: PyTree
    adapter_grads: PyTree


class Objective(NamedTuple):
    """A network's objective and its gradients.

    Attributes:
      loss: the objective without penalties and term.
      grads: gradients of the objective with its penalties.
      term: the term to be added to it.
      penalties: this device's share of its penalties by name.
    """

    loss: Array
    grads: PyTree
    term: TermValue | None = None
    penalties: dict[str, Array] | None = None


@dataclasses.dataclass(frozen=True)
class Terms:
    """Terms of the objectives, None for none.

    On several devices the image term is the whole batch's value with gradients to this device's
    images, as `StepContext.loss` is; the others are this device's share, whose sum over devices is
    the whole.

    Attributes:
      images: `(context, inputs, fake) -> scalar`, added to L_G through its images: in one stage its
        gradient at the images joins that of D's own backward pass.
      generator: `(context, params, adapters, term inputs) -> scalar`, added to L_G by gradients of
        its own.
      discriminator: likewise, added to L_D; no gradient reaches the images.
      optimizer: trains `adapters`, parameters that the last two may have. A state under such terms
        has `adapters` and `opt_adapters`.
    """

    images: ImageTerm | None = None
    generator: Term | None = None
    discriminator: Term | None = None
    optimizer: optax.GradientTransformation | None = None

    def auxiliary(self, context: StepContext, inputs: Inputs) -> one_stage.Auxiliary | None:
        """The image term of a part of the batch, `fake -> scalar`; None without one."""
        return self.images and functools.partial(self.images, context, inputs)

    def add(
        self, context: StepContext, state: TrainState, objective: Objective
    ) -> tuple[TrainState, Objective]:
        """Adds an objective's term to it, and trains the state's adapters by the term."""
        term = objective.term
        if term is None:
            return state, objective
        if jax.tree.leaves(state.adapters):
            grads = context.collectives.sum(term.adapter_grads)
            adapters, opt = apply_gradients(
                self.optimizer, grads, state.opt_adapters, state.adapters, state.step
            )
            state = state.replace(adapters=adapters, opt_adapters=opt)
        loss = objective.loss + context.collectives.sum(term.value)
        return state, Objective(loss, optax.tree.add(objective.grads, term.grads))


NO_TERMS = Terms()


def differentiate(
    term: Term | None, context: StepContext, state: TrainState, params: PyTree, given: TermInputs
) -> TermValue | None:
    """A term at a network's parameters and the state's adapters; None for none."""
    if term is None:
        return None

    def value(params, adapters):
        return term(context, params, adapters, given)

    value, (grads, adapter_grads) = jax.value_and_grad(value, argnums=(0, 1))(
        params, state.adapters
    )
    return TermValue(value, grads, adapter_grads)
