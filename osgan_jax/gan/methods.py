"""The methods: presets of everything that a configuration leaves open.

They are the ten rows of the paper's Table 1, StyleGAN2 and BigGAN. A method of one's own is one
more `register(name, Method(...))`; `--method=NAME` is valid from then on.

Rates: the authors' published configurations give those of DCGAN (asym) and WGAN on CelebA, and of
DCGAN (asym) on MNIST; the other rows take DCGAN's, whose networks they share. Discriminators are
normalised alike under every scheme (GroupNorm), so that schemes are compared on the same networks;
the authors' two-stage runs used BatchNorm, which is `--discriminator_norm=batch`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from osgan_jax import networks
from osgan_jax.engine.config import declarations, fill, otherwise
from osgan_jax.gan.config import TrainConfig


class Rates(NamedTuple):
    """Learning rates, and the factor that lowers both after some epochs."""

    generator: float
    discriminator: float
    decay_factor: float = 1.0


class Method(NamedTuple):
    """What a method decides.

    Attributes:
      title: the method's name in the paper.
      loss: name in `osgan_jax.losses`.
      network: name in `osgan_jax.networks`.
      discriminator_norm: D's normalisation, where the network may have it.
      conditional: whether both networks take the label.
      weight_clip: bound on the absolute values of D's weights after each step, 0 for none.
      one_stage: rates of one_stage and shared_forward, whose updates are alike.
      two_stage: rates of two_stage.
      one_stage_on: other rates of one_stage and shared_forward, by dataset.
      recipe: the method's own defaults of fields of the configuration, by name.
      ema_half_life: images after which a state counts half in the average of G, where the recipe
        has no `ema_decay`; 0 for no average.
    """

    title: str
    loss: str
    network: str = 'dcgan'
    discriminator_norm: str = 'group'
    conditional: bool = False
    weight_clip: float = 0.0
    one_stage: Rates = Rates(2e-4, 1e-4, 0.5)
    two_stage: Rates = Rates(2e-4, 4e-5, 0.5)
    one_stage_on: Mapping[str, Rates] = {}
    recipe: Mapping[str, Any] = {}
    ema_half_life: int = 0


TABLE1: dict[str, Method] = {
    'dcgan_sym': Method('DCGAN (sym)', 'minimax'),
    'cgan': Method('CGAN (sym)', 'minimax', conditional=True),
    'wgan': Method(
        'WGAN (sym)',
        'wasserstein',
        weight_clip=0.01,
        one_stage=Rates(1e-4, 1.35e-5, 0.1),
        two_stage=Rates(2e-4, 2e-4, 0.1),
    ),
    'dcgan': Method('DCGAN (asym)', 'non_saturating', one_stage_on={'mnist': Rates(2e-4, 5e-5)}),
    'lsgan': Method('LSGAN (asym)', 'least_squares'),
    'geogan': Method('GeoGAN (asym)', 'geometric'),
    'relgan': Method('RelGAN (asym)', 'relativistic'),
    'fishergan': Method('FisherGAN (asym)', 'fisher'),
    'bgan': Method('BGAN (asym)', 'boundary_seeking'),
    'sngan': Method('SNGAN (asym)', 'hinge', discriminator_norm='spectral'),
}
"""The ten rows of the paper's Table 1."""

_STYLEGAN2_RATES = Rates(2e-3, 2e-3)
_BIGGAN_RATES = Rates(1e-4, 4e-4)

_METHODS: dict[str, Method] = {
    **TABLE1,
    # The networks that DGL-GAN compresses, trained as their authors train them; the rates are those
    # of all schemes.
    'stylegan2': Method(
        'StyleGAN2 (asym)',
        'non_saturating',
        network='stylegan2',
        discriminator_norm='none',
        one_stage=_STYLEGAN2_RATES,
        two_stage=_STYLEGAN2_RATES,
        recipe={
            'batch_size': 32,
            'beta1': 0.0,
            'beta2': 0.99,
            'r1': 10.0,
            'penalty_every': 16,
            'path_length': 2.0,
            'path_length_every': 4,
        },
        ema_half_life=10_000,
    ),
    'biggan': Method(
        'BigGAN (asym)',
        'hinge',
        network='biggan',
        discriminator_norm='spectral',
        conditional=True,
        one_stage=_BIGGAN_RATES,
        two_stage=_BIGGAN_RATES,
        recipe={
            # An eighth of the published batch, which one machine does not hold.
            'batch_size': 256,
            'beta1': 0.0,
            'beta2': 0.999,
            'adam_epsilon': 1e-6,
            'ema_decay': 0.9999,
            'ema_start': 20_000,
        },
    ),
}

# The paper's schedule on its own datasets: 30 epochs, both rates lowered at 10 and 15.
_PAPER_DATASETS = ('celeb_a', 'lsun_church', 'ffhq')
_PAPER_DECAY_EPOCHS = (10, 15)
_EPOCHS = {'mnist': 20}
_DEFAULT_EPOCHS = 30
_LEAST_STEPS = 2000


def register(name: str, method: Method) -> None:
    """Adds a method.

    Raises:
      ValueError: if the name is taken, or the recipe names a field that a configuration has not.
    """
    if name in _METHODS:
        raise ValueError(f'there is a method {name!r} already: choose another name')
    if unknown := sorted(set(method.recipe) - set(declarations(TrainConfig))):
        raise ValueError(f'the recipe of method {name!r} has unknown fields: {", ".join(unknown)}')
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


def recipe(name: str, batch_size: int | None = None) -> dict[str, Any]:
    """Defaults of the fields of a configuration that depend on the method alone.

    Args:
      name: the method's.
      batch_size: images a step; None for the method's own.
    """
    method = get(name)
    fields = {**otherwise(TrainConfig), **method.recipe}
    if method.ema_half_life and 'ema_decay' not in method.recipe:
        images = batch_size or fields['batch_size']
        fields['ema_decay'] = 0.5 ** (images / method.ema_half_life)
    return fields


def rates(name: str, scheme: str, dataset: str) -> Rates:
    """The paper's rates for a method, or the nearest that it gives."""
    method = get(name)
    if scheme == 'two_stage':
        return method.two_stage
    return method.one_stage_on.get(dataset, method.one_stage)


def resolve(
    config: TrainConfig,
    *,
    image_size: int,
    channels: int,
    num_classes: int,
    num_examples: int,
) -> TrainConfig:
    """Fills every open field from the method, the network and the opened dataset.

    Args:
      config: the configuration as it was asked for.
      image_size: height and width of the dataset's images, pixels.
      channels: channels of the dataset's images.
      num_classes: labels of the dataset, 0 for none.
      num_examples: images an epoch.

    Returns:
      A configuration in which None is left in `data_dir`, `width` and `num_devices`, where it
      stands for the library's or the machine's own, and in options that the network does not take.

    Raises:
      ValueError: for an unknown method, a conditional method on a dataset without labels, or a
        batch larger than the dataset or not divisible by `accumulate`.
    """
    method = get(config.method)
    paper = rates(config.method, config.scheme, config.dataset)
    network = networks.get(config.network or method.network)
    config = fill(config, recipe(config.method, config.batch_size))
    if config.batch_size > num_examples:
        raise ValueError(
            f'batch_size={config.batch_size} is more than the {num_examples} images of '
            f'{config.dataset}: choose a smaller batch'
        )
    if config.batch_size % config.accumulate:
        raise ValueError(
            f'batch_size={config.batch_size}: expected a multiple of accumulate={config.accumulate}'
        )
    epochs = _EPOCHS.get(config.dataset, _DEFAULT_EPOCHS)
    default_steps = epochs * (num_examples // config.batch_size)
    if config.dataset not in (*_PAPER_DATASETS, *_EPOCHS):
        default_steps = max(default_steps, _LEAST_STEPS)
    default_steps = _round_up(default_steps, config.steps_per_call)
    norm = method.discriminator_norm
    defaults = {
        'num_steps': default_steps,
        'loss': method.loss,
        'network': network.name,
        'image_size': image_size,
        'channels': channels,
        'discriminator_norm': norm if norm in network.norms else network.norms[0],
        'conditional': method.conditional,
        'learning_rate_g': paper.generator,
        'learning_rate_d': paper.discriminator,
        'decay_epochs': _PAPER_DECAY_EPOCHS if config.dataset in _PAPER_DATASETS else (),
        'decay_factor': paper.decay_factor,
        'weight_clip': method.weight_clip,
    }
    config = fill(config, defaults)
    config = fill(config, _of_network(network, config))
    if config.conditional and num_classes < 2:
        raise ValueError(
            f'{config.method} is conditional but {config.dataset} has no labels: choose a labelled '
            'dataset (in a folder, one subfolder a class) or --noconditional'
        )
    if config.num_steps % config.steps_per_call:
        raise ValueError(
            f'num_steps={config.num_steps}: expected a multiple of '
            f'steps_per_call={config.steps_per_call}'
        )
    return config


def _of_network(network: networks.NetworkSpec, config: TrainConfig) -> dict[str, Any]:
    """Defaults that depend on the network."""
    defaults = {'latent_dim': network.latent_dim(config.image_size), **network.options}
    if 'minibatch_deviation' in defaults and config.scheme == 'one_stage':
        # Samples of a group see each other: there is no ratio a sample.
        defaults['minibatch_deviation'] = 0
    return defaults


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
