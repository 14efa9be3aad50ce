"""How a GAN is trained, as lines of the summary that a run opens with.

All is told from the resolved configuration, beside its method's recipe: also what a run resumed.
"""

import math
from typing import Any

from osgan_jax import networks
from osgan_jax.gan import methods
from osgan_jax.gan.augmentation import ADA
from osgan_jax.gan.config import ADAMS, TrainConfig
from osgan_jax.gan.recipes.recipe import Recipe

Line = tuple[str, str | None]

# What a run has none of unless its recipe says so.
_NOTHING: dict[str, Any] = {
    'd_steps': 1,
    **dict.fromkeys(('r1', 'r2', 'gradient_penalty', 'path_length', 'orthogonal'), 0.0),
    'weight_clip': 0.0,
    'decay_epochs': (),
    'augment': (),
}

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
        origin = f'; {recipe.origin}' if recipe.origin else ''
        return f'rates {ours}{origin}' if recipe.origin.startswith('they') else f'{ours}{origin}'
    method = methods.get(config.method)
    alike = ('loss', 'conditional', 'discriminator_norm')
    theirs = {name: getattr(method, name) for name in alike} | _NOTHING | dict(recipe.fields)
    theirs['ema_decay'] = recipe.ema_decay(config.images_per_step)
    ours = {name: getattr(config, name) for name in theirs}
    if 'optimizer' in theirs:
        of_g, of_d = config.optimizers()
        del ours['optimizer']
        ours |= {'optimizer': of_g} if of_g == of_d else {'optimizer_g': of_g, 'optimizer_d': of_d}
        theirs |= dict.fromkeys(('optimizer_g', 'optimizer_d'), theirs['optimizer'])
    other = [
        f'{name} {_text(value)} instead of {_text(theirs[name])}'
        for name, value in ours.items()
        if value != theirs[name]
    ]
    if config.width not in (None, usual := networks.get(config.network).width):
        other += [] if 'width' in recipe.fields else [f'width {config.width} instead of {usual}']
    whole = methods.default_steps(config, recipe, num_examples, dataset)
    if (recipe.epochs or recipe.images) and config.num_steps != whole:
        other.append(f'num_steps {config.num_steps:,} instead of {whole:,}')
    parts = [f'published: {recipe.source}']
    parts += [f'here {", ".join(other)}'] if other else []
    parts += [f'without {" and ".join(recipe.lacks)}'] if recipe.lacks else []
    return '; '.join(parts)


def networks_of(config: TrainConfig) -> str:
    """The networks, D's normalisation and groups, and the precision."""
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
    numbers = {
        **{name: f'{name} ({config.beta1:g}, {config.beta2:g})' for name in ADAMS},
        'rmsprop': f'rmsprop (decay {config.beta2:g})',
        'sgd': f'sgd (momentum {config.beta1:g})',
    }
    of_g, of_d = (numbers[name] for name in config.optimizers())
    both, of_g, of_d = (f'{of_g}, ', '', '') if of_g == of_d else ('', f'{of_g} ', f'{of_d} ')
    text = f'{both}G {of_g}{config.learning_rate_g:g}, D {of_d}{config.learning_rate_d:g}, '
    if not config.decay_epochs:
        return f'{text}constant'
    text += (
        f'times {config.decay_factor:g} after epoch {" and ".join(map(str, config.decay_epochs))}'
    )
    late = [epoch for epoch in config.decay_epochs if epoch >= epochs]
    return text + (f" (of the run's {epochs:.2g} epochs)" if late else '')


def _penalties(config: TrainConfig) -> str:
    lazily = _every(config.penalty_every, 'D steps' if config.d_steps > 1 else 'steps')
    twice = ''
    if config.loss == 'relativistic':
        twice = ' (half as much as in R3GAN, whose loss is half of this)'
    weights = [
        ('R1', config.r1, lazily + twice),
        ('R2', config.r2, lazily + twice),
        ('gradient penalty', config.gradient_penalty, lazily),
        ('path length', config.path_length, _every(config.path_length_every)),
        ('orthogonal', config.orthogonal, " (Eq. 3; BigGAN-PyTorch's gradient is half as great)"),
    ]
    return (
        ', '.join(f'{name} {weight:.4g}{how}' for name, weight, how in weights if weight) or 'none'
    )


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
    text = f'images with {", ".join(config.augment_groups)} of ADA, each with '
    if config.augment_probability is not None:
        return f'{text}probability {config.augment_probability:g}'
    return (
        f"{text}a probability adapted to a mean sign of {config.ada_target:g} of D's real logits, "
        f'by 1 in {config.ada_images:,.0f} images'
    )


def _average(config: TrainConfig, recipe: Recipe) -> str:
    """Half-life, start and ramp of the average of G's weights."""
    if not config.ema_decay:
        return 'none'
    images = math.log(0.5) / math.log(config.ema_decay) * config.images_per_step
    text = f"of G's weights, half-life {images:,.0f} images (decay {config.ema_decay:.6g})"
    if config.ema_ramp:
        text += f', at most {config.ema_ramp:g} of the images so far'
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
