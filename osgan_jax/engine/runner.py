"""Carrying a job out: whatever is trained in steps, from its configuration to its last checkpoint.

A `Job` says what one step is and what is to be shown of it; everything that runs have in common
happens here: the lock on the directory, resuming, devices and processes, compiling, signals. GANs
(`osgan_jax.gan.trainer`) are jobs, and so are a teacher and its student (`osgan_jax.distillation`).
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from osgan_jax import data
from osgan_jax.engine import checkpoints, nonfinite, recorder, runs
from osgan_jax.engine.config import RunConfig
from osgan_jax.engine.loop import Loop, feed
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.runtime import parallel, processes, settings, stopping

PyTree = Any

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

    state: Any
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to be trained.

    Attributes:
      run: its configuration, resolved.
      devices: where, `parallel.local_devices`.
      state: a fresh one, a pytree with a `step`; all its numbers must stay finite.
      update: `(state, batch) -> (state, metrics)`, or, where there are constants,
        `(state, batch, constants) -> (state, metrics)`.
      batches: opens the batches that this process hands in.
      example: one of those batches, of any values.
      records: `(start, flops, check) -> Records`, opens the records of the process that keeps them,
        at the step that the run goes on from; flops are a step's, over all devices, or None. What
        takes long in it calls `check` now and then, before files are open, and lets it raise.
      summary: `(start, flops) -> text`, printed before the first step.
      advice: how a person may go on after a loss or a parameter is no longer finite.
      constants: what every step reads and none changes, such as the parameters of a teacher.
      flops: counts those, where the compiler's own count would not be right.
    """

    run: runs.Run
    devices: list[jax.Device]
    state: Any
    update: Callable[..., tuple[Any, dict[str, jax.Array]]]
    batches: Callable[[], data.Batches]
    example: dict[str, Any]
    records: Callable[[int, float | None, Callable[[], None]], recorder.Records]
    summary: Callable[[int, float | None], str]
    advice: str
    constants: PyTree = None
    flops: Callable[[], float | None] | None = None


def carry_out(
    prepare: Callable[[], Job],
    workdir: str | os.PathLike[str],
    *,
    precision: str,
    deterministic: bool = False,
) -> Result:
    """Trains, or resumes, the run that lives in `workdir`.

    Where several processes train together (`osgan_jax.runtime.processes.join`), all call this with
    the same configuration and a directory that all of them see. The first writes.

    Args:
      prepare: everything that does not touch the workdir or other processes.
      workdir: the run's directory.
      precision: one of `configuration.PRECISIONS`.
      deterministic: whether to call `settings.request_determinism` first.

    Returns:
      The final state and metrics.

    Raises:
      ValueError: for what `prepare` refuses, if the run there is another, or as
        `settings.request_determinism`.
      NonFiniteError: when a loss or a number of the state is no longer finite; the last good
        checkpoint stays. A loss, or a tensor of the state, is noticed within `log_every +
        steps_per_call` steps.
      Stopped: after SIGINT or SIGTERM, in any process, the state saved; of one process alone also
        before its first step, when nothing can be lost.
      osgan_jax.runtime.processes.PeerError: if another process failed or is gone.
      osgan_jax.engine.checkpoints.CheckpointError: if saving or restoring is impossible, or another
        run holds the directory.
    """
    workdir = pathlib.Path(workdir)
    if deterministic:
        settings.request_determinism()
    settings.set_precision(precision)
    with processes.peer_errors(), contextlib.ExitStack() as stack:
        with processes.all_or_none():
            job = prepare()
            _check_finite(job.constants, 'the teacher')
            # Before anything is written: what cannot be trained should leave no trace.
            if processes.is_first():
                runs.read(workdir, type(job.run.config))  # another kind of run is left untouched
                stack.enter_context(checkpoints.lock(workdir))
        signals = stack.enter_context(stopping.Signals())  # until all is closed
        begun = _begin(job, workdir, stack, signals)
        return _go_on(job, begun, signals)


@dataclasses.dataclass(frozen=True)
class _Begun:
    """A run that stands before its next step."""

    loop: Loop
    batches: data.Batches
    compiled: Callable[..., Any]
    state: Any
    end: int  # the last step


def _begin(
    job: Job,
    workdir: pathlib.Path,
    stack: contextlib.ExitStack,
    signals: stopping.Signals,
) -> _Begun:
    run, config, devices, state = job.run, job.run.config, job.devices, job.state
    first = processes.is_first()
    saved = stack.enter_context(checkpoints.Checkpoints(workdir, keep=config.keep, warn=warn))
    batches = stack.enter_context(job.batches())
    newest = saved.latest_step()
    processes.check_same(_shared(run, newest))
    start, metadata = 0, {}
    if newest is not None:
        before = _before(workdir, saved, run)
        if before is not None:
            runs.check_same(workdir, before, run)
        state, iterator_state, start = saved.restore(state)
        batches.set_state(iterator_state)
        # A process may have read an older one, if the files it sees are others.
        processes.check_same({'the step to go on from': start})
        _check_calls(workdir, start, config)
        metadata = saved.metadata(start)
        _check_finite(state, f'the checkpoint of step {start} in {workdir}')
    with processes.all_or_none():
        if first:
            if newest is None:
                found = runs.check_unstarted(workdir, runs.read(workdir, type(config)))
                if found is not None:
                    warn(found)
            runs.write(workdir, run)
    with processes.all_or_none():
        if not first:
            _find(workdir, type(config))
    state = parallel.replicate(state, devices)
    compiled, flops = _compile(job, state)
    if first:
        print(job.summary(start, flops), flush=True)
        if start >= config.num_steps:
            print(f'Already at step {start}, the last one asked for.', flush=True)
    records = recorder.Records()
    if first:
        # Several processes leave together, between two steps.
        check = signals.check if jax.process_count() == 1 else _go
        try:
            if start < config.num_steps:
                check()  # it may have taken minutes to compile
            records = job.records(start, flops, check)
        except stopping.Abandoned:
            raise stopping.Stopped(stopping.NO_STEP, signals.received) from None
        stack.callback(records.close)
    seconds = _seconds(metadata)
    records.took(seconds)
    end = config.num_steps
    # The same in all processes, for they read the same checkpoint.
    is_over = None not in (seconds, config.max_seconds) and seconds >= config.max_seconds
    if is_over and start < end:
        end = start
        if first:
            print(f'Already trained for {config.max_seconds:g} s: raise --max_seconds to go on.')
    loop = Loop(run, workdir, saved, records, start, job.advice, _skipped(metadata))
    return _Begun(loop, batches, compiled, state, end)


def _go_on(job: Job, begun: _Begun, signals: stopping.Signals) -> Result:
    config, devices, loop = job.run.config, job.devices, begun.loop
    agreement = processes.Agreement(devices, config.log_every)
    alone = jax.process_count() == 1

    def asked_to_stop(step: int) -> int:
        time_is_up = loop.records.time_is_up() * stopping.TIME_IS_UP
        return agreement(step, signals.received or time_is_up)

    with feed(begun.batches, config, devices) as fed:
        state = loop.steps(
            begun.compiled,
            begun.state,
            fed,
            asked_to_stop,
            signal=lambda: signals.received if alone else 0,
            end=begun.end,
        )
        if loop.skipped:
            warn(f'{loop.skipped} steps were skipped: they were not finite.')
    return Result(state, loop.last_metrics)


def open_batches(dataset: data.Dataset, config: RunConfig) -> data.Batches:
    """This process's share of a dataset's batches, as a job's `batches` opens them."""
    return data.batches(
        dataset,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def example(batch_size: int, dataset: data.Dataset) -> dict[str, np.ndarray]:
    """A batch of the shape that `open_batches` gives this process, all zeros."""
    rows = batch_size // jax.process_count()
    shape = (rows, dataset.image_size, dataset.image_size, dataset.channels)
    return {'image': np.zeros(shape, np.float32), 'label': np.zeros(rows, np.int32)}


def _go() -> None:
    """A check that lets everything go on."""


def warn(message: str) -> None:
    """Prints a warning once, whatever the number of processes."""
    if processes.is_first():
        print(f'warning: {message}', flush=True)


def _check_calls(workdir: pathlib.Path, start: int, config: RunConfig) -> None:
    """Raises ValueError where calls of so many steps would never meet a multiple of anything."""
    per_call = config.steps_per_call
    if start % per_call and start < config.num_steps:
        raise ValueError(
            f'steps_per_call={per_call}: {workdir} stands at step {start}, which is no multiple of '
            f'it; go on with --steps_per_call={math.gcd(start, per_call)}'
        )


def _skipped(metadata: dict[str, Any]) -> tuple[int, int]:
    """How many steps a checkpoint says were skipped, and how many of them in a row at last."""
    found = metadata.get('skipped')
    if isinstance(found, list) and [type(count) for count in found] == [int, int]:
        return tuple(found)
    return 0, 0


def _seconds(metadata: dict[str, Any]) -> float | None:
    """What training had taken by a checkpoint; None where it does not say."""
    found = metadata.get('seconds')
    return found if type(found) is float and 0 <= found < math.inf else None


def _check_finite(tree: PyTree, what: str) -> None:
    """Raises NonFiniteError, naming tensors, unless all numbers of a pytree are finite."""
    if bad := nonfinite.describe(tree):
        raise NonFiniteError(f'{what} holds numbers that are not finite: {bad}.')


def _before(
    workdir: pathlib.Path, saved: checkpoints.Checkpoints, run: runs.Run
) -> runs.Run | None:
    """What a directory with checkpoints was made with, as far as that can be known."""
    found = runs.read(workdir, type(run.config))
    if found is None:
        warn(f'{workdir} has no config.json: its checkpoints remember it.')
        # If none of them can be read, restoring says so in better words.
        with contextlib.suppress(checkpoints.CheckpointError):
            found = runs.recall(saved.metadata(), run)
    return found


def _find(workdir: pathlib.Path, kind: type[RunConfig]) -> None:
    """Makes sure that what process 0 has written is here too."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while runs.read(workdir, kind) is None:
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


def _compile(job: Job, state: Any):
    """Compiles ahead of time; returns the update and its FLOPs a step over all devices, or None."""
    devices, steps_per_call = job.devices, job.run.config.steps_per_call
    constants = ()
    if job.constants is not None:
        constants = (parallel.replicate(job.constants, devices),)
    batch = [job.example] * steps_per_call if steps_per_call > 1 else job.example
    update = nonfinite.skipping(job.update) if job.run.config.skip_nonfinite else job.update
    mapped = parallel.compile_update(
        update, devices, steps_per_call=steps_per_call, num_constants=len(constants)
    )
    compiled = mapped.lower(state, parallel.put_batch(batch, devices), *constants).compile()
    flops = job.flops() if job.flops else parallel.flops(compiled, len(devices))
    if jax.process_count() > 1:
        # What was compiled takes arrays over all processes; the function makes them of each one's
        # part, and does not compile again.
        compiled = mapped
    return (lambda state, batch: compiled(state, batch, *constants)), flops
