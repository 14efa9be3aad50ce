"""Lines for a person, printed by the first process alone."""

import contextlib
import time
from collections.abc import Callable, Iterator

from osgan_jax import reporting
from osgan_jax.runtime import processes

_EVERY_SECONDS = 10.0


def say(message: str) -> None:
    """Prints a line."""
    if processes.is_first():
        print(message, flush=True)


def warn(message: str) -> None:
    """Prints a warning."""
    say(f'warning: {message}')


@contextlib.contextmanager
def announced(what: str, *, done: str = '') -> Iterator[None]:
    """Says that the block begins and, given `done`, how long it took."""
    say(f'{what} ...')
    begun = time.monotonic()
    yield
    if done:
        say(f'{done} in {time.monotonic() - begun:.1f} s.')


def countdown(what: str, check: Callable[[], None]) -> Callable[[int, int], None]:
    """A function of parts done and in all, which says every ten seconds how much time is left.

    Args:
      what: the name of a part, such as `Training a classifier, step`.
      check: called each time; what it raises passes.
    """
    first: tuple[float, int] | None = None
    shown = 0.0

    def progress(done: int, count: int) -> None:
        nonlocal first, shown
        check()
        now = time.monotonic()
        if first is None:
            first, shown = (now, done), now
        elif now - shown >= _EVERY_SECONDS and first[1] < done < count:
            shown = now
            left = (now - first[0]) / (done - first[1]) * (count - done)
            say(f'{what} {done:,} of {count:,}, {reporting.progress.duration(left)} left')

    return progress
