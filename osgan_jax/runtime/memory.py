"""The C allocator's habits, which on CPU decide a good part of a step's time.

XLA:CPU allocates a step's working memory anew for each call. By default glibc hands back to the
system what is freed, and the system then delivers the same pages again, zeroed, one fault each: a
quarter of a DCGAN-64 step (width 32, batch 64, two cores: 148 ms, and 112 to 118 ms with the pages
kept).
"""

import ctypes
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_GREATEST = 2**31 - 1
_GROWTH = 2**28  # bytes


def keep_pages() -> bool:
    """Makes this process keep the memory it frees, to use it again.

    A decision for a whole process, so launchers take it and libraries do not. Call it before jax
    computes anything. The process then stays as large as it once was.

    Returns:
      Whether it took effect: only where the C library is glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    # One arena: those of other threads are made of pieces too small for a step's memory.
    settings = {
        _MMAP_MAX: 0,
        _TRIM_THRESHOLD: _GREATEST,
        _TOP_PAD: _GROWTH,
        _ARENA_MAX: 1,
    }
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
