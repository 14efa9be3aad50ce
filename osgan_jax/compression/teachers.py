"""The teacher of a student: both networks of a trained GAN, frozen."""

import dataclasses
import os
from typing import Any

import jax

from osgan_jax.compression.config import KINDS
from osgan_jax.engine.runs import Run
from osgan_jax.gan import reading, sampling
from osgan_jax.gan.model import GAN
from osgan_jax.io import own_code

Array = jax.Array
PyTree = Any


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained GAN.

    Attributes:
      run: what it was trained with.
      gan: its networks.
      step: the checkpoint's.
      variables: `{'generator': ..., 'discriminator': ...}`, each `{'params': ..., ...}`; the
        generator's are averaged where the run keeps an average. Constants of every step.
    """

    run: Run
    gan: GAN
    step: int
    variables: PyTree = dataclasses.field(repr=False)

    def discriminate(self, variables: PyTree, images: Array, labels: Array | None) -> Array:
        """Logits `[n]` of the teacher's discriminator, its statistics left as they are."""
        return self.gan.discriminator.apply(variables['discriminator'], images, labels, train=False)

    def generate(self, variables: PyTree, z: Array, labels: Array | None, key: Array) -> Array:
        """Images `[n, H, W, C]` of the teacher's generator, as it is sampled from."""
        return self.gan.generator.apply(
            variables['generator'], z, labels, train=False, rngs={'style': key}
        )


def load(workdir: str | os.PathLike[str], step: int | None = None, networks: Any = None) -> Teacher:
    """Reads a run of `experiments.train` or `experiments.compress`; it may still be training.

    Args:
      workdir: the run's directory, an export with its D, or `pretrained:NAME`.
      step: which checkpoint; None is the newest good one.
      networks: the run's own networks, as for `osgan_jax.gan.reading.restore`.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, it is a run of another kind, or one without a
        discriminator: an export of G alone, or converted from published weights of G alone.
      osgan_jax.engine.checkpoints.CheckpointError: if there is no such checkpoint, or none is good.
    """
    return of(*reading.load(workdir, step, KINDS, networks, discriminator=True))


def of_sampler(sampler: sampling.Sampler) -> Teacher:
    """Both networks of the checkpoint that a sampler draws from; raises as `load`."""
    # Those that were given in the place of what the run names, too.
    network = sampler.run.config.network
    own = network if own_code.is_own(network) else None
    return load(sampler.workdir, sampler.step, own)


def of(run: Run, gan: GAN, step: int, generator: PyTree, discriminator: PyTree) -> Teacher:
    """The teacher of networks and their variables; see `Teacher`."""
    single = dataclasses.replace(
        gan,
        generator=gan.generator.clone(axis_name=None),
        discriminator=gan.discriminator.clone(axis_name=None),
    )
    return Teacher(run, single, step, {'generator': generator, 'discriminator': discriminator})
