"""The ten methods of Table 1 as presets, and what the paper trained them with; StyleGAN2, BigGAN.

Rates: the authors' published configurations give DCGAN (asym) and WGAN on CelebA and DCGAN (asym)
on MNIST; the other rows take DCGAN's, the backbone's. Discriminators are normalised alike under
every scheme (GroupNorm), so that a comparison of schemes compares nothing else; the authors'
two-stage runs used BatchNorm, which is `--discriminator_norm=batch`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from osgan_jax import networks
from osgan_jax.engine.config import fill, otherwise
from osgan_jax.gan.config import TrainConfig


class Rates(NamedTuple):
    """Learning rates and what multiplies them after some epochs."""

    generator: float
    discriminator: float
    decay_factor: float = 1.0


class Method(NamedTuple):
    """One row of Table 1, or a network with its own recipe.

    Attributes:
      title: what the paper calls it.
      loss: name in `osgan_jax.losses`.
      network: name in `osgan_jax.networks`.
      discriminator_norm: D's normalisation.
      conditional: whether both networks take the label.
      weight_clip: bound on D's weights after each step, 0 for none.
      one_stage: rates of one_stage and shared_forward, whose updates are alike.
      two_stage: rates of two_stage.
      recipe: fields of the configuration whose defaults are others than most methods'.
    """

    title: str
    loss: str
    network: str = 'dcgan'
    discriminator_norm: str = 'group'
    conditional: bool = False
    weight_clip: float = 0.0
    one_stage: Rates = Rates(2e-4, 1e-4, 0.5)
    two_stage: Rates = Rates(2e-4, 4e-5, 0.5)
    recipe: Mapping[str, Any] = {}


METHODS: dict[str, Method] = {
    'dcgan_sym': Method('DCGAN (sym)', 'minimax'),
    'cgan': Method('CGAN (sym)', 'minimax', conditional=True),
    'wgan': Method(
        'WGAN (sym)',
        'wasserstein',
        weight_clip=0.01,
        one_stage=Rates(1e-4, 1.35e-5, 0.1),
        two_stage=Rates(2e-4, 2e-4, 0.1),
    ),
    'dcgan': Method('DCGAN (asym)', 'non_saturating'),
    'lsgan': Method('LSGAN (asym)', 'least_squares'),
    'geogan': Method('GeoGAN (asym)', 'geometric'),
    'relgan': Method('RelGAN (asym)', 'relativistic'),
    'fishergan': Method('FisherGAN (asym)', 'fisher'),
    'bgan': Method('BGAN (asym)', 'boundary_seeking'),
    'sngan': Method('SNGAN (asym)', 'hinge', discriminator_norm='spectral'),
}

# Half of what StyleGAN2 averages is of the last 10,000 images.
_STYLEGAN2_HALF_LIFE = 10_000
_STYLEGAN2_RATES = Rates(2e-3, 2e-3)
_BIGGAN_RATES = Rates(1e-4, 4e-4)

# What DGL-GAN compresses, trained as their authors do; rates are alike in all schemes. BigGAN's
# batch of 2,048 is more than one machine holds: the default is an eighth of it.
LARGE: dict[str, Method] = {
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
_MNIST_DCGAN_ONE_STAGE = Rates(2e-4, 5e-5)
_DEFAULT_EPOCHS = 30
_LEAST_STEPS = 2000


def get(name: str) -> Method:
    """The preset called `name`.

    Raises:
      ValueError: for an unknown name.
    """
    known = METHODS | LARGE
    if name not in known:
        raise ValueError(f'method={name!r}: expected one of {", ".join(known)}')
    return known[name]


def recipe(method: str, batch_size: int | None = None) -> dict[str, Any]:
    """Defaults of the fields of a configuration that depend on the method alone.

    Args:
      method: its name.
      batch_size: images a step, where it is not the method's own.
    """
    fields = {**otherwise(TrainConfig), **get(method).recipe}
    if method == 'stylegan2':
        images = batch_size or fields['batch_size']
        fields['ema_decay'] = 0.5 ** (images / _STYLEGAN2_HALF_LIFE)
    return fields


def rates(method: str, scheme: str, dataset: str) -> Rates:
    """The paper's rates for a method, or the nearest it gives."""
    if (method, dataset) == ('dcgan', 'mnist') and scheme != 'two_stage':
        return _MNIST_DCGAN_ONE_STAGE
    preset = get(method)
    return preset.two_stage if scheme == 'two_stage' else preset.one_stage


def resolve(
    config: TrainConfig,
    *,
    image_size: int,
    channels: int,
    num_classes: int,
    num_examples: int,
) -> TrainConfig:
    """Fills every field that was left open, from the method and the opened dataset.

    Args:
      config: what was asked for.
      image_size: of the opened dataset, pixels.
      channels: of the opened dataset.
      num_classes: of the opened dataset, 0 where it has no labels.
      num_examples: of the opened dataset, images an epoch.

    Returns:
      A configuration with no field at None but `data_dir`, `width` and `num_devices`, where None
      stands for the library's or the machine's own, and those of parts that the network has not.

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
