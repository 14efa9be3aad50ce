"""Training a GAN: configuration, methods, state, the step of each scheme, trainer, sampling."""

import os
from typing import Any

from osgan_jax.gan.config import TrainConfig

__all__ = ['Config', 'TrainConfig', 'train']

Config = TrainConfig


def train(config: TrainConfig, workdir: str | os.PathLike[str], dataset: Any = None):
    """Trains, or resumes, the run in `workdir`; see `osgan_jax.gan.trainer.train`."""
    from osgan_jax.gan import trainer  # with jax, which the configuration does without

    return trainer.train(config, workdir, dataset=dataset)
