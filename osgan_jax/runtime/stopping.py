"""Asking a run to stop: signals, and the time it was given."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Agreed on between processes as a signal's number is, and less than those a run listens to.
TIME_IS_UP = 1

# Of a run that was stopped where it had nothing to save.
NO_STEP = 'Stopped before another step was made. Run the same command again to go on.'

_LISTENED_TO = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked for it)
    """A signal ended the run after saving it.

    Attributes:
      signum: the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class Abandoned(Exception):  # noqa: N818 (nothing went wrong)
    """What was under way was given up for a signal; nothing of it is to be kept."""


class Signals:
    """SIGINT and SIGTERM ask for a stop after the step; a second one leaves at once.

    Attributes:
      received: the signal's number, 0 while there was none.
    """

    def __init__(self):
        self.received = 0
        self._before: dict[int, Any] = {}
        self._wakeup: socket.socket | None = None
        self._wakeup_before = -1

    def __enter__(self) -> 'Signals':
        # Elsewhere than in the main thread Python has no signals to hand out.
        if threading.current_thread() is threading.main_thread():
            # Handlers run in the main thread, between two lines of Python: not while it compiles
            # or waits for a device, which may take minutes. A thread hears of signals even then.
            heard, self._wakeup = socket.socketpair()
            self._wakeup.setblocking(False)
            self._wakeup_before = signal.set_wakeup_fd(
                self._wakeup.fileno(), warn_on_full_buffer=False
            )
            threading.Thread(
                target=_leave_at_the_second, args=(heard,), name='osgan_jax-signals', daemon=True
            ).start()
            for signum in _LISTENED_TO:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            self._wakeup.close()  # which ends the thread
            self._wakeup = None
        # What came too late to stop this, or was forgotten over an error, is for whoever listened
        # before: a table of many runs does. Of Python's own handlers one is none and the other
        # would tell of nothing trained.
        before = self._before.get(self.received)
        stopped = kind is not None and issubclass(kind, Stopped)
        if not stopped and callable(before) and before is not signal.default_int_handler:
            before(self.received, None)

    def check(self) -> None:
        """Raises Abandoned if there was a signal: for what takes long and can be done again."""
        if self.received:
            raise Abandoned

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        self.received = self.received or signum


class Interrupted(BaseException):
    """Raised by `interrupt` wherever it finds the main thread.

    Like KeyboardInterrupt no Exception, lest what handles those, such as errors of a file that is
    being read, takes it for one. Whoever has signals handled so turns it into `Stopped`.

    Attributes:
      signum: the signal.
    """

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


_deferrals = 0
_deferred = 0  # the signal, if there was one


def interrupt(signum: int, frame: Any = None) -> None:
    """A handler of signals that raises `Interrupted`, behind what is `deferred`."""
    global _deferred
    del frame
    if not _deferrals:
        raise Interrupted(signum)
    _deferred = signum


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Keeps `Interrupted` out of what cannot be left at any point; it is raised behind that.

    An event loop, for one, would swallow it and wait for ever for the task that it hit.
    """
    global _deferrals, _deferred
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
        if _deferred and not _deferrals:
            signum, _deferred = _deferred, 0
            raise Interrupted(signum)


def _leave_at_the_second(heard: socket.socket) -> None:
    """Ends the process when a second signal comes, until the other end is closed.

    Args:
      heard: gets one byte for each signal that has a handler, its number.
    """
    received = 0
    with heard:
        while byte := heard.recv(1):
            if byte[0] in _LISTENED_TO:
                received += 1
            if received == 2:
                os._exit(128 + byte[0])
