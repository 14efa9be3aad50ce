"""Several processes that train together: how they meet, agree, and end when one is lost.

Where one process trains alone, all of this does nothing and costs nothing. The exchanges of an
update are in `osgan_jax.core.collectives`.
"""

import contextlib
import faulthandler
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import jax
import numpy as np

from osgan_jax.runtime import parallel

AUTO = 'auto'
PEER_TIMEOUT = 120
# Seconds added to jax's timeout, so that this module reports before jax aborts.
_GRACE = 30
# Seconds that process 0 outlives the others when all fail.
_LAST_SECONDS = 1.0
# Matches errors of collectives whose other side is gone.
_LOST = re.compile(r'gloo|nccl|rccl|connection|coordination|barrier|heartbeat|unavailable', re.I)


class PeerError(RuntimeError):
    """Another process of the run failed or is gone; the message is one sentence for a person."""


def join(
    coordinator: str | None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    peer_timeout: int = PEER_TIMEOUT,
) -> None:
    """Meets the other processes of a run; to be called before jax is used.

    If they have not all come after `peer_timeout` seconds, this process prints one sentence and
    exits with code 1: jax could not be used for anything else any more. From then on a process
    that is silent for so long, dead or cut off, makes jax end all others.

    Args:
      coordinator: `host:port` where process 0 listens, the same for all; 'auto' asks the cluster's
        manager (Slurm, Open MPI, Cloud TPU, Kubernetes) for all three; None trains alone.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      peer_timeout: seconds, at least 1.

    Raises:
      ValueError: for arguments that do not fit together, or a cluster that says nothing.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError(
                'num_processes and process_id need a coordinator: pass --coordinator=HOST:PORT, '
                'where process 0 runs on HOST and PORT is free there'
            )
        return
    if peer_timeout < 1:
        raise ValueError(f'peer_timeout={peer_timeout}: expected at least 1 second')
    if coordinator == AUTO:
        where = 'where the cluster says'
        asked: dict[str, Any] = {'num_processes': num_processes, 'process_id': process_id}
    else:
        _check(coordinator, num_processes, process_id)
        where = f'at {coordinator}'
        asked = {
            'coordinator_address': coordinator,
            'num_processes': num_processes,
            'process_id': process_id,
            # Flags mean what they say; under Slurm jax would otherwise also choose devices.
            'cluster_detection_method': 'deactivate',
        }
    # jax aborts a process whose peers are gone, after a line that says so. absl asks for a dump of
    # all Python threads, which would bury that line.
    faulthandler.disable()
    # Only read where the processes compute on CPUs.
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    # It would take SIGTERM for itself; the processes agree on signals by `Agreement`.
    jax.config.update('jax_enable_preemption_service', False)
    who = '' if process_id is None else f' (this is process {process_id})'
    watch = threading.Timer(
        peer_timeout + (_LAST_SECONDS if process_id == 0 else 0),  # as in `leave`
        _exit,
        [
            f'the processes of this run did not all meet {where} within {peer_timeout} s{who}: '
            'start every one of --num_processes with the same --coordinator and its own '
            '--process_id, or raise --peer_timeout'
        ],
    )
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(
            **asked,
            initialization_timeout=peer_timeout + _GRACE,
            heartbeat_timeout_seconds=peer_timeout,
            shutdown_timeout_seconds=peer_timeout,
        )
        jax.device_count()  # the processes tell each other of their devices
    except (ValueError, RuntimeError) as error:
        if coordinator == AUTO and not jax.distributed.is_initialized():
            raise ValueError(
                f'coordinator={AUTO}: no cluster that jax knows says where its processes meet '
                f'({_first_line(error)}); pass --coordinator=HOST:PORT, --num_processes and '
                '--process_id'
            ) from error
        raise ValueError(
            f'the processes of this run cannot meet {where}: {_first_line(error)}'
        ) from error
    finally:
        watch.cancel()


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


def speaker() -> str:
    """A prefix for errors: 'process 1: ', or '' where one process trains alone."""
    return f'process {jax.process_index()}: ' if jax.distributed.is_initialized() else ''


def leave(code: int) -> NoReturn:
    """Ends this process without waiting for its peers, as jax would at an ordinary exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        # Process 0 hosts jax's coordinator, without which the others abort: let them report first.
        time.sleep(_LAST_SECONDS)
    os._exit(code)


def gather(own: bytes) -> list[bytes]:
    """The bytes of every process, in their order; called by all together."""
    if jax.process_count() == 1:
        return [own]
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.int32(len(own)))
    padded = np.zeros(max(1, int(np.max(sizes))), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row[:n].tobytes() for row, n in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Makes a failure in one process a failure in all, at once and with the same reason.

    The block must not exchange anything between processes.

    Raises:
      PeerError: another process raised; it says which and what.
    """
    try:
        yield
    except Exception as error:
        gather(_first_line(error).encode())
        raise
    for index, failure in enumerate(gather(b'')):
        if failure:
            raise PeerError(f'process {index} cannot go on: {failure.decode()}')


def check_same(values: dict[str, Any]) -> None:
    """Raises ValueError, in all processes, if the values of one differ from those of process 0."""
    first, *others = [json.loads(text) for text in gather(json.dumps(values).encode())]
    for index, other in enumerate(others, 1):
        found = [
            f'{name} is {value!r} in process 0 and {other.get(name)!r} in process {index}'
            for name, value in first.items()
            if other.get(name) != value
        ]
        if found:
            raise ValueError(
                f'the processes of this run differ: {"; ".join(found)}. Start all with the same '
                'flags and the same --workdir, a directory that all of them see'
            )


class Agreement:
    """The maximum of a number over all processes, known to all at the same step.

    Alone, that is the number itself. Otherwise it is sent every `every` steps and read when the
    next is sent, so that no process waits for its device: all know a number after at most
    `2 * every` steps.
    """

    def __init__(self, devices: Sequence[jax.Device], every: int):
        """Makes an agreement.

        Args:
          devices: of all processes, as for `parallel.compile_update`.
          every: steps between two exchanges.
        """
        self._every = every
        self._sent: jax.Array | None = None
        self._maximum = parallel.maximum(devices) if jax.process_count() > 1 else None

    def __call__(self, step: int, own: int) -> int:
        """The number agreed on by `step`, 0 if none; called by all at the same steps."""
        if self._maximum is None:
            return own
        if step % self._every:
            return 0
        agreed = 0 if self._sent is None else int(self._sent)
        self._sent = self._maximum(own)
        return agreed


@contextlib.contextmanager
def peer_errors() -> Iterator[None]:
    """Turns the failure of an exchange with a process that is gone into a PeerError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not _LOST.search(str(error)):
            raise
        raise PeerError(
            f'another process of this run is gone ({_first_line(error)}): see what it said, then '
            'run the same commands again to go on from the last checkpoint'
        ) from error


def _check(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    port = coordinator.rpartition(':')[2]
    if not re.fullmatch(r'.+:\d+', coordinator) or not 0 < int(port) < 65536:
        raise ValueError(f'coordinator={coordinator!r}: expected HOST:PORT, or {AUTO}')
    if num_processes is None or process_id is None:
        raise ValueError(
            f'coordinator={coordinator} needs --num_processes, the same for all, and --process_id, '
            f'from 0; only --coordinator={AUTO} finds them by itself'
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f'process_id={process_id}: expected 0 to {num_processes - 1} with '
            f'num_processes={num_processes}'
        )
    if process_id == 0:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('', int(port)))  # jax would crash
            except OSError as error:
                raise ValueError(
                    f'coordinator={coordinator}: process 0 cannot listen on port {port} '
                    f'({error.strerror}); choose another'
                ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0].rstrip('.') if lines else type(error).__name__
    return line if len(line) <= 300 else line[:297] + '...'


def _exit(message: str) -> NoReturn:
    sys.stdout.flush()
    print(f'error: {message}', file=sys.stderr, flush=True)
    os._exit(1)
