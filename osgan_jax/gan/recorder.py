"""The recorder of a GAN: sample grids and scores beside logs and curves."""

import pathlib
from collections.abc import Callable

import numpy as np

from osgan_jax import data, reporting
from osgan_jax.engine.recorder import FileRecorder
from osgan_jax.engine.runs import Run
from osgan_jax.gan import best_checkpoint, collapse, model, sampling
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.model import TrainState
from osgan_jax.io import atomic
from osgan_jax.networks import inference

# Metrics that progress shows first, and by which name.
_SHOWN = {
    'loss_d': 'loss_d',
    'loss_g': 'loss_g',
    'logit_real': 'real',
    'logit_fake': 'fake',
    'accuracy_d': 'accuracy_d',
    'augment_probability': 'augment',
    'overfitting': 'r_t',
}
# Those it leaves out: gamma jumps where c_d is near 0, and is not informative.
_UNSHOWN = ('gamma', 'floored')
# Shares of pairs of a real and a fake image that D ranks rightly.
_FAR_AHEAD, _FOOLED = 0.98, 0.5


def health(accuracy_d: float, *, alike: bool = False) -> str:
    """How training stands, in a word or two.

    Args:
      accuracy_d: share of pairs of a real and a fake image whose real one has the higher logit.
      alike: whether the last samples were far more alike than real images.
    """
    if alike:
        return 'samples alike'
    if accuracy_d >= _FAR_AHEAD:
        return 'D far ahead'
    return 'D fooled' if accuracy_d <= _FOOLED else 'balanced'


def shown(metrics: dict[str, float], *, alike: bool = False) -> dict[str, float | str]:
    """The metrics that progress shows, by the names it shows.

    Args:
      metrics: of a step.
      alike: as for `health`.

    Returns:
      Losses, mean logits and D's accuracy; further metrics; a word on the run's health.
    """
    found: dict[str, float | str] = {
        label: metrics[name] for name, label in _SHOWN.items() if name in metrics
    }
    found |= {
        name: value
        for name, value in metrics.items()
        if name not in _SHOWN and not name.startswith(_UNSHOWN)
    }
    if 'accuracy_d' in metrics:
        found['health'] = health(metrics['accuracy_d'], alike=alike)
    return found


class Watched:
    """The images that show how G trains, from the same latents and noise at every step.

    Attributes:
      columns: of their grid.
      labels: `[N]` of the images that tell whether G has collapsed; None if unconditional.
    """

    def __init__(self, gan: model.GAN, config: TrainConfig):
        """Draws their latents.

        Args:
          gan: the networks.
          config: the run's, resolved.
        """
        self._generate = inference.compile_generator(gan.generator)
        count, self.columns = sampling.grid_shape(gan.num_classes, config.num_samples)
        self._grid = sampling.grid_inputs(gan, config.seed, config.num_samples, count)
        self._judged = sampling.alarm_inputs(gan, config.seed, *self._grid)
        self.labels = None if self._judged[1] is None else np.asarray(self._judged[1])

    def grid(self, state: TrainState) -> np.ndarray:
        """The images of the grid, `[N, H, W, C]` in [-1, 1]."""
        return np.asarray(self._generate(state.sampling_variables(), *self._grid))

    def judged(self, state: TrainState, grid: np.ndarray) -> np.ndarray:
        """The images of `labels`, which may be those of the grid."""
        if self._judged[0] is self._grid[0]:
            return grid
        return np.asarray(self._generate(state.sampling_variables(), *self._judged))


class GANRecorder(FileRecorder):
    """Recorder of a GAN."""

    def __init__(
        self,
        run: Run,
        workdir: pathlib.Path,
        watched: Watched,
        start: int,
        *,
        title: str,
        chosen: best_checkpoint.BestCheckpoint | None = None,
        real: data.Dataset | None = None,
    ):
        """Opens the files.

        Args:
          run: what is trained.
          workdir: where.
          watched: the images that samples/ shows.
          start: the step it goes on from.
          title: over the curves.
          chosen: evaluates and keeps the best checkpoint; None without evaluations.
          real: the images that samples should be as varied as; None for no alarm.
        """
        self._watched, self._chosen = watched, chosen
        self._alarm = None if real is None else collapse.Alarm(real)
        self._diversity = None
        # Last, because it takes the terminal, and reading images may fail.
        super().__init__(run, workdir, start, title=title)
        if self._alarm is not None:
            name, every = 'diversity.jsonl', run.config.sample_every
            atomic.remove_unfinished(workdir / name)
            self._diversity = reporting.MetricsLog(workdir, start, filename=name, every=every)

    def sample(self, step: int, state: TrainState) -> None:
        """Writes samples/step_*.png, from fixed latents and noise, curves.png, diversity.jsonl."""
        images = self._watched.grid(state)
        self.grid(step, images, self._watched.columns)
        if self._alarm is None or not step:
            return
        images = self._watched.judged(state, images)
        message = self._alarm(step, images, self._watched.labels)
        if self._alarm.values:
            self._diversity.write(step, self._alarm.values)
            self.tensorboard.scalars(step, self._alarm.values)
        if message:
            print(f'warning: {message}', flush=True)

    def shown(self, values: dict[str, float]) -> dict[str, float | str]:
        """See `shown`."""
        return shown(values, alike=self._alarm is not None and self._alarm.is_low)

    def close(self) -> None:
        """Closes the files."""
        if self._diversity is not None:
            self._diversity.close()
        super().close()

    def is_evaluated(self, step: int) -> bool:
        """Whether evaluations.jsonl has this run's score of that step."""
        return self._chosen is None or self._chosen.has(step)

    def evaluate(
        self, step: int, state: TrainState, check: Callable[[], None] | None = None
    ) -> None:
        """Writes evaluations.jsonl, evaluations.png and, where it is the best so far, best/."""
        if self._chosen is None:
            return
        values = self._chosen(step, state, self.seconds, check)
        self.tensorboard.scalars(step, values)
