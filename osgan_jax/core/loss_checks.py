"""Checks that a loss is well formed and that its flags are true.

`loss` is an `osgan_jax.AdversarialLoss` throughout.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax.core import values

Array = jax.Array
PyTree = Any

_SAMPLES = 8
# Sums in float32 of logits of either sign, of about 1.
_TOLERANCE = 1e-4
_FUNCTIONS = ('discriminator', 'generator')


def check(loss: Any) -> None:
    """Raises ValueError unless a loss of any number of samples is sound and its flags hold."""
    real, fake = _logits((_SAMPLES,), 1.0), _logits((_SAMPLES,), -1.0)
    check_call(loss, real, fake, loss.init())
    check_symmetric(loss, real, fake)
    _check_mean_over_samples(loss)


def check_call(loss: Any, s_real: PyTree, s_fake: PyTree, state: PyTree) -> None:
    """Raises ValueError unless a loss takes these logits and this state, and returns scalars.

    Args:
      loss: the loss.
      s_real: float32 logits of the real batch, an array or a pytree.
      s_fake: float32 logits of the fake batch.
      state: the loss's state.
    """
    _check_state(loss, state)
    for name in _FUNCTIONS:
        function = getattr(loss, name)
        _check_arguments(f'{name} of the loss {loss.name!r}', function)
        try:
            value = jax.eval_shape(function, s_real, s_fake, state)
        except TypeError as error:
            if not values.is_array(s_fake):
                raise ValueError(
                    f'{name} of the loss {loss.name!r} does not take {values.describe(s_fake)} as '
                    f'its logits ({error}): pass an AdversarialLoss whose functions do'
                ) from error
            if s_real.shape == s_fake.shape:
                raise
            raise ValueError(
                f'{name} of the loss {loss.name!r} does not take real and fake logits of '
                f'different shapes, {s_real.shape} and {s_fake.shape}: give equal numbers of '
                'real and fake samples'
            ) from error
        if not values.is_array(value) or value.shape:
            raise ValueError(
                f'{name} of the loss {loss.name!r} must return a scalar, but returned '
                f'{values.describe(value)}: take the mean over samples'
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f'{name} of the loss {loss.name!r} must return a floating-point number, which has '
                f'a gradient, but its dtype is {value.dtype}'
            )


def check_symmetric(loss: Any, s_real: PyTree, s_fake: PyTree, state: PyTree = None) -> None:
    """Raises unless c_g = -c_d where a loss calls itself symmetric.

    Also while jit traces: the logits are numbers of its own, so that it costs nothing at run time.
    A loss that reads traced values or a mapped axis has no numbers then, and is believed.

    Args:
      loss: the loss.
      s_real: the real logits, an array or a pytree, of which shapes are used alone.
      s_fake: the fake logits.
      state: the loss's state, where it is not traced; by default that of its `init`.

    Raises:
      ValueError: if the two gradients are not each other's negatives.
    """
    if not loss.symmetric:
        return
    if values.is_traced(state):
        state = None
    with jax.ensure_compile_time_eval():
        try:
            state = loss.init() if state is None else state
            real = jax.tree.map(lambda s: _logits(s.shape, 1.0), s_real)
            fake = jax.tree.map(lambda s: _logits(s.shape, -1.0), s_fake)
            c_d, c_g = (
                jax.grad(getattr(loss, name), argnums=1)(real, fake, state) for name in _FUNCTIONS
            )
            error, scale = _largest(jax.tree.map(jnp.add, c_d, c_g)), _largest(c_d)
        except Exception:
            return  # a fault of the loss itself shows in its own words, at the caller's logits
        if values.is_traced(error) or error <= _TOLERANCE * scale:
            return
    raise ValueError(
        f'the loss {loss.name!r} is declared symmetric, but its L_G is not minus the part of L_D '
        f'that depends on the fake logits (their gradients add up to {error:.2g}, not 0), so G '
        'would get a wrong gradient: make it AdversarialLoss(..., symmetric=False)'
    )


def _check_mean_over_samples(loss: Any) -> None:
    if not loss.mean_over_samples:
        return
    with jax.ensure_compile_time_eval():
        state = loss.init()
        real, fake = _logits((_SAMPLES,), 1.0), _logits((_SAMPLES,), -1.0)
        halves = list(zip(jnp.split(real, 2), jnp.split(fake, 2), strict=True))
        for name in _FUNCTIONS:
            function = getattr(loss, name)
            whole = function(real, fake, state)
            mean = sum(function(*half, state) for half in halves) / len(halves)
            if values.is_traced(whole + mean):
                return
            if abs(whole - mean) > _TOLERANCE * (1 + abs(whole)):
                raise ValueError(
                    f'the loss {loss.name!r} is declared a mean over samples, but its {name} '
                    f'gives {whole:.4g} for {_SAMPLES} samples and {mean:.4g} as the mean of '
                    'their halves: make it AdversarialLoss(..., mean_over_samples=False)'
                )


def _check_state(loss: Any, state: PyTree) -> None:
    initial = loss.init()
    if initial is None:
        return  # then a state is the caller's own
    if state is None:
        raise ValueError(
            f'the loss {loss.name!r} has a state: pass loss_state=loss.init() at the first step, '
            "and the previous step's info.loss_state afterwards"
        )
    if jax.tree.structure(state) != jax.tree.structure(initial):
        raise ValueError(
            f'the state of the loss {loss.name!r} must be {values.describe(initial)}, but '
            f"loss_state is {values.describe(state)}: pass loss.init(), or the previous step's "
            'info.loss_state'
        )


def _check_arguments(name: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some callables have no signature
    try:
        signature.bind(None, None, None)
    except TypeError:
        raise ValueError(
            f'{name} takes {signature}, but must take (s_real, s_fake, state=None)'
        ) from None


def _largest(tree: PyTree) -> Array:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))


def _logits(shape: tuple[int, ...], shift: float) -> Array:
    """Different logits of both signs, inside of most margins and beyond."""
    return 2.5 * jnp.sin(1.7 * jnp.arange(math.prod(shape)) + shift).reshape(shape)
