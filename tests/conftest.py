"""The settings of every test, and of every process that a test starts, made before jax starts."""

import ctypes
import gc
import importlib.metadata
import math
import os
import pathlib
import resource
import tempfile

import pytest

KEPT = pathlib.Path(__file__).parents[1] / '.cache'
"""Compiled programs and matplotlib's fonts, kept between runs and shared by all processes."""

MOST_BYTES = 2 * 2**30  # of compiled programs
MOST_AFTER, MOST_WITHIN = 1.2 * 2**30, 1.8 * 2**30
"""Bytes of a worker's memory at which what was traced and compiled is released, after a module and
within one, whose tests may compile some of it again."""

_trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)

# Tests compile many small programs and run each for a moment: less optimized machine code halves
# their time, and the older emitters of fusions, which jaxlib has before 0.11, more than halve it
# again. Numerics stay IEEE; timings belong to experiments.benchmark, never to a test.
_FLAGS = ['--xla_backend_optimization_level=0']
if tuple(map(int, importlib.metadata.version('jaxlib').split('.')[:2])) < (0, 11):
    _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
for _flag in _FLAGS:
    # Not twice: workers inherit it, and the flags are part of the key of a compiled program.
    if _flag not in os.environ.get('XLA_FLAGS', ''):
        os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_flag}'.strip()
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(KEPT / 'jax'))
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'
os.environ.setdefault('MPLCONFIGDIR', str(KEPT / 'matplotlib'))

# Nothing else is found in, or left in, the cache of whoever runs the tests.
_cache = tempfile.TemporaryDirectory(prefix='osgan_jax-tests-')
for _name in ('OSGAN_JAX_CACHE', 'XDG_CACHE_HOME'):
    os.environ[_name] = _cache.name

import jax  # noqa: E402 (reads what was set above)

# Several CPU devices, so that the parallel paths are real in every test that asks for them.
jax.config.update('jax_num_cpu_devices', 4)


# Tracing makes millions of small objects and hardly a cycle: by its default thresholds the
# collector takes a twelfth of the tests' time.
gc.set_threshold(20_000, 20, 20)


def pytest_configure(config):
    # In the first process only, before its workers read and write there.
    if not hasattr(config, 'workerinput'):
        _bound(KEPT / 'jax', MOST_BYTES)


def _bound(folder: pathlib.Path, most: int) -> None:
    """Deletes the programs used longest ago while those in a folder take more than `most` bytes."""
    found = [(path, path.stat()) for path in folder.glob('*-cache')]
    excess = sum(stat.st_size for _, stat in found) - most
    for path, stat in sorted(found, key=lambda pair: max(pair[1].st_atime, pair[1].st_mtime)):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= stat.st_size


def pytest_collection_finish():
    """What was imported stays: collections need not go through it."""
    gc.collect()
    gc.freeze()


_kept = 0.0  # bytes of this process after the last release


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Bounds a worker's memory: no module needs what another has traced and compiled."""
    global _kept
    within = nextitem is not None and nextitem.path == item.path
    # What does not go, such as libraries, is not tried again after every test.
    if _memory() > (max(MOST_WITHIN, _kept + MOST_WITHIN - MOST_AFTER) if within else MOST_AFTER):
        jax.clear_caches()
        gc.collect()
        if _trim is not None:
            _trim(0)  # glibc keeps what was freed
        _kept = _memory()


def _memory() -> float:
    """Bytes of this process in memory; infinite where the system does not say."""
    try:
        pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return math.inf
    return pages * resource.getpagesize()
