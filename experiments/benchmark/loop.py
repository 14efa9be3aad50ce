"""The time that the training loop adds to its steps."""

import contextlib
import dataclasses
import io
import pathlib
import tempfile
import time
import types
from typing import Any

import jax
import numpy as np

from experiments.benchmark import steps
from osgan_jax import data
from osgan_jax.engine import loop as engine_loop
from osgan_jax.engine import recorder
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.reporting import metrics_log, timing
from osgan_jax.runtime import parallel

_WARM_UP = 10  # steps, and between lines of the log
_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class LoopTiming:
    """The time per step of a run, and of the bare step.

    Attributes:
      step_seconds: median of the bare step on a batch that is already on the device.
      loop_seconds: wall time per step of a run, with its batches, metrics and progress.
    """

    step_seconds: float
    loop_seconds: float

    @property
    def idle(self) -> float:
        """Share of the loop's time in which no step runs, 0 to 1."""
        return max(0.0, 1 - self.step_seconds / self.loop_seconds)


def measure_loop(config: TrainConfig, dataset: data.Dataset, *, num_steps: int) -> LoopTiming:
    """Trains for a while in a temporary directory, between measurements of the bare step.

    Args:
      config: as for training.
      dataset: to train on; decides image size and channels.
      num_steps: of each of three runs, at least 30, whose median counts; the first ten are not
        counted.

    Raises:
      ValueError: for fewer steps, or a configuration that cannot be trained.
    """
    _check(num_steps)
    num_steps -= num_steps % (_WARM_UP * config.steps_per_call)
    case = dataclasses.replace(config, image_size=dataset.image_size, channels=dataset.channels)
    bare, loops = [], []
    for _ in range(_ROUNDS):
        (timing,) = steps.measure_steps(case, [config.scheme], repeats=num_steps // 2)
        bare.append(timing.seconds)
        loops.append(_train(case, dataset, num_steps))
    return LoopTiming(float(np.median(bare)), float(np.median(loops)))


def _check(num_steps: int) -> None:
    if num_steps < 3 * _WARM_UP:
        raise ValueError(f'loop={num_steps}: expected at least {3 * _WARM_UP} steps')


def _train(case: TrainConfig, dataset: data.Dataset, num_steps: int) -> float:
    case = dataclasses.replace(
        case,
        num_steps=num_steps,
        log_every=_WARM_UP * case.steps_per_call,
        sample_every=num_steps,
        save_every=num_steps,
        num_samples=1,
    )
    with tempfile.TemporaryDirectory() as workdir:
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train(case, workdir, dataset=dataset)
        log = metrics_log.read(pathlib.Path(workdir) / timing.FILE)
    # The last line waits for the run's end; the first for its start.
    return float((log['seconds'][-2] - log['seconds'][0]) / (log['step'][-2] - log['step'][0]))


class _Clock(recorder.Recorder):
    """Keeps the time at which metrics come, and nothing else."""

    def __init__(self):
        self.steps: list[int] = []
        self.seconds: list[float] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Notes the time."""
        self.steps.append(step)
        self.seconds.append(time.perf_counter())


def measure_bare_loop(
    built: steps.Built, compiled: Any, state: Any, *, num_steps: int
) -> LoopTiming:
    """Measures the engine's loop with its batches and metrics, without files, by turns with a step.

    Nothing is compiled again, and no library is needed that draws or keeps a log.

    Args:
      built: the step.
      compiled: the same, compiled.
      state: whole, on one device; used up.
      num_steps: of each of three runs, at least 30.

    Raises:
      ValueError: for fewer steps.
    """
    _check(num_steps)
    config = dataclasses.replace(
        built.config,
        num_steps=num_steps,
        log_every=_WARM_UP,
        sample_every=num_steps,
        save_every=num_steps,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8 * config.batch_size, *built.gan.image_shape), np.uint8)
    dataset = data.from_arrays(images, np.zeros(len(images), np.int32), name='random')
    batch = parallel.put_batch(built.batch, built.devices)
    job = types.SimpleNamespace(
        run=types.SimpleNamespace(config=config),
        workdir='nowhere',
        advice='',
        devices=built.devices,
    )
    # Checkpoints are written beside training, and rarely.
    unsaved = types.SimpleNamespace(
        save=lambda *unused, **options: None, wait=lambda: None, latest_step=lambda: None
    )
    bare, loops = [], []
    for _ in range(_ROUNDS):
        state, _ = compiled(parallel.place(state, built.devices, built.divided), batch)
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(num_steps // 2):
            state, _ = compiled(state, batch)
        jax.block_until_ready(state)
        bare.append((time.perf_counter() - began) / (num_steps // 2))
        clock = _Clock()
        with (
            data.batches(dataset, config.batch_size, seed=0) as batches,
            engine_loop.feed(batches, config, built.devices) as fed,
        ):
            run = engine_loop.Loop(job, unsaved, clock, 0)
            state = run.steps(compiled, state, fed, lambda step: 0)
        # The first line waits for the start, the last for the end.
        counted = clock.steps[-2] - clock.steps[0]
        loops.append((clock.seconds[-2] - clock.seconds[0]) / counted)
    return LoopTiming(float(np.median(bare)), float(np.median(loops)))
