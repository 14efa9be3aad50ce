"""Settings of the whole process: memory, precision, reproducibility, and the cache of programs."""

import contextlib
import ctypes
import hashlib
import os
import pathlib
import platform
import sys

import jax

from osgan_jax.io import paths

# Shorter compilations are not worth a file.
_MIN_COMPILE_SECONDS = 0.1

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MAX_INT = 2**31 - 1
_GROWTH = 2**28  # bytes

# Jax's option that a CPU's programs run in another thread than the one that calls them, and XLA's
# flag for the number of CPU devices.
_ASYNCHRONOUS = 'jax_cpu_enable_async_dispatch'
_DEVICES_FLAG = 'xla_force_host_platform_device_count'

# The first excludes operations whose order varies and takes fixed kernels. The second turns off the
# timing of kernels where a compiler looks at it alone.
_DETERMINISM_FLAGS = {'xla_gpu_deterministic_ops': 'true', 'xla_gpu_autotune_level': '0'}
_OFF = ('false', '0')

# Whether `keep_pages` has turned that option off.
_runs_in_caller = False


def keep_compiled(directory: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """Lets jax keep compiled programs in a directory and find them there in later runs.

    A kept program is the one that was compiled, so results stay the same to the bit. Call it before
    jax compiles anything.

    Args:
      directory: created; by default jax's own if it is set, by `$JAX_COMPILATION_CACHE_DIR` for
        instance, else one in the user's cache.

    Returns:
      The directory, in which each kind of processor has its own; None where it cannot be written.
    """
    if not directory and jax.config.jax_compilation_cache_dir:
        return pathlib.Path(jax.config.jax_compilation_cache_dir)
    path = pathlib.Path(directory) if directory else paths.cache_dir() / 'compiled'
    # Programs for a CPU hold its own instructions, and home directories are shared.
    path = path / _processor()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(path, os.W_OK):
        return None
    jax.config.update('jax_compilation_cache_dir', str(path))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _MIN_COMPILE_SECONDS)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    return path


def keep_pages() -> bool:
    """Makes this process keep the memory it frees, to use it again.

    XLA:CPU allocates a step's working memory anew for each call. By default glibc returns freed
    memory to the system, which delivers the same pages again, zeroed, one fault each: a quarter of
    a DCGAN-64 step (width 32, batch 64, two cores: 148 ms, and 112 to 118 ms with the pages kept).

    Only glibc's main arena grows to any size. A block above 64 MB that another thread asks for is
    mapped by itself, and returned when it is freed. So the programs of one CPU device run in the
    thread that calls them. Several devices have threads of their own; there, all threads share one
    arena. They wait for each other, and compiling takes a third longer.

    The setting is of the whole process, so launchers call this and libraries do not. Call it in the
    main thread, before jax computes anything. The process then stays as large as it once was.

    Returns:
      Whether it took effect: only where the C library is glibc.
    """
    global _runs_in_caller
    options = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MAX_INT, _TOP_PAD: _GROWTH}
    if not _set_malloc(options):
        return False
    flags = _parse_flags(os.environ.get('XLA_FLAGS', ''))
    several = jax.config.jax_num_cpu_devices > 1 or _DEVICES_FLAG in flags
    if not (_runs_in_caller or several or _jax_has_started()):
        _runs_in_caller = _set_asynchronous(False)
    return _runs_in_caller or _set_malloc({_ARENA_MAX: 1})


def set_precision(precision: str) -> None:
    """Sets what float32 means to matrix products and convolutions in this process.

    Args:
      precision: 'float32' and 'bfloat16' leave float32 products exact (accelerators otherwise round
        the factors); 'tensorfloat32' lets them round to 10 bits.
    """
    choice = 'tensorfloat32' if precision == 'tensorfloat32' else 'highest'
    jax.config.update('jax_default_matmul_precision', choice)


def request_determinism() -> None:
    """Restricts XLA to reproducible GPU operations; to be called before jax is used.

    On a CPU equal runs are bit-identical as they are. On a GPU they need not be: programs add up in
    the order in which threads arrive (scatters, some kernels of cuDNN and cuBLAS), and timing
    decides which kernel is used whenever a program is compiled.

    Adds to the environment's XLA_FLAGS what is missing there. Safe to call again.

    Raises:
      ValueError: if XLA_FLAGS say the opposite, or if jax has started already on other devices than
        CPUs.
    """
    text = os.environ.get('XLA_FLAGS', '')
    present = _parse_flags(text)
    if present.get('xla_gpu_deterministic_ops') in _OFF:
        raise ValueError(
            'deterministic: XLA_FLAGS has --xla_gpu_deterministic_ops=false; remove it there, or '
            'leave out --deterministic'
        )
    missing = [f'--{name}={v}' for name, v in _DETERMINISM_FLAGS.items() if name not in present]
    if not missing:
        return
    if _jax_has_started():
        if jax.default_backend() == 'cpu':
            return
        raise ValueError(
            'deterministic: jax has started already and no longer reads XLA_FLAGS; start the '
            f'process with XLA_FLAGS="{" ".join(missing)}"'
        )
    os.environ['XLA_FLAGS'] = ' '.join(filter(None, [text, *missing]))


def divide_cpu(count: int | None) -> None:
    """Lets jax see the CPU as several devices, if it has not started; no more than there are cores.

    XLA:CPU computes most convolutions of fewer than 128 output channels on one core (jaxlib 0.10),
    so two devices can be faster than one that has two cores (R3GAN). An accelerator's devices stay
    as they are, and so does the CPU where XLA_FLAGS or jax's configuration name a number. It lasts:
    what later asks for all devices in this process gets them.

    Args:
      count: devices; None or 1 for one, as by default.
    """
    flags = _parse_flags(os.environ.get('XLA_FLAGS', ''))
    named = jax.config.jax_num_cpu_devices > 0 or _DEVICES_FLAG in flags
    if count is None or count < 2 or named or _jax_has_started():
        return
    affinity = getattr(os, 'sched_getaffinity', None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    set_cpu_devices(min(count, cores))


def set_cpu_devices(count: int) -> None:
    """Lets jax see the CPU as so many devices, before it starts."""
    global _runs_in_caller
    jax.config.update('jax_num_cpu_devices', count)
    if count > 1 and _runs_in_caller:
        # As `keep_pages` does for several.
        _set_malloc({_ARENA_MAX: 1})
        _runs_in_caller = not _set_asynchronous(True)


def is_deterministic() -> bool:
    """Whether XLA_FLAGS ask for reproducible GPU operations, whoever set them."""
    value = _parse_flags(os.environ.get('XLA_FLAGS', '')).get('xla_gpu_deterministic_ops')
    return value is not None and value not in _OFF


def _processor() -> str:
    text = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        text += next(line for line in lines if line.startswith(('flags', 'Features')))
    except (OSError, StopIteration):
        pass  # not Linux: what Python knows of the machine must do
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _set_asynchronous(value: bool) -> bool:
    """Sets whether a CPU's programs run in another thread than the caller's, where jax has that."""
    with contextlib.suppress(AttributeError):
        jax.config.update(_ASYNCHRONOUS, value)
        return True
    return False


def _set_malloc(options: dict[int, int]) -> bool:
    """Sets options of glibc's malloc, by number; whether it took them."""
    mallopt = None
    if sys.platform.startswith('linux'):
        mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and all([mallopt(name, x) == 1 for name, x in options.items()])


def _parse_flags(text: str) -> dict[str, str]:
    """Flags by name; of several with one name, the last."""
    pairs = (word.lstrip('-').partition('=') for word in text.split())
    return {name: value.lower() for name, _, value in pairs}


def _jax_has_started() -> bool:
    # jax offers no public way to ask that does not itself start it.
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
