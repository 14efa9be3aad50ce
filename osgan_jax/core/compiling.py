"""Programs that run once: compiling them costs more than running them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from osgan_jax.core import values

# XLA:CPU compiles a kernel in a third of the time without MLIR. At level 1, the parameters of a
# network are then drawn as fast as by default, and differ in a last bit here and there.
_QUICKLY = {'xla_cpu_use_fusion_emitters': False, 'xla_backend_optimization_level': 1}
# Half of that again; normal numbers take seven times as long, 0.2 s a million.
_AT_ONCE = {**_QUICKLY, 'xla_backend_optimization_level': 0}
_FEW = 2**20  # numbers, of arguments and results


class Deferred:
    """A function with its arguments, traced now and compiled at the first call.

    A call returns what `jax.jit(function)(*args)` does, but for rounding.

    Attributes:
      shapes: of what it returns, a pytree of `jax.ShapeDtypeStruct`.
    """

    def __init__(self, function: Callable[..., Any], *args: Any):
        """Traces a function; its name is the program's, its arguments are pytrees of arrays."""
        self._args, self._traced = args, jax.jit(function).trace(*args)
        self.shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._traced.out_info
        )

    def __call__(self) -> Any:
        """Returns what the function does."""
        return self._program(*self._args)

    @functools.cached_property
    def _program(self) -> Callable[..., Any]:
        return _compile(self._traced)


def call_once(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function as one program, compiled quickly rather than to be quick.

    Args:
      function: what to call; its name is the program's.
      *args: its arguments, pytrees of arrays.

    Returns:
      What `jax.jit(function)(*args)` does, but for rounding. Within another traced function it is
      part of that.
    """
    return function(*args) if values.is_traced(args) else Deferred(function, *args)()


def compile_quickly(function: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """Compiles what is called a few times; arguments as of `call_once`.

    Returns:
      The program, for arguments of the shapes and dtypes of `args`.
    """
    return _compile(jax.jit(function).trace(*args))


def _compile(traced: jax.stages.Traced) -> Callable[..., Any]:
    lowered = traced.lower()
    if jax.default_backend() != 'cpu':
        return lowered.compile()
    count = sum(leaf.size for leaf in jax.tree.leaves((lowered.in_avals, lowered.out_info)))
    options = _QUICKLY if count > _FEW else _AT_ONCE
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        # The compiler's options are not part of jax's interface, and come and go.
        if 'No such compile option' not in str(error):
            raise
        return lowered.compile()
