import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from osgan_jax import data


class Counter:
    """Counts from 0; its state is the next number."""

    def __init__(self, end=10**9, error=None):
        self.next, self.end, self.error, self.closed = 0, end, error, False

    def __iter__(self):
        return self

    def __next__(self):
        if self.next == self.end:
            raise self.error or StopIteration
        self.next += 1
        return self.next - 1

    def get_state(self):
        return str(self.next).encode()

    def close(self):
        self.closed = True


def threads():
    return [thread for thread in threading.enumerate() if 'prefetch' in thread.name]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_order_put_and_state_of_what_was_consumed():
    counter = Counter()
    with data.prefetch(counter, 3, lambda value: -value) as ahead:
        assert ahead.get_state() == b'0'
        wait_until(lambda: counter.next >= 4)
        assert ahead.get_state() == b'0'
        for value in range(20):
            assert next(ahead) == -value
            assert ahead.get_state() == str(value + 1).encode()
        # At most `size` ready, and one in the thread's hands.
        time.sleep(0.05)
        assert counter.next <= 20 + 4
    assert counter.closed
    assert not threads()


def test_end_is_raised_at_its_place_and_again():
    ahead = data.prefetch(Counter(end=3), 8, int)
    assert list(ahead) == [0, 1, 2]
    assert list(ahead) == []
    assert ahead.get_state() == b'3'
    wait_until(lambda: not threads())
    ahead.close()


@pytest.mark.parametrize('where', ['iterator', 'put'])
def test_exceptions_keep_type_message_and_place(where):
    error = KeyError('the third batch')

    def put(value):
        if where == 'put' and value == 2:
            raise error
        return value

    ahead = data.prefetch(Counter(end=2 if where == 'iterator' else 9, error=error), 4, put)
    assert [next(ahead), next(ahead)] == [0, 1]
    for _ in range(2):
        with pytest.raises(KeyError, match='the third batch'):
            next(ahead)
    assert ahead.get_state() == b'2'
    ahead.close()


def test_close_ends_the_thread_whatever_it_waits_for():
    ahead = data.prefetch(Counter(), 1, int)
    wait_until(lambda: ahead._queue.full())
    ahead.close()
    ahead.close()
    assert not threads()
    with pytest.raises(ValueError, match='closed'):
        next(ahead)


def test_a_dropped_prefetch_ends_its_thread():
    ahead = data.prefetch(Counter(), 2, int)
    next(ahead)
    del ahead
    gc.collect()
    wait_until(lambda: not threads())


def test_iterators_without_state():
    ahead = data.prefetch(iter([1, 2]), 1, int)
    assert list(ahead) == [1, 2]
    with pytest.raises(ValueError, match='has no get_state'):
        ahead.get_state()
    ahead.close()
    with pytest.raises(ValueError, match='at least 1'):
        data.prefetch(Counter(), 0, int)


def test_resuming_from_its_state_gives_the_next_unconsumed_batch():
    dataset = data.from_arrays(np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1))
    straight = data.batches(dataset, 4, seed=3)
    expected = [next(straight)['image'] for _ in range(9)]
    with data.prefetch(data.batches(dataset, 4, seed=3), 4, lambda batch: batch) as ahead:
        for _ in range(5):
            next(ahead)
        state = ahead.get_state()
    resumed = data.batches(dataset, 4, seed=3)
    resumed.set_state(state)
    for value in expected[5:]:
        np.testing.assert_array_equal(next(resumed)['image'], value)


@pytest.mark.process
def test_a_program_that_never_closes_ends():
    program = (
        'import numpy as np\n'
        'from osgan_jax import data\n'
        'dataset = data.from_arrays(np.zeros((8, 4, 4, 1), np.uint8))\n'
        'ahead = data.prefetch(data.batches(dataset, 4, seed=0), 2, lambda batch: batch)\n'
        'print(next(ahead)["image"].shape)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '(4, 4, 4, 1)\n', '')
