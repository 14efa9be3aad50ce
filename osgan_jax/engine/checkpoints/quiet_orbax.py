"""Orbax without its running commentary: its failures reach the caller as exceptions."""

import contextlib
import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any


def load() -> Any:
    """Imports orbax and keeps its log off the screen."""
    import orbax.checkpoint as ocp
    from absl import logging as absl_logging

    logger = absl_logging.get_absl_logger()
    if _not_from_orbax not in logger.filters:
        logger.addFilter(_not_from_orbax)
    return ocp


@contextlib.contextmanager
def failed_reads_are_silent() -> Iterator[list[Any]]:
    """Hides what asyncio prints of the other reads when one of a damaged checkpoint fails.

    Orbax reads all arrays at once on an event loop that it closes at the first failure. Each read
    still under way then prints, from a thread of tensorstore, that the loop is closed; each that
    failed too prints its page of context when it is garbage, and each not begun that it was not.

    Yields:
        A list; something in it at the end means that a read failed. The caller should hold no
        exception of it any longer then, nor be handling one.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != 'Event loop is closed':
            before(unraisable)

    failures: list[Any] = []
    logger = logging.getLogger('asyncio')
    logger.addFilter(_not_about_results)
    sys.unraisablehook = hook
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
            yield failures
            if failures:
                time.sleep(0.05)  # the last reads end within milliseconds; nothing to wait for
                gc.collect()
    finally:
        sys.unraisablehook = before
        logger.removeFilter(_not_about_results)


def _not_about_results(record: logging.LogRecord) -> bool:
    return 'exception was never retrieved' not in record.getMessage()


def _not_from_orbax(record: logging.LogRecord) -> bool:
    """Other users of absl's logger keep their lines."""
    return f'{os.sep}orbax{os.sep}' not in record.pathname
