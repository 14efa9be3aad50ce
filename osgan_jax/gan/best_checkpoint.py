"""The best checkpoint of a run that scores itself while it trains."""

import pathlib
import time
from collections.abc import Callable

from osgan_jax import data
from osgan_jax.engine import checkpoints, messages, runs
from osgan_jax.gan import model
from osgan_jax.gan.model import TrainState
from osgan_jax.io import own_code

_DIRECTORY = 'best'


class BestCheckpoint:
    """Scores a run's samples at intervals and keeps the checkpoint with the best score.

    `workdir/best` is itself a run's directory, to sample from and to evaluate. `--keep` does not
    remove it.
    """

    def __init__(
        self,
        run: runs.Run,
        workdir: pathlib.Path,
        gan: model.GAN,
        dataset: data.Dataset,
        *,
        check: Callable[[], None],
        warn: Callable[[str], None],
    ):
        """Prepares the extractor and the real images' statistics: minutes, the first time.

        Args:
          run: the run.
          workdir: its directory.
          gan: its networks.
          dataset: the real images.
          check: called at short intervals; an exception of its ends the preparation.
          warn: called with a sentence about a cache or a best checkpoint that cannot be used.

        Raises:
          ValueError: for a dataset without labels and no Inception weights, or unusable weights.
        """
        from osgan_jax.evaluation import evaluators

        config = run.config
        extractor = evaluators.extractor_for(
            dataset,
            inception_weights=config.inception_weights,
            dinov2_weights=config.dinov2_weights,
            convention=config.convention,
            classifier=config.classifier,
            progress=messages.Countdown('Training a classifier to score by, {} steps', check),
            warn=warn,
        )
        self._evaluator = evaluators.Evaluator(
            gan,
            dataset,
            extractor,
            metrics=('fid',),
            num_samples=config.eval_samples,
            seed=config.seed,
            label_policy=config.label_policy,
            real_progress=messages.Countdown('Reading {} real images', check),
            warn=warn,
        )
        self._run, self._workdir, self._warn = run, workdir, warn
        if self._evaluator.few:
            warn(f'{self._evaluator.few}.')

    def has(self, step: int) -> bool:
        """Whether the run's directory holds the score of a step already."""
        return step in dict(self._scores())

    def __call__(
        self,
        step: int,
        state: TrainState,
        seconds: float,
        check: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Evaluates, records the scores, and saves if no earlier score is as good.

        Args:
          step: number of finished updates.
          state: after them.
          seconds: of training so far.
          check: called before each batch of samples; an exception of its ends the evaluation, and
            nothing of it is kept.

        Returns:
          The scores by name.
        """
        from osgan_jax.evaluation import score_log, score_plot, score_text

        began = time.monotonic()
        name = self._evaluator.headline
        before = [score for earlier, score in self._scores() if earlier < step]
        if not before:
            before = self._score_kept(step, check)
        metrics = self._evaluator(state.sampling_variables(), check)
        best = not before or metrics[name] < min(before)
        if best:
            self._keep(step, state)
        # Last: a step that has a line is not evaluated again.
        entry = self._evaluator.entry(step, round(seconds, 3), metrics)
        score_log.write(self._workdir, entry)
        score_plot.draw(self._workdir)
        print(
            f'step {step}: {score_text.in_one_line(entry, name)} of {score_log.count(entry)} in '
            f'{time.monotonic() - began:.1f} s{", the best so far" if best else ""}',
            flush=True,
        )
        return metrics

    def _scores(self) -> list[tuple[int, float]]:
        """Steps and scores that compare with this run's."""
        from osgan_jax.evaluation import score_log

        return score_log.scores(self._workdir, self._evaluator.headline, self._evaluator.about)

    def _score_kept(self, step: int, check: Callable[[], None] | None) -> list[float]:
        """The score of an earlier best checkpoint that was chosen by another measure, if any.

        For instance by fewer samples: it is scored anew before a later one may replace it.
        """
        from osgan_jax.evaluation import score_log
        from osgan_jax.gan import sampling

        try:
            config = self._run.config
            networks = config.network if own_code.is_own(config.network) else None
            kept = sampling.Sampler(
                self._workdir / _DIRECTORY, kinds=(type(config),), networks=networks
            )
        except FileNotFoundError:
            return []
        except (ValueError, OSError, checkpoints.CheckpointError) as error:
            self._warn(f'the best checkpoint so far cannot be scored: {error}')
            return []
        if kept.step >= step:
            return []
        metrics = self._evaluator(kept.variables, check)
        score_log.write(self._workdir, self._evaluator.entry(kept.step, None, metrics))
        return [metrics[self._evaluator.headline]]

    def _keep(self, step: int, state: TrainState) -> None:
        best = self._workdir / _DIRECTORY
        with checkpoints.Checkpoints(best, keep=1) as saved:
            newest = saved.latest_step()
            # A resumed run repeats steps, and the kept checkpoint may be of a later one.
            if newest is None or newest < step:
                runs.write(best, self._run)
                saved.save(step, state, wait=True)
