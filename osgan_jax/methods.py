"""The ten methods of Table 1 as presets, and what the paper trained them with.

Rates: the authors' published configurations give DCGAN (asym) and WGAN on CelebA and DCGAN (asym)
on MNIST; the other rows take DCGAN's, the backbone's. Discriminators are normalised alike under
every scheme (GroupNorm), so that a comparison of schemes compares nothing else; the authors'
two-stage runs used BatchNorm, which is `--discriminator_norm=batch`.
"""

import dataclasses
from typing import NamedTuple

from osgan_jax.config import TrainConfig


class Rates(NamedTuple):
    """Learning rates and what multiplies them after some epochs."""

    generator: float
    discriminator: float
    decay_factor: float = 1.0


class Method(NamedTuple):
    """One row of Table 1.

    Attributes:
      title: what the paper calls it.
      loss: name in `osgan_jax.losses`.
      network: name in `osgan_jax.networks`.
      discriminator_norm: D's normalisation.
      conditional: whether both networks take the label.
      weight_clip: bound on D's weights after each step, 0 for none.
      one_stage: rates of one_stage and shared_forward, whose updates are alike.
      two_stage: rates of two_stage.
    """

    title: str
    loss: str
    network: str = 'dcgan'
    discriminator_norm: str = 'group'
    conditional: bool = False
    weight_clip: float = 0.0
    one_stage: Rates = Rates(2e-4, 1e-4, 0.5)
    two_stage: Rates = Rates(2e-4, 4e-5, 0.5)


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
    if name not in METHODS:
        raise ValueError(f'method={name!r}: expected one of {", ".join(METHODS)}')
    return METHODS[name]


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
      stands for the library's or the machine's own.

    Raises:
      ValueError: for an unknown method, a conditional method on a dataset without labels, or a
        batch larger than the dataset or not divisible by `accumulate`.
    """
    method = get(config.method)
    paper = rates(config.method, config.scheme, config.dataset)
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
    defaults = {
        'num_steps': default_steps,
        'loss': method.loss,
        'network': method.network,
        'image_size': image_size,
        'channels': channels,
        'discriminator_norm': method.discriminator_norm,
        'conditional': method.conditional,
        'learning_rate_g': paper.generator,
        'learning_rate_d': paper.discriminator,
        'decay_epochs': _PAPER_DECAY_EPOCHS if config.dataset in _PAPER_DATASETS else (),
        'decay_factor': paper.decay_factor,
        'weight_clip': method.weight_clip,
    }
    unset = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    config = dataclasses.replace(config, **unset)
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


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
