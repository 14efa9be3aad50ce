"""Flags that contradict each other, or what a method brings.

What was asked for takes the place of what a method, or a teacher, brings (`superseded`). Of what
was asked for, two things that exclude each other are refused (`check`), and so is what would have
no effect (`check_effects`). None of it is decided in silence: the run's summary shows what is left.
"""

from typing import Any

from osgan_jax.gan.augmentation import ADA
from osgan_jax.gan.config import TrainConfig

# Penalties on D's gradient, which bound it as clipping does.
_GRADIENT = ('gradient_penalty', 'r1', 'r2')
_USUAL = TrainConfig().optimizer
# Flags that an optimiser does not read.
_UNREAD = {'sgd': ('beta2', 'adam_epsilon'), 'rmsprop': ('beta1',)}


def superseded(asked: TrainConfig) -> dict[str, float]:
    """Values of the fields of a method that give way to what was asked for, by name."""
    bounds = any(getattr(asked, name) for name in _GRADIENT)
    if bounds or asked.discriminator_norm == 'spectral':
        return {'weight_clip': 0.0}
    return dict.fromkeys(_GRADIENT, 0.0) if asked.weight_clip else {}


def check(asked: TrainConfig) -> None:
    """Checks flags against each other.

    Raises:
      ValueError: for two ways to bound D, or a number that the optimiser does not read.
    """
    if asked.weight_clip:
        others = [f'{n}={getattr(asked, n):g}' for n in _GRADIENT if getattr(asked, n)]
        if asked.discriminator_norm == 'spectral':
            others.append('discriminator_norm=spectral')
        if others:
            raise ValueError(
                f'weight_clip={asked.weight_clip:g} and {others[0]}: both bound how steep D is; '
                'give one of them'
            )
    pair = asked.optimizers()
    own = (asked.optimizer_g, asked.optimizer_d)
    if None not in own and asked.optimizer not in (None, _USUAL, *own):
        raise ValueError(
            f'optimizer={asked.optimizer}: --optimizer_g={own[0]} and --optimizer_d={own[1]} leave '
            'no network to it; leave it out'
        )
    for name in _UNREAD.get(pair[0], ()):
        if name in _UNREAD.get(pair[1], ()) and getattr(asked, name) is not None:
            raise ValueError(
                f'{name}={getattr(asked, name):g}: --optimizer={pair[0]} has no use for '
                'it; leave it out, or choose --optimizer=adam'
            )


def check_effects(asked: TrainConfig, resolved: TrainConfig) -> None:
    """Checks that flags have an effect on the run.

    Raises:
      ValueError: for a number of something that the run does not have.
    """
    penalised = any(getattr(resolved, name) for name in _GRADIENT)
    ada = ADA in resolved.augment
    lacks_ada = 'is no --augment=ada; give it too'
    adapted = ada and resolved.augment_probability is None
    fixed = 'is no probability that adapts' if ada else lacks_ada
    missing: list[tuple[str, Any, bool, str]] = [
        ('ema_start', 0, resolved.ema_decay, "is no average of G's weights; give --ema_decay too"),
        ('ema_ramp', 0, resolved.ema_decay, "is no average of G's weights; give --ema_decay too"),
        ('decay_factor', 1, resolved.decay_epochs, 'are no --decay_epochs; give them too'),
        (
            'penalty_every',
            1,
            penalised,
            'is no penalty of D; give --r1, --r2 or --gradient_penalty',
        ),
        ('augment_groups', (), ada, lacks_ada),
        ('augment_probability', 0, ada, lacks_ada),
        ('ada_target', None, adapted, fixed),
        ('ada_images', None, adapted, fixed),
        ('path_length_every', 1, resolved.path_length, 'is no --path_length; give it too'),
    ]
    for name, nothing, present, lack in missing:
        value = getattr(asked, name)
        if value not in (None, nothing) and not present:
            shown = ','.join(value) if isinstance(value, tuple) else f'{value:g}'
            raise ValueError(f'{name}={shown}: there {lack}, or leave this out')
