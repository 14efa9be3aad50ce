"""Gradients of D's and G's penalties, over the parts of a batch and the devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import diffaugment, regularizers
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


def discriminator_gradients(
    context: StepContext, state: TrainState, inputs: Inputs
) -> tuple[TrainState, PyTree]:
    """Gradients of R1, R2 and WGAN-GP's penalty, times `penalty_every`.

    Returns:
      The state with the new `penalty_d`, and gradients like D's parameters, summed over devices.
    """
    weights = context.gan.penalties
    key = context.key(state, STAGE_PENALTY_D)

    def differentiate(unused: PyTree, inputs: Inputs) -> PartResult:
        fake = None
        if weights.r2 or weights.gradient_penalty:
            fake, _ = context.apply_generator(state.params_g, state.stats_g, inputs, key)

        def penalty(params_d):
            def discriminate(draws: diffaugment.Draws, images: Array) -> Array:
                images = context.augment(draws, images)
                logits, _ = context.apply_discriminator(
                    params_d, state.stats_d, images, inputs.labels
                )
                return logits

            discriminate_real = functools.partial(discriminate, inputs.augment_real)
            discriminate_fake = functools.partial(discriminate, inputs.augment_fake)
            values = jnp.zeros(inputs.row.shape)
            if weights.r1:
                values += regularizers.r1(discriminate_real, inputs.real, weights.r1)
            if weights.r2:
                values += regularizers.r1(discriminate_fake, fake, weights.r2)
            if weights.gradient_penalty:
                rows = inputs.row.shape[0] * context.collectives.size
                mixture_key = jax.random.fold_in(key, inputs.row[0])
                mixture = context.collectives.own_part(jax.random.uniform(mixture_key, (rows,)))
                values += regularizers.gradient_penalty(
                    discriminate_real, inputs.real, fake, mixture, weights.gradient_penalty
                )
            return context.mean_share(values)

        return PartResult(unused, jax.value_and_grad(penalty)(state.params_d), ())

    means = context.accumulate(differentiate, (), inputs).means
    value, grads = context.collectives.sum(means)
    state = state.replace(penalties={**state.penalties, 'penalty_d': value})
    return state, optax.tree.scale(weights.penalty_every, grads)


def generator_gradients(
    context: StepContext, state: TrainState, inputs: Inputs
) -> tuple[TrainState, PyTree]:
    """Gradients of the path length penalty, times `path_length_every`.

    Returns:
      The state with the new `penalty_g` and `path_length`, and gradients like G's parameters,
      summed over devices.
    """
    weights = context.gan.penalties
    key = context.key(state, STAGE_PENALTY_G)

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

        return PartResult(unused, jax.value_and_grad(penalty, has_aux=True)(state.params_g), ())

    (value, mean), grads = context.accumulate(differentiate, (), inputs).means
    grads = context.collectives.sum(grads)
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
