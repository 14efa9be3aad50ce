"""Records of a long run that are kept: fewer and fewer of the old ones, evenly spread.

They depend on the step alone, so that an interrupted run leaves what a whole one leaves.
"""

import os
import pathlib
import re

_GRID = re.compile(r'step_(\d+)\.png')


def distance(step: int, every: int, at_most: int) -> int:
    """Steps between two kept records: `every`, doubled until few enough lie from 0 to `step`.

    Args:
      step: number of finished updates.
      every: steps between two at first.
      at_most: records, that of step 0 included; at least 2.

    Returns:
      `every * 2**n` with the least n that gives at most `at_most` multiples from 0 to `step`.
    """
    found = every
    while step // found + 1 > at_most:
        found *= 2
    return found


def thin(directory: str | os.PathLike[str], step: int, every: int, at_most: int) -> None:
    """Removes `step_*.png` before `step` that lie between the kept ones.

    Args:
      directory: of the grids.
      step: of the newest, which stays in any case.
      every: steps between two grids.
      at_most: grids to keep, the newest included, at least 3. Up to so many, none is removed.

    Raises:
      OSError: a file cannot be removed.
    """
    apart = distance(step, every, at_most - 1)
    if apart == every:
        return
    for path in pathlib.Path(directory).iterdir():
        match = _GRID.fullmatch(path.name)
        if match and int(match[1]) < step and int(match[1]) % apart:
            path.unlink(missing_ok=True)
