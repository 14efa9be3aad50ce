"""The configuration of a training run: every field a flag, every field documented once.

A field left at None is decided by the method, the dataset or the machine when the run starts
(`osgan_jax.methods.resolve`); the decided configuration is what is written to the workdir.
"""

import dataclasses
import json
from typing import Any

SCHEMES = ('one_stage', 'two_stage', 'shared_forward')
PRECISIONS = ('float32', 'tensorfloat32', 'bfloat16')
OPTIMIZERS = ('adam', 'rmsprop', 'sgd')


def _field(default: Any, text: str, *, choices: tuple[str, ...] = (), may_change: bool = False):
    metadata = {'help': text, 'choices': choices, 'may_change': may_change}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and how. Fields marked `may_change` may differ on resuming."""

    method: str = _field('lsgan', 'row of Table 1; sets loss, networks and rates')
    scheme: str = _field('one_stage', 'how both gradients are computed', choices=SCHEMES)
    dataset: str = _field('digits', 'catalogue name, folder, npz, or tfds:NAME')
    data_dir: str | None = _field(None, 'where the dataset lies or is cached', may_change=True)
    split: str = _field('train', "the dataset's part; celeb_a's all is the paper's 202,599")
    upscale: bool | None = _field(
        None, 'enlarge images smaller than asked; default only in small-image datasets'
    )
    seed: int = _field(0, 'seed of parameters, latents and data order')

    num_steps: int | None = _field(
        None, 'updates in all; default 30 epochs, at least 2,000 steps', may_change=True
    )
    batch_size: int = _field(128, 'real images a step over all devices, and as many fake ones')
    accumulate: int = _field(
        1, 'parts a batch is taken in, to save memory; G sees BatchNorm statistics of a part'
    )
    precision: str = _field('float32', 'arithmetic of the networks', choices=PRECISIONS)

    loss: str | None = _field(None, "objective; default the method's")
    loss_options: tuple[str, ...] = _field((), "the objective's options, as slope=0.2")
    network: str | None = _field(None, "architecture; default the method's")
    image_size: int | None = _field(None, "pixels; default the dataset's")
    channels: int | None = _field(None, "1 or 3; default the dataset's")
    width: int | None = _field(None, "channel unit; default the paper's")
    latent_dim: int = _field(100, 'dimensions of z')
    discriminator_norm: str | None = _field(
        None, 'group, instance, layer, spectral, batch or none; default by method'
    )
    conditional: bool | None = _field(None, 'condition both networks on the label')

    optimizer: str = _field('adam', 'optimiser of both networks', choices=OPTIMIZERS)
    learning_rate_g: float | None = _field(None, "G's rate; default the paper's")
    learning_rate_d: float | None = _field(None, "D's rate; default the paper's")
    beta1: float = _field(0.5, "Adam's first decay, or SGD's momentum")
    beta2: float = _field(0.999, "Adam's or RMSProp's second-moment decay")
    decay_epochs: tuple[int, ...] | None = _field(
        None, 'epochs after which both rates are multiplied by decay_factor'
    )
    decay_factor: float | None = _field(None, 'what the rates are multiplied by')
    weight_clip: float | None = _field(None, "bound on D's weights after a step, 0 for none")
    ema_decay: float = _field(0.0, "decay of the average of G's weights; 0 for none")

    flip: bool = _field(False, 'mirror half of the real images')
    num_workers: int = _field(0, 'processes that read and decode images', may_change=True)
    num_devices: int | None = _field(None, 'devices of each process; default all', may_change=True)
    steps_per_call: int = _field(
        1, 'steps in one dispatch; what is written falls on its multiples', may_change=True
    )
    log_every: int = _field(10, 'steps between lines of the metrics log')
    sample_every: int = _field(500, 'steps between sample grids', may_change=True)
    save_every: int = _field(500, 'steps between checkpoints', may_change=True)
    keep: int = _field(3, 'checkpoints kept, the newest', may_change=True)
    num_samples: int = _field(64, 'images in a sample grid', may_change=True)

    max_seconds: float | None = _field(
        None, 'end after this long in training steps, interruptions included', may_change=True
    )
    eval_every: int | None = _field(
        None, 'steps between evaluations, which also keep the best checkpoint', may_change=True
    )
    eval_samples: int = _field(2048, 'images an evaluation draws: its cost', may_change=True)
    inception_weights: str | None = _field(
        None, 'evaluate by FID with this file; default a classifier of the dataset', may_change=True
    )
    convention: str = _field(
        'torch',
        "how the Inception network's input is made",
        choices=('torch', 'tf1', 'clean'),
        may_change=True,
    )
    collapse_alarm: bool = _field(
        True, 'say when samples have long been far more alike than real images', may_change=True
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata['choices']
            if choices and value not in choices:
                raise ValueError(f'{field.name}={value!r}: expected one of {", ".join(choices)}')
        _check_ranges(self)

    def to_json(self) -> str:
        """The configuration as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

    @classmethod
    def from_json(cls, text: str) -> 'TrainConfig':
        """The configuration that `to_json` wrote.

        Raises:
          ValueError: if the text is no such object, or has fields this version does not know.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'the configuration is not valid JSON ({error})') from error
        if not isinstance(values, dict):
            raise ValueError('the configuration is not a JSON object')
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f'the configuration has unknown fields: {", ".join(unknown)}')
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def contradictions(saved: TrainConfig, asked: TrainConfig) -> list[str]:
    """Fields that differ between a saved and a resuming run and may not, as 'name: a, not b'."""
    found = []
    for field in dataclasses.fields(TrainConfig):
        before, now = getattr(saved, field.name), getattr(asked, field.name)
        if before != now and not field.metadata['may_change']:
            found.append(f'{field.name} is {before!r} there and {now!r} now')
    return found


def _check_ranges(config: TrainConfig) -> None:
    at_least = {
        'batch_size': 2,
        'num_steps': 1,
        'accumulate': 1,
        'image_size': 1,
        'width': 1,
        'latent_dim': 1,
        'num_devices': 1,
        'steps_per_call': 1,
        'log_every': 1,
        'sample_every': 1,
        'save_every': 1,
        'keep': 1,
        'num_samples': 1,
        'eval_every': 1,
        'eval_samples': 2,
        'max_seconds': 0.0,
        'num_workers': 0,
        'seed': 0,
        'learning_rate_g': 0.0,
        'learning_rate_d': 0.0,
        'decay_factor': 0.0,
        'weight_clip': 0.0,
    }
    for name, least in at_least.items():
        value = getattr(config, name)
        if value is not None and not (value >= least and value < float('inf')):
            raise ValueError(f'{name}={value}: expected a number of at least {least}')
    for name in ('beta1', 'beta2', 'ema_decay'):
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ValueError(f'{name}={value}: expected a number in [0, 1)')
    if config.channels not in (None, 1, 3):
        raise ValueError(f'channels={config.channels}: expected 1 or 3')
    if config.seed >= 2**32:
        raise ValueError(f'seed={config.seed}: expected a number below 2**32')
    epochs = config.decay_epochs or ()
    if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
        raise ValueError(f'decay_epochs={list(epochs)}: expected rising epochs of at least 1')
    for every in ('log_every', 'sample_every', 'save_every', 'eval_every'):
        if (getattr(config, every) or 0) % config.steps_per_call:
            raise ValueError(
                f'{every}={getattr(config, every)}: expected a multiple of '
                f'steps_per_call={config.steps_per_call}'
            )
