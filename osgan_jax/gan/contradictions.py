"""Flags that contradict each other, or what a method brings.

What was asked for takes the place of what a method, or a teacher, brings (`superseded`). Of what
was asked for, two things that exclude each other are refused (`check`), and so is what would have
no effect (`check_effects`). None of it is decided in silence: the run's summary shows what is left.
"""

from typing import Any

from osgan_jax.engine.declarations import otherwise
from osgan_jax.gan.config import (
    ADA,
    BETAS,
    FALLING,
    GRADIENT_PENALTIES,
    RATES,
    SCHEDULED,
    TrainConfig,
)

_DEFAULTS = TrainConfig()
# Flags that an optimiser does not read.
_UNREAD = {'sgd': ('beta2', 'adam_epsilon'), 'rmsprop': ('beta1',)}


def superseded(asked: TrainConfig) -> dict[str, float]:
    """Values of the fields of a method that give way to what was asked for, by name."""
    if _penalties(asked) or asked.discriminator_norm == 'spectral':
        return {'weight_clip': 0.0}
    return dict.fromkeys(GRADIENT_PENALTIES, 0.0) if asked.weight_clip else {}


def _penalties(config: TrainConfig) -> dict[str, float]:
    """The penalties on D's gradient, which bound it as clipping does, now or at the end."""
    names = [name + end for name in GRADIENT_PENALTIES for end in ('', '_final')]
    return {name: value for name in names if (value := getattr(config, name))}


def check(asked: TrainConfig) -> None:
    """Checks flags against each other.

    Raises:
      ValueError: for two ways to bound D, or a number that the optimiser does not read.
    """
    if asked.weight_clip:
        others = [f'{name}={value:g}' for name, value in _penalties(asked).items()]
        if asked.discriminator_norm == 'spectral':
            others.append('discriminator_norm=spectral')
        if others:
            raise ValueError(
                f"weight_clip={asked.weight_clip:g} and {others[0]}: both bound D's Lipschitz "
                'constant; give one of them'
            )
    pair = asked.optimizers()
    own = (asked.optimizer_g, asked.optimizer_d)
    if None not in own and asked.optimizer not in (None, *own):
        raise ValueError(
            f'optimizer={asked.optimizer}: --optimizer_g={own[0]} and --optimizer_d={own[1]} '
            'override it for both networks; leave it out'
        )
    for name in BETAS:
        of_g, of_d = asked.betas(name)
        if None not in (of_g, of_d) and getattr(asked, name) not in (None, of_g, of_d):
            raise ValueError(
                f'{name}={getattr(asked, name):g}: --{name}_g={of_g:g} and --{name}_d={of_d:g} '
                'override it for both networks; leave it out'
            )
    for name in (*BETAS, 'adam_epsilon'):
        readers = [name not in _UNREAD.get(each, ()) for each in pair]
        flags = {name: any(readers), f'{name}_final': any(readers)}
        flags |= dict(zip((f'{name}_g', f'{name}_d'), readers, strict=True))
        for flag, is_read in flags.items():
            if not is_read and (value := getattr(asked, flag, None)) is not None:
                network = flag.endswith('_d')
                chosen = 'optimizer' if own[network] is None else f'optimizer_{"gd"[network]}'
                raise ValueError(
                    f'{flag}={value:g}: --{chosen}={pair[network]} does not use it; leave it out, '
                    f'or choose --{chosen}=adam'
                )
    if asked.decay_epochs and asked.schedule not in (None, 'step'):
        raise ValueError(
            f'schedule={asked.schedule} and decay_epochs: decay_epochs belong to '
            '--schedule=step; give one of them'
        )


def check_effects(asked: TrainConfig, resolved: TrainConfig) -> None:
    """Checks that flags have an effect on the run.

    Raises:
      ValueError: for a number of something that the run does not have.
    """
    ada = ADA in resolved.augment
    lacks_ada = 'is no --augment=ada; give it too'
    adapted = ada and resolved.augment_probability is None
    fixed = 'is no probability that adapts' if ada else lacks_ada
    penalised = any(_penalties(resolved))
    averaged = resolved.ema_decay or resolved.ema_decay_final
    falls, steps = resolved.schedule in FALLING, resolved.schedule == 'step'
    lacks_schedule = 'is no schedule to end; give --schedule=linear or cosine too'
    lacks_penalty = 'is no penalty of D; give --r1, --r2 or --gradient_penalty'
    missing: list[tuple[str, Any, bool, str]] = [
        ('ema_start', 0, averaged, "is no average of G's weights; give --ema_decay too"),
        ('ema_ramp', 0, averaged, "is no average of G's weights; give --ema_decay too"),
        ('decay_factor', 1, resolved.decay_epochs, 'are no --decay_epochs; give them too'),
        (
            'penalty_every',
            1,
            penalised,
            lacks_penalty,
        ),
        ('augment_groups', (), ada, lacks_ada),
        ('augment_probability', 0, ada, lacks_ada),
        ('augment_probability_final', 0, ada, lacks_ada),
        ('ada_target', None, adapted, fixed),
        ('ada_images', None, adapted, fixed),
        ('lecam_decay', _DEFAULTS.lecam_decay, resolved.lecam, 'is no --lecam; give it too'),
        (
            'top_k_decay',
            _DEFAULTS.top_k_decay,
            resolved.top_k < 1,
            'is no --top_k below 1; give it too',
        ),
        ('path_length_every', 1, resolved.path_length, 'is no --path_length; give it too'),
        ('lookahead_alpha', 0.5, resolved.lookahead, 'is no --lookahead; give it too'),
        ('schedule_steps', None, falls, lacks_schedule),
        *(
            (f'{name}_final', None, falls or (steps and name not in RATES), lacks_schedule)
            for name in SCHEDULED
        ),
        ('penalty_warmup_steps', 0, penalised, lacks_penalty),
    ]
    # A resolved configuration may be resolved again.
    usual = otherwise(TrainConfig)
    for name, nothing, present, lack in missing:
        value = getattr(asked, name)
        if value not in (None, nothing, usual.get(name)) and not present:
            shown = ','.join(value) if isinstance(value, tuple) else f'{value:g}'
            raise ValueError(f'{name}={shown}: there {lack}, or leave this out')
    if resolved.schedule == 'step' and not resolved.decay_epochs:
        raise ValueError('schedule=step: there are no --decay_epochs; give them too')
    for name in ('warmup_steps', 'penalty_warmup_steps'):
        if falls and getattr(asked, name) >= resolved.schedule_steps:
            raise ValueError(
                f'{name}={getattr(asked, name)}: the schedule, which begins after them, ends at '
                f'step {resolved.schedule_steps} (--schedule_steps)'
            )
