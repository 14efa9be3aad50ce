"""Evaluation while a run trains, and its best checkpoint."""

import pathlib
import time
from collections.abc import Callable

from osgan_jax import data
from osgan_jax.engine import checkpoints, runs
from osgan_jax.gan import model
from osgan_jax.gan.model import TrainState

_DIRECTORY = 'best'


class Selection:
    """Scores a run's samples now and then and keeps the checkpoint with the best score.

    That checkpoint lies in `workdir/best`, a run's directory like any other for sampling and
    evaluation, and outlives those that `--keep` removes.
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
          run: what is trained.
          workdir: where.
          gan: its networks.
          dataset: the real images.
          check: called now and then; what it raises ends the preparation.
          warn: called with what went wrong with a cache or the best checkpoint.

        Raises:
          ValueError: for a dataset without labels and no Inception weights, or unusable weights.
        """
        from osgan_jax.evaluation import evaluators

        def progress(done: int, count: int) -> None:
            del done, count
            check()

        config = run.config
        extractor = evaluators.extractor_for(
            dataset,
            inception_weights=config.inception_weights,
            convention=config.convention,
            progress=progress,
            warn=warn,
        )
        self._evaluator = evaluators.evaluator(
            gan,
            dataset,
            extractor,
            metrics=('fid',),
            num_samples=config.eval_samples,
            seed=config.seed,
            real_progress=progress,
            warn=warn,
        )
        self._run, self._workdir, self._warn = run, workdir, warn

    def has(self, step: int) -> bool:
        """Whether the run's directory has the score that a call would give for a step."""
        return step in dict(self._scores())

    def __call__(
        self,
        step: int,
        state: TrainState,
        seconds: float,
        check: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Evaluates, records and, if nothing before was better, saves.

        Args:
          step: number of finished updates.
          state: after them.
          seconds: training has taken so far.
          check: called before each batch of samples; what it raises ends the evaluation, of which
            nothing is kept then.

        Returns:
          The metrics.
        """
        from osgan_jax.evaluation import score_log

        began = time.monotonic()
        name, about = self._evaluator.headline, self._evaluator.about
        before = [score for earlier, score in self._scores() if earlier < step]
        if not before:
            before = self._score_kept(step, check)
        metrics = self._evaluator(state.sampling_variables(), check)
        best = not before or metrics[name] < min(before)
        if best:
            self._keep(step, state)
        # Last, because a step that has a line is not evaluated again.
        score_log.write(
            self._workdir, {'step': step, 'seconds': round(seconds, 3), **metrics, **about}
        )
        score_log.plot(self._workdir)
        print(
            f'step {step}: {name} {metrics[name]:.4g} of {about["num_samples"]:,} '
            f'samples in {time.monotonic() - began:.1f} s{", the best so far" if best else ""}',
            flush=True,
        )
        return metrics

    def _scores(self) -> list[tuple[int, float]]:
        """Steps and the scores that can be compared with this run's."""
        from osgan_jax.evaluation import score_log

        return score_log.scores(self._workdir, self._evaluator.headline, self._evaluator.about)

    def _score_kept(self, step: int, check: Callable[[], None] | None) -> list[float]:
        """The score of an earlier best checkpoint that was chosen by another score, if any.

        Such as by that of fewer samples: what was kept is not given up unheard.
        """
        from osgan_jax.evaluation import score_log
        from osgan_jax.gan import sampling

        try:
            kept = sampling.Sampler(self._workdir / _DIRECTORY, kinds=(type(self._run.config),))
        except FileNotFoundError:
            return []
        except (ValueError, OSError, checkpoints.CheckpointError) as error:
            self._warn(f'the best checkpoint so far cannot be scored: {error}')
            return []
        if kept.step >= step:
            return []
        metrics = self._evaluator(kept.variables, check)
        entry = {'step': kept.step, 'seconds': None, **metrics, **self._evaluator.about}
        score_log.write(self._workdir, entry)
        return [metrics[self._evaluator.headline]]

    def _keep(self, step: int, state: TrainState) -> None:
        best = self._workdir / _DIRECTORY
        with checkpoints.Checkpoints(best, keep=1) as saved:
            newest = saved.latest_step()
            # After an interruption steps are made again, and a later one may have been better.
            if newest is None or newest < step:
                runs.write(best, self._run)
                saved.save(step, state, wait=True)
