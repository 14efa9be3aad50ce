"""Programs that run once: compiling them costs more than running them."""

from collections.abc import Callable
from typing import Any

import jax

# Drawing the parameters of a network takes the CPU's compiler two to four times as long at its
# default. The numbers are the same but for a last bit here and there. Level 0 is quicker still, and
# its programs run many times longer.
_QUICKLY = {'xla_backend_optimization_level': 1}


def call_once(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function as one program, compiled quickly rather than to be quick.

    Args:
      function: what to call; its name is the program's.
      *args: its arguments, pytrees of arrays.

    Returns:
      What `jax.jit(function)(*args)` does. Within another traced function it is part of that.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
        return function(*args)
    quickly = _QUICKLY if jax.default_backend() == 'cpu' else None
    return jax.jit(function, compiler_options=quickly)(*args)
