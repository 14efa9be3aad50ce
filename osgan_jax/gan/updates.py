"""One step of each scheme, as a pure function of a TrainState and a batch.

`simultaneous` and `alternating` are the steps; `step_context` applies the networks to a device's
part of the batch, `penalties` and `terms` are what the objectives have added, and `optimisers`
makes the optimisers' steps.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core import samplewise
from osgan_jax.core.collectives import ONE_DEVICE, Collectives, collectives_over
from osgan_jax.gan import alternating, simultaneous
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import Batch, Metrics, StepContext
from osgan_jax.gan.terms import NO_TERMS, Terms
from osgan_jax.layers import backend
from osgan_jax.runtime import parallel

PyTree = Any
Step = Callable[[StepContext, Terms, TrainState, Batch], tuple[TrainState, Metrics]]

STEPS: dict[str, Step] = {
    'one_stage': simultaneous.step,
    'two_stage': alternating.step,
    'shared_forward': functools.partial(simultaneous.step, shared_forward=True),
    'two_stage_eager': functools.partial(alternating.step, eager=True),
}


class Update(Protocol):
    """A step of one scheme; see `make_update`."""

    def __call__(
        self, state: TrainState, batch: Batch, constants: PyTree = None, terms: Terms = NO_TERMS
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after the step, and metrics."""


def make_update(
    gan: GAN,
    scheme: str,
    state: TrainState | Callable[[], TrainState],
    collectives: Collectives = ONE_DEVICE,
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
      state: a state of it, or a function that returns one; a few backward passes through its D
        tell whether D treats samples one by one, where that matters and is not declared
        (`gan.samplewise`).
      collectives: collectives of the devices that the update is mapped over.
      accumulate: parts that each device takes its batch in, one after the other; gradients are
        averaged before the optimisers step. For networks without BatchNorm the update is that of
        the whole batch; BatchNorm normalises by the statistics of a part.

    Returns:
      `(state, batch, constants=None, terms=NO_TERMS) -> (state, metrics)`. `batch` holds this
      device's `image` `[n, H, W, C]` in [-1, 1] and `label` `[n]`; n fake images are made for n
      real ones. Where `gan.d_steps` is N above 1, arrays are `[N, n, ...]`: D alone is updated on
      all but the last batch, then the scheme's step is made on that, and metrics are of it. `terms`
      are added to both objectives; `constants` are what they read, such as the parameters of a
      teacher. `metrics` are float32 scalars, the same on all devices: loss_d, loss_g, logit_real,
      logit_fake, accuracy_d (share of pairs of a real and a fake image that D ranks rightly); under
      one_stage gamma, gamma_q05, gamma_q50 and gamma_q95 (mean and quantiles over samples whose
      carrier is above its floor) and floored (share of the others); with penalties their newest
      values.

    Raises:
      ValueError: for an unknown scheme; for one_stage with an asymmetric loss, or R2 at every step,
        and a D that mixes samples, saying why and what to choose; for accumulation with a loss that
        is not a mean over samples (fisher, top-k).
    """
    if accumulate > 1 and not gan.loss.mean_over_samples:
        raise ValueError(
            f'accumulate={accumulate}: the {gan.loss.name} loss (with --top_k, if you set it) is '
            'a function of the whole batch, not a mean over its parts; use --accumulate=1 or '
            'another loss'
        )
    if scheme not in STEPS:
        raise ValueError(f'unknown scheme {scheme!r}: expected one of {", ".join(STEPS)}')
    step = STEPS[scheme]
    concatenate = _check_discriminator(gan, scheme, state)

    def update(
        state: TrainState, batch: Batch, constants: PyTree = None, terms: Terms = NO_TERMS
    ) -> tuple[TrainState, Metrics]:
        context = StepContext(gan, collectives, concatenate, accumulate, constants)
        state = _step_alone(context, terms, state, batch)
        return step(context, terms, state, last_batch(gan, batch))

    return update


def count_flops(
    gan: GAN,
    compiled: float | None,
    state: TrainState,
    batch: Batch,
    devices: Sequence[jax.Device],
    *,
    accumulate: int = 1,
) -> float | None:
    """The FLOPs of a step over all devices.

    Args:
      gan: what is trained.
      compiled: the compiler's count, over all devices. Of the updates of D alone, a loop, it has
        one; the others are counted here as traced, not as compiled (0.5% less in DCGAN).
      state: a state, or its shapes.
      batch: this process's part of a batch of one update.
      devices: as for `parallel.compile_update`.
      accumulate: as for `make_update`.

    Returns:
      None where the compiler says nothing, or counts a part of the step not at all or once too
      often: one of several parts of a batch, or lazy penalties. None also for several steps of D
      alone by several processes, which cannot be traced from shapes.
    """
    if compiled is None or accumulate > 1 or not gan.is_counted():
        return None
    if gan.d_steps <= 2:
        return compiled
    if jax.process_count() > 1:
        return None

    def update_alone(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        context = StepContext(gan, collectives_over(devices), alone=jnp.zeros((), jnp.int32))
        return (
            alternating.step_discriminator(context, NO_TERMS, state, state.params_g, batch),
            {},
        )

    mapped = parallel.compile_update(update_alone, devices)
    lowered = mapped.lower(*parallel.shapes(state, batch, devices))
    counted = parallel.flops(lowered, len(devices))
    return None if counted is None else compiled + (gan.d_steps - 2) * counted


def last_batch(gan: GAN, batch: Batch) -> Batch:
    """Of the batches of a step, that of the update which G takes part in."""
    return batch if gan.d_steps == 1 else jax.tree.map(lambda x: x[-1], batch)


def _step_alone(
    context: StepContext, terms: Terms, state: TrainState, batches: Batch
) -> TrainState:
    """The state after a step's updates of D alone, each on real and fake images of its own."""
    count = context.gan.d_steps - 1
    if not count:
        return state
    rows = batches['image'].shape[0]
    if rows != count + 1:
        raise ValueError(
            f'expected the batches of {count + 1} D steps, arrays [{count + 1}, n, ...]: the first '
            f'axis of the images has {rows}'
        )

    whole_g = context.collectives.gather(state.params_g)

    def body(state: TrainState, given: tuple[jax.Array, Batch]) -> tuple[TrainState, None]:
        index, batch = given
        alone = dataclasses.replace(context, alone=index)
        return alternating.step_discriminator(alone, terms, state, whole_g, batch), None

    # A loop compiles once whatever their number, and keeps the images of one update at a time.
    batches = jax.tree.map(lambda x: x[:-1], batches)
    return jax.lax.scan(body, state, (jnp.arange(count), batches))[0]


def _check_discriminator(
    gan: GAN, scheme: str, state: TrainState | Callable[[], TrainState]
) -> bool:
    """Checks that a scheme fits D, and decides whether D takes real and fake images as one batch.

    One batch keeps an accelerator fuller; on CPU two smaller ones stay in the caches and are 5 to
    8% faster (DCGAN-64). Two also keep a batch-mixing D's statistics of real and fake apart, and
    let the compiler drop the real half of shared_forward's second pullback.

    With penalties at every step they are two everywhere: one batch would have both halves of each
    pass computed where R1 or WGAN-GP's penalty needs one, and costs two_stage 5% more FLOPs.

    Returns:
      Whether D takes one batch.

    Raises:
      ValueError: for one_stage with an asymmetric loss, or R2 at every step, and a D that mixes
        samples.
    """
    penalised = gan.penalties.discriminator_every == 1
    wanted = scheme != 'shared_forward' and backend.platform() != 'cpu' and not penalised
    # At most one check of D, which an accelerator takes seconds to compile.
    if scheme == 'one_stage' and (not gan.loss.symmetric or (penalised and gan.penalties.r2)):
        _check_samplewise(gan, state)
        return wanted
    try:
        if wanted:
            _check_samplewise(gan, state)
    except ValueError:
        return False
    return wanted


def _check_samplewise(gan: GAN, state: TrainState | Callable[[], TrainState]) -> None:
    """Raises ValueError, saying why, unless D treats samples one by one."""
    if gan.samplewise:
        return
    state = state() if callable(state) else state
    n = 4
    images = np.random.default_rng(0).normal(size=(2 * n, *gan.image_shape)).astype(np.float32)
    labels = np.arange(2 * n, dtype=np.int32) % gan.num_classes if gan.num_classes else None
    # The axis of shared statistics exists only inside the mapped update; one device suffices here.
    discriminator = gan.discriminator.clone(axis_name=None)

    def discriminate(params, fake):
        logits, _ = discriminator.apply(
            {'params': params, **state.stats_d},
            jnp.concatenate([images[:n], fake]),
            labels,
            train=True,
            mutable=['batch_stats'],
        )
        return (logits[:n], logits[n:]), None

    samplewise.check_samplewise(discriminate, state.params_d, images[n:])
