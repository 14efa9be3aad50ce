"""How exactly products are computed where the dtype does not say."""

import jax


def set_default(precision: str) -> None:
    """Sets what float32 means to matrix products and convolutions in this process.

    Args:
      precision: 'float32' and 'bfloat16' leave float32 products exact (accelerators otherwise round
        the factors); 'tensorfloat32' lets them round to 10 bits.
    """
    choice = 'tensorfloat32' if precision == 'tensorfloat32' else 'highest'
    jax.config.update('jax_default_matmul_precision', choice)
