"""Lines for a person, printed by the first process alone."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from osgan_jax import reporting
from osgan_jax.runtime import processes

_EVERY_SECONDS = 5.0

_Images = TypeVar('_Images')


def say(message: str) -> None:
    """Prints a line."""
    if processes.is_first():
        print(message, flush=True)


def warn(message: str) -> None:
    """Prints a warning."""
    say(f'warning: {message}')


@contextlib.contextmanager
def announced(what: str, *, done: str = '') -> Iterator[None]:
    """Prints a line when the block begins and, given `done`, one with its seconds at the end."""
    say(f'{what} ...')
    begun = time.monotonic()
    yield
    if done:
        say(f'{done} in {time.monotonic() - begun:.1f} s.')


def read_dataset(name: str, load: Callable[[], _Images]) -> _Images:
    """Loads a dataset between two lines, the second with its number of images."""
    begun = time.monotonic()
    say(f'Reading {name} ...')
    dataset = load()
    say(f'Read {len(dataset):,} images in {time.monotonic() - begun:.1f} s.')
    return dataset


class Countdown:
    """Prints a line when long work begins, and every five seconds how much time is left.

    It is called with the parts done, 0 at the start, and those in all.
    """

    def __init__(self, what: str, check: Callable[[], None] | None = None):
        """Makes a countdown.

        Args:
          what: the work, with {} in place of the number of parts: `Reading {} real images`.
          check: called each time; its exceptions pass.
        """
        self._what, self._check = what, check
        self._first: tuple[float, int] | None = None
        self._printed = 0.0

    def __call__(self, done: int, count: int) -> None:
        """Notes that `done` of `count` parts are done."""
        if self._check is not None:
            self._check()
        now, what = time.monotonic(), self._what.format(f'{count:,}')
        if not done:
            say(f'{what} ...')
            self._first = None
        elif self._first is None:  # the first part may have been compiled
            self._first, self._printed = (now, done), now
        elif now - self._printed >= _EVERY_SECONDS and done < count:
            self._printed = now
            begun, before = self._first
            left = (now - begun) / (done - before) * (count - done)
            say(f'{what}: {done:,} done, {reporting.progress.duration(left)} left')
