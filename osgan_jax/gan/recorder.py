"""What a GAN's training run leaves for a person: sample grids and scores beside logs and curves."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.engine import recorder
from osgan_jax.engine.runs import Run
from osgan_jax.gan import best_checkpoint, collapse, methods, model, sampling
from osgan_jax.gan.model import TrainState
from osgan_jax.networks import inference


class GANRecords(recorder.Written):
    """Records of a GAN."""

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
          chosen: evaluates and keeps the best checkpoint; None for neither.
          real: what samples are to be as varied as; None for no alarm.
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
        """Whether evaluations.jsonl has the score that this run makes of that step."""
        return self._chosen is None or self._chosen.has(step)

    def evaluate(
        self, step: int, state: TrainState, check: Callable[[], None] | None = None
    ) -> None:
        """Writes evaluations.jsonl, evaluations.png and, where it is the best so far, best/."""
        if self._chosen is None:
            return
        values = self._chosen(step, state, self.seconds, check)
        self.tensorboard.scalars(step, values)


def summary(
    run: Run,
    workdir: pathlib.Path,
    dataset: data.Dataset,
    state: TrainState,
    devices: Sequence[jax.Device],
    start: int,
    flops: float | None,
    about: Sequence[tuple[str, str]] = (),
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
      about: further names and values, after the scheme.
    """
    config = run.config
    method = methods.get(config.method)
    rates = f'G {config.learning_rate_g:g}, D {config.learning_rate_d:g}'
    if config.decay_epochs:
        epochs = ' and '.join(map(str, config.decay_epochs))
        rates += f', times {config.decay_factor:g} after epoch {epochs}'
    norm = 'no' if config.discriminator_norm == 'none' else config.discriminator_norm
    size = f'{config.image_size}x{config.image_size}x{config.channels}'
    fields = [
        ('method', f'{config.method}: {method.title}, {config.loss} loss'),
        ('scheme', config.scheme),
        *about,
        ('dataset', f'{dataset.name}, {len(dataset):,} images an epoch, {size}'),
        ('', dataset.report),
        (
            'networks',
            f'{config.network}, {norm} norm in D, {config.precision}',
        ),
        ('parameters', f'G {_count(state.params_g)}, D {_count(state.params_d)}'),
        (
            'a step',
            f'{config.batch_size} real and as many fake images' + recorder.count_flops(flops),
        ),
        ('rates', f'{config.optimizer}, {rates}'),
        ('steps', recorder.length(run)),
        ('devices', recorder.platform(devices)),
        ('workdir', str(workdir)),
        ('resumed', f'from step {start:,}' if start else None),
    ]
    return reporting.summary.summary(fields, title='osgan_jax: one run')


def _count(params: Any) -> str:
    return reporting.summary.human(model.num_parameters(params))
