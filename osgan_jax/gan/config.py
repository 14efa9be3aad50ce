"""The configuration of a GAN's training run: every field a flag, every field documented once.

A field left at None is decided by the method, the dataset or the machine when the run starts
(`osgan_jax.gan.methods.resolve`); the decided configuration is what is written to the workdir.
"""

import dataclasses
import fractions
from typing import ClassVar

from osgan_jax.engine.config import RunConfig, field

SCHEMES = ('one_stage', 'two_stage', 'shared_forward')
OPTIMIZERS = ('adam', 'rmsprop', 'sgd')


def parse_multiplier(text: str) -> fractions.Fraction:
    """A channel multiplier as a number, from '1/2', '0.5' or '1'.

    Raises:
      ValueError: for anything else than a number above 0 and up to 1.
    """
    try:
        value = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = fractions.Fraction(0)
    if not 0 < value <= 1:
        raise ValueError(
            f'channel_multiplier={text}: expected a number above 0 and up to 1, as 1/2 or 0.25'
        )
    return value


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig):
    """What to train, on what, and how. Fields marked `may_change` may differ on resuming."""

    KIND: ClassVar[str] = 'train'
    AT_LEAST: ClassVar[dict[str, float]] = {
        **RunConfig.AT_LEAST,
        'accumulate': 1,
        'image_size': 1,
        'width': 1,
        'latent_dim': 1,
        'eval_samples': 2,
        'learning_rate_g': 0.0,
        'learning_rate_d': 0.0,
        'adam_epsilon': 0.0,
        'decay_factor': 0.0,
        'weight_clip': 0.0,
        'ema_start': 0,
        'minibatch_deviation': 0,
        'r1': 0.0,
        'r2': 0.0,
        'gradient_penalty': 0.0,
        'penalty_every': 1,
        'path_length': 0.0,
        'path_length_every': 1,
        'orthogonal': 0.0,
    }
    BEFORE: ClassVar[dict[str, float]] = {
        'adam_epsilon': 1e-8,
        'ema_start': 0,
        'r1': 0.0,
        'r2': 0.0,
        'gradient_penalty': 0.0,
        'penalty_every': 1,
        'path_length': 0.0,
        'path_length_every': 1,
        'orthogonal': 0.0,
    }

    method: str = field(
        'lsgan', 'row of Table 1, stylegan2 or biggan; sets loss, networks and rates'
    )
    scheme: str = field('one_stage', 'how both gradients are computed', choices=SCHEMES)
    dataset: str = field('digits', 'catalogue name, folder, npz, or tfds:NAME')
    split: str = field('train', "the dataset's part; celeb_a's all is the paper's 202,599")
    upscale: bool | None = field(
        None, 'enlarge images smaller than asked; default only in small-image datasets'
    )

    num_steps: int | None = field(
        None, 'updates in all; default 30 epochs, at least 2,000 steps', may_change=True
    )
    batch_size: int | None = field(
        None, 'real images a step over all devices, and as many fake ones; default by method'
    )
    accumulate: int = field(
        1, 'parts a batch is taken in, to save memory; G sees BatchNorm statistics of a part'
    )

    loss: str | None = field(None, "objective; default the method's")
    loss_options: tuple[str, ...] = field((), "the objective's options, as slope=0.2")
    network: str | None = field(None, "architecture; default the method's")
    image_size: int | None = field(None, "pixels; default the dataset's")
    channels: int | None = field(None, "1 or 3; default the dataset's")
    width: int | None = field(None, "channel unit; default the paper's")
    channel_multiplier: str = field('1', 'share of the channels that is left, as 1/2')
    latent_dim: int | None = field(None, 'dimensions of z; default by network')
    discriminator_norm: str | None = field(
        None, 'group, instance, layer, spectral, batch or none; default by method'
    )
    minibatch_deviation: int | None = field(
        None, "samples of a device that see each other in stylegan2's D; default 4, 0 in one_stage"
    )
    style_mixing: float | None = field(
        None, 'share of samples with the styles of two z, in stylegan2; default 0.9'
    )
    remat: bool = field(
        False, "compute blocks again in the backward pass, to save an accelerator's memory"
    )
    conditional: bool | None = field(None, 'condition both networks on the label')

    optimizer: str = field('adam', 'optimiser of both networks', choices=OPTIMIZERS)
    learning_rate_g: float | None = field(None, "G's rate; default the paper's")
    learning_rate_d: float | None = field(None, "D's rate; default the paper's")
    beta1: float | None = field(
        None, "Adam's first decay, or SGD's momentum; default by method, mostly 0.5"
    )
    beta2: float | None = field(
        None, "Adam's or RMSProp's second-moment decay; default by method, mostly 0.999"
    )
    adam_epsilon: float | None = field(None, "what Adam's denominator has added; default by method")
    decay_epochs: tuple[int, ...] | None = field(
        None, 'epochs after which both rates are multiplied by decay_factor'
    )
    decay_factor: float | None = field(None, 'what the rates are multiplied by')
    weight_clip: float | None = field(None, "bound on D's weights after a step, 0 for none")
    ema_decay: float | None = field(
        None, "decay of the average of G's weights a step; 0 for none; default by method"
    )
    ema_start: int | None = field(
        None, 'step from which on weights are averaged; until then the average is G itself'
    )

    r1: float | None = field(
        None, "R1's gamma: gamma / 2 times D's squared gradient at real images; default by method"
    )
    r2: float | None = field(None, 'the same at fake images; default 0')
    gradient_penalty: float | None = field(
        None, "weight of WGAN-GP's penalty, D's gradient between real and fake images; default 0"
    )
    penalty_every: int | None = field(
        None, "steps between D's penalties, each weighted by as much; default by method"
    )
    path_length: float | None = field(
        None, "weight of G's path length penalty, in w where there is one; default by method"
    )
    path_length_every: int | None = field(
        None, "steps between G's penalties, each weighted by as much; default by method"
    )
    orthogonal: float | None = field(
        None, "weight of orthogonal regularisation of G, BigGAN's form; default 0"
    )
    augment: tuple[str, ...] = field(
        (), 'what D sees real and fake images through: color, translation, cutout'
    )

    flip: bool = field(False, 'mirror half of the real images')

    eval_every: int | None = field(
        None, 'steps between evaluations, which also keep the best checkpoint', may_change=True
    )
    eval_samples: int = field(2048, 'images an evaluation draws: its cost', may_change=True)
    inception_weights: str | None = field(
        None, 'evaluate by FID with this file; default a classifier of the dataset', may_change=True
    )
    convention: str = field(
        'torch',
        "how the Inception network's input is made",
        choices=('torch', 'tf1', 'clean'),
        may_change=True,
    )
    collapse_alarm: bool = field(
        True, 'say when samples have long been far more alike than real images', may_change=True
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ('beta1', 'beta2', 'ema_decay'):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f'{name}={value}: expected a number in [0, 1)')
        if self.style_mixing is not None and not 0 <= self.style_mixing <= 1:
            raise ValueError(f'style_mixing={self.style_mixing}: expected a number in [0, 1]')
        if self.channel_multiplier is not None:
            parse_multiplier(self.channel_multiplier)
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')
        epochs = self.decay_epochs or ()
        if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
            raise ValueError(f'decay_epochs={list(epochs)}: expected rising epochs of at least 1')
