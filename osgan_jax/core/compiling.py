"""Programs that run once: compiling them costs more than running them."""

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


def call_once(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function as one program, compiled quickly rather than to be quick.

    Args:
      function: what to call; its name is the program's.
      *args: its arguments, pytrees of arrays.

    Returns:
      What `jax.jit(function)(*args)` does, but for rounding. Within another traced function it is
      part of that.
    """
    if values.is_traced(args):
        return function(*args)
    return compile_quickly(function, *args)(*args)


def compile_quickly(function: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """Compiles what is called a few times; arguments as of `call_once`.

    Returns:
      The program, for arguments of the shapes and dtypes of `args`.
    """
    jitted = jax.jit(function)
    if jax.default_backend() != 'cpu':
        return jitted
    lowered = jitted.lower(*args)
    count = sum(leaf.size for leaf in jax.tree.leaves((lowered.in_avals, lowered.out_info)))
    options = _QUICKLY if count > _FEW else _AT_ONCE
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        # The compiler's options are not part of jax's interface, and come and go.
        if 'No such compile option' not in str(error):
            raise
        return lowered.compile()
