"""One optimiser step of each scheme, as a pure function of a TrainState and a batch.

one_stage and shared_forward update G and D together, from the same parameters. two_stage is the
usual alternation at its cheapest: D first (no gradient reaches G), then G against the new D with a
fresh z (no weight gradient of D), so that a speedup measured against it is an honest one.
"""

import functools
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


def make_update(
    gan: GAN,
    scheme: str,
    state: TrainState,
    collectives: parallel.Collectives = parallel.ONE_DEVICE,
    *,
    accumulate: int = 1,
) -> Update:
    """The update of one scheme, ready for `parallel.compile_update`.

    Args:
      gan: what is trained.
      scheme: 'one_stage', 'two_stage' or 'shared_forward'; or, to measure against,
        'two_stage_eager': two_stage that also computes D's weight gradients in stage 2, as a
        framework without a compiler does, and reads them (their squared norm is the metric
        `unused`).
      state: any state of it, looked at to find whether D treats samples one by one.
      collectives: of the devices it will be mapped over.
      accumulate: parts that each device takes its batch in, one after the other; gradients are
        averaged before the optimisers step. For networks without BatchNorm the update is that of
        the whole batch; BatchNorm normalises by the statistics of a part.

    Returns:
      `(state, batch) -> (state, metrics)`. `batch` holds this device's `image` `[n, H, W, C]` in
      [-1, 1] and `label` `[n]`; n fake images are made for n real ones. `metrics` are float32
      scalars, the same on all devices: loss_d, loss_g, logit_real, logit_fake, and under one_stage
      gamma (mean over samples whose carrier is above its floor) and floored (share of the others).

    Raises:
      ValueError: for an unknown scheme; for one_stage with an asymmetric loss and a D that mixes
        samples, saying why and what to choose; for accumulation with a loss that is no mean over
        samples (fisher).
    """
    if accumulate > 1 and not gan.loss.mean_over_samples:
        raise ValueError(
            f'accumulate={accumulate}: the {gan.loss.name} loss constrains the whole batch at '
            'once and is no mean over its parts; use --accumulate=1 or another loss'
        )
    if scheme not in _STEPS:
        raise ValueError(f'unknown scheme {scheme!r}: expected one of {", ".join(_STEPS)}')
    if scheme == 'one_stage' and not gan.loss.symmetric:
        states.check_samplewise(gan, state)
    # One concatenated batch keeps an accelerator fuller; on CPU two smaller passes stay in the
    # caches and are 5 to 8% faster (DCGAN-64). Two passes also keep a batch-mixing D's statistics
    # of real and fake apart, and let the compiler drop the real half of shared_forward's second
    # pullback.
    together = (
        scheme != 'shared_forward'
        and jax.default_backend() != 'cpu'
        and states.is_samplewise(gan, state)
    )
    step = _STEPS[scheme]

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return step(_Networks(gan, collectives, together, accumulate), state, batch)

    return update


class _Networks:
    """G and D applied to this device's part of a step."""

    def __init__(self, gan: GAN, collectives: parallel.Collectives, together: bool, parts: int):
        self.gan = gan
        self.collectives = collectives
        self.together = together
        self.parts = parts
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
        s_real, after_real = self.judge(params, stats, real, labels)
        s_fake, after_fake = self.judge(params, stats, fake, labels)
        # Both from the same statistics, so that spectral norm divides both by the same number.
        stats = jax.tree.map(lambda a, b: (a + b) / 2, after_real, after_fake)
        return (s_real, s_fake), stats

    def in_parts(self, part, stats: PyTree, inputs: PyTree):
        """Runs `part` on each part of the batch.

        Args:
          part: `(stats, inputs) -> (stats, means, vectors)`: new statistics; a pytree to average
            over the parts; a pytree of one value a sample.
          stats: statistics before the first part.
          inputs: arrays `[n, ...]`.

        Returns:
          Statistics after the last part, the averages, and the vectors of the whole batch.
        """
        if self.parts == 1:
            return part(stats, inputs)
        rows = jax.tree.leaves(inputs)[0].shape[0]
        if rows % self.parts:
            raise ValueError(
                f'accumulate={self.parts} does not divide the {rows} images a device takes a step'
            )
        split = lambda x: x.reshape(self.parts, rows // self.parts, *x.shape[1:])  # noqa: E731
        inputs = jax.tree.map(split, inputs)

        def body(carry, inputs):
            stats, total = carry
            stats, means, vectors = part(stats, inputs)
            return (stats, jax.tree.map(jnp.add, total, means)), vectors

        first = jax.tree.map(lambda x: x[0], inputs)
        _, shapes, _ = jax.eval_shape(part, stats, first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (stats, total), vectors = jax.lax.scan(body, (stats, zeros), inputs)
        means = jax.tree.map(lambda x: x / self.parts, total)
        return stats, means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), vectors)

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
        def part(stats, inputs):
            real, labels, z = inputs
            stats_g, stats_d = stats

            def generate(params_g):
                return net.generate(params_g, stats_g, z, labels)

            def discriminate(params_d, fake):
                return net.judge_both(params_d, stats_d, real, fake, labels)

            grads, info = grads_of(
                net.loss, generate, discriminate, state.params_g, state.params_d, state.loss_state
            )
            vectors = {'s_real': info.s_real, 's_fake': info.s_fake, 'gamma': info.gamma}
            stats = (info.aux_generator, info.aux_discriminator)
            return stats, (grads, info.loss_d, info.loss_g), vectors

        inputs = (batch['image'], net.labels(batch), net.latents(state, batch, 0))
        stats = (state.stats_g, state.stats_d)
        (stats_g, stats_d), (grads, loss_d, loss_g), vectors = net.in_parts(part, stats, inputs)
        state = net.step_d(state, grads.discriminator, stats_d)
        state = net.step_g(state, grads.generator, stats_g)
        s_real, s_fake = vectors['s_real'], vectors['s_fake']
        metrics = net.metrics(loss_d, loss_g, s_real, s_fake)
        if grads_of is surgery.one_stage_grads:
            metrics |= _gamma_metrics(net.collectives.whole(vectors['gamma']))
        loss_state = net.loss.update(state.loss_state, s_real, s_fake)
        return state.replace(step=state.step + 1, loss_state=loss_state), metrics

    return step


def _two_stage(
    net: _Networks, state: TrainState, batch: Batch, *, eager: bool = False
) -> tuple[TrainState, Metrics]:
    real, labels = batch['image'], net.labels(batch)

    # Stage 1: D, against fakes that no gradient flows into.
    def part_d(stats_d, inputs):
        real, labels, z = inputs
        fake, _ = net.generate(state.params_g, state.stats_g, z, labels)

        def objective(params_d):
            (s_real, s_fake), stats = net.judge_both(params_d, stats_d, real, fake, labels)
            return net.loss.discriminator(s_real, s_fake, state.loss_state), (s_real, s_fake, stats)

        (loss_d, aux), grads = jax.value_and_grad(objective, has_aux=True)(state.params_d)
        s_real, s_fake, stats_d = aux
        return stats_d, (grads, loss_d), (s_real, s_fake)

    stats_d, (grads_d, loss_d), (s_real, s_fake) = net.in_parts(
        part_d, state.stats_d, (real, labels, net.latents(state, batch, 0))
    )
    loss_state = net.loss.update(state.loss_state, s_real, s_fake)
    after_d = net.step_d(state, grads_d, stats_d)

    # Stage 2: G, against the new D and with a fresh z. Real logits enter only losses that compare
    # real with fake; for the others the compiler drops their forward pass.
    def part_g(stats_g, inputs):
        real, labels, z = inputs

        def objective(params_g, params_d):
            fake, stats = net.generate(params_g, stats_g, z, labels)
            s_fake, _ = net.judge(params_d, after_d.stats_d, fake, labels)
            s_real, _ = net.judge(params_d, after_d.stats_d, real, labels)
            return net.loss.generator(s_real, s_fake, state.loss_state), stats

        gradient = jax.value_and_grad(objective, argnums=(0, 1) if eager else 0, has_aux=True)
        (loss_g, stats_g), grads = gradient(state.params_g, after_d.params_d)
        return stats_g, (grads, loss_g), ()

    stats_g, (grads_g, loss_g), _ = net.in_parts(
        part_g, state.stats_g, (real, labels, net.latents(state, batch, 1))
    )
    metrics = net.metrics(loss_d, loss_g, s_real, s_fake)
    if eager:
        # The compiler drops what nobody reads.
        grads_g, unused = grads_g
        metrics['unused'] = optax.tree.norm(net.collectives.sum(unused), squared=True)
    new = net.step_g(after_d, grads_g, stats_g)
    return new.replace(step=state.step + 1, loss_state=loss_state), metrics


_STEPS = {
    'one_stage': _simultaneous(surgery.one_stage_grads),
    'two_stage': _two_stage,
    'shared_forward': _simultaneous(surgery.shared_forward_grads),
    'two_stage_eager': functools.partial(_two_stage, eager=True),
}


def _gamma_metrics(gamma: Array) -> Metrics:
    # At the floor |gamma| is 2^40 by construction and would be all that a mean shows.
    floored = jnp.abs(gamma) > 0.5 / surgery.CARRIER_FLOOR
    count = jnp.maximum(jnp.sum(~floored), 1)
    return {
        'gamma': jnp.sum(jnp.where(floored, 0, gamma)) / count,
        'floored': jnp.mean(floored.astype(jnp.float32)),
    }
