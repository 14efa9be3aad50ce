"""The objective of a run: a loss by name, or one's own, and what is added to it."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from osgan_jax.core import loss_checks, losses
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import own_code

_FIELD = 'loss'
_SAMPLES = 8


def objective(config: TrainConfig, steps_per_epoch: float) -> losses.AdversarialLoss:
    """The objective of a resolved configuration, with what it adds to its loss.

    Args:
      config: the configuration.
      steps_per_epoch: steps of an epoch, maybe not whole; --top_k falls after each.

    Raises:
      ValueError: as `base`.
    """
    loss = base(config)
    if config.label_smoothing:
        loss = losses.with_label_smoothing(loss, config.label_smoothing)
    if config.lecam:
        loss = losses.with_lecam(loss, config.lecam, decay=config.lecam_decay)
    if config.top_k < 1:
        # The objective's state counts the updates of D.
        epoch = max(1, round(steps_per_epoch * config.d_steps))
        loss = losses.with_top_k(loss, config.top_k, decay=config.top_k_decay, every=epoch)
    return loss


def base(config: TrainConfig) -> losses.AdversarialLoss:
    """The loss of a resolved configuration alone.

    Raises:
      ValueError: for a name that is not a loss's, a reference that cannot be loaded or gives no
        sound loss, or options that it does not take.
    """
    name, options = config.loss, parse_options(config.loss_options)
    if not own_code.is_own(name):
        if name not in losses.names():
            raise ValueError(own_code.unknown(_FIELD, name, losses.names()))
        return losses.get(name, **options)
    what = f'{_FIELD}={name}'
    if own_code.is_lost(name):
        raise ValueError(
            f'{what}: this loss was given by a program, not by a name: give it again, from Python '
            'as Config(loss=...), or as --loss=module:function, a function that returns it'
        )
    value = name.value if isinstance(name, own_code.Given) else own_code.load(_FIELD, name)
    if isinstance(value, losses.AdversarialLoss):
        if options:
            raise ValueError(f'loss_options: {what} is made already; leave them out')
        loss = value
    else:
        loss = _made(what, value, options)
    try:
        loss_checks.check(loss)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f'{what}: the loss {own_code.describe(error)}') from error
    return loss


def values(config: TrainConfig) -> dict[str, float]:
    """Both losses at logits that are always the same, by which a loss is known again; {} by name.

    A loss of one's own has no name that tells what it computes.
    """
    if not own_code.is_own(config.loss):
        return {}
    loss = base(config)
    logits = np.linspace(-2, 2, _SAMPLES, dtype=np.float32)
    with jax.ensure_compile_time_eval():
        arguments = logits[::-1], logits + 0.25, loss.init()
        return {
            name: float(getattr(loss, function)(*arguments))
            for name, function in {'L_D': 'discriminator', 'L_G': 'generator'}.items()
        }


def parse_options(options: tuple[str, ...]) -> dict[str, float | bool]:
    """Parses `('slope=0.2', 'linear_generator=true')` to keyword arguments.

    Raises:
      ValueError: for an option that is not `name=number` or `name=true|false`, or given twice.
    """
    values: dict[str, float | bool] = {}
    for option in options:
        name, _, text = option.partition('=')
        if name in values:
            raise ValueError(f'loss_options={option!r}: {name} is given twice')
        try:
            values[name] = {'true': True, 'false': False}.get(text.lower())
            if values[name] is None:
                values[name] = float(text)
        except ValueError as error:
            raise ValueError(
                f'loss_options={option!r}: expected name=number or name=true|false'
            ) from error
    return values


def _made(what: str, factory: Any, options: dict[str, Any]) -> losses.AdversarialLoss:
    """The loss that a function of its hyperparameters returns."""
    if not callable(factory):
        raise ValueError(
            f'{what} is a value of type {type(factory).__name__}: expected an '
            'osgan_jax.AdversarialLoss, or a function that returns one'
        )
    _check_factory(what, factory)
    losses.check_hyperparameters(what, factory, options)
    loss = own_code.call(what, factory, **options)
    if not isinstance(loss, losses.AdversarialLoss):
        raise ValueError(
            f'{what} returned {"None" if loss is None else type(loss).__name__}: expected an '
            'osgan_jax.AdversarialLoss(name, discriminator, generator)'
        )
    return loss


def _check_factory(what: str, factory: Callable[..., Any]) -> None:
    """Raises ValueError for a function that needs arguments, as the losses themselves do."""
    signature = inspect.signature(factory)
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in signature.parameters.values():
        if each.default is each.empty and each.kind not in variable:
            raise ValueError(
                f'{what} takes {signature}: expected a function that returns an '
                'osgan_jax.AdversarialLoss, whose arguments are hyperparameters with defaults'
            )
