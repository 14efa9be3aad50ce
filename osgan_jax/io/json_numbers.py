"""Numbers that JSON does not have: "NaN", "Infinity" and "-Infinity", written as strings."""

import math
from typing import Any

NAMES = frozenset({'NaN', 'Infinity', '-Infinity'})


def encoded(value: Any) -> Any:
    """A value of dicts, lists and scalars as JSON can hold it: non-finite floats by their names."""
    if isinstance(value, dict):
        return {key: encoded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return 'NaN' if math.isnan(value) else 'Infinity' if value > 0 else '-Infinity'
    return value


def decoded(value: Any) -> Any:
    """What `encoded` encoded."""
    if isinstance(value, dict):
        return {key: decoded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [decoded(each) for each in value]
    return float(value) if isinstance(value, str) and value in NAMES else value
