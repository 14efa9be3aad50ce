"""The platform that functions are traced for.

Some layers, and the shape of a step, are written differently for a CPU. What is asked for is the
platform of jax's devices, unless a program is made for devices that are not here.
"""

import contextlib
from collections.abc import Iterator

import jax

_platform: str | None = None


def platform() -> str:
    """The platform of what is traced now: 'cpu', 'gpu' or 'tpu'."""
    return jax.default_backend() if _platform is None else _platform


@contextlib.contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Traces for a platform within a `with` block, whatever devices there are.

    A function that is already traced keeps the platform that it was traced for.

    Args:
      name: as jax's devices name their `platform`.
    """
    global _platform
    previous, _platform = _platform, name
    try:
        yield
    finally:
        _platform = previous
