"""Asking a run to stop: signals, and the time it was given."""

import os
import signal
import socket
import threading
from typing import Any

# Processes agree on it as they do on a signal's number, so it is less than any of those.
TIME_IS_UP = 1

# The message of a run that was stopped before it had anything to save.
NO_STEP = 'Stopped before another step was made. Run the same command again to go on.'

_LISTENED_TO = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked for it)
    """A signal ended the run, after it was saved; the message says how to go on.

    Attributes:
      signum: number of the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class Abandoned(Exception):  # noqa: N818 (nothing went wrong)
    """A signal ended the work under way; nothing of it may be kept."""


class Signals:
    """A context in which SIGINT and SIGTERM are noted, and a second one ends the process at once.

    Whoever works in it asks `check`, or `received`, between two parts of the work. In other threads
    than the main one nothing is noted. Within another such context, as a run of a study is, a
    signal that came before counts as the first.

    Attributes:
      received: number of the first signal, 0 before one comes.
    """

    def __init__(self):
        self.received = 0
        self._previous: dict[int, Any] = {}
        self._wakeup: socket.socket | None = None
        self._previous_wakeup = -1

    def __enter__(self) -> 'Signals':
        # Python runs handlers in the main thread, and lets no other set them.
        if threading.current_thread() is threading.main_thread():
            # They run between two lines of Python: not while the main thread compiles or waits for
            # a device, which may take minutes. A thread of its own learns of signals even then.
            receiver, self._wakeup = socket.socketpair()
            self._wakeup.setblocking(False)
            self._previous_wakeup = signal.set_wakeup_fd(
                self._wakeup.fileno(), warn_on_full_buffer=False
            )
            for signum in _LISTENED_TO:
                self._previous[signum] = signal.signal(signum, self._handle)
            outer = getattr(self._previous[signal.SIGINT], '__self__', None)
            before = outer.received if isinstance(outer, Signals) else 0
            self.received = before or self.received
            # Bytes of signals that came meanwhile wait in the socket.
            threading.Thread(
                target=_leave_at_the_second,
                args=(receiver, bool(before)),
                name='osgan_jax-signals',
                daemon=True,
            ).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._previous_wakeup)
            self._wakeup.close()  # which ends the thread
            self._wakeup = None
        # A signal that arrived too late to stop this run, or came with an error, is passed on to
        # the previous handler: a study of many runs has one. Python's own are left out: SIG_DFL
        # cannot be called, and default_int_handler would fail a command whose work is done.
        previous = self._previous.get(self.received)
        stopped = kind is not None and issubclass(kind, Stopped)
        if not stopped and callable(previous) and previous is not signal.default_int_handler:
            previous(self.received, None)

    def check(self) -> None:
        """Raises Abandoned after a signal; for long work that can be done again."""
        if self.received:
            raise Abandoned

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        self.received = self.received or signum


def _leave_at_the_second(receiver: socket.socket, count: int) -> None:
    """Ends the process at the second signal; returns once the other end is closed.

    Args:
      receiver: is sent the number of each handled signal, as one byte.
      count: signals that came before.
    """
    with receiver:
        while byte := receiver.recv(1):
            count += byte[0] in _LISTENED_TO
            if count == 2:
                os._exit(128 + byte[0])
