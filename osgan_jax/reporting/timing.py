"""The times of a run's steps: timing.jsonl, a line every so many steps."""

import os
import pathlib

import numpy as np

from osgan_jax.reporting import metrics_log

FILE = 'timing.jsonl'


def seconds_until(workdir: str | os.PathLike[str], step: int) -> float | None:
    """Seconds of training until a step.

    Between two lines of the log they grow evenly, and after the last one at the pace until there.

    Args:
      workdir: the run's directory.
      step: number of finished updates.

    Returns:
      Seconds, to the millisecond; None where the log is missing, empty or out of order. A line
      without a finite number is passed over.
    """
    try:
        log = metrics_log.read(pathlib.Path(workdir) / FILE)
        usable = np.isfinite(log['seconds'])
        steps, seconds = log['step'][usable], log['seconds'][usable]
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return None
    if not len(steps) or steps[0] < 1 or (np.diff(steps) <= 0).any():
        return None
    if step > steps[-1]:
        return round(float(seconds[-1] * step / steps[-1]), 3)
    return round(float(np.interp(step, [0, *steps], [0, *seconds])), 3)
