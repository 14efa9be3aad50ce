"""Steps of D's and G's optimisers, with their penalties.

A penalty of every k-th step, k above 1, is an optimiser step of its own with k times the weight
(Karras et al. 2020, https://arxiv.org/abs/1912.04958, appendix B); `osgan_jax.gan.model` slows the
optimisers down accordingly. Optimism extrapolates the steps along the game's gradients alone, each
from the one before: a lazy penalty's step is neither extrapolated nor extrapolated from
(`without_optimism`). With k = 1 D's are in the gradients of its objective already, and G's
join them here.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import regularizers
from osgan_jax.gan import freezing, penalties
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import Inputs, StepContext

PyTree = Any


def apply_gradients(
    optimizer: optax.GradientTransformation,
    grads: PyTree,
    opt_state: PyTree,
    params: PyTree,
    step: jax.Array | None = None,
) -> tuple[PyTree, PyTree]:
    """Returns parameters and the optimiser's state after its update in a training step.

    `step` may be left out where no number of the optimiser follows it.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    updates, opt_state = optimizer.update(grads, opt_state, params, step=step)
    return optax.apply_updates(params, updates), opt_state


def without_optimism(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser whose steps are not extrapolated, on the same state.

    Of `optax.optimistic_adam_v2` it makes Adam with the same moments, and leaves the step that the
    next one is extrapolated from. Other optimisers stay as they are.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        names = ('is_initial_step', 'previous_gradient')
        memory = {name: optax.tree.get(state, name) for name in names}
        if memory['previous_gradient'] is None:
            return optimizer.update(grads, state, params, **extra)
        # The first step has none before it.
        state = optax.tree.set(state, is_initial_step=jnp.array(True))
        updates, state = optimizer.update(grads, state, params, **extra)
        return updates, optax.tree.set(state, **memory)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def update_discriminator(
    context: StepContext, state: TrainState, grads: PyTree, stats: PyTree, inputs: Inputs
) -> TrainState:
    """Updates D: a step of its optimiser, its penalties, then the bound on its weights.

    Args:
      context: networks and devices.
      state: state before the update.
      grads: gradients of L_D, whole, with the penalties of every step; their sum over devices is
        the whole batch's.
      stats: D's new statistics.
      inputs: inputs of the pass that gave the gradients, and its fake images; lazy penalties
        differentiate there.

    Returns:
      The state with a new D.
    """
    gan, before = context.gan, state

    def descend(optimizer, state: TrainState, grads: PyTree) -> TrainState:
        grads = gan.frozen.zero(freezing.DISCRIMINATOR, grads)
        params, opt = apply_gradients(optimizer, grads, state.opt_d, state.params_d, state.step)
        return state.replace(params_d=params, opt_d=opt)

    def descend_penalties(state: TrainState) -> TrainState:
        found = penalties.discriminator_gradients(context, state, inputs)
        return descend(without_optimism(gan.optimizer_d), *found)

    every = gan.penalties.discriminator_every
    grads = context.collectives.sum_into(grads, state.params_d)
    stats = context.shared(gan.discriminator, stats)
    state = descend(gan.optimizer_d, state, grads).replace(stats_d=stats)
    state = _every_kth(every, context.count_d(state), descend_penalties, state)
    if gan.weight_clip:
        bound = gan.weight_clip
        clipped = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), state.params_d)
        state = state.replace(params_d=clipped)
    return gan.frozen.hold(state, before)


def update_generator(
    context: StepContext, state: TrainState, grads: PyTree, stats: PyTree, inputs: Inputs
) -> TrainState:
    """Updates G: a step of its optimiser, its penalties, then its average.

    Args, returns: as `update_discriminator`, of G.
    """
    gan, before = context.gan, state

    def descend(optimizer, state: TrainState, grads: PyTree) -> TrainState:
        grads = gan.frozen.zero(freezing.GENERATOR, grads)
        params, opt = apply_gradients(optimizer, grads, state.opt_g, state.params_g, state.step)
        return state.replace(params_g=params, opt_g=opt)

    def descend_penalty(state: TrainState) -> TrainState:
        found = penalties.generator_gradients(context, state, inputs)
        return descend(without_optimism(gan.optimizer_g), *found)

    every = gan.penalties.generator_every
    grads = context.collectives.sum_into(grads, state.params_g)
    if weight := gan.penalties.orthogonal:
        of_weights = jax.grad(regularizers.orthogonal)(context.collectives.gather(state.params_g))
        of_weights = context.collectives.shard(of_weights, state.params_g)
        grads = optax.tree.add_scale(grads, weight, of_weights)
    if every == 1:
        state, of_penalty = penalties.generator_gradients(context, state, inputs)
        grads = optax.tree.add(grads, of_penalty)
    stats = context.shared(gan.generator, stats)
    state = descend(gan.optimizer_g, state, grads).replace(stats_g=stats)
    if gan.lookahead:
        state = _keep_slow_statistics(gan, state)
    state = _every_kth(every, state.step, descend_penalty, state)
    # Both networks are where this step takes them.
    if gan.lookahead:
        state = look_ahead(gan, state)
    state = gan.frozen.hold(state, before)
    return _average(context, state) if gan.ema_decay else state


def look_ahead(gan: GAN, state: TrainState) -> TrainState:
    """Takes both networks back to between their slow weights and themselves, at every k-th step.

    Lookahead-Minmax (Chavdarova et al. 2021, https://arxiv.org/abs/2006.14567, Algorithm 1): both
    go back at the same step, along a line of the space that they span together, which is what
    damps their rotation. The slow weights are then there too. Optimisers keep their states, and G's
    running statistics go back to those of its slow weights.

    Args:
      gan: what is trained, with its k and alpha.
      state: after the updates of a step of both networks, that step not yet counted.
    """

    def go_back(state: TrainState) -> TrainState:
        stats = {'stats_g': state.slow['stats_g']}
        before = {name: params for name, params in state.slow.items() if name not in stats}
        fast = {name: getattr(state, name) for name in before}
        slow = optax.incremental_update(fast, before, gan.lookahead_alpha) | stats
        return state.replace(slow=slow, **slow)

    at_kth = (state.step + 1) % gan.lookahead == 0
    return jax.lax.cond(at_kth, go_back, lambda state: state, state)


def _keep_slow_statistics(gan: GAN, state: TrainState) -> TrainState:
    """Keeps G's running statistics as the slow weights' own after a pass that was made with those.

    That is the first of every k steps. Those of the k - 1 other steps are the fast weights', for
    which BatchNorm divides by other deviations: images of slow weights would show it.
    """
    kept = {**state.slow, 'stats_g': state.stats_g}
    slow = jax.lax.cond(state.step % gan.lookahead == 0, lambda: kept, lambda: state.slow)
    return state.replace(slow=slow)


def _every_kth(
    every: int, count: jax.Array, update: Callable[[TrainState], TrainState], state: TrainState
) -> TrainState:
    """Applies `update` at every k-th of a network's updates, k above 1; `count` are before it."""
    if every <= 1:
        return state
    return jax.lax.cond(count % every == 0, update, lambda state: state, state)


def _average(context: StepContext, state: TrainState) -> TrainState:
    """Moves the average of G towards G, or towards its slow weights if it has any."""
    gan, t = context.gan, state.step.astype(jnp.float32)
    decay = jnp.float32(gan.ema_decay)
    if gan.ema_half_life:
        decay = 0.5 ** (1 / jnp.maximum(gan.ema_half_life(state.step), 1e-8))
    if gan.ema_ramp:
        # Karras et al. 2020b: a half-life of at most a share of the steps so far.
        decay = jnp.minimum(decay, 0.5 ** (1 / jnp.maximum(gan.ema_ramp * t, 1e-8)))
    elif not (gan.ema_start or gan.ema_half_life):
        # The usual warm-up: early averages follow, later ones remember.
        decay = jnp.minimum(decay, (1 + t) / (10 + t))
    if gan.ema_start:
        decay = jnp.where(state.step < gan.ema_start, 0.0, decay)
    settled = state.settled_variables()
    averaged = optax.incremental_update(settled, state.ema_g, 1 - decay)
    own = (tree['params'] for tree in (averaged, state.ema_g, settled))
    averaged = {**averaged, 'params': gan.frozen.average(*own)}
    if gan.network.has_styles:
        # It is an average already, and its authors copy it.
        averaged = _with_w_average(averaged, state.stats_g['batch_stats']['w_average'])
    return state.replace(ema_g=averaged)


def _with_w_average(variables: PyTree, w_average: jax.Array) -> PyTree:
    return {**variables, 'batch_stats': {**variables['batch_stats'], 'w_average': w_average}}
