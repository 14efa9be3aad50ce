"""Batches: seeded order, worker processes, one shard a process, a state that resumes.

Which images, in which order, mirrored or not, make up batch number `step` is a pure function of
(seed, step, batch size, number of images): see `_Plan`. Everything else follows from that. The
order does not depend on worker processes, threads or the number of training processes, and the
state is the number of the next batch.

Images in memory are gathered a batch at a time. Images that must be read and decoded are fetched
by grain, whose elements are whole batches here: its cost per element is paid once a batch, and
an iterator that resumes at `step` begins reading there.
"""

import functools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import util
from typing import Any

import numpy as np

from osgan_jax.data.dataset import Dataset, MemorySource

_STATE_VERSION = 1
_WORKER_DIED = 'terminated unexpectedly'  # grain's words
# Stands for "for ever" where grain wants a length; its slices need it well below 2**63.
_FOREVER = 2**48


class Batches:
    """An iterator over batches `{'image': uint8 [N, H, W, C], 'label': int32 [N]}`.

    Made by `batches`. A context manager: leaving it closes it.

    Attributes:
      steps_per_epoch: batches an epoch; the images that do not fill a batch are left out of that
        epoch.
    """

    def __init__(self, dataset: Dataset, plan: '_Plan', num_workers: int, end: int):
        self._dataset = dataset
        self._plan = plan
        self._num_workers = num_workers
        self._end = end
        self._step = 0
        # One iterator, or none until the first batch is asked for.
        self._reader: list[Iterator] = []
        # A program may end without close(). weakref.finalize would come too late then: after
        # multiprocessing has stopped the workers and the threads that free their shared memory
        # (priorities up to 15), and before a `Prefetch` around this iterator has ended (200).
        self._finalizer = util.Finalize(self, _close, args=(self._reader,), exitpriority=100)
        self.steps_per_epoch = plan.steps_per_epoch

    def __iter__(self) -> 'Batches':
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._finalizer.still_active():
            raise ValueError('next() on closed batches')
        if self._step >= self._end:
            raise StopIteration
        if not self._reader:
            self._reader.append(self._open())
        try:
            images, labels = next(self._reader[0])
        except BaseException as error:
            # Calling next again reads the same batch again, from a fresh reader.
            _close(self._reader)
            if isinstance(error, RuntimeError) and _WORKER_DIED in str(error):
                raise ChildProcessError(
                    f'a worker process that read {self._dataset.name} ended ({error}): if the '
                    'machine ran out of memory, or of /dev/shm, ask for fewer --num_workers'
                ) from error
            raise
        self._step += 1
        # Copied: grain's array is shared memory, which lives as long as someone holds it.
        return {'image': np.array(images), 'label': np.array(labels)}

    def __enter__(self) -> 'Batches':
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def get_state(self) -> bytes:
        """Returns what `set_state` needs to continue with the batch that `next` would return."""
        return json.dumps(
            {'version': _STATE_VERSION, 'step': self._step, **self._identity()}
        ).encode()

    def set_state(self, state: bytes) -> None:
        """Continues where `get_state` was called, in this process or another.

        The number of worker processes and of training processes may have changed.

        Raises:
          ValueError: not a state, or one of batches with another seed, batch size or number of
            images, whose order would be another.
        """
        try:
            saved = json.loads(state)
            version, step = saved['version'], int(saved['step'])
        except (ValueError, TypeError, KeyError, UnicodeDecodeError):
            raise ValueError('not a saved state of osgan_jax.data.batches') from None
        if version != _STATE_VERSION or step < 0:
            raise ValueError(f'unknown state of osgan_jax.data.batches: version {version!r}')
        changed = [
            f'{name} was {saved.get(name)}, is {value}'
            for name, value in self._identity().items()
            if saved.get(name) != value
        ]
        if changed:
            raise ValueError('cannot resume the order of images: ' + '; '.join(changed))
        _close(self._reader)
        self._step = step

    def close(self) -> None:
        """Ends worker processes and threads. Idempotent."""
        self._finalizer()

    def _identity(self) -> dict[str, Any]:
        return {
            'seed': self._plan.seed,
            'batch_size': self._plan.batch_size,
            'num_images': self._plan.num_images,
        }

    def _open(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        reader = _BatchReader(self._dataset, self._plan, self._step, self._end)
        if isinstance(self._dataset.source, MemorySource):
            return (reader[offset] for offset in range(len(reader)))
        return _open_grain(reader, self._num_workers, self._dataset.name)


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_epochs: int | None = None,
) -> Batches:
    """Iterates over a dataset in batches, reshuffled every epoch.

    Args:
      dataset: from `load` or `from_arrays`.
      batch_size: N, images a batch over all processes; each gets `N / process_count` of them.
      seed: of the order and of mirroring; not negative.
      num_workers: worker processes that read and decode; batches come back through shared memory
        (`/dev/shm`). 0 uses threads of this process. Images in memory need neither, and ignore it.
      process_index: this process, from 0; it gets its rows of the global batch, so that the
        batches of all processes, concatenated, are the batch of a single one.
      process_count: processes that train together.
      num_epochs: epochs before StopIteration; None repeats for ever.

    Returns:
      An iterator over `{'image': uint8 [N / process_count, H, W, C],
      'label': int32 [N / process_count]}`, with `get_state`, `set_state` and `close`.

    Raises:
      ValueError: fewer images than `batch_size`, a batch that does not divide among the
        processes, or another argument out of range.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size: expected at least 1, got {batch_size}')
    if seed < 0:
        raise ValueError(f'seed: expected at least 0, got {seed}')
    if num_workers < 0:
        raise ValueError(f'num_workers: expected at least 0, got {num_workers}')
    if num_epochs is not None and num_epochs < 0:
        raise ValueError(f'num_epochs: expected at least 0, or None, got {num_epochs}')
    if not 0 <= process_index < process_count:
        raise ValueError(f'process_index: expected 0 to {process_count - 1}, got {process_index}')
    if batch_size % process_count:
        raise ValueError(f'batch_size {batch_size} does not divide among {process_count} processes')
    if len(dataset) < batch_size:
        raise ValueError(
            f'batch_size {batch_size} is more than the {len(dataset)} images of '
            f'{dataset.name} ({dataset.split}); choose at most that'
        )
    plan = _Plan(int(seed), int(batch_size), len(dataset), process_index, process_count)
    end = _FOREVER if num_epochs is None else num_epochs * plan.steps_per_epoch
    return Batches(dataset, plan, num_workers, end)


def _close(reader: list[Iterator]) -> None:
    while reader:
        reader.pop().close()


class _Plan:
    """The images of each batch of one process."""

    def __init__(
        self, seed: int, batch_size: int, num_images: int, process_index: int, process_count: int
    ):
        self.seed = seed
        self.batch_size = batch_size
        self.num_images = num_images
        self.steps_per_epoch = num_images // batch_size
        self._share = batch_size // process_count
        self._first = self._share * process_index

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices `[N / process_count]` of batch `step` and which to mirror."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        order, mirrored = _epoch(self.seed, epoch, self.num_images)
        start = batch * self.batch_size + self._first
        rows = slice(start, start + self._share)
        return order[rows], mirrored[rows]


# Several, because reading ahead crosses from one epoch into the next.
@functools.lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the order `[num_images]` of one epoch and, per position, whether to mirror."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(num_images)
    mirrored = generator.random(num_images, dtype=np.float32) < 0.5
    order.flags.writeable = mirrored.flags.writeable = False
    return order, mirrored


class _BatchReader:
    """Random access to batches `first`, `first + 1`, ... `end - 1` as uint8."""

    def __init__(self, dataset: Dataset, plan: _Plan, first: int, end: int):
        self._source = dataset.source
        self._flip = dataset.flip
        self._plan = plan
        self._first = first
        self._length = end - first

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, offset: int) -> tuple[np.ndarray, np.ndarray]:
        indices, mirrored = self._plan(self._first + int(offset))
        if isinstance(self._source, MemorySource):
            images, labels = self._source.gather(indices)
        else:
            pairs = [self._source[int(index)] for index in indices]
            images = np.stack([image for image, _ in pairs])
            labels = np.asarray([label for _, label in pairs], np.int32)
        if self._flip:
            images[mirrored] = images[mirrored, :, ::-1]
        return images, labels


def _open_grain(reader: _BatchReader, num_workers: int, name: str) -> Iterator:
    """Reads ahead with threads, or with worker processes."""
    # A spawned worker first imports the main script. If that script, unguarded, arrives here
    # again, each worker would start workers of its own.
    if num_workers and getattr(multiprocessing.current_process(), '_inheriting', False):
        raise RuntimeError(
            'a worker process is running the main script again: put the code of the script '
            "under `if __name__ == '__main__':`, or use num_workers=0"
        )
    try:
        import grain
    except ImportError:
        raise ValueError(
            f'reading {name} needs grain, which is not installed: pip install grain'
        ) from None
    _mark_flags_parsed()
    if num_workers:
        # One thread a worker: Pillow and the conversion to arrays keep a core busy by themselves.
        options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    else:
        threads = max(1, min(8, os.cpu_count() or 1))
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    fetched = grain.MapDataset.source(reader).to_iter_dataset(options)
    if num_workers:
        fetched = fetched.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
            worker_init_fn=_start_worker,
        )
    return iter(fetched)


def _start_worker(worker_index: int, worker_count: int) -> None:
    """Lets a worker process end with its parent, and only then."""
    del worker_index, worker_count
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM all of a job; the main
    # one decides what they mean, and ends its workers by other means.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)

    def exit_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    # A main process that is killed cannot end its workers, which would wait for ever.
    threading.Thread(target=exit_with_parent, daemon=True).start()


def _mark_flags_parsed() -> None:
    """Lets grain read its own absl flags in a program that never parses any.

    Marking grain's flags alone keeps absl's check for all others.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        for name in flags.FLAGS:
            if name.startswith('grain_'):
                flags.FLAGS[name].present = True
