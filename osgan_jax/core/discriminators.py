"""One discriminator or a sequence of them, and what belongs to each."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from osgan_jax.core import checks, losses, values
from osgan_jax.core.regularizers import Penalties

PyTree = Any


class Discriminator(NamedTuple):
    """One discriminator.

    Attributes:
      judge: `discriminate`, which checks what it returns.
      params: its parameters.
      loss: its objective, and G's against it.
      loss_state: the loss's state.
      penalties: weights of its penalties; None for none.
    """

    judge: Callable[..., Any]
    params: PyTree
    loss: losses.AdversarialLoss
    loss_state: Any
    penalties: Penalties | None


class Discriminators(NamedTuple):
    """All discriminators of a step.

    Attributes:
      each: one or more.
      weights: of each one's L_G in G's objective; None for 1.
      like_params: makes one value for each discriminator into the container of their parameters.
      like_info: makes them into a tuple; both take the value itself where `discriminate` is not a
        sequence.
      several: whether `discriminate` is a sequence.
    """

    each: list[Discriminator]
    weights: list[Any] | None
    like_params: Callable[[list[Any]], PyTree]
    like_info: Callable[[list[Any]], Any]
    several: bool

    @contextlib.contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Puts the discriminator's index before what a ValueError says of one of several."""
        try:
            yield
        except ValueError as error:
            if not self.several:
                raise
            raise ValueError(f'discriminate[{index}]: {error}') from error


def gather(
    loss: Any,
    discriminate: Any,
    params_d: PyTree,
    loss_state: Any = None,
    penalties: Any = None,
    weights: Any = None,
    *,
    takes_real: bool = False,
) -> Discriminators:
    """The discriminators of `one_stage_grads`' arguments.

    Args:
      loss: an AdversarialLoss, or a sequence of them.
      discriminate: a function, or a sequence of them.
      params_d: its parameters, or a sequence of theirs.
      loss_state: of the loss, or a sequence of them.
      penalties: Penalties, or a sequence of them or None.
      weights: a sequence of numbers, or None.
      takes_real: whether the functions must take the real batch as their third argument.

    Raises:
      ValueError: for sequences of different lengths, or without several discriminators.
    """
    if not _is_sequence(discriminate):
        for name, value in (('loss', loss), ('penalties', penalties)):
            if _is_sequence(value):
                raise ValueError(
                    f'{name} is {values.describe(value)}, one for each discriminator, but '
                    'discriminate is one function: give it and params_d as sequences, too'
                )
        if weights is not None:
            raise ValueError(
                'weights= is for several discriminators, but discriminate is one function: '
                'scale its loss instead'
            )
        one = _checked(discriminate, params_d, 'params_d', takes_real)
        return Discriminators(
            [Discriminator(*one, loss, loss_state, penalties)], None, _only, _only, several=False
        )
    count = len(discriminate)
    if not count:
        raise ValueError('discriminate is an empty sequence: give one function or more')
    if not _is_sequence(params_d, named=True) or len(params_d) != count:
        raise ValueError(
            f'discriminate is a sequence of {count} functions, so params_d must be a sequence of '
            f'their {count} parameters, but it is {values.describe(params_d)}'
        )
    params, container = jax.tree.flatten(params_d, is_leaf=lambda x: x is not params_d)
    checked = [
        _checked(function, own, f'params_d[{k}]', takes_real)
        for k, (function, own) in enumerate(zip(discriminate, params, strict=True))
    ]
    of_each = [
        _of_each(name, value, count)
        for name, value in (('loss', loss), ('loss_state', loss_state), ('penalties', penalties))
    ]
    if weights is not None:
        if getattr(weights, 'shape', None) == (count,):
            weights = [weights[k] for k in range(count)]
        weights = _of_each('weights', list(weights) if _is_sequence(weights) else [weights], count)
    each = [
        Discriminator(*one, *own)
        for one, own in zip(checked, zip(*of_each, strict=True), strict=True)
    ]
    return Discriminators(each, weights, container.unflatten, tuple, several=True)


def check_objective(discriminator: Discriminator) -> None:
    """Raises ValueError unless a discriminator's loss and penalties are such."""
    loss, penalties = discriminator.loss, discriminator.penalties
    if not isinstance(loss, losses.AdversarialLoss):
        shown = repr(loss) if isinstance(loss, str) else values.describe(loss)
        raise ValueError(
            f'loss must be an osgan_jax.AdversarialLoss, but is {shown}: use '
            f'osgan_jax.losses.get(name), with one of {", ".join(losses.names())}'
        )
    if not isinstance(penalties, Penalties | None):
        raise ValueError(
            'penalties must be osgan_jax.Penalties(r1=..., r2=..., gradient_penalty=...), or None, '
            f'but is {values.describe(penalties)}'
        )


def _checked(
    discriminate: Callable[..., Any], params: PyTree, name: str, takes_real: bool
) -> tuple[Callable[..., Any], PyTree]:
    if not callable(discriminate):
        raise ValueError(
            'discriminate must be a function, or a sequence of functions, but holds '
            f'{values.describe(discriminate)}'
        )
    if takes_real:
        given = ('params_d', 'fake', 'real')
        checks.takes('discriminate', discriminate, *given, because='with real= given, ')
    else:
        checks.takes('discriminate', discriminate, 'params_d', 'fake', because='without real=, ')
    checks.parameters(name, params)
    return checks.discriminating(discriminate), params


def _of_each(name: str, value: Any, count: int) -> list[Any]:
    """One value for each discriminator: its own of a sequence, or one for all."""
    if not _is_sequence(value):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f'discriminate is a sequence of {count} functions, but {name} is one of {len(value)}: '
            'give one for each, or one for all'
        )
    return list(value)


def _is_sequence(value: Any, *, named: bool = False) -> bool:
    """Whether a value is a list or a tuple; a NamedTuple, such as a loss's state, is `named`."""
    return isinstance(value, (list, tuple)) and (named or not hasattr(value, '_fields'))


def _only(each: list[Any]) -> Any:
    (value,) = each
    return value
