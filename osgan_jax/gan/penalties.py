"""D's penalties of every step, and gradients of lazy ones and of G's, over parts and devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import judging, regularizers
from osgan_jax.gan import freezing
from osgan_jax.gan.model import TrainState
from osgan_jax.gan.step_context import (
    STAGE_PENALTY_D,
    STAGE_PENALTY_G,
    Inputs,
    PartResult,
    StepContext,
)

Array = jax.Array
PyTree = Any


def of_every_step(context: StepContext, state: TrainState, inputs: Inputs) -> dict[str, Any]:
    """D's penalties that each pass of its loss carries, as arguments of `judging`; {} for none."""
    if context.gan.penalties.discriminator_every != 1:
        return {}
    return _of_discriminator(context, state, inputs)


def _of_discriminator(context: StepContext, state: TrainState, inputs: Inputs) -> dict[str, Any]:
    """This device's share of D's penalties, and what they are taken at."""
    weights = context.gan.penalties_at(state.step)
    mixture = None
    if weights.has('gradient_penalty'):
        # Drawn for all devices on each, as everything at random.
        rows = inputs.row.shape[0] * context.collectives.size
        key = jax.random.fold_in(context.key(state, STAGE_PENALTY_D), inputs.row[0])
        mixture = context.collectives.own_part(jax.random.uniform(key, (rows,)))
    share = weights.of_device(context.collectives.size)
    return {'penalties': share, 'real': inputs.real, 'mixture': mixture}


def record(context: StepContext, state: TrainState, values: dict[str, Array] | None) -> TrainState:
    """The state with D's penalties, the sum of the devices' shares by name, as `penalty_d`."""
    if not values:
        return state
    value = context.collectives.sum(sum(values.values()))
    return state.replace(penalties={**state.penalties, 'penalty_d': value})


def discriminator_gradients(
    context: StepContext, state: TrainState, inputs: Inputs
) -> tuple[TrainState, PyTree]:
    """Gradients of D's lazy penalties, times `penalty_every`, at the images of the step's pass.

    Returns:
      The state with the new `penalty_d`, and gradients, summed over devices and divided as D's
      parameters are.
    """
    params = context.collectives.gather(state.params_d)
    # Apart: half of a batch of both would be judged for R1 or R2 alone in vain.
    context = dataclasses.replace(context, concatenate=False)

    def differentiate(unused: PyTree, inputs: Inputs) -> PartResult:
        def discriminate(params_d, *images):
            return context.discriminate(params_d, state.stats_d, inputs, *images)

        judge = judging.judging(discriminate, **_of_discriminator(context, state, inputs))

        def penalty(params_d):
            (_, _, penalty), judged = judge(params_d, inputs.fake)
            return penalty, judged.penalties

        grads, values = jax.grad(penalty, has_aux=True)(params)
        return PartResult(unused, (grads, values), ())

    grads, values = context.accumulate(differentiate, (), inputs).means
    grads = context.collectives.sum_into(grads, state.params_d)
    state = record(context, state, values)
    return state, optax.tree.scale(context.gan.penalties.penalty_every, grads)


def generator_gradients(
    context: StepContext, state: TrainState, inputs: Inputs
) -> tuple[TrainState, PyTree]:
    """Gradients of the path length penalty, times `path_length_every`.

    Returns:
      The state with the new `penalty_g` and `path_length`, and gradients, summed over devices and
      divided as G's parameters are.
    """
    weights = context.gan.penalties
    key = context.key(state, STAGE_PENALTY_G)
    params = context.collectives.gather(state.params_g)

    def differentiate(unused: PyTree, inputs: Inputs) -> PartResult:
        rows = max(1, inputs.row.shape[0] // regularizers.PATH_SHRINK)
        shape = (rows * context.collectives.size, *inputs.real.shape[1:])
        noise_key = jax.random.fold_in(key, inputs.row[0])
        noise = context.collectives.own_part(jax.random.normal(noise_key, shape))
        # Every second one: the same samples on one device and on several.
        inputs = jax.tree.map(lambda x: x[:: regularizers.PATH_SHRINK][:rows], inputs)

        def penalty(params_g):
            latents, render = _latents_and_render(context, params_g, state.stats_g, inputs, key)
            lengths = regularizers.path_lengths(render, latents, noise)
            lengths = context.collectives.whole(lengths)
            before = state.penalties['path_length']
            mean = before + regularizers.PATH_DECAY * (jnp.mean(lengths) - before)
            return weights.path_length * jnp.mean(jnp.square(lengths - mean)), mean

        return PartResult(unused, jax.value_and_grad(penalty, has_aux=True)(params), ())

    (value, mean), grads = context.accumulate(differentiate, (), inputs).means
    grads = context.collectives.sum_into(grads, state.params_g)
    state = state.replace(penalties={**state.penalties, 'penalty_g': value, 'path_length': mean})
    return state, optax.tree.scale(weights.path_length_every, grads)


def _latents_and_render(
    context: StepContext, params_g: PyTree, stats_g: PyTree, inputs: Inputs, key: Array
) -> tuple[Array, Callable[[Array], Array]]:
    """Latents of G, and its images `[n, H, W, C]` as a function of them.

    The latents are styles `[n, L, W]` where G has styles, and z `[n, Z]` elsewhere.
    """
    generator = context.gan.generator
    if not context.gan.network.has_styles:

        def render_latents(z):
            return context.apply_generator(params_g, stats_g, inputs._replace(z=z), key)[0]

        return inputs.z, render_latents
    params_g = context.gan.frozen.stop(freezing.GENERATOR, params_g)
    variables = {'params': params_g, **stats_g}
    (styles, noise_keys), _ = generator.apply(
        variables,
        inputs.z,
        inputs.labels,
        train=True,
        method='draw_styles',
        mutable=['batch_stats'],
        rngs={'style': key},
    )

    def render_styles(styles):
        return generator.apply(variables, styles, noise_keys, method='synthesis')

    return styles, render_styles
