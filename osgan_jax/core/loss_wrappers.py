"""What may be added to an adversarial loss: LeCam, label smoothing, top-k training of G.

Each takes an `osgan_jax.AdversarialLoss` and returns another, in any order and number. Their
gradients reach the networks through the logits alone, so that one stage stays exact.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import values

Array = jax.Array
PyTree = Any

# With a target of a in place of b, the cross-entropy a softplus(-s) + (1 - a) softplus(s) grows by
# (b - a) s, and the squared error (s - a)^2 by 2 (b - a) s + a^2 - b^2.
_CROSS_ENTROPIES = ('minimax', 'non_saturating', 'boundary_seeking')
_SMOOTHED = (*_CROSS_ENTROPIES, 'least_squares')


class LeCamState(NamedTuple):
    """Running means of D's logits; float32 scalars.

    Attributes:
      real: sum of the mean real logits so far, each with its weight in the average.
      fake: likewise of the fake logits.
      weight: sum of those weights, 0 before the first step.
      inner: the state of the loss that LeCam was added to.
    """

    real: Array
    fake: Array
    weight: Array
    inner: PyTree


def with_lecam(loss: Any, weight: float, *, decay: float = 0.99) -> Any:
    """LeCam regularisation pulls D's real logits towards the mean of its fake ones, and back.

    L_D + weight * (E[(s_real - a_fake)^2] + E[(s_fake - a_real)^2]), with running means a of the
    logits of the steps before (Tseng et al. 2021, https://arxiv.org/abs/2104.03310, Eq. 5); in the
    first step, which has none, L_D alone. The authors' code leaves out real logits below a_fake and
    fake ones above a_real, and takes the term from its 1,000th step.

    L_G has no part in it, so that no loss stays symmetric.

    Args:
      loss: the loss.
      weight: the paper's lambda, at least 0; 0.3 there on CIFAR-10.
      decay: of the running means per step, in [0, 1).

    Returns:
      The loss, whose state is a `LeCamState`.

    Raises:
      ValueError: for numbers out of range, or what is not a loss.
    """
    _check_loss('with_lecam', loss)
    if not 0 <= weight < math.inf:
        raise ValueError(f'with_lecam: weight must be at least 0, got {weight}')
    if not 0 <= decay < 1:
        raise ValueError(f'with_lecam: decay must be in [0, 1), got {decay}')

    def init():
        return LeCamState(*(jnp.zeros((), jnp.float32) for _ in range(3)), loss.init())

    def discriminator(s_real, s_fake, state=None):
        value = loss.discriminator(s_real, s_fake, _inner(state))
        if state is None:
            return value
        total = jnp.where(state.weight > 0, state.weight, 1.0)
        distance = jnp.mean(jnp.square(s_real - state.fake / total))
        distance += jnp.mean(jnp.square(s_fake - state.real / total))
        return value + jnp.where(state.weight > 0, weight, 0.0) * distance

    def update(state, s_real, s_fake):
        _check_state('with_lecam', state)

        def average(before, now):
            return decay * before + (1 - decay) * now

        means = (jnp.mean(s.astype(jnp.float32)) for s in (s_real, s_fake))
        return LeCamState(
            *map(average, state[:2], means),
            average(state.weight, 1.0),
            loss.update(state.inner, s_real, s_fake),
        )

    return dataclasses.replace(
        loss,
        discriminator=discriminator,
        generator=_with_inner_state(loss.generator),
        symmetric=False,
        init=init,
        update=update,
    )


def with_label_smoothing(loss: Any, amount: float) -> Any:
    """One-sided label smoothing: D's target at real images is 1 - amount (Salimans et al. 2016).

    https://arxiv.org/abs/1606.03498, section 3.4. The target at fake images and L_G stay.

    Args:
      loss: a loss with targets: minimax, non_saturating, boundary_seeking (of D's probability) or
        least_squares (of its logit).
      amount: in [0, 0.5); 0.1 in the paper.

    Raises:
      ValueError: for a loss without targets, or an amount out of range.
    """
    _check_loss('with_label_smoothing', loss)
    if loss.name not in _SMOOTHED:
        raise ValueError(
            f'label smoothing: the {loss.name} loss has no target to smooth; '
            f'{", ".join(_SMOOTHED[:-1])} and {_SMOOTHED[-1]} have'
        )
    if not 0 <= amount < 0.5:
        raise ValueError(f'label smoothing: the amount must be in [0, 0.5), got {amount}')
    of_logits = loss.name in _CROSS_ENTROPIES
    # D is undecided where real and fake images are as likely, at half the target, which may be
    # smoothed already.
    before = 2 / (1 + math.exp(-loss.boundary)) if of_logits else 2 * loss.boundary
    target = before - amount
    if not target > 0:
        raise ValueError(f'label smoothing: a target of {before:g} cannot fall by {amount}')
    slope, constant = (amount, 0.0) if of_logits else (2 * amount, target**2 - before**2)

    def discriminator(s_real, s_fake, state=None):
        value = loss.discriminator(s_real, s_fake, state)
        return value + slope * jnp.mean(s_real) + constant

    boundary = math.log(target / (2 - target)) if of_logits else target / 2
    return dataclasses.replace(loss, discriminator=discriminator, boundary=boundary)


class TopKState(NamedTuple):
    """The number of steps so far, int32, and the state of the loss that top-k was added to."""

    step: Array
    inner: PyTree


def with_top_k(loss: Any, share: float, *, decay: float = 0.99, every: int = 0) -> Any:
    """Top-k training of G: L_G is of the fake samples whose logits are highest.

    k / N starts at 1, is multiplied by `decay` after every `every` steps, and ends at `share`
    (Sinha et al. 2020, https://arxiv.org/abs/2002.06224, section 3). In one stage gamma is 0 for
    the other samples. Samples with the k-th logit are all in. L_D stays.

    L_G becomes one of the whole batch, and no loss stays symmetric.

    Args:
      loss: a loss whose L_G is a mean over samples, or over pairs of a real and a fake one.
      share: k / N at the end, in (0, 1]; at least one sample stays.
      decay: in (0, 1]; 0.99 in the paper.
      every: steps, an epoch in the paper; 0 begins at the end.

    Returns:
      The loss, whose state is a `TopKState`.

    Raises:
      ValueError: for numbers out of range, or a loss whose L_G is not a mean over samples.
    """
    _check_loss('with_top_k', loss)
    if not 0 < share <= 1:
        raise ValueError(f'with_top_k: share must be in (0, 1], got {share}')
    if not 0 < decay <= 1:
        raise ValueError(f'with_top_k: decay must be in (0, 1], got {decay}')
    if every < 0:
        raise ValueError(f'with_top_k: every must be at least 0, got {every}')
    _check_separable(loss)

    def init():
        return TopKState(jnp.zeros((), jnp.int32), loss.init())

    def share_at(state):
        if state is None or not every:
            return share
        return jnp.maximum(share, decay ** (state.step // every).astype(jnp.float32))

    def generator(s_real, s_fake, state=None):
        scores = jnp.mean(s_fake.reshape(s_fake.shape[0], -1), axis=1)
        n = scores.shape[0]
        # A little more than rounded down: 0.7 * 10 is 7 in no float.
        k = jnp.clip(jnp.floor(n * share_at(state) + 1e-3).astype(jnp.int32), 1, n)
        threshold = jnp.sort(jax.lax.stop_gradient(scores))[n - k]
        chosen = scores >= threshold
        of_each = _generator_of_each(loss, s_real, s_fake, _inner(state))
        return jnp.sum(jnp.where(chosen, of_each, 0)) / jnp.sum(chosen)

    def update(state, s_real, s_fake):
        _check_state('with_top_k', state)
        return TopKState(state.step + 1, loss.update(state.inner, s_real, s_fake))

    return dataclasses.replace(
        loss,
        discriminator=_with_inner_state(loss.discriminator),
        generator=generator,
        symmetric=False,
        mean_over_samples=False,
        init=init,
        update=update,
    )


def _generator_of_each(loss: Any, s_real: Array, s_fake: Array, state: PyTree) -> Array:
    """L_G of each fake sample alone, with its real one where there are as many, `[N]`."""
    fakes = s_fake[:, None]
    if s_real.shape == s_fake.shape:
        return jax.vmap(lambda r, f: loss.generator(r, f, state))(s_real[:, None], fakes)
    return jax.vmap(lambda f: loss.generator(s_real, f, state))(fakes)


def _check_separable(loss: Any) -> None:
    """Raises ValueError unless L_G of a batch is the mean of its samples'."""
    with jax.ensure_compile_time_eval():
        real, fake = jnp.array([0.3, -2.0, 1.5]), jnp.array([-1.2, 0.4, 2.5])
        state = loss.init()
        of_each = jnp.mean(_generator_of_each(loss, real, fake, state))
        whole = loss.generator(real, fake, state)
    if abs(whole - of_each) > 1e-4 * (1 + abs(whole)):
        raise ValueError(
            f'with_top_k: L_G of the loss {loss.name!r} is not a mean over samples, so it is not '
            'defined for a subset of them'
        )


def _with_inner_state(function: Any) -> Any:
    """A function of a wrapped loss, given the state of the loss that wraps it."""

    @functools.wraps(function)
    def call(s_real, s_fake, state=None):
        return function(s_real, s_fake, _inner(state))

    return call


def _inner(state: PyTree) -> PyTree:
    return None if state is None else state.inner


def _check_loss(name: str, loss: Any) -> None:
    if not hasattr(loss, 'discriminator'):
        shown = repr(loss) if isinstance(loss, str) else values.describe(loss)
        raise ValueError(
            f'{name}: expected an osgan_jax.AdversarialLoss, such as osgan_jax.losses.get(name), '
            f'got {shown}'
        )


def _check_state(name: str, state: PyTree) -> None:
    if state is None:
        raise ValueError(
            f'{name}: update needs the previous state, which is loss.init() at the first step'
        )
