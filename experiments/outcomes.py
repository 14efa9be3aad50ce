"""Exit codes of commands, and errors in one sentence on stderr."""

import contextlib
import dataclasses
import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from absl import flags

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import field
from osgan_jax.io import messages


@dataclasses.dataclass(frozen=True)
class CommonConfig(Config):
    """The flags of every module."""

    debug: bool = field(False, 'show the traceback of an error', group='other')
    compilation_cache: str | None = field(
        None,
        'directory that keeps compiled programs for later runs, or off for none; by default '
        "$JAX_COMPILATION_CACHE_DIR, or one in the user's cache",
        group='other',
        path=True,
    )


# New objects after which Python looks for circular garbage; 700 by default.
_OBJECTS = 70_000

# What jax and PyTorch say where an accelerator, or the machine, has no memory left.
_EXHAUSTED = re.compile('RESOURCE_EXHAUSTED|[Oo]ut of memory')


def of(function: Callable[..., int | None], configs: Sequence[Config], common: CommonConfig) -> int:
    """Calls a function with configurations and returns the exit code.

    Args:
      function: returns the exit code, or None for 0.
      configs: its arguments.
      common: what holds for every command.
    """
    try:
        with _rare_collections():
            code = _of(function, configs, common)
    except Exception:
        # With `debug`, or what nobody foresaw.
        if not _has_peers():
            raise
        traceback.print_exc()
        code = 1
    if code == 1 and _has_peers():
        from osgan_jax.runtime import processes

        # An ordinary exit would wait for the others, and they may be waiting for this one.
        processes.leave(code)
    return code


def fail(message: str) -> int:
    """Prints an error and returns its exit code."""
    sys.stdout.flush()
    print(f'error: {message}', file=sys.stderr, flush=True)
    return 1


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that the machine, or its accelerator, has no memory left."""
    return isinstance(error, MemoryError | OverflowError) or bool(_EXHAUSTED.search(str(error)))


def sentence(error: BaseException) -> str:
    """An error's message on one line, with the file where that is what failed."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{os.fspath(error.filename)}: {error.strerror}'
    return messages.one_line(str(error)) or type(error).__name__


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Has Python look for circular garbage a hundred times less often.

    Importing and tracing make objects by the million that stay. To look through them as often as by
    default is a seventh of what a launch with kept programs computes.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _of(
    function: Callable[..., int | None], configs: Sequence[Config], common: CommonConfig
) -> int:
    import jax

    from osgan_jax.engine import checkpoints
    from osgan_jax.gan import trainer
    from osgan_jax.runtime import processes, settings

    settings.keep_pages()
    kept = common.compilation_cache
    if kept != 'off' and not settings.keep_compiled(kept):
        print('warning: no directory for compiled programs can be written (--compilation_cache)')
    try:
        counts = [getattr(each, 'num_devices', None) for each in configs]
        # Before anything starts jax. A benchmark has lists of them, and decides for itself.
        settings.divide_cpu(next((count for count in counts if type(count) is int), None))
        if any(getattr(each, 'deterministic', False) for each in configs):
            settings.request_determinism()
        return function(*configs) or 0
    except trainer.Stopped as stopped:
        if processes.is_first():
            print(stopped, flush=True)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        sys.stdout.flush()
        print('interrupted', file=sys.stderr, flush=True)
        return 128 + signal.SIGINT
    except (
        ValueError,
        OSError,
        trainer.NonFiniteError,
        checkpoints.CheckpointError,
        processes.PeerError,
    ) as error:
        if common.debug:
            raise
        return fail(processes.speaker() + sentence(error))
    # Products of flags may be more than devices count to, let alone hold.
    except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
        if common.debug or not is_exhausted(error):
            raise
        return fail(
            f'{processes.speaker()}there is not enough memory: ask for smaller batches, fewer '
            f'images or narrower networks{_greatest_numbers()}'
        )


def _greatest_numbers() -> str:
    """The two greatest numbers among the flags that were given, to say what is too much."""
    given = {
        f'--{name}={value}': int(value)
        for name in flags.FLAGS
        if flags.FLAGS[name].present
        for values in [flags.FLAGS[name].value]
        for value in (values if isinstance(values, list) else [values])
        if str(value).isdecimal()
    }
    greatest = sorted(given, key=given.__getitem__, reverse=True)[:2]
    return f' (asked for: {", ".join(greatest)})' if greatest else ''


def _has_peers() -> bool:
    import jax

    return jax.distributed.is_initialized()
