"""Runs of jobs, from the configuration to the last checkpoint.

A `Job` says what one step is and what is shown of it. `run` does what all jobs have in common: the
lock on the directory, resuming, devices and processes, compiling, signals. Training a GAN
(`osgan_jax.gan.trainer`) is a job, and so are training a teacher and its student
(`osgan_jax.distillation`) and compressing (`osgan_jax.compression`).
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax

from osgan_jax import data
from osgan_jax.engine import (
    adoption,
    checkpoints,
    nonfinite,
    origins,
    recorder,
    resuming,
    runs,
    summary,
)
from osgan_jax.engine.config import RunConfig
from osgan_jax.engine.job import Job, Update
from osgan_jax.engine.loop import Loop, feed
from osgan_jax.engine.messages import announced, say, warn
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.runtime import parallel, processes, settings, stopping

PyTree = Any

# How long a network file system may take to show one process what another wrote.
_VISIBLE_SECONDS = 30.0
# Fields in which processes that train together may differ.
_PER_PROCESS = ('data_dir', 'num_workers')


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
      state: the final state.
      metrics: of the last step.
    """

    state: Any
    metrics: dict[str, float]


def run(job: Job) -> Result:
    """Trains a job, or resumes it from its workdir.

    Where several processes train together (`osgan_jax.runtime.processes.join`), all call this with
    the same configuration and a directory that all of them see. The first writes.

    Returns:
      The final state and metrics.

    Raises:
      ValueError: as `job.open`; if the run in the workdir is another; or as
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
    with contextlib.suppress(ValueError):  # said below, to all processes
        job.resume_config()
    # Of a resumed run, whose launcher did not know of it, or of a library's caller.
    settings.divide_cpu(job.config.num_devices)
    if job.config.deterministic:
        # A launcher has asked already, before the processes met, which starts jax.
        settings.request_determinism()
    settings.set_precision(job.config.precision)
    with processes.peer_errors(), contextlib.ExitStack() as stack:
        with processes.all_or_none():
            shapes, update = _prepare(job)
        beginning = _begin(job)
        # Before anything is written: what cannot be trained should leave no trace.
        with processes.all_or_none():
            if processes.is_first():
                runs.read(job.workdir, type(job.config))  # another kind of run is left untouched
                if job.config.lock:
                    stack.enter_context(checkpoints.lock(job.workdir, can_go_without=True))
        signals = stack.enter_context(stopping.Signals())  # until all is closed
        saved = stack.enter_context(
            checkpoints.Checkpoints(job.workdir, keep=job.config.keep, warn=warn)
        )
        batches = stack.enter_context(job.open_batches())
        # What may be refused comes first: a compiler cannot be stopped.
        state, start, metadata = _restore(job, shapes, saved, batches, beginning)
        _write_config(job, is_new=saved.latest_step() is None)
        if beginning is not None and saved.latest_step() is None:
            # From here on the run needs its source no more.
            metadata = {**metadata, 'config': dataclasses.asdict(job.run.config.kept())}
            order = batches.get_state()
            saved.save(start, state, iterator_state=order, metadata=metadata, wait=True)
        with announced('Compiling the step, once', done='Compiled'):
            finish = _begin_compiling(job, update, shapes)
            # Meanwhile a fresh state and the first grid are drawn, by programs to be compiled.
            if state is None:
                with processes.all_or_none():
                    state = job.create()
            state = parallel.place(state, job.devices, job.divided)
            if jax.process_count() == 1:
                nonfinite.finite_leaves(state)  # compiles its program, on an accelerator
                job.prepare(parallel.collect(state, job.devices))
            compiled, flops = finish(state)
        if processes.is_first():
            print(summary.text(job, start, flops), flush=True)
        own_recorder = _open_recorder(job, start, flops, signals)
        stack.callback(own_recorder.close)
        seconds = _seconds(metadata)
        own_recorder.set_seconds(seconds)
        loop = Loop(job, saved, own_recorder, start, _skipped(metadata))
        return _train(loop, compiled, state, batches, signals, _end(job, start, seconds))


def _prepare(job: Job) -> tuple[PyTree, Update]:
    """A state's shapes and the step of a job, without touching its workdir or other processes."""
    job.resume_config()
    _check_request(job)
    job.run = job.open()
    job.devices = parallel.local_devices(job.config.num_devices, job.run.config.batch_size)
    with announced('Building the networks'):
        shapes, update = job.build()
    _check_finite(job.constants, 'the teacher')
    return shapes, update


def _check_request(job: Job) -> None:
    """Raises ValueError if the flags contradict the run in the workdir."""
    saved, request = runs.read(job.workdir, type(job.request)), job.request
    if saved is None:
        return
    found = adoption.contradictions(saved.config, request, adoption.asked_for(request))
    if found and _has_checkpoints(job.workdir):
        resuming.refuse(job.workdir, found)


def _has_checkpoints(workdir: pathlib.Path) -> bool:
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        return saved.latest_step() is not None


def _begin(job: Job) -> origins.Beginning | None:
    """The state of another run that a new one begins with; None for one that begins afresh."""
    if _has_checkpoints(job.workdir):
        return None
    with processes.all_or_none():
        return origins.fork(job, job.create()) if job.run.config.fork else job.initialise()


def _restore(
    job: Job,
    shapes: PyTree,
    saved: checkpoints.Checkpoints,
    batches: data.Batches,
    beginning: origins.Beginning | None,
) -> tuple[Any, int, dict[str, Any]]:
    """The newest checkpoint's `(state, step, metadata)`; else those of the run's beginning.

    The state of a run that begins afresh is None.
    """
    workdir, newest = job.workdir, saved.latest_step()
    processes.check_same(_shared(job.run, newest))
    if newest is None and beginning is not None:
        job.run = beginning.run
        job.notes += beginning.notes
        start = beginning.step
        processes.check_same({'the step to go on from': start})
        if beginning.iterator_state:
            try:
                batches.set_state(beginning.iterator_state)
            except ValueError:  # of another seed or batch size
                job.notes.append(('images', 'in a new order'))
        _check_calls(workdir, start, job.run.config)
        _check_finite(beginning.state, f'step {start} of the run it begins with')
        return beginning.state, start, beginning.metadata
    if newest is None:
        return None, 0, {}
    recorded = _recorded_run(job)
    if recorded is not None:
        resuming.check_same(workdir, recorded, job.run, job.request)
        if changed := adoption.changes(recorded.config, job.run.config):
            job.notes.append(('changed', ', '.join(changed)))
    state, iterator_state, start = saved.restore(shapes)
    if recorded is None or not _note_data(job, recorded, start):
        batches.set_state(iterator_state)
    # A process may have read an older one, if the files it sees are others.
    processes.check_same({'the step to go on from': start})
    _check_calls(workdir, start, job.run.config)
    _check_finite(state, f'the checkpoint of step {start} in {workdir}')
    return state, start, saved.metadata(start)


def _note_data(job: Job, recorded: runs.Run, step: int) -> bool:
    """Records and says how the images differ from those before; whether their order is new."""
    earlier = recorded.earlier
    changed = resuming.data_change(recorded, job.run)
    # Killed before its first checkpoint with the recorded images: the order is of those before.
    is_older = bool(earlier) and step <= earlier[-1]['step']
    if changed is not None and not is_older:
        earlier += ({'step': step, 'source': recorded.source},)
    if changed is not None or is_older:
        job.notes.append(
            (
                'data changed',
                f'{changed or "after this checkpoint"}; they come in a new order, and epochs are '
                'counted in them',
            )
        )
    elif job.run.source and not (recorded.source and 'fingerprint' in recorded.source):
        what = 'all of ' if recorded.source else ''
        say(
            f'{job.workdir} does not record {what}its images; training continues with the present '
            'ones, which are recorded now.'
        )
    job.run = dataclasses.replace(job.run, earlier=earlier, origin=recorded.origin)
    return changed is not None or is_older


def _write_config(job: Job, *, is_new: bool) -> None:
    """Writes config.json in the first process and waits for it in the others."""
    kind = type(job.config)
    with processes.all_or_none():
        if processes.is_first():
            if is_new:
                lost = resuming.check_unstarted(job.workdir, runs.read(job.workdir, kind))
                if lost is not None:
                    warn(lost)
            runs.write(job.workdir, job.run)
    with processes.all_or_none():
        if not processes.is_first():
            _await_config(job.workdir, kind)


def _open_recorder(
    job: Job, start: int, flops: float | None, signals: stopping.Signals
) -> recorder.Recorder:
    """The job's recorder in the first process; elsewhere one that keeps nothing."""
    if not processes.is_first():
        return recorder.Recorder()
    # Several processes leave together, between two steps.
    check = signals.check if jax.process_count() == 1 else lambda: None
    try:
        if start < job.run.config.num_steps:
            check()  # it may have taken minutes to compile
        return job.open_recorder(start, flops, check)
    except stopping.Abandoned:
        raise stopping.Stopped(stopping.NO_STEP, signals.received) from None


def _end(job: Job, start: int, seconds: float | None) -> int:
    """The run's last step: where it stands already, if its steps or its time are used up."""
    config = job.run.config
    if start >= config.num_steps:
        say(f'Already at step {start}, the last one asked for.')
    # The same in all processes, for they read the same checkpoint.
    elif None not in (seconds, config.max_seconds) and seconds >= config.max_seconds:
        say(f'Already trained for {config.max_seconds:g} s: raise --max_seconds to go on.')
        return start
    return config.num_steps


def _train(
    loop: Loop,
    update: Callable[..., Any],
    state: Any,
    batches: data.Batches,
    signals: stopping.Signals,
    end: int,
) -> Result:
    config, devices = loop.config, loop.job.devices
    agreement = processes.Agreement(devices, config.log_every)
    alone = jax.process_count() == 1

    def asked_to_stop(step: int) -> int:
        time_is_up = loop.recorder.time_is_up() * stopping.TIME_IS_UP
        return agreement(step, signals.received or time_is_up)

    with feed(batches, config, devices) as fed:
        state = loop.steps(
            update,
            state,
            fed,
            asked_to_stop,
            signal=lambda: signals.received if alone else 0,
            end=end,
        )
    if loop.last_step < end:
        say(f'Step {loop.last_step:,} is the last: {config.max_seconds:g} s of training are over.')
    if loop.skipped:
        warn(f'{loop.skipped} steps were skipped: they were not finite.')
    return Result(state, loop.last_metrics)


def _check_calls(workdir, start: int, config: RunConfig) -> None:
    """Raises ValueError where calls of so many steps would never meet a multiple of anything."""
    per_call = config.steps_per_call
    if start % per_call and start < config.num_steps:
        raise ValueError(
            f'steps_per_call={per_call}: {workdir} is at step {start}, which is not a multiple '
            f'of it; resume with --steps_per_call={math.gcd(start, per_call)}'
        )


def _skipped(metadata: dict[str, Any]) -> tuple[int, int]:
    """The number of skipped steps in a checkpoint's metadata, and of those in a row at its end."""
    found = metadata.get('skipped')
    if isinstance(found, list) and [type(count) for count in found] == [int, int]:
        return tuple(found)
    return 0, 0


def _seconds(metadata: dict[str, Any]) -> float | None:
    """Seconds of training in a checkpoint's metadata; None where it does not say."""
    found = metadata.get('seconds')
    return found if type(found) is float and 0 <= found < math.inf else None


def _check_finite(tree: PyTree, what: str) -> None:
    """Raises NonFiniteError, naming tensors, unless all numbers of a pytree are finite."""
    if bad := nonfinite.describe(tree):
        raise NonFiniteError(f'{what} holds numbers that are not finite: {bad}.')


def _recorded_run(job: Job) -> runs.Run | None:
    """The run that a directory with checkpoints was made by, as far as that can be known."""
    found = runs.read(job.workdir, type(job.config))
    if found is None:
        warn(f'{job.workdir} has no config.json: its checkpoints remember it.')
        config = resuming.saved_config(job.workdir, type(job.config))
        found = config and dataclasses.replace(job.run, config=config)
    return found


def _await_config(workdir, kind: type[RunConfig]) -> None:
    """Waits until process 0's config.json can be read here too."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while runs.read(workdir, kind) is None:
        if time.monotonic() > deadline:
            raise ValueError(
                f'{workdir} is not the directory that process 0 writes to: give a --workdir on a '
                'file system that all processes share'
            )
        time.sleep(0.1)


def _shared(run: runs.Run, newest: int | None) -> dict[str, Any]:
    """Values that all processes of a run must have in common, by the name a person knows."""
    values = dataclasses.asdict(run.config)
    values = {name: value for name, value in values.items() if name not in _PER_PROCESS}
    return {
        **values,
        'number of images in the dataset': run.num_examples,
        'fingerprint of the images': run.source
        and run.source.get('fingerprint', run.source['content']),
        'newest checkpoint in the workdir': newest,
    }


def _begin_compiling(
    job: Job, update: Update, shapes: PyTree
) -> Callable[[PyTree], tuple[Callable[..., Any], float | None]]:
    """Starts `_compile` in a thread; what it returns is given the state and waits for the result.

    Several processes compile only then.
    """
    if jax.process_count() > 1:
        # In one order, and from arrays: pmap takes no shapes there.
        return functools.partial(_compile, job, update)
    pool = futures.ThreadPoolExecutor(1)
    compiled = pool.submit(_compile, job, update, shapes)
    pool.shutdown(wait=False)  # an error meanwhile is said at once
    return lambda state: compiled.result()


def _compile(job: Job, update: Update, state: PyTree) -> tuple[Callable[..., Any], float | None]:
    """The compiled step, and its FLOPs over all devices where they are known.

    The state may be its shapes where no other process takes part.
    """
    devices, config, constants = job.devices, job.run.config, ()
    if job.constants is not None:
        constants = (parallel.replicate(job.constants, devices),)
    batch = job.example_batch()
    for count in (config.batches_per_step, config.steps_per_call):
        batch = [batch] * count if count > 1 else batch
    if config.skip_nonfinite:
        update = nonfinite.skipping(update, job.collectives)
    if jax.process_count() > 1:
        args = state, parallel.put_batch(batch, devices)
    else:
        args = parallel.shapes(state, batch, devices, job.divided)
    mapped = parallel.compile_update(
        update,
        devices,
        state=args[0],
        steps_per_call=config.steps_per_call,
        num_constants=len(constants),
    )
    compiled = mapped.lower(*args, *constants).compile()
    flops = job.flops(parallel.flops(compiled, len(devices)))
    if jax.process_count() > 1:
        # The compiled program takes global arrays; the mapped function builds them from each
        # process's part and does not compile again.
        compiled = mapped
    return (lambda state, batch: compiled(state, batch, *constants)), flops
