"""What a value is, in the words of messages."""

from typing import Any


def is_array(value: Any) -> bool:
    """Whether a value is an array of any library, or an abstract one."""
    return hasattr(value, 'shape') and hasattr(value, 'dtype')


def describe(value: Any) -> str:
    """A value's kind in a few words, such as `a tuple (an array [6, 2] of float32, None)`."""
    if is_array(value):
        return f'an array {list(value.shape)} of {value.dtype}'
    if isinstance(value, tuple) and not hasattr(value, '_fields'):
        return f'a tuple ({", ".join(map(describe, value))})'
    return 'None' if value is None else f'a value of type {type(value).__name__}'
