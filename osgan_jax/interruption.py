"""Asking a run to stop: signals, and the time it was given."""

import os
import signal
import threading
from typing import Any

# Agreed on between processes as a signal's number is, and less than those a run listens to.
TIME_IS_UP = 1


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked for it)
    """A signal ended the run after saving it.

    Attributes:
      signum: the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class Signals:
    """SIGINT and SIGTERM ask for a stop after the step; a second one leaves at once.

    Attributes:
      received: the signal's number, 0 while there was none.
    """

    def __init__(self):
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> 'Signals':
        # Elsewhere than in the main thread Python has no signals to hand out.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *unused) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        if self.received:
            os._exit(128 + signum)
        self.received = signum
