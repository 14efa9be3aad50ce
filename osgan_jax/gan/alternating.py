"""A step that updates D first and G against the new D: two_stage; or D alone.

It is the usual alternation at its cheapest, so that a speedup measured against it is an honest one:
no gradient reaches G while D is updated, D's weights have none while G is, and D's penalties share
the passes of its loss.
"""

from typing import Any

import jax
import optax

from osgan_jax.core import judging
from osgan_jax.gan import penalties
from osgan_jax.gan.model import TrainState
from osgan_jax.gan.optimisers import update_discriminator, update_generator
from osgan_jax.gan.step_context import (
    STAGE_D,
    STAGE_G,
    Batch,
    Inputs,
    Metrics,
    PartResult,
    StepContext,
)
from osgan_jax.gan.terms import Objective, TermInputs, Terms, differentiate

Array = jax.Array
PyTree = Any


def step(
    context: StepContext, terms: Terms, state: TrainState, batch: Batch, *, eager: bool = False
) -> tuple[TrainState, Metrics]:
    """A step of D, then of G.

    With `eager`, G's stage also computes the gradients of D's weights, as a framework without a
    compiler does; the metric `unused` is their squared norm.

    Returns:
      The state after the step, and metrics.
    """
    whole_g = context.collectives.gather(state.params_g)
    state, loss_d, logits = _step_discriminator(context, terms, state, whole_g, batch)
    state, loss_g, unused = _step_generator(context, terms, state, whole_g, batch, eager=eager)
    state = context.adapt(state, logits[0])
    metrics = context.metrics(state, loss_d, loss_g, *logits)
    if eager:
        metrics['unused'] = unused
    loss_state = context.loss.update(state.loss_state, *logits)
    return state.replace(step=state.step + 1, loss_state=loss_state), metrics


def step_discriminator(
    context: StepContext, terms: Terms, state: TrainState, whole_g: PyTree, batch: Batch
) -> TrainState:
    """A step of D alone, `context.alone` of them before it; the state's step number stays.

    Args:
      context: networks and devices.
      terms: of the objectives.
      state: before the step.
      whole_g: G's parameters, gathered once for several such steps.
      batch: this device's rows.

    Returns:
      The state with a new D.
    """
    state, _, logits = _step_discriminator(context, terms, state, whole_g, batch)
    return state.replace(loss_state=context.loss.update(state.loss_state, *logits))


def _step_discriminator(
    context: StepContext, terms: Terms, state: TrainState, whole_g: PyTree, batch: Batch
) -> tuple[TrainState, Array, tuple[Array, Array]]:
    """The state with a new D, L_D, and the logits `[n]` that it was computed from."""
    key = context.key(state, STAGE_D)
    inputs = context.draw_inputs(state, batch, STAGE_D)
    whole_d = context.collectives.gather(state.params_d)

    def differentiate_part(stats_d: PyTree, inputs: Inputs) -> PartResult:
        fake, _ = context.apply_generator(whole_g, state.stats_g, inputs, key)

        def discriminate(params_d, *images):
            return context.discriminate(params_d, stats_d, inputs, *images)

        judge = judging.judging(discriminate, **penalties.of_every_step(context, state, inputs))

        def penalised(params_d):
            (*logits, penalty), judged = judge(params_d, fake)
            loss = context.loss.discriminator(*logits, state.loss_state)
            return loss + penalty, (loss, logits, judged)

        gradient = jax.grad(penalised, has_aux=True)
        grads, (loss, logits, judged) = gradient(whole_d)
        given = TermInputs(stats_d, inputs, key, fake)
        term = differentiate(terms.discriminator, context, state, whole_d, given)
        objective = Objective(loss, grads, term, judged.penalties)
        return PartResult(judged.aux, objective, (logits, fake))

    stats_d, objective, samples = context.accumulate(differentiate_part, state.stats_d, inputs)
    logits, fake = samples
    inputs = inputs._replace(fake=fake)
    state = penalties.record(context, state, objective.penalties)
    state, objective = terms.add(context, state, objective)
    state = update_discriminator(context, state, objective.grads, stats_d, inputs)
    return state, objective.loss, logits


def _step_generator(
    context: StepContext,
    terms: Terms,
    state: TrainState,
    whole_g: PyTree,
    batch: Batch,
    *,
    eager: bool,
) -> tuple[TrainState, Array, Array]:
    """The state with a new G, L_G, and the squared norm of D's gradients (0 unless `eager`)."""
    key = context.key(state, STAGE_G)
    inputs = context.draw_inputs(state, batch, STAGE_G)
    whole_d = context.collectives.gather(state.params_d)

    def differentiate_part(stats_g: PyTree, inputs: Inputs) -> PartResult:
        auxiliary = terms.auxiliary(context, inputs)

        def loss_g(params_g, params_d):
            fake, stats = context.apply_generator(params_g, stats_g, inputs, key)
            # Real logits enter only losses that compare real with fake; for the others the compiler
            # drops their forward pass.
            s_real, s_fake = (
                context.apply_discriminator(
                    params_d, state.stats_d, images, inputs.labels, inputs.noise
                )[0]
                for images in context.augment_both(inputs, fake)
            )
            loss = context.loss.generator(s_real, s_fake, state.loss_state)
            return loss + auxiliary(fake) if auxiliary else loss, stats

        networks = (0, 1) if eager else (0,)
        gradient = jax.value_and_grad(loss_g, argnums=networks, has_aux=True)
        (loss, stats), (grads, *unused) = gradient(whole_g, whole_d)
        given = TermInputs(stats_g, inputs, key)
        term = differentiate(terms.generator, context, state, whole_g, given)
        return PartResult(stats, (Objective(loss, grads, term), unused), ())

    stats_g, means, _ = context.accumulate(differentiate_part, state.stats_g, inputs)
    objective, unused = means
    unused = optax.tree.norm(context.collectives.sum(unused), squared=True)
    state, objective = terms.add(context, state, objective)
    state = update_generator(context, state, objective.grads, stats_g, inputs)
    return state, objective.loss, unused
