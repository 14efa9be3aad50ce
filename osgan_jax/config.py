"""The configuration of a GAN's training run: every field a flag, every field documented once.

A field left at None is decided by the method, the dataset or the machine when the run starts
(`osgan_jax.methods.resolve`); the decided configuration is what is written to the workdir.
"""

import dataclasses
from typing import ClassVar

from osgan_jax.configuration import RunConfig, field

SCHEMES = ('one_stage', 'two_stage', 'shared_forward')
OPTIMIZERS = ('adam', 'rmsprop', 'sgd')


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
        'decay_factor': 0.0,
        'weight_clip': 0.0,
    }

    method: str = field('lsgan', 'row of Table 1; sets loss, networks and rates')
    scheme: str = field('one_stage', 'how both gradients are computed', choices=SCHEMES)
    dataset: str = field('digits', 'catalogue name, folder, npz, or tfds:NAME')
    split: str = field('train', "the dataset's part; celeb_a's all is the paper's 202,599")
    upscale: bool | None = field(
        None, 'enlarge images smaller than asked; default only in small-image datasets'
    )

    num_steps: int | None = field(
        None, 'updates in all; default 30 epochs, at least 2,000 steps', may_change=True
    )
    batch_size: int = field(128, 'real images a step over all devices, and as many fake ones')
    accumulate: int = field(
        1, 'parts a batch is taken in, to save memory; G sees BatchNorm statistics of a part'
    )

    loss: str | None = field(None, "objective; default the method's")
    loss_options: tuple[str, ...] = field((), "the objective's options, as slope=0.2")
    network: str | None = field(None, "architecture; default the method's")
    image_size: int | None = field(None, "pixels; default the dataset's")
    channels: int | None = field(None, "1 or 3; default the dataset's")
    width: int | None = field(None, "channel unit; default the paper's")
    latent_dim: int = field(100, 'dimensions of z')
    discriminator_norm: str | None = field(
        None, 'group, instance, layer, spectral, batch or none; default by method'
    )
    conditional: bool | None = field(None, 'condition both networks on the label')

    optimizer: str = field('adam', 'optimiser of both networks', choices=OPTIMIZERS)
    learning_rate_g: float | None = field(None, "G's rate; default the paper's")
    learning_rate_d: float | None = field(None, "D's rate; default the paper's")
    beta1: float = field(0.5, "Adam's first decay, or SGD's momentum")
    beta2: float = field(0.999, "Adam's or RMSProp's second-moment decay")
    decay_epochs: tuple[int, ...] | None = field(
        None, 'epochs after which both rates are multiplied by decay_factor'
    )
    decay_factor: float | None = field(None, 'what the rates are multiplied by')
    weight_clip: float | None = field(None, "bound on D's weights after a step, 0 for none")
    ema_decay: float = field(0.0, "decay of the average of G's weights; 0 for none")

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
            if not 0 <= value < 1:
                raise ValueError(f'{name}={value}: expected a number in [0, 1)')
        if self.channels not in (None, 1, 3):
            raise ValueError(f'channels={self.channels}: expected 1 or 3')
        epochs = self.decay_epochs or ()
        if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
            raise ValueError(f'decay_epochs={list(epochs)}: expected rising epochs of at least 1')
