"""The recorder of a teacher or a student."""

import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np

from osgan_jax.core import classifier_inputs
from osgan_jax.distillation.classifiers import Accuracy
from osgan_jax.distillation.learners import Learner, State
from osgan_jax.engine.recorder import FileRecorder
from osgan_jax.engine.runs import Run
from osgan_jax.evaluation import score_log, score_plot
from osgan_jax.gan import sampling

# Between two printed accuracies; evaluations.jsonl has all of them.
_EVERY_SECONDS = 10.0


class DistillRecorder(FileRecorder):
    """Recorder of a classifier, and of the generator where there is one."""

    def __init__(
        self,
        run: Run,
        workdir: pathlib.Path,
        start: int,
        *,
        title: str,
        accuracy: Accuracy | None,
        generator: Learner | None,
        flops: float | None,
    ):
        """Opens the files.

        Args:
          run: what is trained.
          workdir: where.
          start: the step it goes on from.
          title: over the curves.
          accuracy: measures the classifier; None without test images.
          generator: its samples are shown; None without one.
          flops: a step's, over all devices; None where they are not known.
        """
        super().__init__(run, workdir, start, title=title)
        self._accuracy, self._flops = accuracy, flops
        self._printed = -_EVERY_SECONDS
        self._unprinted = ''
        self._generate = None
        if generator is not None:
            config, module = run.config, generator.module.clone(axis_name=None)
            self._z = sampling.fixed_latents(config.seed, config.num_samples, config.latent_dim)

            def generate(variables, z):
                images = module.apply(variables, z, train=False)
                return classifier_inputs.unstandardise(images, config.mean, config.std)

            self._generate = jax.jit(generate)

    def sample(self, step: int, state: State) -> None:
        """Writes the generator's samples of fixed latents, and the curves."""
        if self._generate is not None:
            self.grid(step, np.asarray(self._generate(state.generator.variables, self._z)))
        elif step:
            self.curves()

    def is_evaluated(self, step: int) -> bool:
        """Whether evaluations.jsonl has this run's accuracy of that step."""
        if self._accuracy is None:
            return True
        scores = score_log.scores(self.workdir, 'accuracy', self._accuracy.about)
        return step in dict(scores)

    def evaluate(self, step: int, state: State, check: Callable[[], None] | None = None) -> None:
        """Writes the accuracy to evaluations.jsonl, with its cost so far."""
        if self._accuracy is None:
            return
        accuracy = self._accuracy(state.student.variables, check)
        entry = {
            'step': step,
            'seconds': round(self.seconds, 3),
            'flops': None if self._flops is None else self._flops * step,
            'accuracy': accuracy,
            **self._accuracy.about,
            'seed': self.run.config.seed,
        }
        score_log.write(self.workdir, entry)
        score_plot.draw(self.workdir)
        self.tensorboard.scalars(step, {'accuracy': accuracy})
        line = f'step {step}: accuracy {accuracy:.4f} on {self._accuracy.count:,} test images'
        if time.monotonic() - self._printed >= _EVERY_SECONDS:
            self._print(line)
        else:
            self._unprinted = line

    def close(self) -> None:
        """Prints the last accuracy and closes the files."""
        if self._unprinted:
            self._print(self._unprinted)
        super().close()

    def _print(self, line: str) -> None:
        print(line, flush=True)
        self._printed, self._unprinted = time.monotonic(), ''
