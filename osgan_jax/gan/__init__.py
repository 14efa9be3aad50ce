"""Training a GAN: configuration, methods, state, the step of each scheme, trainer, sampling."""

import os
from typing import TYPE_CHECKING, Any

from osgan_jax.gan.config import TrainConfig
from osgan_jax.networks import Networks

if TYPE_CHECKING:
    from osgan_jax.gan.trainer import Result

__all__ = ['Config', 'Networks', 'TrainConfig', 'train']

Config = TrainConfig


def train(
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    dataset: Any = None,
    networks: Networks | None = None,
) -> 'Result':
    """Trains, or resumes, the run in `workdir`; see `osgan_jax.gan.trainer.train`."""
    from osgan_jax.gan import trainer  # imports jax, which a configuration does without

    return trainer.train(config, workdir, dataset=dataset, networks=networks)
