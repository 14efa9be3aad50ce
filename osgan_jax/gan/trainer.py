"""Training a GAN: the job that a configuration and a dataset make."""

import os
import pathlib
from collections.abc import Callable

import jax

from osgan_jax import data, networks
from osgan_jax.core import collectives
from osgan_jax.engine import runner, runs
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.engine.runner import Result
from osgan_jax.gan import best_checkpoint, methods, model, recorder, updates
from osgan_jax.gan.config import TrainConfig
from osgan_jax.runtime import parallel
from osgan_jax.runtime.stopping import Stopped

__all__ = ['NonFiniteError', 'Result', 'Stopped', 'train']

ADVICE = (
    'Lower --learning_rate_d or --learning_rate_g, change the loss or normalisation, or another '
    '--seed; where it is a rare accident, --skip_nonfinite.'
)


def train(
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    *,
    dataset: data.Dataset | None = None,
) -> Result:
    """Trains, or resumes, the run that lives in `workdir`.

    Writes there: config.json, metrics.jsonl (the same whether or not the run was interrupted),
    timing.jsonl, tensorboard/, samples/step_*.png from fixed latents, curves.png, checkpoints/;
    with evaluations also evaluations.jsonl, evaluations.png and best/, a directory of the same kind
    with the best checkpoint.

    Args:
      config: what to train; open fields are resolved from the method and the dataset.
      workdir: the run's directory.
      dataset: instead of the configured one, already opened.

    Returns, raises: as `osgan_jax.engine.runner.carry_out`, the state a `TrainState`; also
      ValueError: for a configuration that contradicts itself, or the dataset.
      FileNotFoundError: for a dataset that is not there.
    """
    workdir = pathlib.Path(workdir)
    return runner.carry_out(
        lambda: _prepare(config, workdir, dataset),
        workdir,
        precision=config.precision,
        deterministic=config.deterministic,
    )


def check_evaluation(config: TrainConfig) -> None:
    """Raises ValueError where evaluations were asked of several processes."""
    if config.eval_every and jax.process_count() > 1:
        # The best checkpoint would be one process's to choose and all processes' to write.
        raise ValueError(
            'eval_every: several processes cannot evaluate while they train; leave it out and run '
            'experiments.evaluate beside them or afterwards'
        )


def open_dataset(config: TrainConfig) -> data.Dataset:
    """The dataset that a configuration names."""
    return data.load(
        config.dataset,
        split=config.split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        flip=config.flip,
        upscale=config.upscale,
    )


def open_records(
    run: runs.Run,
    workdir: pathlib.Path,
    gan: model.GAN,
    start: int,
    dataset: data.Dataset,
    check: Callable[[], None],
) -> recorder.GANRecords:
    """The records of a run that its configuration asks for, see `osgan_jax.engine.runner.Job`."""
    chosen = None
    if run.config.eval_every:
        chosen = best_checkpoint.BestCheckpoint(
            run, workdir, gan, dataset, check=check, warn=runner.warn
        )
    real = dataset if run.config.collapse_alarm else None
    return recorder.GANRecords(run, workdir, gan, start, chosen, real)


def _prepare(
    config: TrainConfig, workdir: pathlib.Path, dataset: data.Dataset | None
) -> runner.Job:
    check_evaluation(config)
    if dataset is None:
        dataset = open_dataset(config)
    config = methods.resolve(
        config,
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_classes=dataset.num_classes,
        num_examples=len(dataset),
    )
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    run = runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset))
    gan = model.build(
        config,
        num_classes=run.num_classes,
        steps_per_epoch=run.steps_per_epoch,
        axis_name=collectives.collectives_over(devices).axis_name,
    )
    networks.check_rows(gan.discriminator, config.batch_size // len(devices) // config.accumulate)
    state = model.create(gan, config.seed)
    update = updates.make_update(
        gan,
        config.scheme,
        state,
        collectives.collectives_over(devices),
        accumulate=config.accumulate,
    )

    def records(start: int, flops: float | None, check) -> recorder.GANRecords:
        del flops  # no figure of its own
        return open_records(run, workdir, gan, start, dataset, check)

    def summary(start: int, flops: float | None) -> str:
        if config.accumulate > 1:
            flops = None  # of one part, counted once
        return recorder.summary(run, workdir, dataset, state, devices, start, flops)

    return runner.Job(
        run=run,
        devices=devices,
        state=state,
        update=update,
        batches=lambda: runner.open_batches(dataset, config),
        example=runner.example(config.batch_size, dataset),
        records=records,
        summary=summary,
        advice=ADVICE,
        # The compiler counts lazy penalties as if they were of every step.
        flops=(lambda: None) if gan.penalties.is_lazy else None,
    )
