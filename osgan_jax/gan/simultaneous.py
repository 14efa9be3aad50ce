"""A step that updates G and D together, from the same parameters: one_stage, shared_forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import one_stage
from osgan_jax.gan import penalties
from osgan_jax.gan.model import TrainState
from osgan_jax.gan.optimisers import update_discriminator, update_generator
from osgan_jax.gan.step_context import STAGE_D, Batch, Inputs, Metrics, PartResult, StepContext
from osgan_jax.gan.terms import Objective, TermInputs, Terms, differentiate

Array = jax.Array

_QUANTILES = (5, 50, 95)  # of gamma, in per cent


class _Both(NamedTuple):
    """The statistics, or the objectives, of both networks."""

    g: Any
    d: Any


class _Samples(NamedTuple):
    """Logits and gamma of each sample, `[n]`, and the fake images `[n, H, W, C]`."""

    s_real: Array
    s_fake: Array
    gamma: Array | None
    fake: Array


def step(
    context: StepContext,
    terms: Terms,
    state: TrainState,
    batch: Batch,
    *,
    shared_forward: bool = False,
) -> tuple[TrainState, Metrics]:
    """A step of both networks by one pullback, or by two with `shared_forward`.

    Returns:
      The state after the step, and metrics.
    """
    differentiate_both = one_stage.one_stage_grads
    if shared_forward:
        differentiate_both = one_stage.shared_forward_grads
    key = context.key(state, STAGE_D)
    inputs = context.draw_inputs(state, batch, STAGE_D)
    whole_g, whole_d = context.collectives.gather((state.params_g, state.params_d))

    def differentiate_part(stats: _Both, inputs: Inputs) -> PartResult:
        def generate(params_g):
            return context.apply_generator(params_g, stats.g, inputs, key)

        def discriminate(params_d, *images):
            return context.discriminate(params_d, stats.d, inputs, *images)

        grads, info = differentiate_both(
            context.loss,
            generate,
            discriminate,
            whole_g,
            whole_d,
            state.loss_state,
            auxiliary=terms.auxiliary(context, inputs),
            **penalties.of_every_step(context, state, inputs),
        )
        given_g = TermInputs(stats.g, inputs, key)
        given_d = TermInputs(stats.d, inputs, key, info.fake)
        term_g = differentiate(terms.generator, context, state, whole_g, given_g)
        term_d = differentiate(terms.discriminator, context, state, whole_d, given_d)
        return PartResult(
            stats=_Both(info.aux_generator, info.aux_discriminator),
            means=_Both(
                Objective(info.loss_g, grads.generator, term_g),
                Objective(info.loss_d, grads.discriminator, term_d, info.penalties),
            ),
            samples=_Samples(info.s_real, info.s_fake, info.gamma, info.fake),
        )

    stats = _Both(state.stats_g, state.stats_d)
    stats, objectives, samples = context.accumulate(differentiate_part, stats, inputs)
    inputs = inputs._replace(fake=samples.fake)
    state = penalties.record(context, state, objectives.d.penalties)
    state, objective_d = terms.add(context, state, objectives.d)
    state, objective_g = terms.add(context, state, objectives.g)
    state = update_discriminator(context, state, objective_d.grads, stats.d, inputs)
    state = update_generator(context, state, objective_g.grads, stats.g, inputs)

    logits = samples.s_real, samples.s_fake
    state = context.adapt(state, samples.s_real)
    metrics = context.metrics(state, objective_d.loss, objective_g.loss, *logits)
    if not shared_forward:
        metrics |= gamma_metrics(context.collectives.whole(samples.gamma))
    loss_state = context.loss.update(state.loss_state, *logits)
    return state.replace(step=state.step + 1, loss_state=loss_state), metrics


def gamma_metrics(gamma: Array) -> Metrics:
    """Mean and quantiles of gamma `[n]` over samples whose carrier is above its floor.

    At the floor `|gamma|` is 2^40 by construction and would be all that a mean shows. `floored` is
    the share of those samples; where there are no others, the rest is 0.
    """
    floored = jnp.abs(gamma) > 0.5 / one_stage.CARRIER_FLOOR
    count = jnp.maximum(jnp.sum(~floored), 1)
    quantiles = jnp.nanquantile(jnp.where(floored, jnp.nan, gamma), jnp.array(_QUANTILES) / 100)
    quantiles = jnp.where(jnp.all(floored), 0, quantiles)
    return {
        'gamma': jnp.sum(jnp.where(floored, 0, gamma)) / count,
        'floored': jnp.mean(floored.astype(jnp.float32)),
        **{f'gamma_q{q:02}': value for q, value in zip(_QUANTILES, quantiles, strict=True)},
    }
