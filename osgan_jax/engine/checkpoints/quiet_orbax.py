"""Orbax without its running commentary: its failures reach the caller as exceptions."""

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np


def load() -> Any:
    """Imports orbax and keeps its log off the screen."""
    import orbax.checkpoint as ocp
    from absl import logging as absl_logging

    logger = absl_logging.get_absl_logger()
    if _not_from_orbax not in logger.filters:
        logger.addFilter(_not_from_orbax)
    return ocp


def array_handler() -> Any:
    """Orbax's handler of a tree of arrays, one that a failed read leaves in order.

    Orbax reads all arrays at once on an event loop that it closes at the first failure. Each read
    under way then prints a traceback from a thread of tensorstore. Here a failure waits for them.
    """
    ocp = load()

    class Handler(ocp.type_handlers.NumpyHandler):
        async def deserialize(self, infos: Sequence[Any], args: Any = None) -> Sequence[Any]:
            before = asyncio.all_tasks()
            try:
                return await super().deserialize(infos, args)
            except BaseException:
                if reads := asyncio.all_tasks() - before:
                    await asyncio.gather(*reads, return_exceptions=True)
                raise

    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, Handler()))
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    """Other users of absl's logger keep their lines."""
    return f'{os.sep}orbax{os.sep}' not in record.pathname
