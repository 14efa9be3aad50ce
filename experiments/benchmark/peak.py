"""The rates of large matrix products and of large copies: the most that a device reaches.

A step's share of the first says how far it is from what arithmetic allows, its bytes over the
second what memory allows.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_REPEATS = 9
_SIZES = {'cpu': (1024, 2048)}
_ACCELERATOR_SIZES = (4096, 8192, 16384)
_COPIED = {'cpu': 2**28}
_ACCELERATOR_COPIED = 2**30


def measure_peak(precision: str, sizes: tuple[int, ...] | None = None) -> float:
    """Measures products of square matrices on the first device.

    Args:
      precision: 'float32', 'tensorfloat32' or 'bfloat16'; inputs and result are of that kind.
      sizes: of the matrices; by default those that keep a CPU or an accelerator busy.

    Returns:
      FLOP per second, the median of the best size.
    """
    sizes = sizes or _SIZES.get(jax.default_backend(), _ACCELERATOR_SIZES)
    dtype = jnp.bfloat16 if precision == 'bfloat16' else jnp.float32
    accuracy = {'float32': 'highest', 'tensorfloat32': 'tensorfloat32', 'bfloat16': 'default'}

    @jax.jit
    def product(a, b):
        return jnp.matmul(a, b, precision=accuracy[precision])

    rates = []
    for size in sizes:
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        b = jax.block_until_ready(product(a, a))
        rates.append(2 * size**3 / _median_seconds(lambda a=a, b=b: product(a, b)))
    return max(rates)


def measure_copy(size: int | None = None) -> float:
    """Measures reading an array from memory and writing another one, on the first device.

    Args:
      size: bytes of the array; by default more than the caches of a CPU or an accelerator hold.

    Returns:
      Bytes read and written per second, the median.
    """
    size = size or _COPIED.get(jax.default_backend(), _ACCELERATOR_COPIED)
    array = jnp.zeros(size // 4, jnp.float32)
    # A program that only copies may be made one that does nothing.
    successor = jax.jit(lambda x: x + 1)
    jax.block_until_ready(successor(array))
    return 2 * array.nbytes / _median_seconds(lambda: successor(array))


def _median_seconds(call: Callable[[], jax.Array]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
