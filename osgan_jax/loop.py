"""The steps of one process's share of a run, and everything that happens between them."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from osgan_jax import checkpoints, data, interruption, parallel, recording, runs
from osgan_jax.configuration import RunConfig

_PREFETCHED_BATCHES = 2


class NonFiniteError(RuntimeError):
    """A loss or a parameter became NaN or infinite; the message names it and the step."""


class Loop:
    """Makes a run's steps; logs, samples, evaluates and saves when it is time to."""

    def __init__(
        self,
        run: runs.Run,
        workdir: pathlib.Path,
        saved: checkpoints.Checkpoints,
        records: recording.Records,
        start: int,
        advice: str,
    ):
        """Takes up a run.

        Args:
          run: what is trained.
          workdir: where.
          saved: its checkpoints.
          records: what is to be kept of it.
          start: the step to go on from.
          advice: how a person may go on after a number is no longer finite.
        """
        self.config, self.workdir, self.saved, self.records = run.config, workdir, saved, records
        self.start = start
        self._advice = advice
        self.last_metrics: dict[str, float] = {}
        self._pending: list[tuple[int, dict[str, Any]]] = []

    def __enter__(self) -> 'Loop':
        return self

    def __exit__(self, *unused) -> None:
        self.records.close()

    def steps(self, update, state: Any, batches, asked_to_stop: Callable[[int], int]) -> Any:
        """Runs to the last step, or to one at which `asked_to_stop(step)` is not 0.

        Raises:
          interruption.Stopped: if that was a signal's number and steps are left.
          NonFiniteError: see `osgan_jax.jobs.carry_out`.
        """
        config = self.config
        step = self.start
        if step == 0:
            self._sample(0, state)
        while step < config.num_steps:
            state, metrics = update(state, next(batches))
            step += config.steps_per_call
            self._note(step, metrics)
            reason = asked_to_stop(step)
            last = step == config.num_steps or reason == interruption.TIME_IS_UP
            if last or step % config.sample_every == 0:
                self._sample(step, state)
            if config.eval_every and (last or step % config.eval_every == 0):
                self._evaluate(step, state)
            if last or step % config.save_every == 0 or reason:
                self._save(step, state, batches, wait=last or bool(reason))
            if last:
                break
            if reason:
                raise interruption.Stopped(
                    f'Stopped at step {step} of {config.num_steps}; saved. Run the same command '
                    'again to go on.',
                    reason,
                )
        self._settle()
        self.records.curves()
        return state

    def _note(self, step: int, metrics: dict[str, Any]) -> None:
        """Keeps a call's metrics on the device and logs those that are due.

        The newest call's are left alone: reading them would make the host wait for the device, and
        the device then for the host.
        """
        self._pending.append((step, metrics))
        self.records.update(step)
        if any(s % self.config.log_every == 0 for s, _ in self._pending[:-1]):
            self._settle(keep=1)

    def _settle(self, keep: int = 0) -> None:
        """Reads, checks and logs the pending metrics but the newest `keep`."""
        count = len(self._pending) - keep
        due, self._pending = self._pending[:count], self._pending[count:]
        for step, metrics in jax.device_get(due):
            for name, values in metrics.items():
                self._check_finite(step, name, np.atleast_1d(values))
            values = {name: float(np.atleast_1d(v)[-1]) for name, v in metrics.items()}
            self.last_metrics = values
            if step % self.config.log_every == 0:
                self.records.metrics(step, values)

    def _check_finite(self, step: int, name: str, values: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            at = step - len(values) + 1 + int(bad[0])
            raise NonFiniteError(f'{name} became {values[bad[0]]} at step {at}. {self._way_out()}')

    def _way_out(self) -> str:
        newest = self.saved.latest_step()
        kept = f'the checkpoint of step {newest} is kept' if newest else 'nothing was saved yet'
        return f'The run in {self.workdir} is stopped and {kept}. {self._advice}'

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """For what is no training: waits for the steps so far and stops the clock meanwhile."""
        self._settle()
        with self.records.paused():
            yield

    def _save(self, step: int, state: Any, batches, *, wait: bool) -> None:
        with self._aside():
            networks = state.networks()
            if not bool(_all_finite(networks)):
                bad = [
                    jax.tree_util.keystr(path)
                    for path, leaf in jax.tree_util.tree_leaves_with_path(networks)
                    if not np.isfinite(np.asarray(leaf)).all()
                ]
                more = f' and {len(bad) - 3} more' if len(bad) > 3 else ''
                raise NonFiniteError(
                    f'{", ".join(bad[:3])}{more} not finite at step {step}. {self._way_out()}'
                )
            self.saved.save(
                step,
                state,
                iterator_state=batches.get_state(),
                metadata={'config': dataclasses.asdict(self.config)},
                wait=wait,
            )

    def _sample(self, step: int, state: Any) -> None:
        with self._aside():
            self.records.sample(step, state)

    def _evaluate(self, step: int, state: Any) -> None:
        with self._aside():
            self.records.evaluate(step, state)


class _Groups:
    """Lists of K batches, for K steps a call."""

    def __init__(self, batches: data.Batches, count: int):
        self._batches, self._count = batches, count
        self.get_state = batches.get_state

    def __iter__(self) -> Iterator[list[dict[str, np.ndarray]]]:
        return self

    def __next__(self) -> list[dict[str, np.ndarray]]:
        return [next(self._batches) for _ in range(self._count)]


def feed(batches: data.Batches, config: RunConfig, devices: list[jax.Device]) -> data.Prefetch:
    """Moves batches to the devices ahead of the steps that take them."""
    if config.steps_per_call > 1:
        batches = _Groups(batches, config.steps_per_call)
    return data.prefetch(
        batches, _PREFETCHED_BATCHES, lambda batch: parallel.put_batch(batch, devices)
    )


_all_finite = jax.jit(parallel.all_finite)
