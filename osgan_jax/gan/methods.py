"""The methods: presets of everything that a configuration leaves open.

They are the ten rows of the paper's Table 1, WGAN-GP, SNGAN's residual networks, StyleGAN2, BigGAN
and R3GAN. What each decides, and who published it, is its recipe, in `osgan_jax.gan.recipes`. A
method of one's own is one more `register(name, Method(...))`; `--method=NAME` is valid from then
on.
"""

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

from osgan_jax import networks
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.engine.config import fill
from osgan_jax.engine.declarations import declarations, otherwise
from osgan_jax.gan import contradictions
from osgan_jax.gan.config import (
    ADAMS,
    BETAS,
    FALLING,
    GRADIENT_PENALTIES,
    SCHEDULED,
    TrainConfig,
)
from osgan_jax.gan.recipes import biggan, lipschitz, r3gan, stylegan2, table1
from osgan_jax.gan.recipes.recipe import Choose, Recipe, Setting


class Method(NamedTuple):
    """What a method decides.

    Attributes:
      title: the method's name in the paper.
      loss: name in `osgan_jax.losses`.
      network: name in `osgan_jax.networks`.
      discriminator_norm: D's normalisation, where the network may have it and the recipe has none.
      conditional: whether both networks take the label.
      recipe: defaults of further fields of the configuration, by name; or a function that gives a
        `Recipe` by scheme, dataset and size.
    """

    title: str
    loss: str
    network: str = 'dcgan'
    discriminator_norm: str = 'group'
    conditional: bool = False
    recipe: Mapping[str, Any] | Choose = types.MappingProxyType({})


def _row(name: str, title: str, loss: str, **known: Any) -> Method:
    return Method(title, loss, recipe=table1.recipe(name), **known)


TABLE1: dict[str, Method] = {
    'dcgan_sym': _row('dcgan_sym', 'DCGAN (sym)', 'minimax'),
    'cgan': _row('cgan', 'CGAN (sym)', 'minimax', conditional=True),
    'wgan': _row('wgan', 'WGAN (sym)', 'wasserstein'),
    'dcgan': _row('dcgan', 'DCGAN (asym)', 'non_saturating'),
    'lsgan': _row('lsgan', 'LSGAN (asym)', 'least_squares'),
    'geogan': _row('geogan', 'GeoGAN (asym)', 'geometric'),
    'relgan': _row('relgan', 'RelGAN (asym)', 'relativistic'),
    'fishergan': _row('fishergan', 'FisherGAN (asym)', 'fisher'),
    'bgan': _row('bgan', 'BGAN (asym)', 'boundary_seeking'),
    'sngan': _row('sngan', 'SNGAN (asym)', 'hinge', discriminator_norm='spectral'),
}
"""The ten rows of the paper's Table 1."""

_METHODS: dict[str, Method] = {
    **TABLE1,
    'wgan_gp': Method(
        'WGAN-GP (sym)', 'wasserstein', discriminator_norm='layer', recipe=lipschitz.wgan_gp
    ),
    'sngan_resnet': Method(
        'SNGAN, ResNet (asym)',
        'hinge',
        network='resnet_gan',
        discriminator_norm='spectral',
        recipe=lipschitz.sngan_resnet,
    ),
    # The networks that DGL-GAN compresses.
    'stylegan2': Method(
        'StyleGAN2 (asym)',
        'non_saturating',
        network='stylegan2',
        discriminator_norm='none',
        recipe=stylegan2.recipe,
    ),
    'biggan': Method(
        'BigGAN (asym)',
        'hinge',
        network='biggan',
        discriminator_norm='spectral',
        conditional=True,
        recipe=biggan.recipe,
    ),
    'r3gan': Method(
        'R3GAN (asym)',
        'relativistic_pairing',
        network='r3gan',
        discriminator_norm='none',
        recipe=r3gan.recipe,
    ),
}

_DEFAULT_EPOCHS = 30
_LEAST_STEPS = 2000
# Datasets so large that their epochs are enough.
_LARGE = ('celeb_a', 'lsun_church', 'ffhq')
_DECAY_FACTOR = 0.5
# Of the recipe's networks alone.
_OF_NETWORK = ('width', 'latent_dim', 'discriminator_norm')
# A recipe's average that starts after the run's middle starts here instead.
_EARLY_SHARE = 10
_EARLY_RAMP = 0.05
# A recipe's fall of these is one by a factor, whatever they fall from.
_BY_FACTOR = ('learning_rate_g', 'learning_rate_d', *GRADIENT_PENALTIES)
_DECAYS = ('decay_epochs', 'decay_factor')


def register(name: str, method: Method) -> None:
    """Adds a method.

    Raises:
      ValueError: if the name is taken, or the recipe names a field that no configuration has.
    """
    if name in _METHODS:
        raise ValueError(f'a method named {name!r} already exists: choose another name')
    if not callable(method.recipe):
        _check_fields(name, method.recipe)
    _METHODS[name] = method


def names() -> tuple[str, ...]:
    """The names of all methods, Table 1's first."""
    return tuple(_METHODS)


def get(name: str) -> Method:
    """The method of a name.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in _METHODS:
        raise ValueError(f'method={name!r}: expected one of {", ".join(_METHODS)}')
    return _METHODS[name]


def recipe(
    config: TrainConfig, image_size: ImageSize | None = None, dataset: str | None = None
) -> Recipe:
    """The recipe of a configuration's method in its setting.

    Args:
      config: the configuration, resolved or not.
      image_size: of the opened dataset; None before that.
      dataset: name of the opened dataset, which a program may have given; the configured one's by
        default.

    Raises:
      ValueError: for an unknown method, or a recipe of unknown fields.
    """
    choose = get(config.method).recipe
    if not callable(choose):
        return Recipe(choose)
    size = image_size or config.image_size or 0
    name = dataset or config.dataset
    of_g, of_d = config.optimizers()
    of_both = of_g if of_g and of_g == of_d else ''
    setting = Setting(config.scheme, name, size, config.batch_size, of_both)
    chosen = choose(setting)
    _check_fields(config.method, chosen.fields)
    return chosen


def opening(config: TrainConfig) -> TrainConfig:
    """The configuration, with what has to be known to open its dataset."""
    fields = recipe(config).fields
    return fill(config, {'image_size': fields.get('image_size'), 'flip': fields.get('flip', False)})


def resolve(
    config: TrainConfig,
    *,
    image_size: ImageSize,
    channels: int,
    num_classes: int,
    num_examples: int,
    dataset: str | None = None,
    asked: TrainConfig | None = None,
    why_unlabelled: str = '',
) -> TrainConfig:
    """Fills every open field from the method, the network and the opened dataset.

    Args:
      config: the configuration as it was asked for.
      image_size: height and width of the dataset's images, pixels.
      channels: channels of the dataset's images.
      num_classes: labels of the dataset, 0 for none.
      num_examples: images an epoch.
      dataset: the dataset's name; the configured one's by default.
      asked: what a person gave, where others have filled fields since: what is searched for
        contradictions.
      why_unlabelled: a clause on why the dataset has no labels, for the refusal.

    Returns:
      A configuration in which None is left in `data_dir`, `width` and `num_devices`, where it
      stands for the library's or the machine's own, in options that the network does not take, and
      in what a schedule has where there is none.

    Raises:
      ValueError: for an unknown method, flags that contradict each other, a conditional method on a
        dataset without labels, or a batch larger than the dataset or not divisible by `accumulate`.
    """
    asked = asked or config
    contradictions.check(asked)
    method = get(config.method)
    network = networks.get(config.network or method.network)
    dataset = dataset or config.dataset
    chosen = recipe(config, image_size, dataset)
    usual = otherwise(TrainConfig)
    config = fill(config, {'optimizer': chosen.fields.get('optimizer', usual['optimizer'])})
    config = fill(config, _brought(config, method, network, chosen))
    config = fill(config, {name: usual[name] for name in ('batch_size', 'd_steps')})
    if config.batch_size > num_examples:
        raise ValueError(
            f'batch_size={config.batch_size} is more than the {num_examples} images of '
            f'{dataset}: choose a smaller batch'
        )
    if config.batch_size % config.accumulate:
        raise ValueError(
            f'batch_size={config.batch_size}: expected a multiple of accumulate={config.accumulate}'
        )
    defaults = {
        'num_steps': default_steps(config, chosen, num_examples, dataset),
        'loss': method.loss,
        'network': method.network,
        'image_size': image_size,
        'channels': channels,
        'conditional': method.conditional,
        'optimizer_g': config.optimizer,
        'optimizer_d': config.optimizer,
        'weight_clip': 0.0,
        # None where it is adapted.
        'augment_probability': None if config.augment_probability_final is None else 0.0,
        **_average_decay(config, chosen),
        'decay_factor': _DECAY_FACTOR if config.decay_epochs else 1.0,
        'decay_epochs': (),
        **table1.usual_rates(config.scheme),
    }
    config = fill(config, defaults)
    config = fill(config, _average(config, chosen))
    network.check_size(config.image_size)
    network = network.settle(config.network_options(num_classes))
    latent_dim = network.latent_dim(config.image_size)
    config = fill(config, {**usual, 'latent_dim': latent_dim, **network.options})
    config = fill(config, {f'{name}_{g}': getattr(config, name) for name in BETAS for g in 'gd'})
    config = fill(config, _schedule(config, chosen))
    if config.conditional and num_classes < 2:
        raise ValueError(
            f'{config.method} is conditional but {dataset} has no labels'
            f'{f" ({why_unlabelled})" if why_unlabelled else ""}: choose a labelled '
            'dataset (in a folder, one subfolder a class) or --noconditional'
        )
    if config.num_steps % config.steps_per_call:
        raise ValueError(
            f'num_steps={config.num_steps}: expected a multiple of '
            f'steps_per_call={config.steps_per_call}'
        )
    contradictions.check_effects(asked, config)
    return config


def default_steps(config: TrainConfig, chosen: Recipe, num_examples: int, dataset: str) -> int:
    """The length of a run for which nobody asked, in whole calls."""
    if 'num_steps' in chosen.fields:
        steps = chosen.fields['num_steps']
    elif chosen.images:
        steps = chosen.images // config.images_per_step
    elif chosen.schedule_images and config.schedule in FALLING:
        steps = chosen.schedule_images // config.images_per_step
    else:
        batches = (chosen.epochs or _DEFAULT_EPOCHS) * (num_examples // config.batch_size)
        steps = -(-batches // config.d_steps)
        if not (chosen.epochs or dataset in _LARGE):
            steps = max(steps, _LEAST_STEPS)
    return -(-steps // config.steps_per_call) * config.steps_per_call


def _brought(
    config: TrainConfig, method: Method, network: networks.NetworkSpec, chosen: Recipe
) -> dict[str, Any]:
    """What a method's recipe brings to the run of a configuration."""
    fields = dict(chosen.fields)
    fields.setdefault('discriminator_norm', method.discriminator_norm)
    if config.loss not in (None, method.loss):
        # A norm that mixes samples may suit the method's own loss alone.
        fields['discriminator_norm'] = method.discriminator_norm
    if network.name != method.network:
        for name in {*_OF_NETWORK, *networks.OPTIONS} - {'discriminator_norm'}:
            fields.pop(name, None)
    if fields['discriminator_norm'] not in network.norms:
        fields['discriminator_norm'] = network.norms[0]
    optimizers = set(config.optimizers())
    if optimizers.isdisjoint(ADAMS):
        # Adam's alone.
        for name in ('beta2', 'adam_epsilon'):
            fields.pop(name, None)
    if optimizers == {'rmsprop'}:
        fields['beta2'] = 0.99
        fields['root_epsilon'] = False
    if 'minibatch_deviation' in network.options and config.scheme == 'one_stage':
        # Samples of a group see each other: there is no ratio for each sample.
        fields['minibatch_deviation'] = 0
    late = ('num_steps', 'ema_start', 'ema_ramp')
    fields = {name: value for name, value in fields.items() if name not in late}
    fields |= contradictions.superseded(config)
    fields['schedule'] = config.schedule or chosen.schedule(config.decay_epochs)
    if fields['schedule'] != 'step':
        fields = {name: value for name, value in fields.items() if name not in _DECAYS}
    return _scaled_finals(config, fields, chosen.fields)


def _scaled_finals(
    config: TrainConfig, fields: dict[str, Any], published: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a recipe, whose final values suit the first ones that were asked for."""
    fields = dict(fields)
    if fields['schedule'] not in FALLING and fields.get('augment_probability') == 0:
        # Without the schedule that raises it there is none of it.
        fields = {name: value for name, value in fields.items() if not name.startswith('augment')}
    for name in SCHEDULED:
        end = fields.pop(f'{name}_final', None)
        if end is None or fields['schedule'] not in FALLING:
            continue
        given, began = getattr(config, name), published.get(name)
        start = fields.get(name) if given is None else given
        if began and name in _BY_FACTOR:
            fields[f'{name}_final'] = end * (start / began)
        elif start == began and (name != 'beta2' or config.betas(name) == (None, None)):
            fields[f'{name}_final'] = end
    return fields


def _average_decay(config: TrainConfig, chosen: Recipe) -> dict[str, float]:
    """The average's decay by the recipe, and its final one where it rises."""
    decay = chosen.ema_decay(config.images_per_step)
    if not (chosen.rising and config.ema_decay is None and config.schedule in FALLING):
        return {'ema_decay': decay}
    return {'ema_decay': 0.0, 'ema_decay_final': decay}


def _schedule(config: TrainConfig, chosen: Recipe) -> dict[str, Any]:
    """The length and the final values of the schedule of an otherwise resolved configuration."""
    if config.schedule not in FALLING:
        return {}
    steps = chosen.schedule_images // config.images_per_step or config.num_steps
    rates = dict.fromkeys(('learning_rate_g_final', 'learning_rate_d_final'), 0.0)
    values = {f'{name}_final': getattr(config, name) for name in SCHEDULED}
    of_g, of_d = config.betas('beta2')
    values['beta2_final'] = of_g if of_g == of_d else None  # each network's stays
    return {'schedule_steps': steps, **values, **rates}


def _average(config: TrainConfig, chosen: Recipe) -> dict[str, Any]:
    """The start and the ramp of the average of G in a run of `num_steps`."""
    start, ramp = (chosen.fields.get(name, 0) for name in ('ema_start', 'ema_ramp'))
    if chosen.rising:
        # Where it does not follow its schedule it follows that one's mean slope.
        ramp = chosen.half_life / chosen.schedule_images
    rises = config.ema_decay_final not in (None, config.ema_decay)
    if not (rises or config.ema_decay):
        return {'ema_start': 0, 'ema_ramp': 0.0}
    if start > config.num_steps // 2:
        # It would start too late, or never, and remember its first state too long.
        return {'ema_start': config.num_steps // _EARLY_SHARE, 'ema_ramp': _EARLY_RAMP}
    return {'ema_start': start, 'ema_ramp': 0.0 if rises else ramp}


def _check_fields(name: str, fields: Mapping[str, Any]) -> None:
    """Raises ValueError for fields that a configuration has not."""
    if unknown := sorted(set(fields) - set(declarations(TrainConfig))):
        raise ValueError(f'the recipe of method {name!r} has unknown fields: {", ".join(unknown)}')
