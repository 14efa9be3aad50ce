"""One optimiser step of each scheme, as a pure function of a TrainState and a batch.

one_stage and shared_forward update G and D together, from the same parameters. two_stage is the
usual alternation at its cheapest: D first (no gradient reaches G), then G against the new D with a
fresh z (no weight gradient of D), so that a speedup measured against it is an honest one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax import parallel, surgery
from osgan_jax import state as states
from osgan_jax.state import GAN, TrainState

Array = jax.Array
PyTree = Any
Batch = dict[str, Array]
Metrics = dict[str, Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

_SHARED = {
    'one_stage': surgery.one_stage_grads,
    'shared_forward': surgery.shared_forward_grads,
}


def make_update(
    gan: GAN,
    scheme: str,
    state: TrainState,
    collectives: parallel.Collectives = parallel.ONE_DEVICE,
) -> Update:
    """The update of one scheme, ready for `parallel.compile_update`.

    Args:
      gan: what is trained.
      scheme: 'one_stage', 'two_stage' or 'shared_forward'.
      state: any state of it, looked at to find whether D treats samples one by one.
      collectives: of the devices it will be mapped over.

    Returns:
      `(state, batch) -> (state, metrics)`. `batch` holds this device's `image` `[n, H, W, C]` in
      [-1, 1] and `label` `[n]`; n fake images are made for n real ones. `metrics` are float32
      scalars, the same on all devices: loss_d, loss_g, logit_real, logit_fake, and under one_stage
      gamma (mean over samples whose carrier is above its floor) and floored (share of the others).

    Raises:
      ValueError: for an unknown scheme, or one_stage with an asymmetric loss and a D that mixes
        samples, saying why and what to choose.
    """
    if scheme not in (*_SHARED, 'two_stage'):
        raise ValueError(
            f'unknown scheme {scheme!r}: expected one_stage, two_stage or shared_forward'
        )
    if scheme == 'one_stage' and not gan.loss.symmetric:
        states.check_samplewise(gan, state)
        samplewise = True
    else:
        samplewise = states.is_samplewise(gan, state)
    # One concatenated batch keeps an accelerator fuller. Two passes keep a batch-mixing D's
    # statistics of real and fake apart, and let the compiler drop the real half of
    # shared_forward's second pullback.
    together = samplewise and scheme != 'shared_forward'
    step = _two_stage if scheme == 'two_stage' else _simultaneous(_SHARED[scheme])

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return step(_Networks(gan, collectives, together), state, batch)

    return update


class _Networks:
    """G and D applied to this device's part of a step."""

    def __init__(self, gan: GAN, collectives: parallel.Collectives, together: bool):
        self.gan = gan
        self.collectives = collectives
        self.together = together
        self.loss = collectives.loss(gan.loss)

    def labels(self, batch: Batch) -> Array | None:
        return batch['label'] if self.gan.num_classes else None

    def latents(self, state: TrainState, batch: Batch, stage: int) -> Array:
        # Drawn for the whole batch on every device, so that the number of devices changes nothing.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), stage)
        n = batch['image'].shape[0] * self.collectives.size
        return self.collectives.own_part(jax.random.normal(key, (n, self.gan.latent_dim)))

    def generate(self, params: PyTree, stats: PyTree, z: Array, labels: Array | None):
        """Returns fake images and G's new statistics."""
        return self.gan.generator.apply(
            {'params': params, **stats}, z, labels, train=True, mutable=['batch_stats']
        )

    def judge(self, params: PyTree, stats: PyTree, images: Array, labels: Array | None):
        """Returns logits and D's new statistics."""
        return self.gan.discriminator.apply(
            {'params': params, **stats}, images, labels, train=True, mutable=['batch_stats']
        )

    def judge_both(self, params, stats, real, fake, labels):
        """Returns ((s_real, s_fake), D's new statistics)."""
        if self.together:
            both = None if labels is None else jnp.concatenate([labels, labels])
            logits, stats = self.judge(params, stats, jnp.concatenate([real, fake]), both)
            return tuple(jnp.split(logits, 2)), stats
        s_real, stats = self.judge(params, stats, real, labels)
        s_fake, stats = self.judge(params, stats, fake, labels)
        return (s_real, s_fake), stats

    def step_g(self, state: TrainState, grads: PyTree, stats_g: PyTree) -> TrainState:
        """Applies G's optimiser, then its average."""
        params_g, opt_g = _apply(
            self.gan.optimizer_g, self.collectives.sum(grads), state.opt_g, state.params_g
        )
        state = state.replace(params_g=params_g, opt_g=opt_g, stats_g=stats_g)
        if self.gan.ema_decay:
            # The usual warm-up: early averages follow, later ones remember.
            t = state.step.astype(jnp.float32)
            decay = jnp.minimum(self.gan.ema_decay, (1 + t) / (10 + t))
            now = {'params': params_g, **stats_g}
            state = state.replace(ema_g=optax.incremental_update(now, state.ema_g, 1 - decay))
        return state

    def step_d(self, state: TrainState, grads: PyTree, stats_d: PyTree) -> TrainState:
        """Applies D's optimiser, then its weight bound."""
        params_d, opt_d = _apply(
            self.gan.optimizer_d, self.collectives.sum(grads), state.opt_d, state.params_d
        )
        if self.gan.weight_clip:
            bound = self.gan.weight_clip
            params_d = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), params_d)
        return state.replace(params_d=params_d, opt_d=opt_d, stats_d=stats_d)

    def metrics(self, loss_d, loss_g, s_real, s_fake) -> Metrics:
        return {
            'loss_d': loss_d,
            'loss_g': loss_g,
            'logit_real': jnp.mean(self.collectives.whole(s_real)),
            'logit_fake': jnp.mean(self.collectives.whole(s_fake)),
        }


def _apply(optimizer, grads, opt_state, params):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _simultaneous(grads_of):
    def step(net: _Networks, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        labels, z = net.labels(batch), net.latents(state, batch, 0)

        def generate(params_g):
            return net.generate(params_g, state.stats_g, z, labels)

        def discriminate(params_d, fake):
            return net.judge_both(params_d, state.stats_d, batch['image'], fake, labels)

        grads, info = grads_of(
            net.loss, generate, discriminate, state.params_g, state.params_d, state.loss_state
        )
        state = net.step_d(state, grads.discriminator, info.aux_discriminator)
        state = net.step_g(state, grads.generator, info.aux_generator)
        metrics = net.metrics(info.loss_d, info.loss_g, info.s_real, info.s_fake)
        if grads_of is surgery.one_stage_grads:
            metrics |= _gamma_metrics(net.collectives.whole(info.gamma))
        return state.replace(step=state.step + 1, loss_state=info.loss_state), metrics

    return step


def _two_stage(net: _Networks, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    labels, real = net.labels(batch), batch['image']

    # Stage 1: D, against fakes that no gradient flows into.
    fake, _ = net.generate(state.params_g, state.stats_g, net.latents(state, batch, 0), labels)

    def objective_d(params_d):
        (s_real, s_fake), stats_d = net.judge_both(params_d, state.stats_d, real, fake, labels)
        loss_d = net.loss.discriminator(s_real, s_fake, state.loss_state)
        return loss_d, (s_real, s_fake, stats_d)

    (loss_d, (s_real, s_fake, stats_d)), grads_d = jax.value_and_grad(objective_d, has_aux=True)(
        state.params_d
    )
    loss_state = net.loss.update(state.loss_state, s_real, s_fake)
    metrics = net.metrics(loss_d, loss_d, s_real, s_fake)
    state = net.step_d(state, grads_d, stats_d)

    # Stage 2: G, against the new D and with a fresh z. Real logits enter only losses that compare
    # real with fake; for the others the compiler drops their forward pass.
    z = net.latents(state, batch, 1)

    def objective_g(params_g):
        fake, stats_g = net.generate(params_g, state.stats_g, z, labels)
        s_fake, _ = net.judge(state.params_d, state.stats_d, fake, labels)
        s_real, _ = net.judge(state.params_d, state.stats_d, real, labels)
        return net.loss.generator(s_real, s_fake, state.loss_state), stats_g

    (loss_g, stats_g), grads_g = jax.value_and_grad(objective_g, has_aux=True)(state.params_g)
    state = net.step_g(state, grads_g, stats_g)
    metrics['loss_g'] = loss_g
    return state.replace(step=state.step + 1, loss_state=loss_state), metrics


def _gamma_metrics(gamma: Array) -> Metrics:
    # At the floor |gamma| is 2^40 by construction and would be all that a mean shows.
    floored = jnp.abs(gamma) > 0.5 / surgery.CARRIER_FLOOR
    count = jnp.maximum(jnp.sum(~floored), 1)
    return {
        'gamma': jnp.sum(jnp.where(floored, 0, gamma)) / count,
        'floored': jnp.mean(floored.astype(jnp.float32)),
    }
