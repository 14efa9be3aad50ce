"""The recorder of a GAN: sample grids and scores beside logs and curves."""

import pathlib
from collections.abc import Callable

import numpy as np

from osgan_jax import data
from osgan_jax.engine.recorder import FileRecorder
from osgan_jax.engine.runs import Run
from osgan_jax.gan import best_checkpoint, collapse, model, sampling
from osgan_jax.gan.model import TrainState
from osgan_jax.networks import inference


class GANRecorder(FileRecorder):
    """Recorder of a GAN."""

    def __init__(
        self,
        run: Run,
        workdir: pathlib.Path,
        gan: model.GAN,
        start: int,
        chosen: best_checkpoint.BestCheckpoint | None = None,
        real: data.Dataset | None = None,
    ):
        """Opens the files.

        Args:
          run: what is trained.
          workdir: where.
          gan: its networks.
          start: the step it goes on from.
          chosen: evaluates and keeps the best checkpoint; None without evaluations.
          real: the images that samples should be as varied as; None for no alarm.
        """
        config = run.config
        title = f'{config.method}, {config.scheme}, {config.dataset}'
        self._chosen = chosen
        self._alarm = None if real is None else collapse.Alarm(real)
        self._generate = inference.compile_generator(gan.generator)
        self._grid_inputs = sampling.grid_inputs(gan, config.seed, config.num_samples)
        # Last, because it takes the terminal, and reading images may fail.
        super().__init__(run, workdir, start, title=title)

    def sample(self, step: int, state: TrainState) -> None:
        """Writes samples/step_*.png from fixed latents and curves.png."""
        images = np.asarray(self._generate(state.sampling_variables(), *self._grid_inputs))
        classes = self.run.num_classes if self._grid_inputs[1] is not None else None
        self.grid(step, images, min(classes, 16) if classes else None)
        if self._alarm is not None and step and (message := self._alarm(step, images)):
            print(f'warning: {message}', flush=True)

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
