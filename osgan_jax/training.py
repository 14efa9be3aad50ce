"""The training loop: batches in, updates, and what a person sees of them."""

import contextlib
import dataclasses
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np

from osgan_jax import (
    checkpoints,
    data,
    interruption,
    methods,
    parallel,
    precisions,
    processes,
    recording,
    runs,
    selection,
    updates,
)
from osgan_jax import state as states
from osgan_jax.config import TrainConfig
from osgan_jax.interruption import Stopped
from osgan_jax.loop import Loop, NonFiniteError, feed
from osgan_jax.state import TrainState

__all__ = ['NonFiniteError', 'Result', 'Stopped', 'train']

# How long a network file system may take to show one process what another wrote.
_SEEN_SECONDS = 30.0
# What processes that train together may differ in.
_OF_A_PROCESS = ('data_dir', 'num_workers')


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run leaves.

    Attributes:
      state: the final state.
      metrics: of the last step.
    """

    state: TrainState
    metrics: dict[str, float]


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

    Where several processes train together (`osgan_jax.processes.join`), all call this with the
    same configuration and a directory that all of them see. The first writes.

    Returns:
      The final state and metrics.

    Raises:
      ValueError: for a configuration that contradicts itself, the dataset or the saved run.
      FileNotFoundError: for a dataset that is not there.
      NonFiniteError: when a loss or a parameter is no longer finite; the last good checkpoint
        stays.
      Stopped: after SIGINT or SIGTERM, in any process, the state saved.
      osgan_jax.processes.PeerError: if another process failed or is gone.
      osgan_jax.checkpoints.CheckpointError: if saving or restoring is impossible, or another run
        holds the directory.
    """
    workdir = pathlib.Path(workdir)
    precisions.set_default(config.precision)
    with processes.peer_errors(), contextlib.ExitStack() as stack:
        with processes.all_or_none():
            prepared = _prepare(config, dataset)
            # Before anything is written: what cannot be trained should leave no trace.
            if processes.is_first():
                stack.enter_context(checkpoints.lock(workdir))
        return _train(prepared, workdir)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    run: runs.Run
    dataset: data.Dataset
    devices: list[jax.Device]
    gan: states.GAN
    state: TrainState
    update: updates.Update


def _prepare(config: TrainConfig, dataset: data.Dataset | None) -> _Prepared:
    """Everything that does not touch the workdir or other processes."""
    if config.eval_every and jax.process_count() > 1:
        # The best checkpoint would be one process's to choose and all processes' to write.
        raise ValueError(
            'eval_every: several processes cannot evaluate while they train; leave it out and run '
            'experiments.evaluate beside them or afterwards'
        )
    if dataset is None:
        dataset = data.load(
            config.dataset,
            split=config.split,
            data_dir=config.data_dir,
            image_size=config.image_size,
            channels=config.channels,
            flip=config.flip,
            upscale=config.upscale,
        )
    config = methods.resolve(
        config,
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_classes=dataset.num_classes,
        num_examples=len(dataset),
    )
    devices = parallel.local_devices(config.num_devices, config.batch_size)
    run = runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset))
    gan = states.build(
        config,
        num_classes=run.num_classes,
        steps_per_epoch=run.steps_per_epoch,
        axis_name=parallel.collectives(devices).axis_name,
    )
    state = states.create(gan, config.seed)
    update = updates.make_update(
        gan,
        config.scheme,
        state,
        parallel.collectives(devices),
        accumulate=config.accumulate,
    )
    return _Prepared(run, dataset, devices, gan, state, update)


def _train(prepared: _Prepared, workdir: pathlib.Path) -> Result:
    run, dataset, devices, state = (
        prepared.run,
        prepared.dataset,
        prepared.devices,
        prepared.state,
    )
    config, first = run.config, processes.is_first()
    with (
        checkpoints.Checkpoints(workdir, keep=config.keep, warn=_warn) as saved,
        data.batches(
            dataset,
            config.batch_size,
            seed=config.seed,
            num_workers=config.num_workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ) as batches,
        interruption.Signals() as signals,
    ):
        newest = saved.latest_step()
        processes.check_same(_shared(run, newest))
        start = 0
        if newest is not None:
            before = runs.read(workdir)
            if before is not None:
                runs.check_same(workdir, before, run)
            state, iterator_state, start = saved.restore(state)
            batches.set_state(iterator_state)
        with processes.all_or_none():
            if first:
                runs.write(workdir, run)
        with processes.all_or_none():
            if not first:
                _find(workdir)
        state = parallel.replicate(state, devices)
        compiled, flops = _compile(prepared.update, state, dataset, config, devices)
        if first:
            text = recording.summary(run, workdir, dataset, state, devices, start, flops)
            print(text, flush=True)
            if start >= config.num_steps:
                print(f'Already at step {start}: raise --num_steps to go on.', flush=True)
        records = recording.Records()
        if first:
            chosen = None
            if config.eval_every:
                chosen = selection.Selection(run, workdir, prepared.gan, dataset, warn=_warn)
            real = dataset if config.collapse_alarm else None
            records = recording.Written(run, workdir, prepared.gan, start, chosen, real)
        agreement = processes.Agreement(devices, config.log_every)

        def asked_to_stop(step: int) -> int:
            own = signals.received or records.time_is_up() * interruption.TIME_IS_UP
            return agreement(step, own)

        loop = Loop(run, workdir, saved, records, start)
        with loop, feed(batches, config, devices) as fed:
            if start and jax.process_count() == 1 and records.time_is_up():
                print(
                    f'Already trained for {config.max_seconds:g} s: raise --max_seconds to go on.'
                )
            else:
                state = loop.steps(compiled, state, fed, asked_to_stop)
        return Result(state, loop.last_metrics)


def _find(workdir: pathlib.Path) -> None:
    """Makes sure that what process 0 has written is here too."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while runs.read(workdir) is None:
        if time.monotonic() > deadline:
            raise ValueError(
                f'{workdir} is not the directory that process 0 writes to: give a --workdir on a '
                'file system that all processes share'
            )
        time.sleep(0.1)


def _shared(run: runs.Run, newest: int | None) -> dict[str, Any]:
    """What all processes of a run must have in common, by the name a person knows it by."""
    values = dataclasses.asdict(run.config)
    values = {name: value for name, value in values.items() if name not in _OF_A_PROCESS}
    return {
        **values,
        'number of images in the dataset': run.num_examples,
        'newest checkpoint in the workdir': newest,
    }


def _compile(update, state, dataset, config: TrainConfig, devices):
    """Compiles ahead of time; returns the update and its FLOPs a step over all devices, or None."""
    rows = config.batch_size // jax.process_count()
    shape = (rows, *(config.image_size,) * 2, config.channels)
    batch = {
        'image': np.zeros(shape, np.float32),
        'label': np.zeros(rows, np.int32),
    }
    batch = [batch] * config.steps_per_call if config.steps_per_call > 1 else batch
    mapped = parallel.compile_update(update, devices, steps_per_call=config.steps_per_call)
    compiled = mapped.lower(state, parallel.put_batch(batch, devices)).compile()
    flops = parallel.flops(compiled, len(devices)) if config.accumulate == 1 else None
    if jax.process_count() > 1:
        # What was compiled takes arrays over all processes; the function makes them of each one's
        # part, and does not compile again.
        compiled = mapped
    return compiled, flops


def _warn(message: str) -> None:
    if processes.is_first():
        print(f'warning: {message}', flush=True)
