"""The steps of a run in one process, and everything that happens between them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np

from osgan_jax import data
from osgan_jax.engine import checkpoints, nonfinite
from osgan_jax.engine.config import RunConfig
from osgan_jax.engine.job import Job
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.engine.recorder import Recorder
from osgan_jax.runtime import parallel, stopping

_PREFETCHED_BATCHES = 2
# Steps in a row that --skip_nonfinite leaves out before it gives up.
MOST_SKIPPED = 100


class Loop:
    """Makes a run's steps; logs, samples, evaluates and saves when these are due."""

    def __init__(
        self,
        job: Job,
        saved: checkpoints.Checkpoints,
        recorder: Recorder,
        start: int,
        skipped: tuple[int, int] = (0, 0),
    ):
        """Makes the loop of a run.

        Args:
          job: what is trained.
          saved: its checkpoints.
          recorder: keeps and shows its metrics, samples and scores.
          start: the step to go on from.
          skipped: number of skipped steps so far, and of those in a row at the end, see
            `osgan_jax.engine.nonfinite.skipping`.
        """
        self.job, self.config, self.saved, self.recorder = job, job.run.config, saved, recorder
        self.start = start
        self.skipped, self._skipped_in_a_row = skipped
        self.last_metrics: dict[str, float] = {}
        self.last_step = start
        # Steps, their metrics and, of some, which tensors are finite: all still on the device.
        self._pending: list[tuple[int, dict[str, Any], Any]] = []
        self._newest: Any = None

    def steps(
        self,
        update,
        state: Any,
        batches,
        asked_to_stop: Callable[[int], int],
        *,
        signal: Callable[[], int] = lambda: 0,
        end: int | None = None,
    ) -> Any:
        """Runs to the last step, or to one at which somebody asked it to stop.

        Args:
          update: the compiled update, `steps_per_call` steps a call.
          state: at the step to go on from.
          batches: the update's batches, on the devices.
          asked_to_stop: the processes' agreement at a step: a signal's number, TIME_IS_UP or 0.
          signal: the number of a signal that needs no agreement, 0 without one; always 0 where
            several processes train.
          end: the last step, by default the configured one.

        Raises:
          stopping.Stopped: after a signal, if something is left to be done.
          NonFiniteError: see `osgan_jax.engine.runner.run`.
        """
        config = self.config
        end = config.num_steps if end is None else end
        step, complete = self.start, True
        if step == 0:
            self._sample(0, state)
        elif self._is_due(step, step == end) and not self.recorder.is_evaluated(step):
            complete = self._evaluate(step, state, signal)  # a signal left no time for it
        if signal() and not (step == end and complete):
            raise stopping.Stopped(stopping.NO_STEP, signal())
        while step < end:
            state, metrics = update(state, self._next(step, state, batches))
            step += config.steps_per_call
            self._note(step, state, metrics)
            reason = asked_to_stop(step)
            last = step == end or reason == stopping.TIME_IS_UP
            if last or step % config.sample_every == 0:
                self._sample(step, state)
            # A signal's sender may not wait for minutes.
            complete = True
            if self._is_due(step, last) and (last or not reason):
                complete = self._evaluate(step, state, signal)
            reason = signal() or reason
            saves = last or step % config.save_every == 0 or bool(reason)
            if saves:
                self._save(step, state, batches, wait=last or bool(reason))
            self.last_step = step
            if last and complete:
                break
            if saves and (reason := signal() or reason):
                raise stopping.Stopped(
                    f'Stopped at step {step} of {config.num_steps}; saved. Run the same command '
                    'again to go on.',
                    reason,
                )
        self._settle()
        self.recorder.curves()
        return self._whole(state)

    def _is_due(self, step: int, last: bool = False) -> bool:
        every = self.config.eval_every
        return bool(every) and (last or step % every == 0)

    def _next(self, step: int, state: Any, batches) -> Any:
        try:
            return next(batches)
        except (ValueError, OSError):
            # Unreadable data are not a reason to lose the steps so far. Several processes
            # would have to save together, and the others have their data.
            if step > self.start and jax.process_count() == 1:
                self._save(step, state, batches, wait=True)
            raise

    def _note(self, step: int, state: Any, metrics: dict[str, Any]) -> None:
        """Keeps a call's metrics on the device and logs those that are due.

        The newest call's are left alone: reading them would make the host wait for the device, and
        the device then for the host.
        """
        logged = step % self.config.log_every == 0
        self._newest = state
        self._pending.append((step, metrics, nonfinite.finite_leaves(state) if logged else None))
        self.recorder.update(step)
        if any(s % self.config.log_every == 0 for s, *_ in self._pending[:-1]):
            self._settle(keep=1)

    def _settle(self, keep: int = 0) -> None:
        """Reads, checks and logs the pending metrics but the newest `keep`."""
        count = len(self._pending) - keep
        due, self._pending = self._pending[:count], self._pending[count:]
        for step, metrics, finite in jax.device_get(due):
            metrics = {name: np.atleast_1d(values) for name, values in metrics.items()}
            if 'skipped' in metrics:
                self._count_skipped(step, metrics)
            else:
                self._check_finite(step, metrics)
            if finite is not None and not finite.all():
                self._refuse(step, nonfinite.describe(self._newest, finite))
            values = {name: float(values[-1]) for name, values in metrics.items()}
            self.last_metrics = values
            if step % self.config.log_every == 0:
                self.recorder.metrics(step, values)

    def _check_finite(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        for name, values in metrics.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                at = step - len(values) + 1 + int(bad[0])
                raise NonFiniteError(
                    f'{name} became {values[bad[0]]} at step {at}. {self._tensors()}'
                    f'{self._outcome()}'
                )

    def _count_skipped(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Counts skipped steps, and turns each step's mark into the count up to it."""
        counts = []
        for at, skipped in enumerate(metrics['skipped'], step - len(metrics['skipped']) + 1):
            self.skipped += int(skipped)
            self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
            counts.append(self.skipped)
            if self._skipped_in_a_row == MOST_SKIPPED:
                bad = [name for name, values in metrics.items() if not np.isfinite(values).all()]
                what = f'{", ".join(bad)} not finite' if bad else 'new tensors not finite'
                raise NonFiniteError(
                    f'{MOST_SKIPPED} steps in a row up to step {at} were skipped, {what}. '
                    f'{self._tensors()}{self._outcome()}'
                )
        metrics['skipped'] = np.array(counts)

    def _tensors(self) -> str:
        """A sentence on the newest state's tensors that are not finite; empty without any."""
        bad = nonfinite.describe(self._newest)
        return f'By then not finite: {bad}. ' if bad else ''

    def _outcome(self) -> str:
        with contextlib.suppress(checkpoints.CheckpointError):
            self.saved.wait()  # one may be on its way
        newest = self.saved.latest_step()
        kept = 'nothing was saved yet'
        if newest is not None:
            kept = f'the checkpoint of step {newest} is kept'
        return f'The run in {self.job.workdir} is stopped and {kept}. {self.job.advice}'

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Waits for the steps so far, and stops the clock of training for the block."""
        self._settle()
        with self.recorder.paused():
            yield

    def _whole(self, state: Any) -> Any:
        return parallel.collect(state, self.job.devices)

    def _save(self, step: int, state: Any, batches, *, wait: bool) -> None:
        with self._aside():
            self._check_state(step, state)
            self.saved.save(
                step,
                self._whole(state),
                iterator_state=batches.get_state(),
                metadata={
                    'config': dataclasses.asdict(self.config.kept()),
                    'skipped': [self.skipped, self._skipped_in_a_row],
                    'seconds': self.recorder.seconds,
                },
                wait=wait,
            )

    def _sample(self, step: int, state: Any) -> None:
        with self._aside():
            self.recorder.sample(step, self._whole(state))

    def _evaluate(self, step: int, state: Any, signal: Callable[[], int]) -> bool:
        """Returns whether the evaluation was completed: a signal ends it."""

        def check() -> None:
            if signal():
                raise stopping.Abandoned

        with self._aside():
            self._check_state(step, state)  # it may be kept as the best
            try:
                self.recorder.evaluate(step, self._whole(state), check)
            except stopping.Abandoned:
                return False
        return True

    def _check_state(self, step: int, state: Any) -> None:
        if bad := nonfinite.describe(state):
            self._refuse(step, bad)

    def _refuse(self, step: int, tensors: str) -> NoReturn:
        raise NonFiniteError(f'{tensors} not finite at step {step}. {self._outcome()}')


class _Groups:
    """Lists of K batches, for a step of K batches or K steps a call."""

    def __init__(self, batches: data.Batches, count: int):
        self._batches, self._count = batches, count
        self.get_state = batches.get_state

    def __iter__(self) -> Iterator[list[dict[str, np.ndarray]]]:
        return self

    def __next__(self) -> list[dict[str, np.ndarray]]:
        return [next(self._batches) for _ in range(self._count)]


def feed(batches: data.Batches, config: RunConfig, devices: list[jax.Device]) -> data.Prefetch:
    """Moves batches to the devices ahead of the steps that take them."""
    for count in (config.batches_per_step, config.steps_per_call):
        batches = _Groups(batches, count) if count > 1 else batches
    return data.prefetch(
        batches,
        _PREFETCHED_BATCHES,
        lambda batch: data.to_float(parallel.put_batch(batch, devices)),
    )
