r"""A process that measures cases, one after the other, as `scheduler` tells it to.

Lines of JSON. It is told `{"do": "prepare", "case": {...}}` and `{"do": "measure"}`, and says
`ready` (with the machine), `prepared` and `done`. Rows go to the store as soon as there are any.
What it and its libraries print goes to stderr. It ends when its scheduler does.
"""

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from experiments import outcomes
from experiments.benchmark.suite.plan import Case, SkippedError
from experiments.benchmark.suite.store import Save, Store
from osgan_jax.io import messages


class Bench(Protocol):
    """What measures cases."""

    def machine(self) -> dict[str, Any]:
        """The device and the versions of the libraries."""

    def prepare(self, case: Case, save: Save) -> Any:
        """Compiles what a case needs. Others may compute meanwhile.

        Args:
          case: what to measure.
          save: keeps the rows so far.

        Returns:
          The argument of `measure`.
        """

    def measure(self, prepared: Any, save: Save) -> dict[str, Any]:
        """Measures, while nobody else uses the device, and saves rows.

        Returns:
          What holds for all rows.
        """


def serve(bench: Bench, store: Store, told: Any, say: Callable[..., None]) -> None:
    """Measures cases until told to end.

    Args:
      bench: what measures.
      store: where results go.
      told: iterator of commands.
      say: reports, `(what, **more)`.
    """
    say('ready', machine=bench.machine())
    for command in told:
        case = Case.from_json(command['case'])
        result = {'status': 'running', 'reason': '', 'rows': []}

        def save(rows, result=result, case=case):
            result['rows'] = rows
            store.write(case.name, result)

        save([])
        exhausted = False
        try:
            prepared = bench.prepare(case, save)
            say('prepared')
            next(told)
            result |= bench.measure(prepared, save)
            result['status'] = 'done'
        except SkippedError as error:
            result |= {'status': 'skipped', 'reason': messages.reason(error)}
        except Exception as error:
            traceback.print_exc()
            exhausted = outcomes.is_exhausted(error)
            status = 'out of memory' if exhausted else 'failed'
            result |= {'status': status, 'reason': messages.reason(error)}
        prepared = None  # what it holds is the next case's to use
        store.write(case.name, result)
        # What it took of the device's memory is the process's as long as that lives.
        last = exhausted or case.kind == 'growth'
        say('done', last=last)
        if last:
            return


def main(bench: Callable[[], Bench], directory: str) -> None:
    """Serves the scheduler that started this process.

    Args:
      bench: makes what measures, once output is where it belongs.
      directory: the store's.
    """
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def say(what: str, **more: Any) -> None:
        replies.write(json.dumps({'is': what, **more}) + '\n')
        replies.flush()

    commands: queue.Queue = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        os._exit(1)  # the scheduler is gone, or wants this process to be

    threading.Thread(target=listen, daemon=True).start()
    serve(bench(), Store(directory), iter(commands.get, None), say)


if __name__ == '__main__':
    from experiments.benchmark.suite import measuring

    main(measuring.AcceleratorBench, sys.argv[1])
