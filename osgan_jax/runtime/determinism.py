"""The same numbers from run to run on a GPU: what XLA must be told before it starts.

On CPU equal runs are bit-identical as they are. On a GPU they need not be: programs add up in the
order in which threads arrive (scatters, some kernels of cuDNN and cuBLAS), and which kernel is used
is decided by timing some of them whenever a program is compiled.
"""

import os

import jax

# The first excludes all such operations and takes fixed kernels. The second turns off the timing
# where a compiler looks at it alone.
_FLAGS = {'xla_gpu_deterministic_ops': 'true', 'xla_gpu_autotune_level': '0'}
_OFF = ('false', '0')


def request() -> None:
    """Has XLA use reproducible GPU operations alone; to be called before jax is used.

    Adds to the environment's XLA_FLAGS what is not there yet. A CPU's numbers stay as they are.
    Safe to call again.

    Raises:
      ValueError: if XLA_FLAGS say the opposite, or if it is too late: jax has started, on something
        else than CPUs.
    """
    text = os.environ.get('XLA_FLAGS', '')
    there = _parse(text)
    if there.get('xla_gpu_deterministic_ops') in _OFF:
        raise ValueError(
            'deterministic: XLA_FLAGS has --xla_gpu_deterministic_ops=false; remove it there, or '
            'leave out --deterministic'
        )
    missing = [f'--{name}={value}' for name, value in _FLAGS.items() if name not in there]
    if not missing:
        return
    if _has_started():
        if jax.default_backend() == 'cpu':
            return
        raise ValueError(
            'deterministic: jax has started already and no longer reads XLA_FLAGS; start the '
            f'process with XLA_FLAGS="{" ".join(missing)}"'
        )
    os.environ['XLA_FLAGS'] = ' '.join(filter(None, [text, *missing]))


def is_requested() -> bool:
    """Whether XLA_FLAGS ask for reproducible GPU operations, whoever put that there."""
    value = _parse(os.environ.get('XLA_FLAGS', '')).get('xla_gpu_deterministic_ops')
    return value is not None and value not in _OFF


def _parse(text: str) -> dict[str, str]:
    """Flags by name, of several the last."""
    pairs = (word.lstrip('-').partition('=') for word in text.split())
    return {name: value.lower() for name, _, value in pairs}


def _has_started() -> bool:
    # jax offers no public way to ask that does not itself start it.
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
