"""G and D applied to a device's part of a step, and their optimisers."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import diffaugment, regularizers
from osgan_jax.core.collectives import Collectives
from osgan_jax.gan import model, penalties
from osgan_jax.gan.model import GAN, TrainState

Array = jax.Array
PyTree = Any
Batch = dict[str, Array]
Metrics = dict[str, Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

# What a step's keys are for.
_STYLE, _AUGMENT = 1, 2


class Inputs(NamedTuple):
    """What a pass over a part of the batch takes; arrays lead with its n rows.

    Attributes:
      real: `[n, H, W, C]` in [-1, 1].
      labels: `[n]`, None for unconditional networks.
      z: `[n, Z]`.
      row: `[n]`, places in this device's batch.
      augment: random numbers of the augmentation of real images, and of fake ones; see
        `osgan_jax.core.diffaugment.draw`.
    """

    real: Array
    labels: Array | None
    z: Array
    row: Array
    augment: tuple[diffaugment.Draws, diffaugment.Draws]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What is added to the objectives, such as a teacher's judgement; None for nothing.

    Attributes:
      auxiliary: `(net, inputs) -> (fake -> scalar)`, added to L_G through its images: in one
        stage its gradient at the images joins what D's own backward pass gives.
      generator: `(net, params_g, stats_g, adapters, inputs, key) -> scalar`, added to L_G by a
        gradient of its own.
      discriminator: `(net, params_d, stats_d, adapters, inputs, fake, key) -> scalar`, added to L_D
        likewise; no gradient reaches the images.

    On several devices the auxiliary is the whole's value with gradients to this device's images, as
    `net.loss` is; the others are this device's share, whose sum over devices is the whole.
    `adapters` are parameters of the terms' own, which either gradient may reach and `optimizer`
    trains: a state under such terms has `adapters` and `opt_adapters`. `net.constants` is what the
    update was given besides the batch.
    """

    auxiliary: Callable[..., Callable[[Array], Array]] | None = None
    generator: Callable[..., Array] | None = None
    discriminator: Callable[..., Array] | None = None
    optimizer: optax.GradientTransformation | None = None


def is_together(gan: GAN, scheme: str, state: TrainState) -> bool:
    """Whether D is to judge real and fake images in one concatenated batch.

    That keeps an accelerator fuller; on CPU two smaller passes stay in the caches and are 5 to 8%
    faster (DCGAN-64). Two passes also keep a batch-mixing D's statistics of real and fake apart,
    and let the compiler drop the real half of shared_forward's second pullback.
    """
    return (
        scheme != 'shared_forward'
        and jax.default_backend() != 'cpu'
        and model.is_samplewise(gan, state)
    )


class Applied:
    """The networks of a step.

    Attributes:
      gan: what they are.
      collectives: of the devices.
      loss: the objective over the logits of all devices.
      terms: what is added to it.
      constants: what terms read and no step changes.
    """

    def __init__(
        self,
        gan: GAN,
        collectives: Collectives,
        together: bool = False,
        parts: int = 1,
        terms: Terms | None = None,
        constants: PyTree = None,
    ):
        """Args are `make_update`'s; together: see `is_together`."""
        self.gan = gan
        self.collectives = collectives
        self.together = together
        self.parts = parts
        self.loss = collectives.loss(gan.loss)
        self.terms = terms or Terms()
        self.constants = constants

    def key(self, state: TrainState, stage: int) -> Array:
        """The key of one stage of a step."""
        return jax.random.fold_in(jax.random.fold_in(state.key, state.step), stage)

    def inputs(self, state: TrainState, batch: Batch, stage: int) -> Inputs:
        """This device's rows, with fresh latents."""
        # Drawn for the whole batch on every device, so that the number of devices changes nothing.
        key = self.key(state, stage)
        rows = batch['image'].shape[0]
        shape = (rows * self.collectives.size, self.gan.latent_dim)
        augment_key = jax.random.fold_in(key, _AUGMENT)
        return Inputs(
            real=batch['image'],
            labels=batch['label'] if self.gan.num_classes else None,
            z=self.collectives.own_part(jax.random.normal(key, shape)),
            row=jnp.arange(rows),
            augment=tuple(
                diffaugment.draw(
                    jax.random.fold_in(augment_key, kind),
                    batch['image'].shape,
                    self.gan.augment,
                    collectives=self.collectives,
                )
                for kind in (0, 1)
            ),
        )

    def generate(self, params: PyTree, stats: PyTree, inputs: Inputs, key: Array):
        """Returns fake images and G's new statistics."""
        return self.gan.generator.apply(
            {'params': params, **stats},
            inputs.z,
            inputs.labels,
            train=True,
            mutable=['batch_stats'],
            rngs={'style': jax.random.fold_in(key, _STYLE)},
        )

    def judge(self, params: PyTree, stats: PyTree, images: Array, labels: Array | None):
        """Returns logits and D's new statistics."""
        return self.gan.discriminator.apply(
            {'params': params, **stats}, images, labels, train=True, mutable=['batch_stats']
        )

    def seen(self, images: Array, inputs: Inputs, kind: int) -> Array:
        """Images as D sees them, augmented or not; `kind` is 0 for real ones and 1 for fake."""
        return diffaugment.transform(inputs.augment[kind], images, self.gan.augment)

    def judge_both(self, params: PyTree, stats: PyTree, inputs: Inputs, fake: Array):
        """Returns ((s_real, s_fake), D's new statistics)."""
        real, labels = self.seen(inputs.real, inputs, 0), inputs.labels
        fake = self.seen(fake, inputs, 1)
        if self.together:
            both = None if labels is None else jnp.concatenate([labels, labels])
            logits, stats = self.judge(params, stats, jnp.concatenate([real, fake]), both)
            return tuple(jnp.split(logits, 2)), stats
        s_real, after_real = self.judge(params, stats, real, labels)
        s_fake, after_fake = self.judge(params, stats, fake, labels)
        # Both from the same statistics, so that spectral norm divides both by the same number.
        stats = jax.tree.map(lambda a, b: (a + b) / 2, after_real, after_fake)
        return (s_real, s_fake), stats

    def share(self, values: Array) -> Array:
        """This device's share of the mean over the samples of all devices, of values `[n, ...]`."""
        return jnp.mean(values) / self.collectives.size

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

    def descend_g(self, state: TrainState, grads: PyTree) -> TrainState:
        """Makes a step of G's optimiser."""
        params_g, opt_g = apply(self.gan.optimizer_g, grads, state.opt_g, state.params_g)
        return state.replace(params_g=params_g, opt_g=opt_g)

    def descend_d(self, state: TrainState, grads: PyTree) -> TrainState:
        """Makes a step of D's optimiser."""
        params_d, opt_d = apply(self.gan.optimizer_d, grads, state.opt_d, state.params_d)
        return state.replace(params_d=params_d, opt_d=opt_d)

    def step_g(self, state: TrainState, grads: PyTree, stats_g: PyTree, inputs: Inputs):
        """Applies G's optimiser, penalties, then its average."""
        grads = self.collectives.sum(grads)
        if weight := self.gan.penalties.orthogonal:
            grads = optax.tree.add_scale(
                grads, weight, jax.grad(regularizers.orthogonal)(state.params_g)
            )
        state, grads = penalties.before_g(self, state, grads, inputs)
        state = self.descend_g(state, grads).replace(stats_g=stats_g)
        state = penalties.after_g(self, state, inputs)
        if self.gan.ema_decay:
            t = state.step.astype(jnp.float32)
            if self.gan.ema_start:
                decay = jnp.where(state.step < self.gan.ema_start, 0.0, self.gan.ema_decay)
            else:
                # The usual warm-up: early averages follow, later ones remember.
                decay = jnp.minimum(self.gan.ema_decay, (1 + t) / (10 + t))
            now = {'params': state.params_g, **state.stats_g}
            state = state.replace(ema_g=optax.incremental_update(now, state.ema_g, 1 - decay))
        return state

    def step_d(self, state: TrainState, grads: PyTree, stats_d: PyTree, inputs: Inputs):
        """Applies D's optimiser, penalties, then its weight bound."""
        state, grads = penalties.before_d(self, state, self.collectives.sum(grads), inputs)
        state = self.descend_d(state, grads).replace(stats_d=stats_d)
        state = penalties.after_d(self, state, inputs)
        if self.gan.weight_clip:
            bound = self.gan.weight_clip
            clipped = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), state.params_d)
            state = state.replace(params_d=clipped)
        return state

    def metrics(self, state: TrainState, loss_d, loss_g, s_real, s_fake) -> Metrics:
        """What every scheme reports."""
        return {
            'loss_d': loss_d,
            'loss_g': loss_g,
            'logit_real': jnp.mean(self.collectives.whole(s_real)),
            'logit_fake': jnp.mean(self.collectives.whole(s_fake)),
            **(state.penalties or {}),
        }


def apply(optimizer, grads: PyTree, opt_state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns parameters and the optimiser's state after a step."""
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
