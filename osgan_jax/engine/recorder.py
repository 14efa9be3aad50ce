"""Recorders: the logs, progress and curves of a run, whatever it trains."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from osgan_jax import reporting
from osgan_jax.engine.runs import Run
from osgan_jax.io import atomic

# TensorBoard shows about ten of a run's images, however many are written.
_EVENT_IMAGES = 32

# The files that a run replaces.
_FILES = (
    'config.json',
    'best/config.json',
    'metrics.jsonl',
    reporting.timing.FILE,
    'curves.png',
    'samples/step_*.png',
)
# Files of a run that scores itself; otherwise experiments.evaluate may be writing them just now.
_SCORES = ('evaluations.jsonl', 'evaluations.png')


class Recorder:
    """A recorder that keeps nothing, of processes beside the first.

    Attributes:
      seconds: seconds of training so far.
    """

    seconds: float = 0.0

    def set_seconds(self, seconds: float | None) -> None:
        """Sets the clock to the seconds of training before an interruption, where known."""

    def update(self, step: int) -> None:
        """Notes that `step` updates were dispatched."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Writes the metrics of a step."""

    def sample(self, step: int, state: Any) -> None:
        """Writes a grid of images and the curves so far."""

    def evaluate(self, step: int, state: Any, check: Callable[[], None] | None = None) -> None:
        """Scores the state; `check` is called now and then, and what it raises ends it."""

    def is_evaluated(self, step: int) -> bool:
        """Whether this run scored a step already; here there is nothing to score."""
        del step
        return True

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """A context that stops the clock of training."""
        return contextlib.nullcontext()

    def time_is_up(self) -> bool:
        """Whether training has used up its time."""
        return False

    def curves(self) -> None:
        """Writes the curves so far."""

    def close(self) -> None:
        """Closes the files."""


class Stopwatch:
    """Seconds of training, from the first step on.

    Args:
      before: seconds before the run was interrupted.
    """

    def __init__(self, before: float = 0.0):
        self._total = before
        self._since: float | None = None

    def start(self) -> None:
        """Starts it, unless it runs."""
        if self._since is None:
            self._since = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops it for the block; afterwards it runs again if it ran."""
        running = self._since is not None
        self._total, self._since = self.seconds, None
        try:
            yield
        finally:
            if running:
                self.start()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._total + (0.0 if self._since is None else time.monotonic() - self._since)


class FileRecorder(Recorder):
    """Keeps logs and curves in a run's directory and shows progress; subclasses sample and score.

    Attributes:
      run: what is trained.
      workdir: where.
      tensorboard: the open event file.
    """

    def __init__(self, run: Run, workdir: pathlib.Path, start: int, *, title: str):
        """Opens the files.

        Args:
          run: what is trained.
          workdir: where.
          start: the step it goes on from.
          title: over the curves.
        """
        config = run.config
        self.run, self.workdir = run, workdir
        self._title, self._dispatched = title, start
        self._drawn = False  # whether the curves show all that is logged
        for name in _FILES + (_SCORES if config.eval_every else ()):
            atomic.remove_unfinished(workdir / name)
        every = config.log_every
        self._log = reporting.MetricsLog(workdir, start, every=every)
        self._timing = reporting.MetricsLog(
            workdir, start, filename=reporting.timing.FILE, every=every
        )
        self._clock = Stopwatch(self._seconds_before())
        self.tensorboard = reporting.TensorBoard(workdir, start)
        limit = config.max_seconds
        self._progress = reporting.Progress(
            config.num_steps,
            start,
            config.images_per_step,
            seconds_left=None if limit is None else lambda: limit - self._clock.seconds,
        )

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._clock.seconds

    def set_seconds(self, seconds: float | None) -> None:
        """Sets the clock; otherwise it goes on from the last line of timing.jsonl."""
        if seconds is not None:
            self._clock = Stopwatch(seconds)

    def update(self, step: int) -> None:
        """Moves the progress bar."""
        self._clock.start()
        self._dispatched = step
        self._progress.update(step)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Stops the clock of training."""
        return self._clock.paused()

    def time_is_up(self) -> bool:
        """Whether the clock has reached --max_seconds."""
        limit = self.run.config.max_seconds
        return limit is not None and self._clock.seconds >= limit

    def _seconds_before(self) -> float:
        columns = reporting.metrics_log.read(self._timing.path, at_most=1)
        return float(columns['seconds'][-1]) if len(columns['step']) else 0.0

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends to both logs and TensorBoard, of a very long run at greater distances."""
        logged = values
        if self.run.num_examples:
            epoch = step * self.run.config.images_per_step / self.run.num_examples
            logged = {**values, 'epoch': round(epoch, 3)}
        self._drawn = False
        if self._log.write(step, logged):
            self.tensorboard.scalars(step, values)
        # The metrics of a step are read after the next one was dispatched.
        self._progress.update(self._dispatched, self.shown(values))
        self._timing.write(
            step,
            {
                'seconds': round(self._clock.seconds, 3),
                'steps_per_second': self._progress.steps_per_second,
                'images_per_second': self._progress.images_per_second,
            },
        )

    def shown(self, values: dict[str, float]) -> dict[str, float | str]:
        """The metrics of a step that progress shows, by the names it shows; here all."""
        return values

    def grid(self, step: int, images: np.ndarray, columns: int | None = None) -> None:
        """Writes samples/step_*.png and, after the first step, the curves.

        Of many grids, old ones are removed: `osgan_jax.reporting.thinning`.

        Args:
          step: number of finished updates.
          images: `[N, H, W, C]` in [-1, 1].
          columns: images a row; by default about as many as rows.
        """
        scale = reporting.visible_scale(min(images.shape[1:3]))
        shown = reporting.grid(images, columns=columns, scale=scale)
        directory, every = self.workdir / 'samples', self.run.config.sample_every
        reporting.save_png(directory / f'step_{step:07d}.png', shown)
        reporting.thinning.thin(directory, step, every, self.run.config.keep_samples)
        # From an event file nothing can be removed, so later images come at greater distances.
        if step % reporting.thinning.distance(step, every, _EVENT_IMAGES) == 0:
            self.tensorboard.image(step, 'samples', reporting.grid(images, columns=columns))
        if step:
            self.curves()

    def curves(self) -> None:
        """Writes curves.png, where something was logged since it was written last."""
        if not self._drawn:
            reporting.save_curves(self.workdir, title=self._title)
            self._drawn = True

    def close(self) -> None:
        """Closes the files."""
        for resource in (self._progress, self.tensorboard, self._timing, self._log):
            resource.close()
