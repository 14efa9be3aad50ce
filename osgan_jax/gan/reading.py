"""What a run's directory, or an export, holds: its configuration and its networks."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from osgan_jax.engine import checkpoints, runs
from osgan_jax.gan import exported, model, own
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.model import GAN
from osgan_jax.io import paths


class Trained(NamedTuple):
    """Trained networks.

    Attributes:
      run: what they were trained with.
      gan: the networks.
      step: the checkpoint's.
      generator: variables of G, averaged where the run keeps an average. In an export they are
        those that were chosen then.
      discriminator: variables of D; None of an export, unless they are asked for.
    """

    run: runs.Run
    gan: GAN
    step: int
    generator: Any
    discriminator: Any


def read(
    workdir: str | os.PathLike[str], kinds: Sequence[type[TrainConfig]] = (TrainConfig,)
) -> runs.Run:
    """The run of a directory.

    Args:
      workdir: the run's directory, an export, or `pretrained:NAME`.
      kinds: configurations of the kinds of run that are accepted.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, or it is a run of another kind.
    """
    workdir = paths.expand(workdir, pretrained=True)
    run = runs.read(workdir, *kinds)
    if run is None and exported.is_export(workdir):
        return exported.read_description(workdir, *kinds)[0]
    if run is None:
        raise FileNotFoundError(
            f'{workdir} holds no run (no config.json): give the --workdir of a training run'
        )
    return run


def restore(
    workdir: str | os.PathLike[str],
    step: int | None = None,
    kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
    networks: Any = None,
) -> tuple[runs.Run, GAN, checkpoints.Restored]:
    """A run, its networks, and their state at one checkpoint.

    Args:
      workdir: the run's directory; a run that is still training may be read.
      step: which checkpoint; None is the newest good one.
      kinds: as for `read`.
      networks: the run's own networks, `osgan_jax.gan.Networks` or a reference, where the run
        does not name them, or no longer rightly.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, it is a run of another kind, its own networks
        are not found, or it is an export, which holds no state.
      osgan_jax.engine.checkpoints.CheckpointError: if there is no such checkpoint, or none is good.
    """
    folder = paths.expand(workdir, pretrained=True)
    if exported.is_export(folder):
        raise ValueError(
            f'{workdir} is an export, which holds a generator and no checkpoints: give the '
            '--workdir of the training run that it was made of'
        )
    run = own.with_networks(read(workdir, kinds), networks, folder)
    gan, like = _build(run, workdir)
    with checkpoints.Checkpoints(pathlib.Path(folder), read_only=True) as saved:
        # A student's state has more than the networks.
        return run, gan, saved.restore(like, step, whole=False)


def load(
    workdir: str | os.PathLike[str],
    step: int | None = None,
    kinds: Sequence[type[TrainConfig]] = (TrainConfig,),
    networks: Any = None,
    *,
    discriminator: bool = False,
) -> Trained:
    """The networks of a run at one checkpoint, or of an export.

    Args:
      workdir: the run's directory, an export, or `pretrained:NAME`.
      step: as for `restore`; an export has a single step.
      kinds: as for `read`.
      networks: as for `restore`.
      discriminator: whether D is needed.

    Raises:
      FileNotFoundError, osgan_jax.engine.checkpoints.CheckpointError: as `restore`.
      ValueError: as `restore`; for a step that an export is not of, or if D is needed and was not
        exported, or not converted with G.
    """
    folder = paths.expand(workdir, pretrained=True)
    if not exported.is_export(folder):
        run, gan, restored = restore(workdir, step, kinds, networks)
        if discriminator:
            _check_trained(folder, restored.step)
        return of_state(run, gan, restored.step, restored.state)
    run, description = exported.read_description(folder, *kinds)
    run = own.with_networks(run, networks, folder)
    if step not in (None, description['step']):
        raise ValueError(f'step={step}: {workdir} is an export of step {description["step"]}')
    gan, like = _build(run, folder)
    shapes = of_state(run, gan, description['step'], like)
    of_g = exported.read(folder, description, like.settled_variables())
    of_d = None
    if discriminator:
        of_d = exported.read(folder, description, shapes.discriminator, exported.DISCRIMINATOR)
    return shapes._replace(generator=of_g, discriminator=of_d)


def of_state(run: runs.Run, gan: GAN, step: int, state: model.TrainState) -> Trained:
    """The networks of a state."""
    of_d = {'params': state.params_d, **state.stats_d}
    return Trained(run, gan, step, state.sampling_variables(), of_d)


def _check_trained(folder: str, step: int) -> None:
    """Raises ValueError for a run that was converted without a discriminator."""
    with checkpoints.Checkpoints(pathlib.Path(folder), read_only=True) as saved:
        if saved.metadata(step).get('generator_only'):
            raise ValueError(
                f'{folder} was converted without a discriminator: convert it again with the '
                'weights of both networks'
            )


def _build(run: runs.Run, workdir: str | os.PathLike[str]) -> tuple[GAN, Any]:
    """The networks of a run, and the shapes of their state."""
    try:
        gan = model.build(
            own.readable(run.config),
            num_classes=run.num_classes,
            steps_per_epoch=run.steps_per_epoch,
        )
        return gan, jax.eval_shape(lambda: model.create(gan, run.config.seed))
    except (TypeError, ArithmeticError) as error:
        # Fields left open, or sizes that no array has; what is contradictory, build refuses.
        raise ValueError(
            f'the configuration in {workdir} describes no networks that can be built: restore its '
            'config.json'
        ) from error
