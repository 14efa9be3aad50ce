"""Workers that share one device: they compile at the same time and measure one at a time."""

import contextlib
import json
import os
import pathlib
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.benchmark.suite import store as stores
from experiments.benchmark.suite.plan import Case
from osgan_jax.io import messages

_START_SECONDS = 120.0
# Less is not worth beginning a case.
_LEAST_SECONDS = 10.0
_MOST_FAILED_STARTS = 2


class _Worker:
    """A process with its case, and the time that it has been at work on it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, 'ab') as file:
            # A group of its own: compilers that it starts end with it.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.phase = 'starting'  # then idle, preparing, waiting, measuring
        self.case: Case | None = None
        self.log = log
        self._spent, self._since = 0.0, time.monotonic()
        self._read = b''

    @property
    def limit(self) -> float:
        return _START_SECONDS if self.case is None else self.case.limit

    def spent(self) -> float:
        """Seconds at work on the case; waiting for others is not work."""
        working = self.phase in ('starting', 'preparing', 'measuring')
        return self._spent + (time.monotonic() - self._since if working else 0.0)

    def turn(self, phase: str) -> None:
        self._spent, self._since = self.spent(), time.monotonic()
        self.phase = phase

    def tell(self, command: Mapping[str, Any]) -> None:
        # If it is gone its output has ended, which is noticed there.
        with contextlib.suppress(OSError):
            self.process.stdin.write((json.dumps(command) + '\n').encode())
            self.process.stdin.flush()

    def begin(self, case: Case, as_json: Mapping[str, Any]) -> None:
        self.case, self._spent = case, 0.0
        self._since, self.phase = time.monotonic(), 'preparing'
        self.tell({'do': 'prepare', 'case': as_json})

    def read(self) -> list[dict[str, Any]] | None:
        """What it has said since; None at its end."""
        found = os.read(self.process.stdout.fileno(), 2**16)
        if not found:
            return None
        *lines, self._read = (self._read + found).split(b'\n')
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Ends it and what it started; returns its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # unsent words
                stream.close()
        return self.process.wait()


class Scheduler:
    """Runs cases in workers until all are done or the time is up."""

    def __init__(
        self,
        store: stores.Store,
        command: Sequence[str],
        *,
        budget: float,
        most_workers: Callable[[Mapping[str, Any]], int],
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ):
        """Makes a scheduler.

        Args:
          store: the results'; its plan holds the cases.
          command: starts a worker, see `worker.main`.
          budget: seconds for everything.
          most_workers: how many may compile at a time, a function of the machine.
          environment: variables of the workers.
          say: takes a line about each case.
        """
        self._store, self._command, self._say = store, command, say
        self._deadline = time.monotonic() + budget
        self._most_workers, self._most = most_workers, 1
        self._environment = environment or {}
        self._json = {case['name']: case for case in store.plan()['cases']}
        self._left = [Case.from_json(case) for case in store.plan()['cases']]
        self._workers: list[_Worker] = []
        self._failed_starts = self._started = 0
        self._machine: Mapping[str, Any] | None = None
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Runs the cases; the store has the results.

        Raises:
          ValueError: if no worker starts.
        """
        try:
            while self._left or any(worker.case for worker in self._workers):
                if self._seconds_left() <= 0:
                    for worker in [worker for worker in self._workers if worker.case]:
                        self._settle(worker, 'timed out', "the suite's time was up")
                    return
                self._assign()
                self._listen()
                self._check_limits()
        finally:
            for worker in list(self._workers):
                self._end(worker)
            self._selector.close()

    def _seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def _in(self, *phases: str) -> list[_Worker]:
        return [worker for worker in self._workers if worker.phase in phases]

    def _assign(self) -> None:
        if self._in('measuring'):
            return
        waiting, preparing = self._in('waiting'), self._in('preparing')
        # Whoever is ready is measured before others begin to compile.
        if waiting and not preparing:
            self._measure(waiting)
        elif not waiting:
            for worker in self._in('idle'):
                if not self._left or self._seconds_left() < _LEAST_SECONDS:
                    break
                case = self._left.pop(0)
                worker.begin(case, self._json[case.name])
        if self._seconds_left() < _LEAST_SECONDS:
            self._left.clear()
        wanted = min(self._most, len(self._left) + sum(1 for w in self._workers if w.case))
        while len(self._workers) < wanted:
            self._start()

    def _measure(self, waiting: Sequence[_Worker]) -> None:
        # What grows comes last, and then has the device's memory to itself as far as may be.
        worker = min(waiting, key=lambda worker: worker.case.kind == 'growth')
        if worker.case.kind == 'growth':
            for other in self._in('idle'):
                self._end(other)
        worker.turn('measuring')
        worker.tell({'do': 'measure'})

    def _start(self) -> None:
        log = self._store.directory / 'logs' / f'worker_{self._started}.txt'
        self._started += 1
        worker = _Worker(self._command, self._environment, log)
        self._workers.append(worker)
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _listen(self) -> None:
        ends = [worker.limit - worker.spent() for worker in self._workers]
        timeout = max(0.0, min([self._seconds_left(), 1.0, *ends]))
        for key, _ in self._selector.select(timeout):
            worker = key.data
            said = worker.read()
            if said is None:
                self._lost(worker)
                continue
            for words in said:
                self._hear(worker, words)

    def _hear(self, worker: _Worker, words: Mapping[str, Any]) -> None:
        if words['is'] == 'ready':
            self._failed_starts = 0
            if self._machine is None:
                self._machine = words['machine']
                self._store.amend(machine=self._machine)
                self._most = self._most_workers(self._machine)
                self._say(', '.join(f'{key} {value}' for key, value in self._machine.items()))
            worker.turn('idle')
        elif words['is'] == 'prepared':
            worker.turn('waiting')
        elif words['is'] == 'done':
            worker.turn('idle')
            self._note(worker)
            if words['last']:
                self._end(worker)

    def _note(self, worker: _Worker) -> None:
        """Says what became of a worker's case, and forgets it."""
        name, worker.case = worker.case.name, None
        result = self._store.read(name)
        self._store.write(name, {**result, 'seconds': round(worker.spent(), 1)})
        reason = f' ({result["reason"]})' if result['reason'] else ''
        self._say(f'{name}: {result["status"]} in {worker.spent():.0f} s{reason}')

    def _lost(self, worker: _Worker) -> None:
        """A worker whose output has ended: all is well if it had nothing to do."""
        phase, case = worker.phase, worker.case
        code = self._end(worker)
        if phase == 'starting':
            self._failed_start(worker, f'exit code {code}')
        elif case is not None:
            self._settle(worker, 'died', f'exit code {code}, see {worker.log}')

    def _check_limits(self) -> None:
        for worker in list(self._workers):
            if worker.spent() < worker.limit:
                continue
            if worker.phase == 'starting':
                self._end(worker)
                self._failed_start(worker, f'not ready after {worker.limit:g} s')
            elif worker.case is not None:
                doing = 'compiling' if worker.phase == 'preparing' else 'measuring'
                self._settle(worker, 'timed out', f'{doing}, after {worker.limit:g} s')

    def _failed_start(self, worker: _Worker, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS:
            lines = worker.log.read_text(errors='replace').strip().splitlines() or ['']
            last = messages.one_line(lines[-1])
            raise ValueError(f'the measuring process does not start ({why}): {last}')

    def _settle(self, worker: _Worker, status: str, reason: str) -> None:
        """Ends a worker, and sets the status of its case."""
        self._end(worker)
        self._store.settle(worker.case.name, status, reason)
        self._note(worker)

    def _end(self, worker: _Worker) -> int:
        if worker not in self._workers:
            return worker.process.returncode
        self._workers.remove(worker)
        self._selector.unregister(worker.process.stdout)
        return worker.end()
