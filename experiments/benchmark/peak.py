"""The rate of large matrix products, the most FLOP per second that a device reaches in practice."""

import time

import jax
import jax.numpy as jnp
import numpy as np

_REPEATS = 9
_SIZES = {'cpu': (1024, 2048)}
_ACCELERATOR_SIZES = (4096, 8192, 16384)


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
        seconds = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            jax.block_until_ready(product(a, b))
            seconds.append(time.perf_counter() - start)
        rates.append(2 * size**3 / float(np.median(seconds)))
    return max(rates)
