"""What a run leaves for a person: logs, progress and curves, whatever it trains."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from osgan_jax import reporting
from osgan_jax.engine.runs import Run
from osgan_jax.runtime import settings

# TensorBoard shows about ten of a run's images, however many there are.
_EVENT_IMAGES = 32

# Names that `reporting.files.replacing` gives to what a run writes.
_BEING_WRITTEN = (
    '.config.json.*.tmp',
    'best/.config.json.*.tmp',
    '.metrics.jsonl.*.tmp',
    '.timing.jsonl.*.tmp',
    '.curves.png.*.tmp',
    'samples/.step_*.tmp',
)
# And one that scores itself; otherwise experiments.evaluate may be writing them just now.
_SCORES_BEING_WRITTEN = ('.evaluations.jsonl.*.tmp', '.evaluations.png.*.tmp')


class Records:
    """The records of a process that keeps none: of several, only the first writes.

    Attributes:
      seconds: what training has taken so far.
    """

    seconds: float = 0.0

    def took(self, seconds: float | None) -> None:
        """Sets the clock to what training took before an interruption, where that is known."""

    def update(self, step: int) -> None:
        """Notes that `step` updates were dispatched."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Writes the metrics of a step."""

    def sample(self, step: int, state: Any) -> None:
        """Writes a grid of images and the curves so far."""

    def evaluate(self, step: int, state: Any, check: Callable[[], None] | None = None) -> None:
        """Scores what was trained; `check` is called now and then, and what it raises ends it."""

    def is_evaluated(self, step: int) -> bool:
        """Whether this run scored a step already; here nothing ever is to be."""
        del step
        return True

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """A context whose time is not training's."""
        return contextlib.nullcontext()

    def time_is_up(self) -> bool:
        """Whether training has taken all the time it was given."""
        return False

    def curves(self) -> None:
        """Writes the curves so far."""

    def close(self) -> None:
        """Closes the files."""


class Stopwatch:
    """Seconds of training: from the first step on, but for what is no training.

    Args:
      before: seconds that the run had taken when it was interrupted.
    """

    def __init__(self, before: float = 0.0):
        self._total = before
        self._since: float | None = None

    def start(self) -> None:
        """Lets it run, if it does not."""
        if self._since is None:
            self._since = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Lets it stand; afterwards it runs again if it ran."""
        running = self._since is not None
        self._total, self._since = self.seconds, None
        try:
            yield
        finally:
            if running:
                self.start()

    @property
    def seconds(self) -> float:
        """What it shows."""
        return self._total + (0.0 if self._since is None else time.monotonic() - self._since)


class Written(Records):
    """Records in a run's directory and on the terminal; what is sampled and scored is a subclass's.

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
        self._title = title
        # What a kill left of files that were being written.
        for pattern in _BEING_WRITTEN + (_SCORES_BEING_WRITTEN if config.eval_every else ()):
            for path in workdir.glob(pattern):
                path.unlink(missing_ok=True)
        every = config.log_every
        self._log = reporting.MetricsLog(workdir, start, every=every)
        self._timing = reporting.MetricsLog(workdir, start, filename='timing.jsonl', every=every)
        self._clock = Stopwatch(self._seconds_before())
        self.tensorboard = reporting.TensorBoard(workdir, start)
        limit = config.max_seconds
        self._progress = reporting.Progress(
            config.num_steps,
            start,
            config.batch_size,
            seconds_left=None if limit is None else lambda: limit - self._clock.seconds,
        )

    @property
    def seconds(self) -> float:
        """What training has taken so far."""
        return self._clock.seconds

    def took(self, seconds: float | None) -> None:
        """Sets the clock; otherwise it goes on from the last line of timing.jsonl."""
        if seconds is not None:
            self._clock = Stopwatch(seconds)

    def update(self, step: int) -> None:
        """Moves the progress bar."""
        self._clock.start()
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
            epoch = step * self.run.config.batch_size / self.run.num_examples
            logged = {**values, 'epoch': round(epoch, 3)}
        if self._log.write(step, logged):
            self.tensorboard.scalars(step, values)
        self._progress.update(step, values)
        self._timing.write(
            step,
            {
                'seconds': round(self._clock.seconds, 3),
                'steps_per_second': self._progress.steps_per_second,
                'images_per_second': self._progress.images_per_second,
            },
        )

    def grid(self, step: int, images: np.ndarray, columns: int | None = None) -> None:
        """Writes samples/step_*.png and, after the first step, the curves.

        Of many grids, old ones are removed: `osgan_jax.reporting.thinning`.

        Args:
          step: number of finished updates.
          images: `[N, H, W, C]` in [-1, 1].
          columns: images a row; by default about as many as rows.
        """
        scale = reporting.visible_scale(images.shape[1])
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
        """Writes curves.png."""
        reporting.save_curves(self.workdir, title=self._title)

    def close(self) -> None:
        """Closes the files."""
        for resource in (self._progress, self.tensorboard, self._timing, self._log):
            resource.close()


def platform(devices: Sequence[jax.Device]) -> str:
    """The devices of all processes, for a person."""
    text = f'{len(devices)} {devices[0].device_kind}'
    if jax.process_count() > 1:
        text += f', in {jax.process_count()} processes'
    if settings.is_deterministic():
        text += ', deterministic'
    return text


def length(run: Run) -> str:
    """How many steps a run is to make, for a person."""
    config = run.config
    if config.max_seconds is not None:
        return f'as many as {config.max_seconds:g} s give'
    text = f'{config.num_steps:,}'
    if run.num_examples:
        text += f' ({config.num_steps / run.steps_per_epoch:.0f} epochs)'
    return text


def count_flops(flops: float | None) -> str:
    """What is said of a step's FLOPs, nothing where they are not known."""
    return '' if flops is None else f', {reporting.summary.human(flops, "FLOP")}'
