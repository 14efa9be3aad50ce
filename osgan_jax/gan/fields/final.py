"""Fields with whose values a schedule ends."""

from typing import Any

from osgan_jax.engine.declarations import field


def final_field(help: str, group: str = 'optimizer', **bounds: Any) -> Any:
    """An open field: the value with which --schedule ends."""
    return field(None, help, group=group, at_least=0, decided_by='method', **bounds)
