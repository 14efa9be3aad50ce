"""The training loop: batches in, updates, and what a person sees of them."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from osgan_jax import (
    checkpoints,
    data,
    methods,
    parallel,
    precisions,
    processes,
    recording,
    runs,
    updates,
)
from osgan_jax import state as states
from osgan_jax.config import TrainConfig
from osgan_jax.state import TrainState

_PREFETCHED_BATCHES = 2
# How long a network file system may take to show one process what another wrote.
_SEEN_SECONDS = 30.0
# What processes that train together may differ in.
_OF_A_PROCESS = ('data_dir', 'num_workers')


class NonFiniteError(RuntimeError):
    """A loss or a parameter became NaN or infinite; the message names it and the step."""


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked for it)
    """A signal ended the run after saving it.

    Attributes:
      signum: the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


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
    timing.jsonl, tensorboard/, samples/step_*.png from fixed latents, curves.png, checkpoints/.

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
        _Signals() as signals,
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
        records = (
            recording.Written(run, workdir, prepared.gan, start) if first else recording.Records()
        )
        agreement = processes.Agreement(devices, config.log_every)
        loop = _Loop(run, workdir, saved, records, start)
        with loop, _feed(batches, config, devices) as fed:
            state = loop.steps(compiled, state, fed, lambda step: agreement(step, signals.received))
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


class _Loop:
    """The steps of one process's share of a run, and everything written on the way."""

    def __init__(
        self,
        run: runs.Run,
        workdir: pathlib.Path,
        saved: checkpoints.Checkpoints,
        records: recording.Records,
        start: int,
    ):
        self.config, self.workdir, self.saved, self.records = run.config, workdir, saved, records
        self.start = start
        self.last_metrics: dict[str, float] = {}
        self._pending: list[tuple[int, dict[str, Any]]] = []

    def __enter__(self) -> '_Loop':
        return self

    def __exit__(self, *unused) -> None:
        self.records.close()

    def steps(
        self, update, state: TrainState, batches, asked_to_stop: Callable[[int], int]
    ) -> TrainState:
        """Runs to the last step, or to one at which `asked_to_stop(step)` is a signal's number."""
        config = self.config
        step = self.start
        if step == 0:
            self._sample(0, state)
        while step < config.num_steps:
            state, metrics = update(state, next(batches))
            step += config.steps_per_call
            self._note(step, metrics)
            last = step == config.num_steps
            signum = asked_to_stop(step)
            if last or step % config.sample_every == 0:
                self._sample(step, state)
            if last or step % config.save_every == 0 or signum:
                self._save(step, state, batches, wait=last or bool(signum))
            if signum and not last:
                raise Stopped(
                    f'Stopped at step {step} of {config.num_steps}; saved. Run the same command '
                    'again to go on.',
                    signum,
                )
        self._settle()
        self.records.curves()
        return state

    def _note(self, step: int, metrics: dict[str, Any]) -> None:
        """Keeps a call's metrics on the device and logs those that are due.

        The newest call's are left alone: reading them would make the host wait for the device, and
        the device then for the host.
        """
        self._pending.append((step, metrics))
        self.records.update(step)
        if any(s % self.config.log_every == 0 for s, _ in self._pending[:-1]):
            self._settle(keep=1)

    def _settle(self, keep: int = 0) -> None:
        """Reads, checks and logs the pending metrics but the newest `keep`."""
        count = len(self._pending) - keep
        due, self._pending = self._pending[:count], self._pending[count:]
        for step, metrics in jax.device_get(due):
            for name, values in metrics.items():
                self._check_finite(step, name, np.atleast_1d(values))
            values = {name: float(np.atleast_1d(v)[-1]) for name, v in metrics.items()}
            self.last_metrics = values
            if step % self.config.log_every == 0:
                self.records.metrics(step, values)

    def _check_finite(self, step: int, name: str, values: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            at = step - len(values) + 1 + int(bad[0])
            raise NonFiniteError(f'{name} became {values[bad[0]]} at step {at}. {self._way_out()}')

    def _way_out(self) -> str:
        newest = self.saved.latest_step()
        kept = f'the checkpoint of step {newest} is kept' if newest else 'nothing was saved yet'
        return (
            f'The run in {self.workdir} is stopped and {kept}. Lower --learning_rate_d or '
            '--learning_rate_g, change the loss or normalisation, or another --seed.'
        )

    def _save(self, step: int, state: TrainState, batches, *, wait: bool) -> None:
        self._settle()
        networks = {'params_g': state.params_g, 'params_d': state.params_d, 'ema_g': state.ema_g}
        networks |= {'stats_g': state.stats_g, 'stats_d': state.stats_d}
        if not bool(_all_finite(networks)):
            bad = [
                jax.tree_util.keystr(path)
                for path, leaf in jax.tree_util.tree_leaves_with_path(networks)
                if not np.isfinite(np.asarray(leaf)).all()
            ]
            more = f' and {len(bad) - 3} more' if len(bad) > 3 else ''
            raise NonFiniteError(
                f'{", ".join(bad[:3])}{more} not finite at step {step}. {self._way_out()}'
            )
        self.saved.save(
            step,
            state,
            iterator_state=batches.get_state(),
            metadata={'config': dataclasses.asdict(self.config)},
            wait=wait,
        )

    def _sample(self, step: int, state: TrainState) -> None:
        self._settle()
        self.records.sample(step, state)


class _Signals:
    """SIGINT and SIGTERM ask for a stop after the step; a second one leaves at once.

    Attributes:
      received: the signal's number, 0 while there was none.
    """

    def __init__(self):
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> '_Signals':
        # Elsewhere than in the main thread Python has no signals to hand out.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *unused) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        if self.received:
            os._exit(128 + signum)
        self.received = signum


class _Groups:
    """Lists of K batches, for K steps a call."""

    def __init__(self, batches: data.Batches, count: int):
        self._batches, self._count = batches, count
        self.get_state = batches.get_state

    def __iter__(self) -> Iterator[list[dict[str, np.ndarray]]]:
        return self

    def __next__(self) -> list[dict[str, np.ndarray]]:
        return [next(self._batches) for _ in range(self._count)]


def _feed(batches, config: TrainConfig, devices) -> data.Prefetch:
    if config.steps_per_call > 1:
        batches = _Groups(batches, config.steps_per_call)
    return data.prefetch(
        batches, _PREFETCHED_BATCHES, lambda batch: parallel.put_batch(batch, devices)
    )


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


_all_finite = jax.jit(parallel.all_finite)
