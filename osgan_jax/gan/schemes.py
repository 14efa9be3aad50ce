"""The schemes: what is differentiated in a step, and in which order the networks are updated.

one_stage and shared_forward update G and D together, from the same parameters. two_stage is the
usual alternation at its cheapest: D first (no gradient reaches G), then G against the new D with a
fresh z (no weight gradient of D), so that a speedup measured against it is an honest one.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import one_stage
from osgan_jax.gan.model import TrainState
from osgan_jax.gan.step_context import Applied, Batch, Metrics, apply

Array = jax.Array


def _simultaneous(grads_of):
    def step(net: Applied, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = net.key(state, 0)

        def part(stats, inputs):
            stats_g, stats_d = stats

            def generate(params_g):
                return net.generate(params_g, stats_g, inputs, key)

            def discriminate(params_d, fake):
                return net.judge_both(params_d, stats_d, inputs, fake)

            auxiliary = net.terms.auxiliary and net.terms.auxiliary(net, inputs)
            grads, info = grads_of(
                net.loss,
                generate,
                discriminate,
                state.params_g,
                state.params_d,
                state.loss_state,
                auxiliary=auxiliary,
            )
            more_g = _more_of_g(net, state, stats_g, inputs, key)
            more_d = _more_of_d(net, state, stats_d, inputs, info.fake, key)
            vectors = {'s_real': info.s_real, 's_fake': info.s_fake, 'gamma': info.gamma}
            stats = (info.aux_generator, info.aux_discriminator)
            return stats, (grads, info.loss_d, info.loss_g, more_g, more_d), vectors

        inputs = net.inputs(state, batch, 0)
        stats = (state.stats_g, state.stats_d)
        (stats_g, stats_d), means, vectors = net.in_parts(part, stats, inputs)
        grads, loss_d, loss_g, more_g, more_d = means
        state, (grads_d, loss_d) = _join(net, state, (grads.discriminator, loss_d), more_d)
        state, (grads_g, loss_g) = _join(net, state, (grads.generator, loss_g), more_g)
        state = net.step_d(state, grads_d, stats_d, inputs)
        state = net.step_g(state, grads_g, stats_g, inputs)
        s_real, s_fake = vectors['s_real'], vectors['s_fake']
        metrics = net.metrics(state, loss_d, loss_g, s_real, s_fake)
        if grads_of is one_stage.one_stage_grads:
            metrics |= _gamma_metrics(net.collectives.whole(vectors['gamma']))
        loss_state = net.loss.update(state.loss_state, s_real, s_fake)
        return state.replace(step=state.step + 1, loss_state=loss_state), metrics

    return step


def _two_stage(
    net: Applied, state: TrainState, batch: Batch, *, eager: bool = False
) -> tuple[TrainState, Metrics]:
    # Stage 1: D, against fakes that no gradient flows into.
    key_d = net.key(state, 0)
    inputs_d = net.inputs(state, batch, 0)

    def part_d(stats_d, inputs):
        fake, _ = net.generate(state.params_g, state.stats_g, inputs, key_d)

        def objective(params_d):
            (s_real, s_fake), stats = net.judge_both(params_d, stats_d, inputs, fake)
            return net.loss.discriminator(s_real, s_fake, state.loss_state), (s_real, s_fake, stats)

        (loss_d, aux), grads = jax.value_and_grad(objective, has_aux=True)(state.params_d)
        s_real, s_fake, stats = aux
        more = _more_of_d(net, state, stats_d, inputs, fake, key_d)
        return stats, (grads, loss_d, more), (s_real, s_fake)

    stats_d, (grads_d, loss_d, more), (s_real, s_fake) = net.in_parts(
        part_d, state.stats_d, inputs_d
    )
    loss_state = net.loss.update(state.loss_state, s_real, s_fake)
    after_d, (grads_d, loss_d) = _join(net, state, (grads_d, loss_d), more)
    after_d = net.step_d(after_d, grads_d, stats_d, inputs_d)

    # Stage 2: G, against the new D and with a fresh z. Real logits enter only losses that compare
    # real with fake; for the others the compiler drops their forward pass.
    key_g = net.key(state, 1)
    inputs_g = net.inputs(state, batch, 1)

    def part_g(stats_g, inputs):
        auxiliary = net.terms.auxiliary and net.terms.auxiliary(net, inputs)

        def objective(params_g, params_d):
            fake, stats = net.generate(params_g, stats_g, inputs, key_g)
            seen = net.seen(fake, inputs, 1)
            s_fake, _ = net.judge(params_d, after_d.stats_d, seen, inputs.labels)
            seen = net.seen(inputs.real, inputs, 0)
            s_real, _ = net.judge(params_d, after_d.stats_d, seen, inputs.labels)
            loss = net.loss.generator(s_real, s_fake, state.loss_state)
            return loss + auxiliary(fake) if auxiliary else loss, stats

        gradient = jax.value_and_grad(objective, argnums=(0, 1) if eager else 0, has_aux=True)
        (loss_g, stats), grads = gradient(state.params_g, after_d.params_d)
        more = _more_of_g(net, state, stats_g, inputs, key_g)
        return stats, (grads, loss_g, more), ()

    stats_g, (grads_g, loss_g, more), _ = net.in_parts(part_g, state.stats_g, inputs_g)
    unused = None
    if eager:
        # The compiler drops what nobody reads.
        grads_g, grads_unused = grads_g
        unused = optax.tree.norm(net.collectives.sum(grads_unused), squared=True)
    new, (grads_g, loss_g) = _join(net, after_d, (grads_g, loss_g), more)
    new = net.step_g(new, grads_g, stats_g, inputs_g)
    metrics = net.metrics(new, loss_d, loss_g, s_real, s_fake)
    if eager:
        metrics['unused'] = unused
    return new.replace(step=state.step + 1, loss_state=loss_state), metrics


def _more_of_g(net: Applied, state: TrainState, stats_g, inputs, key):
    """Loss and gradients of what L_G has added beside its images' auxiliary, None for nothing."""
    if net.terms.generator is None:
        return None

    def objective(params_g, adapters):
        return net.terms.generator(net, params_g, stats_g, adapters, inputs, key)

    return jax.value_and_grad(objective, argnums=(0, 1))(state.params_g, state.adapters)


def _more_of_d(net: Applied, state: TrainState, stats_d, inputs, fake, key):
    """Loss and gradients of what L_D has added, None for nothing."""
    if net.terms.discriminator is None:
        return None
    fake = jax.lax.stop_gradient(fake)

    def objective(params_d, adapters):
        return net.terms.discriminator(net, params_d, stats_d, adapters, inputs, fake, key)

    return jax.value_and_grad(objective, argnums=(0, 1))(state.params_d, state.adapters)


def _join(net: Applied, state: TrainState, grads_and_loss, more):
    """Adds an added term to a network's gradients and loss, and trains the term's adapters."""
    if more is None:
        return state, grads_and_loss
    grads, loss = grads_and_loss
    value, (extra, of_adapters) = more
    if jax.tree.leaves(state.adapters):
        of_adapters = net.collectives.sum(of_adapters)
        adapters, opt = apply(net.terms.optimizer, of_adapters, state.opt_adapters, state.adapters)
        state = state.replace(adapters=adapters, opt_adapters=opt)
    return state, (optax.tree.add(grads, extra), loss + net.collectives.sum(value))


STEPS = {
    'one_stage': _simultaneous(one_stage.one_stage_grads),
    'two_stage': _two_stage,
    'shared_forward': _simultaneous(one_stage.shared_forward_grads),
    'two_stage_eager': functools.partial(_two_stage, eager=True),
}


def _gamma_metrics(gamma: Array) -> Metrics:
    # At the floor |gamma| is 2^40 by construction and would be all that a mean shows.
    floored = jnp.abs(gamma) > 0.5 / one_stage.CARRIER_FLOOR
    count = jnp.maximum(jnp.sum(~floored), 1)
    return {
        'gamma': jnp.sum(jnp.where(floored, 0, gamma)) / count,
        'floored': jnp.mean(floored.astype(jnp.float32)),
    }
