"""The time that the training loop adds to its steps."""

import contextlib
import dataclasses
import io
import pathlib
import tempfile

import numpy as np

from experiments.benchmark import steps
from osgan_jax import data
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.reporting import metrics_log

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
    if num_steps < 3 * _WARM_UP:
        raise ValueError(f'loop={num_steps}: expected at least {3 * _WARM_UP} steps')
    num_steps -= num_steps % (_WARM_UP * config.steps_per_call)
    case = dataclasses.replace(config, image_size=dataset.image_size, channels=dataset.channels)
    bare, loops = [], []
    for _ in range(_ROUNDS):
        (timing,) = steps.measure_steps(case, [config.scheme], repeats=num_steps // 2)
        bare.append(timing.seconds)
        loops.append(_train(case, dataset, num_steps))
    return LoopTiming(float(np.median(bare)), float(np.median(loops)))


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
        log = metrics_log.read(pathlib.Path(workdir) / 'timing.jsonl')
    # The last line waits for the run's end; the first for its start.
    return float((log['seconds'][-2] - log['seconds'][0]) / (log['step'][-2] - log['step'][0]))
