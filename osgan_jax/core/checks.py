"""What `generate` and `discriminate` must return, a sentence for each fault.

All checks are of types, shapes and dtypes: under jit they cost nothing at run time.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax.core import values

Array = jax.Array
PyTree = Any


def parameters(name: str, params: PyTree) -> None:
    """Raises ValueError where a pytree of parameters has no arrays.

    Args:
      name: what the caller calls it.
      params: the pytree.
    """
    if not jax.tree.leaves(params):
        raise ValueError(
            f'{name} holds no arrays ({values.describe(params)}): pass the parameters that '
            f'{"generate" if name == "params_g" else "discriminate"} takes'
        )


def generating(generate: Callable[..., Any]) -> Callable[..., Any]:
    """`generate`, which raises ValueError unless it returns `(fake, aux)`.

    Args:
      generate: `params_g -> (fake, aux)`, `fake` an array `[N, ...]` of floats.
    """

    def checked(params):
        returned = generate(params)
        if not _is_pair(returned):
            raise ValueError(
                f'generate must return (fake, aux), but returned {values.describe(returned)}: '
                'end it with `return fake, None` where there is nothing else to hand on'
            )
        fake = returned[0]
        if not values.is_array(fake) or not jnp.ndim(fake):
            raise ValueError(
                'generate must return (fake, aux) with fake a batch `[N, ...]`, but fake is '
                f'{values.describe(fake)}'
            )
        _check_float('fake', fake, 'generate')
        return returned

    return checked


def discriminating(discriminate: Callable[..., Any]) -> Callable[..., Any]:
    """`discriminate`, which raises ValueError unless it returns `((s_real, s_fake), aux)`.

    Args:
      discriminate: `(params_d, fake, ...) -> ((s_real, s_fake), aux)`, logits arrays of floats.
    """

    def checked(params, *images):
        returned = discriminate(params, *images)
        if not _is_pair(returned) or not _is_pair(returned[0]):
            advice = 'end it with `return (s_real, s_fake), None` where there is nothing else'
            if values.is_array(returned):
                advice = f'split the logits of the real and the fake samples, and {advice}'
            raise ValueError(
                'discriminate must return ((s_real, s_fake), aux), but returned '
                f'{values.describe(returned)}: {advice}'
            )
        for name, value in zip(('s_real', 's_fake'), returned[0], strict=True):
            if not values.is_array(value):
                kind = values.describe(value)
                raise ValueError(f'discriminate must return logits as arrays, but {name} is {kind}')
            _check_float(name, value, 'discriminate')
        return returned

    return checked


def takes_real(discriminate: Callable[..., Any]) -> None:
    """Raises ValueError where `discriminate` cannot take the real batch as a third argument."""
    try:
        signature = inspect.signature(discriminate)
    except ValueError:  # of a builtin
        return
    try:
        signature.bind('params_d', 'fake', 'real')
    except TypeError as error:
        raise ValueError(
            'real= is given, so that discriminate must take the real batch as its third argument, '
            f'(params_d, fake, real), but it is discriminate{signature}'
        ) from error


def logits(s_real: Array, s_fake: Array, fake: Array, *, one_a_sample: bool) -> None:
    """Raises ValueError unless logits fit the batches.

    Args:
      s_real: logits of the real batch.
      s_fake: logits of the fake batch.
      fake: the fake batch `[N, ...]`.
      one_a_sample: whether there must be one logit a sample, `[N]` or `[N, 1]`.
    """
    if one_a_sample:
        one_logit(s_fake, fake)
    batch_axis(s_fake, fake)
    if not s_real.ndim or s_real.shape[1:] != s_fake.shape[1:]:
        raise ValueError(
            'expected real and fake logits of one kind, '
            f'got shapes {s_real.shape} and {s_fake.shape}'
        )


def batch_axis(s_fake: Array, fake: Array) -> None:
    """Raises ValueError unless fake logits lead with the batch."""
    if s_fake.ndim == 0 or s_fake.shape[0] != fake.shape[0]:
        scalar = ' (do not average over the batch: the loss does)' if s_fake.ndim == 0 else ''
        raise ValueError(
            f'expected logits that lead with the batch, `[{fake.shape[0]}, ...]`, '
            f'got shape {s_fake.shape}{scalar}'
        )


def one_logit(s_fake: Array, fake: Array) -> None:
    """Raises ValueError unless there is one fake logit a sample."""
    batch_axis(s_fake, fake)
    if s_fake.size != fake.shape[0]:
        raise ValueError(
            f'one_stage needs one logit a sample, but this discriminator gives {s_fake.shape} for '
            f'{fake.shape[0]} samples (a patch discriminator?): with several logits the two '
            'gradients of a sample are not proportional. Use shared_forward, which is exact for '
            'any discriminator, average the logits of each sample, or choose a symmetric loss.'
        )


def _check_float(name: str, array: Array, function: str) -> None:
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f'{function} must return {name} as floating-point numbers, which have gradients, but '
            f'its dtype is {dtype}'
        )


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2
