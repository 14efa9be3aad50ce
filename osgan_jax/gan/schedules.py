"""Schedules: numbers that a run changes as it goes, such as a rate, a gamma or a probability.

A schedule is a function of the training state's step, not of an optimiser's count, which includes
the steps of lazy penalties. Published lengths in images are divided by the batch.
"""

import collections
import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from osgan_jax.gan.config import FALLING, TrainConfig

Array = jax.Array

_TO_END = ('linear', 'cosine', 'stairs')


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A number as a function of the step; pure, for use inside and outside of jit.

    Attributes:
      kind: 'constant'; 'linear' or 'cosine', from `start` to `end`; 'step', `start` times `factor`
        from each of `boundaries` on; or 'stairs', from `start` to `end` in equal parts, one at each
        of `boundaries`.
      start: the value at step 0, after the warm-up where there is one.
      end: the value from step `length` on, of linear and cosine, and from the last boundary on of
        stairs.
      length: steps after which `end` is reached, the warm-up's among them.
      warmup: steps over which the value rises linearly to `start`: step t has `(t + 1) / warmup` of
        it. The fall begins after them.
      boundaries: steps of 'step' and 'stairs', rising.
      factor: what 'step' multiplies by at each of them.
    """

    kind: str
    start: float
    end: float = 0.0
    length: int = 1
    warmup: int = 0
    boundaries: tuple[int, ...] = ()
    factor: float = 1.0

    @property
    def is_constant(self) -> bool:
        """Whether the value is `start` at every step."""
        moves = self.end != self.start if self.kind in _TO_END else self.boundaries
        return not (moves or self.warmup)

    @property
    def greatest(self) -> float:
        """The greatest value that it has."""
        return max(self.start, self.end) if self.kind in _TO_END else self.start

    def __call__(self, step: Array | int) -> Array:
        """The value at a step, a float32 scalar."""
        value = jnp.float32(self.start)
        if self.kind == 'step':
            # Epochs shorter than a step may end at the same one.
            counts = collections.Counter(self.boundaries)
            decays = {step: self.factor**count for step, count in counts.items()}
            value = optax.piecewise_constant_schedule(self.start, decays)(step)
        elif self.kind in _TO_END:
            if self.kind == 'stairs':
                passed = jnp.mean(jnp.asarray(step) >= jnp.array(self.boundaries))
            else:
                passed = jnp.asarray(step, jnp.float32) - self.warmup
                passed = jnp.clip(passed / max(self.length - self.warmup, 1), 0, 1)
            if self.kind == 'cosine':
                passed = (1 - jnp.cos(jnp.pi * passed)) / 2
            # Exact at both ends.
            value = (1 - passed) * self.start + passed * self.end
        if self.warmup:
            value *= jnp.minimum(1, (jnp.asarray(step, jnp.float32) + 1) / self.warmup)
        return value


def of_field(
    config: TrainConfig,
    name: str,
    steps_per_epoch: float,
    convert: Callable[[float], float] = lambda value: value,
) -> Schedule:
    """The schedule of a field, or of what it is converted to.

    Args:
      config: resolved.
      name: see `TrainConfig.span`.
      steps_per_epoch: steps of an epoch, maybe not whole.
      convert: of its first and its last value.
    """
    start, end = map(convert, config.span(name))
    if config.schedule in FALLING:
        return Schedule(config.schedule, start, end, config.schedule_steps or 1)
    if start == end:
        return Schedule('constant', start)
    return Schedule('stairs', start, end, boundaries=boundaries(config, steps_per_epoch))


def boundaries(config: TrainConfig, steps_per_epoch: float) -> tuple[int, ...]:
    """The steps that end the epochs of --decay_epochs."""
    return tuple(math.ceil(epoch * steps_per_epoch) for epoch in config.decay_epochs)
