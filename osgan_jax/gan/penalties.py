"""D's and G's penalties within a step: every step with the objective, or lazily by themselves.

A penalty of every k-th step, k above 1, is an optimiser step of its own with k times the weight
(Karras et al. 2020, https://arxiv.org/abs/1912.04958, appendix B); `osgan_jax.gan.model` slows the
optimisers down accordingly. With k = 1 its gradient joins the objective's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import regularizers
from osgan_jax.gan.model import TrainState

Array = jax.Array
PyTree = Any

# Stages of a step, beside those of the schemes, that draw for themselves.
_STAGE_D, _STAGE_G = 2, 3


def before_d(net, state: TrainState, grads: PyTree, inputs) -> tuple[TrainState, PyTree]:
    """Adds D's penalties to its gradients (summed over devices), where they are of every step."""
    every = net.gan.penalties.discriminator_every
    return _before(every, _of_discriminator, net, state, grads, inputs)


def after_d(net, state: TrainState, inputs) -> TrainState:
    """Makes D's optimiser step for its penalties, where it is due."""
    every = net.gan.penalties.discriminator_every
    return _after(every, _of_discriminator, net.descend_d, net, state, inputs)


def before_g(net, state: TrainState, grads: PyTree, inputs) -> tuple[TrainState, PyTree]:
    """Adds G's path length penalty to its gradients, where it is of every step."""
    return _before(net.gan.penalties.generator_every, _of_generator, net, state, grads, inputs)


def after_g(net, state: TrainState, inputs) -> TrainState:
    """Makes G's optimiser step for its path length penalty, where it is due."""
    every = net.gan.penalties.generator_every
    return _after(every, _of_generator, net.descend_g, net, state, inputs)


def _before(every: int, penalty, net, state: TrainState, grads: PyTree, inputs):
    if every != 1:
        return state, grads
    state, extra = penalty(net, state, inputs)
    return state, optax.tree.add(grads, extra)


def _after(every: int, penalty, descend, net, state: TrainState, inputs) -> TrainState:
    if every <= 1:
        return state

    def step(state):
        state, grads = penalty(net, state, inputs)
        return descend(state, grads)

    return jax.lax.cond(state.step % every == 0, step, lambda state: state, state)


def _of_discriminator(net, state: TrainState, inputs) -> tuple[TrainState, PyTree]:
    weights = net.gan.penalties
    key = net.key(state, _STAGE_D)

    def part(unused, inputs):
        fake = None
        if weights.r2 or weights.gradient_penalty:
            fake, _ = net.generate(state.params_g, state.stats_g, inputs, key)

        def objective(params_d):
            def judge(kind):
                def logits(images):
                    images = net.seen(images, inputs, kind)
                    return net.judge(params_d, state.stats_d, images, inputs.labels)[0]

                return logits

            values = jnp.zeros(inputs.row.shape)
            if weights.r1:
                values += regularizers.r1(judge(0), inputs.real, weights.r1)
            if weights.r2:
                values += regularizers.r1(judge(1), fake, weights.r2)
            if weights.gradient_penalty:
                rows = inputs.row.shape[0] * net.collectives.size
                mixture_key = jax.random.fold_in(key, inputs.row[0])
                mixture = net.collectives.own_part(jax.random.uniform(mixture_key, (rows,)))
                values += regularizers.gradient_penalty(
                    judge(0), inputs.real, fake, mixture, weights.gradient_penalty
                )
            return net.share(values)

        value, grads = jax.value_and_grad(objective)(state.params_d)
        return unused, (value, grads), ()

    _, (value, grads), _ = net.in_parts(part, (), inputs)
    value, grads = net.collectives.sum((value, grads))
    state = state.replace(penalties={**state.penalties, 'penalty_d': value})
    return state, optax.tree.scale(weights.penalty_every, grads)


def _of_generator(net, state: TrainState, inputs) -> tuple[TrainState, PyTree]:
    weights = net.gan.penalties
    key = net.key(state, _STAGE_G)
    generator = net.gan.generator

    def part(unused, inputs):
        rows = max(1, inputs.row.shape[0] // regularizers.PATH_SHRINK)
        # The real images are here for their shape.
        whole = (rows * net.collectives.size, *inputs.real.shape[1:])
        noise_key = jax.random.fold_in(key, inputs.row[0])
        noise = net.collectives.own_part(jax.random.normal(noise_key, whole))
        # Every second one: the same samples on one device and on several.
        inputs = jax.tree.map(lambda x: x[:: regularizers.PATH_SHRINK][:rows], inputs)

        def objective(params_g):
            variables = {'params': params_g, **state.stats_g}
            if net.gan.network.has_styles:
                (latents, noise_keys), _ = generator.apply(
                    variables,
                    inputs.z,
                    inputs.labels,
                    train=True,
                    method='draw_styles',
                    mutable=['batch_stats'],
                    rngs={'style': key},
                )

                def draw(ws):
                    return generator.apply(variables, ws, noise_keys, method='synthesis')
            else:
                latents = inputs.z

                def draw(z):
                    return net.generate(params_g, state.stats_g, inputs._replace(z=z), key)[0]

            lengths = net.collectives.whole(regularizers.path_lengths(draw, latents, noise))
            before = state.penalties['path_length']
            mean = before + regularizers.PATH_DECAY * (jnp.mean(lengths) - before)
            return weights.path_length * jnp.mean(jnp.square(lengths - mean)), mean

        (value, mean), grads = jax.value_and_grad(objective, has_aux=True)(state.params_g)
        return unused, (value, mean, grads), ()

    _, (value, mean, grads), _ = net.in_parts(part, (), inputs)
    grads = net.collectives.sum(grads)
    state = state.replace(penalties={**state.penalties, 'penalty_g': value, 'path_length': mean})
    return state, optax.tree.scale(weights.path_length_every, grads)
