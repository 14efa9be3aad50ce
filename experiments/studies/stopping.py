"""Leaving a table of many runs on a signal, in training and outside of it."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from osgan_jax.runtime import stopping


@contextlib.contextmanager
def stoppable(where: Callable[[], str]) -> Iterator[None]:
    """Turns SIGINT and SIGTERM into `interruption.Stopped`, outside of training too.

    Training listens for itself and saves; what else goes on here can be left at any point, for
    files are written whole.

    Args:
      where: says how far the table is.

    Raises:
      osgan_jax.runtime.stopping.Stopped: on a signal; its message says where.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            before[signum] = signal.signal(signum, stopping.interrupt)
    try:
        yield
    except (stopping.Stopped, stopping.Interrupted) as stopped:
        raise stopping.Stopped(
            f'Stopped ({where()}). Run the same command again to go on.', stopped.signum
        ) from None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
