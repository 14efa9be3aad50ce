"""Which cases of a test are slow."""

import pytest


def slow_but(values, *fast):
    """The values of a parameter, or tuples of several, most of them left to `make test-slow`."""

    def slow(value):
        return pytest.param(
            *value if isinstance(value, tuple) else (value,), marks=pytest.mark.slow
        )

    return [value if value in fast else slow(value) for value in values]
