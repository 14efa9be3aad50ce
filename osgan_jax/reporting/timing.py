"""The times of a run's steps: timing.jsonl, a line every so many steps."""

import math
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
      Seconds, to the millisecond; None where the log is missing, empty or damaged.
    """
    try:
        log = metrics_log.read(pathlib.Path(workdir) / FILE)
        steps, seconds = log['step'], log['seconds']
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return None
    last = len(steps) - 1
    if last < 0 or steps[last] < 1:
        return None
    if step > steps[last]:
        found = seconds[last] * step / steps[last]
    else:
        found = np.interp(step, [0, *steps], [0, *seconds])
    return round(float(found), 3) if math.isfinite(found) else None
