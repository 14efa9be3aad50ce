"""The processes that measure: how many, and in what environment. Nothing here starts jax."""

import os
from collections.abc import Mapping
from typing import Any

import jax

_VARIABLES = {
    # Several processes share a GPU's memory, and none has it before it needs it.
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    'XLA_PYTHON_CLIENT_MEM_FRACTION': '0.95',
}
# A tiny suite compiles for most of its time, and nobody reads its times: less than half of it so.
_QUICK = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
_MOST_WORKERS, _CORES_EACH = 4, 4


def variables(scale: str) -> dict[str, str]:
    """Variables of the processes that measure, beside this one's own.

    Args:
      scale: of the suite.
    """
    found = dict(_VARIABLES)
    if scale == 'tiny':
        found['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_QUICK}'.strip()
    # A launcher has chosen where compiled programs are kept.
    if kept := jax.config.jax_compilation_cache_dir:
        found['JAX_COMPILATION_CACHE_DIR'] = kept
    return found


def workers(machine: Mapping[str, Any]) -> int:
    """How many processes may compile for a machine at a time.

    A TPU belongs to one process, and a CPU is itself what compiles.

    Args:
      machine: as `report.machine` describes it.
    """
    if machine['platform'] != 'gpu':
        return 1
    return min(_MOST_WORKERS, max(1, (machine['cores'] or 1) // _CORES_EACH))
