"""Arrays by name in a pickle, as CIFAR's python files hold them, read without running anything.

All a pickle can do to its reader goes through the objects that it looks up by name. Here they are
stand-ins made in this file; numpy's own are never handed out, and any other name is refused before
it is looked up.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

from osgan_jax.io import checks
from osgan_jax.io.messages import quote

_MOST_BYTES = 2**31
_KINDS = ('u1', 'i1', 'b1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8', 'f4', 'f8')


def read(content: bytes) -> dict[str, Any]:
    """Reads a pickled dictionary of arrays, numbers, texts and lists of them.

    Args:
      content: of the file. Texts of Python 2 are bytes.

    Returns:
      Values by name.

    Raises:
      `osgan_jax.io.checks.DAMAGE`: it is damaged, holds something else, or asks for code.
    """
    if len(content) > _MOST_BYTES:
        raise ValueError(f'it has {len(content):,} bytes, more than {_MOST_BYTES:,}')
    found = _Unpickler(io.BytesIO(content), encoding='bytes').load()
    if not isinstance(found, dict):
        raise ValueError('it does not hold values by name')
    return {_text(name): _value(value) for name, value in found.items()}


def _text(name: Any) -> str:
    if isinstance(name, bytes):
        return name.decode('latin1')
    if not isinstance(name, str):
        raise ValueError('it does not hold values by name')
    return name


def _value(value: Any) -> Any:
    return value.array() if isinstance(value, _Array) else value


class _DType:
    """A dtype's name."""

    __slots__ = ('kind',)

    def __init__(self, kind: Any, *_: Any):
        kind = kind.decode('latin1') if isinstance(kind, bytes) else kind
        if kind not in _KINDS:
            raise ValueError(f'it holds numbers of type {quote(kind)}')
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ('<', '|', b'<', b'|'):
            raise ValueError('its numbers are big-endian')


class _Array:
    """An array's parts, before their claims are checked."""

    __slots__ = ('state',)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, dtype, fortran, content = self.state
        shape = checks.sizes(shape, 'an array')
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise ValueError('it holds an array without numbers')
        kind = np.dtype(dtype.kind)
        if len(content) != math.prod(shape) * kind.itemsize:
            raise ValueError(f'an array {list(shape)} has {len(content):,} bytes')
        return np.frombuffer(content, kind).reshape(shape, order='F' if fortran else 'C')


class _Named:
    """What is called by the name of something else, and does only what it says here."""

    __slots__ = ('_does',)

    def __init__(self, does: Any):
        self._does = does

    def __call__(self, *given: Any) -> Any:
        return self._does(*given)


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ('latin1', b'latin1'):
        raise ValueError('it holds text in an encoding that is not supported')
    return text.encode('latin1')


_STAND_INS = {
    **{
        (f'numpy.{core}.multiarray', '_reconstruct'): _Named(lambda *_: _Array())
        for core in ('core', '_core')
    },
    ('numpy', 'ndarray'): _Named(lambda *_: None),
    ('numpy', 'dtype'): _Named(_DType),
    ('_codecs', 'encode'): _Named(_encode),
    # No bytes, as Python 3 writes them for Python 2.
    ('__builtin__', 'bytes'): _Named(lambda: b''),
}


class _Unpickler(pickle._Unpickler):
    # Of the two readers of the standard library the one that takes no memory for what a pickle
    # merely claims.

    def find_class(self, module: Any, name: Any) -> Any:
        module, name = (
            each.decode('latin1') if isinstance(each, bytes) else each for each in (module, name)
        )
        if (module, name) not in _STAND_INS:
            raise ValueError(
                f'it asks for {quote(f"{module}.{name}")}, which arrays do not need; it was not '
                'executed'
            )
        return _STAND_INS[module, name]
