"""Runs a suite, or reports on one that ran."""

import dataclasses
import datetime
import os
import pathlib
import sys
from collections.abc import Sequence

from experiments.benchmark.suite import environment, plan, scheduler, summary
from experiments.benchmark.suite.store import Store

# Of the budget: the report, and the end of workers.
_REPORT_SECONDS = 10.0


def run(directory: pathlib.Path, *, scale: str, budget: float, argv: Sequence[str]) -> None:
    """Measures all cases that fit into the budget and writes the report.

    This process leaves the accelerator alone, so that its workers have it.

    Args:
      directory: results, and the report beside them.
      scale: see `plan.cases`.
      budget: seconds for everything.
      argv: the flags, as typed.

    Raises:
      ValueError: if the directory holds something else, or no worker starts.
    """
    store = Store(directory)
    known = {'cases', 'logs', 'plan.json', summary.REPORT, summary.RESULTS}
    known |= {summary.RATIOS, summary.RATES}
    if directory.exists() and set(os.listdir(directory)) - known:
        raise ValueError(
            f'{directory}: holds other files than a suite writes; give --out a directory of its own'
        )
    store.start(
        {
            'date': datetime.datetime.now().isoformat(' ', 'minutes'),
            'command': ['python', '-m', 'experiments.benchmark', *argv],
            'scale': scale,
            'budget': budget,
            'cases': [dataclasses.asdict(case) for case in plan.cases(scale)],
        }
    )
    try:
        scheduler.Scheduler(
            store,
            [sys.executable, '-m', 'experiments.benchmark.suite.worker', str(directory)],
            budget=max(budget - _REPORT_SECONDS, budget / 2),
            most_workers=environment.workers,
            environment=environment.variables(scale),
            say=lambda line: print(line, flush=True),
        ).run()
    finally:
        report(directory)


def report(directory: pathlib.Path) -> None:
    """Writes and prints the report on what a directory holds.

    Raises:
      ValueError: if that is no suite.
    """
    store = Store(directory)
    written = summary.write(store)
    print(summary.text(store.plan(), store.results()))
    print(f'{summary.counts(store.results())}. Written: {", ".join(map(str, written))}', flush=True)
