"""G and D applied to one device's part of a step."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import losses
from osgan_jax.core.collectives import Collectives
from osgan_jax.gan import freezing
from osgan_jax.gan.augmentation import Draws
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.networks import inference
from osgan_jax.networks.own import OwnModule

Array = jax.Array
PyTree = Any
Batch = dict[str, Array]
Metrics = dict[str, Array]

# Stages of a step: each draws from a key of its own, `fold_in(step's key, stage)`. A scheme that
# updates both networks together draws for D's stage alone. The i-th step of D alone has the stages
# of a step whose key is `fold_in(fold_in(step's key, STAGE_ALONE), i)`.
STAGE_D, STAGE_G, STAGE_PENALTY_D, STAGE_PENALTY_G, STAGE_SCORES, STAGE_ALONE = range(6)
# Keys within a stage.
_STYLE, _AUGMENT, _NOISE = 1, 2, 3


class Inputs(NamedTuple):
    """The inputs of a pass over a part of the batch; arrays lead with its n rows.

    Attributes:
      real: real images `[n, H, W, C]` in [-1, 1].
      labels: classes `[n]`, int32; None for unconditional networks.
      z: latents `[n, Z]`.
      row: indices `[n]` of the rows in this device's batch, int32.
      augment_real: random numbers of the real images' augmentation, see
        `osgan_jax.gan.augmentation`.
      augment_fake: those of the fake images' augmentation.
      fake: the fake images of the step's pass `[n, H, W, C]`, for lazy penalties; None before it.
      noise: keys `[n]` of what networks of one's own draw at random, such as dropout; the first is
        used. None for networks that draw nothing, and for StyleGAN2's, which goes by z.
    """

    real: Array
    labels: Array | None
    z: Array
    row: Array
    augment_real: Draws
    augment_fake: Draws
    fake: Array | None = None
    noise: Array | None = None


class PartResult(NamedTuple):
    """The result of a pass over a part of the batch, or over the batch that the parts make up.

    Attributes:
      stats: the networks' statistics after the pass.
      means: pytree of means over samples; means over the batch are means over its parts.
      samples: pytree of values of each sample, `[n, ...]`.
    """

    stats: PyTree
    means: PyTree
    samples: PyTree


@dataclasses.dataclass(frozen=True)
class StepContext:
    """The networks of a step and the devices that it is mapped over.

    Attributes:
      gan: networks, objective and optimisers.
      collectives: collectives of the devices.
      concatenate: whether D takes real and fake images as one batch.
      parts: number of parts in which a device takes its batch.
      constants: pytree that added terms read and no step changes, such as a teacher's variables.
      alone: which of the step's updates of D alone this is, from 0, int32; None for the update that
        G takes part in.
    """

    gan: GAN
    collectives: Collectives
    concatenate: bool = False
    parts: int = 1
    constants: PyTree = None
    alone: Array | None = None

    @property
    def loss(self) -> losses.AdversarialLoss:
        """The objective over the logits of all devices."""
        return self.collectives.loss(self.gan.loss)

    def key(self, state: TrainState, stage: int) -> Array:
        """The random key of one stage of a step."""
        key = jax.random.fold_in(state.key, state.step)
        if self.alone is not None:
            key = jax.random.fold_in(jax.random.fold_in(key, STAGE_ALONE), self.alone)
        return jax.random.fold_in(key, stage)

    def count_d(self, state: TrainState) -> Array:
        """The number of D's updates before this one, over all steps."""
        count = self.gan.d_steps
        if count == 1:
            return state.step
        return state.step * count + (count - 1 if self.alone is None else self.alone)

    def draw_inputs(self, state: TrainState, batch: Batch, stage: int) -> Inputs:
        """This device's rows, with fresh latents and random numbers of the augmentation."""
        # Drawn for the whole batch on every device, so that the number of devices changes nothing.
        key = self.key(state, stage)
        images = batch['image']
        rows = images.shape[0]
        z = inference.draw_latents(self.gan, key, rows * self.collectives.size)
        augment_key = jax.random.fold_in(key, _AUGMENT)
        augmentation = self.gan.augmentation
        probability = augmentation.probability_at(state.augmentation, state.step)
        augment_real, augment_fake = (
            augmentation.draw(
                jax.random.fold_in(augment_key, kind), images.shape, probability, self.collectives
            )
            for kind in range(2)
        )
        return Inputs(
            real=images,
            labels=batch['label'] if self.gan.num_classes else None,
            z=self.collectives.own_part(z),
            row=jnp.arange(rows),
            augment_real=augment_real,
            augment_fake=augment_fake,
            noise=self._draw_noise(key, rows),
        )

    def _draw_noise(self, key: Array, rows: int) -> Array | None:
        """Keys `[n]` for networks that draw at random, others on each device and in each part."""
        if not any(
            getattr(each, 'draws', False) for each in (self.gan.generator, self.gan.discriminator)
        ):
            return None
        keys = jax.random.split(jax.random.fold_in(key, _NOISE), rows * self.collectives.size)
        return self.collectives.own_part(keys)

    def apply_generator(
        self, params: PyTree, stats: PyTree, inputs: Inputs, key: Array
    ) -> tuple[Array, PyTree]:
        """Returns fake images `[n, H, W, C]` and G's new statistics."""
        key = key if inputs.noise is None else inputs.noise[0]
        params = self.gan.frozen.stop(freezing.GENERATOR, params)
        return self.gan.generator.apply(
            {'params': params, **stats},
            inputs.z,
            inputs.labels,
            train=True,
            mutable=['batch_stats'],
            rngs={'style': jax.random.fold_in(key, _STYLE)},
        )

    def apply_discriminator(
        self,
        params: PyTree,
        stats: PyTree,
        images: Array,
        labels: Array | None,
        noise: Array | None = None,
    ) -> tuple[Array, PyTree]:
        """Returns logits `[n]` and D's new statistics; `noise` as `Inputs` has it."""
        rngs = {} if noise is None else {'noise': noise[0]}
        params = self.gan.frozen.stop(freezing.DISCRIMINATOR, params)
        return self.gan.discriminator.apply(
            {'params': params, **stats},
            images,
            labels,
            train=True,
            mutable=['batch_stats'],
            rngs=rngs,
        )

    def shared(self, module: Any, stats: PyTree) -> PyTree:
        """New statistics as all devices keep them; modules of one's own may have each its own."""
        return self.collectives.mean(stats) if isinstance(module, OwnModule) else stats

    def augment(self, draws: Draws, images: Array) -> Array:
        """Images as D takes them; unchanged where the GAN has no augmentation."""
        return self.gan.augmentation.transform(draws, images)

    def augment_both(
        self, inputs: Inputs, fake: Array, real: Array | None = None
    ) -> tuple[Array, Array]:
        """Real and fake images as D takes them; `real` in the place of the inputs', if given."""
        real = self.augment(inputs.augment_real, inputs.real if real is None else real)
        return real, self.augment(inputs.augment_fake, fake)

    def discriminate(
        self,
        params: PyTree,
        stats: PyTree,
        inputs: Inputs,
        fake: Array,
        real: Array | None = None,
    ) -> tuple[tuple[Array, Array], PyTree]:
        """Returns `((s_real, s_fake), D's new statistics)`; images as for `augment_both`."""
        real, fake = self.augment_both(inputs, fake, real)
        labels, noise = inputs.labels, inputs.noise
        if self.concatenate:
            both = None if labels is None else jnp.concatenate([labels, labels])
            logits, stats = self.apply_discriminator(
                params, stats, jnp.concatenate([real, fake]), both, noise
            )
            return tuple(jnp.split(logits, 2)), stats
        s_real, after_real = self.apply_discriminator(params, stats, real, labels, noise)
        s_fake, after_fake = self.apply_discriminator(params, stats, fake, labels, noise)
        # Both from the same statistics, so that spectral norm divides both by the same number.
        stats = jax.tree.map(_between, after_real, after_fake)
        return (s_real, s_fake), stats

    def adapt(self, state: TrainState, s_real: Array) -> TrainState:
        """The state with the augmentation adapted to the real logits `[n]` of the step."""
        augmentation = self.gan.augmentation
        if not augmentation.adapts:
            return state
        sign = self.mean(jnp.sign(s_real.astype(jnp.float32) - augmentation.boundary))
        return state.replace(augmentation=augmentation.adapt(state.augmentation, state.step, sign))

    def mean_share(self, values: Array) -> Array:
        """This device's share of the mean of `[n, ...]` over the samples of all devices."""
        return jnp.mean(values) / self.collectives.size

    def mean(self, values: Array) -> Array:
        """The mean of `[n]` over the samples of all devices."""
        return jnp.mean(self.collectives.whole(values))

    def accumulate(
        self, run_part: Callable[[PyTree, Inputs], PartResult], stats: PyTree, inputs: Inputs
    ) -> PartResult:
        """Runs `run_part` on each part of the batch, one after the other.

        Args:
          run_part: `(statistics, inputs of the part) -> result`.
          stats: statistics before the first part.
          inputs: inputs of the whole batch, arrays `[n, ...]`.

        Returns:
          Statistics after the last part, means over the parts, and values of all samples.

        Raises:
          ValueError: if the parts do not divide the batch.
        """
        if self.parts == 1:
            return run_part(stats, inputs)
        rows = inputs.row.shape[0]
        if rows % self.parts:
            raise ValueError(
                f'accumulate={self.parts} does not divide the {rows} images per device and step'
            )
        inputs = jax.tree.map(
            lambda x: x.reshape(self.parts, rows // self.parts, *x.shape[1:]), inputs
        )

        def body(carry, inputs):
            stats, total = carry
            result = run_part(stats, inputs)
            return (result.stats, jax.tree.map(jnp.add, total, result.means)), result.samples

        first = jax.tree.map(lambda x: x[0], inputs)
        shapes = jax.eval_shape(run_part, stats, first).means
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (stats, total), samples = jax.lax.scan(body, (stats, zeros), inputs)
        return PartResult(
            stats,
            jax.tree.map(lambda x: x / self.parts, total),
            jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples),
        )

    def ranking_accuracy(self, s_real: Array, s_fake: Array) -> Array:
        """The share of all pairs of a real and a fake image whose real one has the higher logit."""
        s_real, s_fake = self.collectives.whole(s_real), self.collectives.whole(s_fake)
        return jnp.mean((s_real[:, None] > s_fake).astype(jnp.float32))

    def metrics(
        self, state: TrainState, loss_d: Array, loss_g: Array, s_real: Array, s_fake: Array
    ) -> Metrics:
        """The metrics that every scheme reports."""
        return {
            'loss_d': loss_d,
            'loss_g': loss_g,
            'logit_real': self.mean(s_real),
            'logit_fake': self.mean(s_fake),
            'accuracy_d': self.ranking_accuracy(s_real, s_fake),
            **(state.penalties or {}),
            **self.gan.augmentation.metrics(state.augmentation, state.step),
        }


def _between(a: Array, b: Array) -> Array:
    """The mean of two statistics; of counts, and whatever else is not a float, the second."""
    return (a + b) / 2 if jnp.issubdtype(a.dtype, jnp.floating) else b
