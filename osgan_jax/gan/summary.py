"""How a GAN is trained, as lines of the summary that a run opens with.

All is told from the resolved configuration, beside its method's recipe: also what a run resumed.
"""

import math
from typing import Any

from osgan_jax import networks
from osgan_jax.core import ada, image_sizes
from osgan_jax.gan import methods, objectives
from osgan_jax.gan.config import ADA, ADAMS, BETAS, FALLING, SCHEDULED, TrainConfig
from osgan_jax.gan.recipes.recipe import Recipe
from osgan_jax.io import own_code

Line = tuple[str, str | None]

# What a run has none of unless its recipe says so.
_NOTHING: dict[str, Any] = {
    'd_steps': 1,
    **dict.fromkeys(('r1', 'r2', 'gradient_penalty', 'path_length', 'orthogonal'), 0.0),
    'weight_clip': 0.0,
    'decay_epochs': (),
    'augment': (),
    'warmup_steps': 0,
    'lookahead': 0,
    **dict.fromkeys(('lecam', 'label_smoothing'), 0.0),
    'top_k': 1.0,
}
# Told by the kind of schedule where that differs.
_OF_SCHEDULE = ('decay_epochs', 'decay_factor', *(f'{name}_final' for name in SCHEDULED))

# Fields that a run may have otherwise where nobody published a recipe for it.
_UNTOLD = ('image_size', 'batch_size', 'num_steps', 'ema_start', 'ema_ramp')

# Forward passes that D's loss and each of its penalties at every step cost.
_LOSS_D = 6
_PENALTIES_D = {'r1': 3, 'r2': 3, 'gradient_penalty': 6}


def lines(config: TrainConfig, num_examples: int, dataset: str | None = None) -> list[Line]:
    """Steps of D, optimisers, penalties, clip and average.

    Args:
      config: resolved.
      num_examples: images an epoch.
      dataset: the dataset's name; the configured one's by default.
    """
    recipe = methods.recipe(config, dataset=dataset)
    epoch = max(1, num_examples // config.batch_size)
    return [
        ('D steps', _d_steps(config)),
        ('rates', _rates(config, config.num_steps * config.d_steps / epoch)),
        ('schedule', _schedule(config)),
        ('lookahead', _lookahead(config)),
        ('loss', _loss(config)),
        ('penalties', _penalties(config)),
        ('clip', _clip(config, recipe)),
        ('D sees', _augmentation(config)),
        ('average', _average(config, recipe)),
    ]


def whose(config: TrainConfig, num_examples: int, dataset: str | None = None) -> str:
    """Who published a run's recipe, and what of it the run does not have; as `lines`."""
    dataset = dataset or config.dataset
    recipe = methods.recipe(config, dataset=dataset)
    if not recipe.source:
        ours = f'ours: nothing was published for {config.method} on {dataset}'
        if not recipe.origin:
            return ours
        told = {name: value for name, value in recipe.fields.items() if name not in _UNTOLD}
        other = _differences(config, recipe, told)
        rates = 'rates ' if recipe.origin.startswith('they') else ''
        return '; '.join([f'{rates}{ours}', recipe.origin, *_here(other)])
    method = methods.get(config.method)
    own = ('loss', 'conditional', 'discriminator_norm')
    theirs = {name: getattr(method, name) for name in own} | _NOTHING | dict(recipe.fields)
    theirs['ema_decay'] = recipe.ema_decay(config.images_per_step)
    other = _differences(config, recipe, theirs)
    if config.width not in (None, usual := networks.get(config.network).width):
        other += [] if 'width' in recipe.fields else [f'width {config.width} instead of {usual}']
    whole = methods.default_steps(config, recipe, num_examples, dataset)
    if (recipe.epochs or recipe.images) and config.num_steps != whole:
        other.append(f'num_steps {config.num_steps:,} instead of {whole:,}')
    parts = [f'published: {recipe.source}', *_here(other)]
    parts += [f'without {" and ".join(recipe.lacks)}'] if recipe.lacks else []
    return '; '.join(parts)


def _here(other: list[str]) -> list[str]:
    return [f'here {", ".join(other)}'] if other else []


def _differences(config: TrainConfig, recipe: Recipe, theirs: dict[str, Any]) -> list[str]:
    """What a run has instead of a recipe's values, by the field's name."""
    theirs = {**theirs, 'schedule': recipe.schedule()}
    alike = config.schedule == theirs['schedule']
    if recipe.rising and alike:
        theirs |= {'ema_decay': 0.0, 'ema_decay_final': theirs['ema_decay']}
    ours = {name: getattr(config, name) for name in theirs}
    both = {name: config.betas(name) for name in BETAS} | {'optimizer': config.optimizers()}
    for name, (of_g, of_d) in both.items():
        if name not in theirs:
            continue
        del ours[name]
        ours |= {name: of_g} if of_g == of_d else {f'{name}_g': of_g, f'{name}_d': of_d}
        theirs |= dict.fromkeys((f'{name}_g', f'{name}_d'), theirs[name])
    if ADA not in config.augment:
        ours = {name: value for name, value in ours.items() if not name.startswith('augment_')}
    if not alike:
        ours = {name: value for name, value in ours.items() if name not in _OF_SCHEDULE}
    elif recipe.schedule_images:
        ours['schedule_steps'] = config.schedule_steps
        theirs['schedule_steps'] = recipe.schedule_images // config.images_per_step
    return [
        f'{name} {_text(value)} instead of {_text(theirs[name])}'
        for name, value in ours.items()
        if value != theirs[name] and not (value is None and name in _OF_SCHEDULE)
    ]


def networks_of(config: TrainConfig) -> str:
    """The networks, D's normalisation and groups, and the precision."""
    if own_code.is_own(config.network):
        return f'{config.network}, {config.precision}'
    norm = 'no' if config.discriminator_norm == 'none' else config.discriminator_norm
    text = f'{config.network}, {norm} norm in D, {config.precision}'
    if config.minibatch_deviation is None:
        return text
    groups = (
        f'groups of {config.minibatch_deviation}' if config.minibatch_deviation else 'no groups'
    )
    return f'{text}; {groups} for the minibatch standard deviation in D'


def _d_steps(config: TrainConfig) -> str | None:
    """The updates of D a step, and what they leave of one_stage's advantage."""
    if config.d_steps == 1:
        return None
    passes = _LOSS_D
    if config.penalty_every == 1:
        passes += sum(cost for name, cost in _PENALTIES_D.items() if getattr(config, name))
    ratios = []
    for alone in (config.d_steps - 1, 0):
        # In forward passes of D, where G's cost as much: D alone Tg + 6 Td, then two_stage
        # 4 Tg + 8 Td and one_stage 3 Tg + 6 Td.
        one = alone * (1 + passes) + 3 + passes
        two = one + 1 + 2
        ratios.append(f'{two}/{one} = {two / one:.2f}')
    return (
        f'{config.d_steps} a step, all but the last of D alone; where passes of G and D cost '
        f'alike, two_stage takes {ratios[0]} of the arithmetic of one_stage, at one D step '
        f'{ratios[1]}'
    )


def _rates(config: TrainConfig, epochs: float) -> str:
    """The optimisers, their numbers, and the schedule."""
    of_g, of_d = (_optimizer(config, whose) for whose in 'gd')
    both, of_g, of_d = (f'{of_g}, ', '', '') if of_g == of_d else ('', f'{of_g} ', f'{of_d} ')
    rate_g, rate_d = (_span(config, f'learning_rate_{whose}') for whose in 'gd')
    text = f'{both}G {of_g}{rate_g}, D {of_d}{rate_d}'
    if not config.decay_epochs:
        return text if config.schedule in FALLING else f'{text}, constant'
    text += f', times {config.decay_factor:g} after {_epochs(config)}'
    late = [epoch for epoch in config.decay_epochs if epoch >= epochs]
    return text + (f" (of the run's {epochs:.2g} epochs)" if late else '')


def _epochs(config: TrainConfig) -> str:
    return f'epoch {" and ".join(map(str, config.decay_epochs))}'


def _optimizer(config: TrainConfig, whose: str) -> str:
    """The optimiser of a network, g or d, and its numbers."""
    name = config.optimizers()['gd'.index(whose)]
    beta1, beta2 = f'{getattr(config, f"beta1_{whose}"):g}', _span(config, f'beta2_{whose}')
    numbers = {
        **dict.fromkeys(ADAMS, f'{beta1}, {beta2}'),
        'rmsprop': f'decay {beta2}',
        'sgd': f'momentum {beta1}',
    }
    return f'{name} ({numbers[name]})'


def _span(config: TrainConfig, name: str) -> str:
    """A number that may be scheduled: what it is, or what it begins and ends with."""
    return ' to '.join(f'{value:.4g}' for value in dict.fromkeys(config.span(name)))


def _schedule(config: TrainConfig) -> str | None:
    """Kind and length of the schedule, how much of it the run has, and the warm-up."""
    parts = []
    if config.schedule in FALLING:
        steps, run = config.schedule_steps, config.num_steps
        parts = [
            f'{config.schedule} over {steps:,} steps ({steps * config.images_per_step:,} images)'
        ]
        if run > steps:
            parts[0] += ', then constant'
        if run < steps:
            parts.append(
                f"the run's {run:,} are {100 * run / steps:.2g}% of it, and "
                f'--schedule_steps={run} fits it to the run'
            )
    elif config.schedule == 'step' and any(len({*config.span(name)}) > 1 for name in SCHEDULED):
        parts = [f'in equal parts after {_epochs(config)}']
    for name, steps in (('rates', config.warmup_steps), ('penalties', config.penalty_warmup_steps)):
        if steps:
            rise = f'{name} rise over the first {steps:,} steps'
            cut = config.schedule not in FALLING and steps > config.num_steps
            parts.append(f'{rise}, of which the run has {config.num_steps:,}' if cut else rise)
    return '; '.join(parts) or None


def _lookahead(config: TrainConfig) -> str | None:
    if not config.lookahead:
        return None
    return (
        f'every {config.lookahead:,} steps both networks go back to {config.lookahead_alpha:g} of '
        'the way from their slow weights, from which images come'
    )


def _loss(config: TrainConfig) -> str | None:
    """What is added to the loss, and whether it stays symmetric."""
    parts = []
    if config.label_smoothing:
        parts.append(f"D's target at real images {1 - config.label_smoothing:g}")
    if config.lecam:
        parts.append(f'LeCam {config.lecam:g} (running means with decay {config.lecam_decay:g})')
    if config.top_k < 1:
        parts.append(
            'G learns from the images with the highest logits: all at first, '
            f'{config.top_k_decay:g} times as many after each epoch, at least {config.top_k:g} of '
            'the batch'
        )
    text = ', '.join(parts)
    if (config.lecam or config.top_k < 1) and objectives.base(config).symmetric:
        text += f'; {config.loss} is not symmetric any more, and one_stage needs a samplewise D'
    return text or None


def _penalties(config: TrainConfig) -> str:
    lazily = _every(config.penalty_every, 'D steps' if config.d_steps > 1 else 'steps')
    twice = ''
    if config.loss == 'relativistic':
        twice = ' (half as much as in R3GAN, whose loss is half of this)'
    weights = [
        ('R1', _span(config, 'r1'), lazily + twice),
        ('R2', _span(config, 'r2'), lazily + twice),
        ('gradient penalty', _span(config, 'gradient_penalty'), lazily),
        ('path length', f'{config.path_length:.4g}', _every(config.path_length_every)),
        (
            'orthogonal',
            f'{config.orthogonal:.4g}',
            " (Eq. 3; BigGAN-PyTorch's gradient is half as large)",
        ),
    ]
    found = [f'{name} {weight}{how}' for name, weight, how in weights if weight != '0']
    return ', '.join(found) or 'none'


def _every(steps: int, unit: str = 'steps') -> str:
    return f' every {steps} {unit}' if steps > 1 else ''


def _clip(config: TrainConfig, recipe: Recipe) -> str | None:
    if config.weight_clip:
        step = 'D step' if config.d_steps > 1 else 'step'
        return f"D's weights to +-{config.weight_clip:g} after each {step}"
    if bound := recipe.fields.get('weight_clip'):
        return f"off: what was asked for takes the place of the method's, +-{bound:g}"
    return None


def _augmentation(config: TrainConfig) -> str | None:
    if not config.augment:
        return None
    if ADA not in config.augment:
        return f'images with {", ".join(config.augment)}'
    text = f'images with {", ".join(config.augment_groups)} of ADA, '
    if 'blit' in ada.parse(config.augment_groups) and not image_sizes.is_square(config.image_size):
        text += 'turned by 180 degrees alone because they are oblong, '
    text += 'each with '
    if config.augment_probability is not None:
        return f'{text}probability {_span(config, "augment_probability")}'
    return (
        f"{text}a probability adapted to a mean sign of {config.ada_target:g} of D's real logits, "
        f'by 1 in {config.ada_images:,.0f} images'
    )


def _average(config: TrainConfig, recipe: Recipe) -> str:
    """Half-life, start and ramp of the average of G's weights."""
    decays = dict.fromkeys(config.span('ema_decay'))
    if not any(decays):
        return 'none'
    images = (
        math.log(0.5) / math.log(decay) * config.images_per_step if decay else 0 for decay in decays
    )
    text = (
        f"of G's weights, half-life {' to '.join(f'{each:,.0f}' for each in images)} images "
        f'(decay {" to ".join(f"{decay:.6g}" for decay in decays)})'
    )
    if config.ema_ramp:
        text += f', at most {config.ema_ramp:g} of the images so far'
    elif not config.ema_start and len(decays) == 1:
        text += ', rising to it from 0 as (1 + step) / (10 + step)'
    if not config.ema_start:
        return text
    text += f', from step {config.ema_start:,}'
    published = recipe.fields.get('ema_start', 0)
    if config.ema_start >= config.num_steps:
        return f"{text}: after the run's end, so that images are drawn from G itself"
    if config.ema_start < published and published > config.num_steps // 2:
        text += f': the recipe starts at step {published:,}, too late in {config.num_steps:,}'
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return 'on' if value else 'off'
    if isinstance(value, tuple):
        return ','.join(map(str, value)) or 'none'
    return f'{value:g}' if isinstance(value, float) else str(value)
