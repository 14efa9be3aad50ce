"""Orbax without its running commentary: its failures reach the caller as exceptions."""

import asyncio
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np


def load() -> Any:
    """Imports orbax and keeps its log off the screen."""
    import orbax.checkpoint as ocp
    from absl import logging as absl_logging

    logger = absl_logging.get_absl_logger()
    if _not_from_orbax not in logger.filters:
        logger.addFilter(_not_from_orbax)
    return ocp


def open_manager(
    directory: pathlib.Path, handlers: Mapping[str, Any], *, keep: int, read_only: bool
) -> Any:
    """Orbax's manager of a directory that is there, for all processes together.

    Args:
      directory: of the checkpoints.
      handlers: of the items of a checkpoint, by name.
      keep: how many of the newest checkpoints stay.
      read_only: whether nothing there may be changed.
    """
    ocp = load()
    count = jax.process_count()
    return ocp.CheckpointManager(
        directory,
        item_handlers=dict(handlers),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            read_only=read_only,
            create=False,
            # Otherwise, where no directory can be made, the threads that would write there wait for
            # it for twenty minutes, and so does the process when it ends.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            # Named processes wait for each other through jax's coordinator, which knows who is
            # gone; otherwise orbax would have their devices do it.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                active_processes=set(range(count)) if count > 1 else None
            ),
            # A directory that has its final name is complete.
            atomicity_options=ocp.options.AtomicityOptions(
                mode=ocp.options.AtomicityMode.ATOMIC_RENAME
            ),
        ),
    )


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
