"""What a run leaves for a person: logs, progress, curves and sample grids."""

import contextlib
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from osgan_jax import data, diversity, methods, reporting, sampling, selection
from osgan_jax import state as states
from osgan_jax.runs import Run
from osgan_jax.state import TrainState


class Records:
    """The records of a process that keeps none: of several, only the first writes."""

    def update(self, step: int) -> None:
        """Notes that `step` updates were dispatched."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Writes the metrics of a step."""

    def sample(self, step: int, state: TrainState) -> None:
        """Writes a grid of images from the run's fixed latents, and the curves so far."""

    def evaluate(self, step: int, state: TrainState) -> None:
        """Scores the samples and keeps the best checkpoint, where that was asked for."""

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
    """Records in a run's directory and on the terminal."""

    def __init__(
        self,
        run: Run,
        workdir: pathlib.Path,
        gan: states.GAN,
        start: int,
        chosen: selection.Selection | None = None,
        real: data.Dataset | None = None,
    ):
        """Opens the files.

        Args:
          run: what is trained.
          workdir: where.
          gan: its networks.
          start: the step it goes on from.
          chosen: evaluates and keeps the best checkpoint; None for neither.
          real: what samples are to be as varied as; None for no alarm.
        """
        config = run.config
        self._run, self._config, self._workdir = run, config, workdir
        self._chosen = chosen
        self._alarm = None if real is None else diversity.Alarm(real)
        self._generate = sampling.sampler(gan)
        self._grid_inputs = sampling.grid_inputs(gan, config.seed, config.num_samples)
        self._log = reporting.MetricsLog(workdir, start)
        self._timing = reporting.MetricsLog(workdir, start, filename='timing.jsonl')
        self._clock = Stopwatch(self._seconds_before())
        self._tensorboard = reporting.TensorBoard(workdir, start)
        limit = config.max_seconds
        self._progress = reporting.Progress(
            config.num_steps,
            start,
            config.batch_size,
            seconds_left=None if limit is None else lambda: limit - self._clock.seconds,
        )

    def update(self, step: int) -> None:
        """Moves the progress bar."""
        self._clock.start()
        self._progress.update(step)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Stops the clock of training."""
        return self._clock.paused()

    def time_is_up(self) -> bool:
        """Whether the clock has reached --max_seconds."""
        limit = self._config.max_seconds
        return limit is not None and self._clock.seconds >= limit

    def _seconds_before(self) -> float:
        columns = reporting.metrics_log.read(self._timing.path)
        return float(columns['seconds'][-1]) if len(columns['step']) else 0.0

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends to both logs and TensorBoard."""
        epoch = step * self._config.batch_size / self._run.num_examples
        self._log.write(step, {**values, 'epoch': round(epoch, 3)})
        self._tensorboard.scalars(step, values)
        self._progress.update(step, values)
        self._timing.write(
            step,
            {
                'seconds': round(self._clock.seconds, 3),
                'steps_per_second': self._progress.steps_per_second,
                'images_per_second': self._progress.images_per_second,
            },
        )

    def sample(self, step: int, state: TrainState) -> None:
        """Writes samples/step_*.png and curves.png."""
        images = np.asarray(self._generate(state.sampling_variables(), *self._grid_inputs))
        scale = reporting.visible_scale(images.shape[1])
        classes = self._run.num_classes if self._grid_inputs[1] is not None else None
        columns = min(classes, 16) if classes else None
        grid = reporting.grid(images, columns=columns, scale=scale)
        reporting.save_png(self._workdir / 'samples' / f'step_{step:07d}.png', grid)
        self._tensorboard.image(step, 'samples', reporting.grid(images, columns=columns))
        if step:
            self.curves()
        if self._alarm is not None and step and (message := self._alarm(step, images)):
            print(f'warning: {message}', flush=True)

    def evaluate(self, step: int, state: TrainState) -> None:
        """Writes evaluations.jsonl, evaluations.png and, where it is the best so far, best/."""
        if self._chosen is None:
            return
        values = self._chosen(step, state, self._clock.seconds)
        self._tensorboard.scalars(step, values)

    def curves(self) -> None:
        """Writes curves.png."""
        config = self._config
        title = f'{config.method}, {config.scheme}, {config.dataset}'
        reporting.save_curves(self._workdir, title=title)

    def close(self) -> None:
        """Closes the files."""
        for resource in (self._progress, self._tensorboard, self._timing, self._log):
            resource.close()


def summary(
    run: Run,
    workdir: pathlib.Path,
    dataset: data.Dataset,
    state: TrainState,
    devices: Sequence[jax.Device],
    start: int,
    flops: float | None,
) -> str:
    """What is printed before the first step, one screen of text.

    Args:
      run: what is trained.
      workdir: where.
      dataset: on what.
      state: anything of the run's structure.
      devices: of all processes.
      start: the step it goes on from, 0 at the beginning.
      flops: a step's, over all devices, where they are known.
    """
    config = run.config
    method = methods.get(config.method)
    rates = f'G {config.learning_rate_g:g}, D {config.learning_rate_d:g}'
    if config.decay_epochs:
        epochs = ' and '.join(map(str, config.decay_epochs))
        rates += f', times {config.decay_factor:g} after epoch {epochs}'
    size = f'{config.image_size}x{config.image_size}x{config.channels}'
    platform = f'{len(devices)} {devices[0].device_kind}'
    if jax.process_count() > 1:
        platform += f', in {jax.process_count()} processes'
    fields = [
        ('method', f'{config.method}: {method.title}, {config.loss} loss'),
        ('scheme', config.scheme),
        ('dataset', f'{dataset.name}, {len(dataset):,} images an epoch, {size}'),
        ('', dataset.report),
        (
            'networks',
            f'{config.network}, {config.discriminator_norm} norm in D, {config.precision}',
        ),
        ('parameters', f'G {_count(state.params_g)}, D {_count(state.params_d)}'),
        ('a step', f'{config.batch_size} real and as many fake images' + _flops(flops)),
        ('rates', f'{config.optimizer}, {rates}'),
        ('steps', _length(run)),
        ('devices', platform),
        ('workdir', str(workdir)),
        ('resumed', f'from step {start:,}' if start else None),
    ]
    return reporting.summary.summary(fields, title='osgan_jax: one run')


def _length(run: Run) -> str:
    config = run.config
    if config.max_seconds is not None:
        return f'as many as {config.max_seconds:g} s give'
    return f'{config.num_steps:,} ({config.num_steps / run.steps_per_epoch:.0f} epochs)'


def _count(params: Any) -> str:
    return reporting.summary.human(states.num_parameters(params))


def _flops(flops: float | None) -> str:
    return '' if flops is None else f', {reporting.summary.human(flops, "FLOP")}'
