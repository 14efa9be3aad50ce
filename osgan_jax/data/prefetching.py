"""Batches moved to the device ahead of their use, by a thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from multiprocessing import util
from typing import Any, Generic, TypeVar

T = TypeVar('T')

# A waiting thread checks this often whether it should stop.
_POLL_SECONDS = 0.1
# A thread inside the iterator or `put` cannot be interrupted; after this it is left to end alone.
_JOIN_SECONDS = 30.0


class Prefetch(Generic[T]):
    """An iterator over `put(batch)` that stays up to `size` batches ahead.

    A context manager: leaving it closes it.
    """

    def __init__(self, iterator: Iterator[Any], size: int, put: Callable[[Any], T]):
        if size < 1:
            raise ValueError(f'size: expected at least 1 batch, got {size}')
        self._iterator = iterator
        self._has_state = hasattr(iterator, 'get_state')
        self._state = iterator.get_state() if self._has_state else None
        self._end: BaseException | None = None
        self._stop = threading.Event()
        self._queue: queue.Queue = queue.Queue(size)
        # The thread must not hold this object, or it would never be collected.
        self._thread = threading.Thread(
            target=_produce,
            args=(iterator, put, self._queue, self._stop, self._has_state),
            name='osgan_jax-prefetch',
            daemon=True,
        )
        # At the latest when the program ends; `Batches` ends its worker processes after that (100).
        self._finalizer = util.Finalize(
            self, _end, args=(self._thread, self._queue, self._stop), exitpriority=200
        )
        self._thread.start()

    def __iter__(self) -> 'Prefetch[T]':
        return self

    def __next__(self) -> T:
        if self._end is not None:
            raise self._end
        if self._stop.is_set():
            raise ValueError('next() on a closed prefetch')
        batch, state, error = self._queue.get()
        if error is not None:
            self._end = error
            raise error
        self._state = state
        return batch

    def __enter__(self) -> 'Prefetch[T]':
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def get_state(self) -> bytes:
        """Returns the iterator's state after the last batch that `next` has returned.

        Batches that are prefetched but not consumed do not count: a run resumed from this state
        sees them next.

        Raises:
          ValueError: the iterator has no `get_state`.
        """
        if not self._has_state:
            raise ValueError(f'{type(self._iterator).__name__} has no get_state()')
        return self._state

    def close(self) -> None:
        """Ends the thread, drops what was prefetched, and closes the iterator. Idempotent."""
        self._finalizer()
        # A generator that the thread is still inside refuses to be closed, with ValueError.
        if not self._thread.is_alive() and hasattr(self._iterator, 'close'):
            self._iterator.close()


def prefetch(iterator: Iterator[Any], size: int, put: Callable[[Any], T]) -> Prefetch[T]:
    """Iterates over `put(batch)` for each batch of `iterator`, up to `size` of them ahead.

    Args:
      iterator: the batches; used by a background thread alone from now on, and closed with the
        result. If it has `get_state`, the result has it too.
      size: how many batches to keep ready, at least 1; each holds device memory.
      put: called in the thread on every batch, to move it to the device.

    Returns:
      An iterator with `get_state()`, the state matching the batches consumed so far, and
      `close()`. An exception in `iterator` or `put` is raised by `next` at its place in the order.

    Raises:
      ValueError: `size` below 1.
    """
    return Prefetch(iterator, size, put)


def _produce(iterator, put, ready: queue.Queue, stop: threading.Event, has_state: bool) -> None:
    while not stop.is_set():
        try:
            batch = next(iterator)
            state = iterator.get_state() if has_state else None
            item = (put(batch), state, None)
        except BaseException as error:  # raised again by __next__ in the consumer's thread
            item = (None, None, error)
        while not stop.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
                break
            except queue.Full:
                continue
        if item[2] is not None:
            return


def _end(thread: threading.Thread, ready: queue.Queue, stop: threading.Event) -> None:
    stop.set()
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
