"""What `generate` and `discriminate` must return, a sentence for each fault.

All checks are of types, shapes and dtypes: under jit they cost nothing at run time.
"""

import inspect
from collections.abc import Callable, Sequence
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
      generate: `params_g -> (fake, aux)`, `fake` floats `[N, ...]` or a pytree of that.
    """
    takes('generate', generate, 'params_g')

    def checked(params):
        returned = generate(params)
        if not _is_pair(returned):
            raise ValueError(
                f'generate must return (fake, aux), but returned {values.describe(returned)}: '
                'end it with `return fake, None` if it has no auxiliary output'
            )
        named = values.leaves('fake', returned[0])
        for name, leaf in named or [('fake', returned[0])]:
            if not values.is_array(leaf) or not jnp.ndim(leaf):
                raise ValueError(
                    f'generate must return (fake, aux) with fake a batch `[N, ...]`, but {name} is '
                    f'{values.describe(leaf)}'
                )
            _check_float(name, leaf, 'generate')
        if len({leaf.shape[0] for _, leaf in named}) > 1:
            shapes = ', '.join(f'{name} {leaf.shape}' for name, leaf in named)
            raise ValueError(
                'generate must return fake as arrays whose first axis is the batch, `[N, ...]`, '
                f'but their shapes are {shapes}'
            )
        return returned

    return checked


def discriminating(discriminate: Callable[..., Any]) -> Callable[..., Any]:
    """`discriminate`, which raises ValueError unless it returns `((s_real, s_fake), aux)`.

    Args:
      discriminate: `(params_d, fake, ...) -> ((s_real, s_fake), aux)`, logits arrays of floats or
        pytrees of them.
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
            for leaf_name, leaf in values.leaves(name, value) or [(name, value)]:
                if not values.is_array(leaf):
                    raise ValueError(
                        'discriminate must return logits as arrays, but '
                        f'{leaf_name} is {values.describe(leaf)}'
                    )
                _check_float(leaf_name, leaf, 'discriminate')
        return returned

    return checked


def takes(
    name: str, function: Any, *arguments: str, keywords: Sequence[str] = (), because: str = ''
) -> None:
    """Raises ValueError unless a value is a function of these positional arguments.

    Args:
      name: what the caller calls it.
      function: the value.
      *arguments: their names.
      keywords: names of arguments that it may also have.
      because: why it must take them, to be put before the message.
    """
    wanted = f'{because}{name} must be a function of ({", ".join(arguments)}), but '
    if not callable(function):
        raise ValueError(f'{wanted}is {values.describe(function)}')
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some callables have no signature
    try:
        signature.bind(*arguments, **{key: key for key in keywords if key in signature.parameters})
    except TypeError as error:
        raise ValueError(f'{wanted}takes {signature}') from error


def batch_size(fake: PyTree) -> int:
    """N, the number of samples of a fake batch, an array `[N, ...]` or a pytree of them."""
    return jax.tree.leaves(fake)[0].shape[0]


def logits(s_real: PyTree, s_fake: PyTree, fake: PyTree, *, one_a_sample: bool) -> None:
    """Raises ValueError unless logits fit the batches.

    Args:
      s_real: logits of the real batch, an array or a pytree.
      s_fake: logits of the fake batch.
      fake: the fake batch, `[N, ...]` or a pytree of that.
      one_a_sample: whether there must be one logit a sample, `[N]` or `[N, 1]`.
    """
    if one_a_sample:
        _one_logit(s_fake, fake)
    _batch_axis(s_fake, fake)
    if jax.tree.structure(s_real) != jax.tree.structure(s_fake):
        raise ValueError(
            'expected real and fake logits of one kind, '
            f'got {values.describe(s_real)} and {values.describe(s_fake)}'
        )
    real = jax.tree.leaves(s_real)
    for (name, leaf), of_real in zip(values.leaves('s_fake', s_fake), real, strict=True):
        if not of_real.ndim or of_real.shape[1:] != leaf.shape[1:]:
            raise ValueError(
                'expected real and fake logits of one kind, '
                f'got shapes {of_real.shape} and {leaf.shape}{_place(name)}'
            )


def _batch_axis(s_fake: PyTree, fake: PyTree) -> None:
    size = batch_size(fake)
    for name, leaf in values.leaves('s_fake', s_fake):
        if leaf.ndim == 0 or leaf.shape[0] != size:
            scalar = ' (do not average over the batch: the loss does)' if leaf.ndim == 0 else ''
            raise ValueError(
                f'expected logits whose first axis is the batch, `[{size}, ...]`, got shape '
                f'{leaf.shape}{_place(name)}{scalar}'
            )


def _place(name: str) -> str:
    return '' if name == 's_fake' else f' of {name}'


def _one_logit(s_fake: PyTree, fake: PyTree) -> None:
    size = batch_size(fake)
    if values.is_array(s_fake):
        _batch_axis(s_fake, fake)
        if s_fake.size == size:
            return
        given = f'{s_fake.shape} for {size} samples (a patch discriminator?)'
    else:
        given = f'{values.describe(s_fake)} (several scales, heads or features?)'
    raise ValueError(
        f'one_stage needs one logit per sample, but this discriminator gives {given}: with '
        'several logits, the two gradients of a sample are not proportional. Use shared_forward '
        '(shared_forward_grads), which is exact for any discriminator, average the logits of '
        'each sample, or choose a symmetric loss.'
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
