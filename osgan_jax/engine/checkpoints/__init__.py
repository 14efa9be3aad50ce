"""Checkpoints that survive kills, full disks and damaged files, and a lock on a run's directory.

Orbax is imported when the first `Checkpoints` is made.
"""

from osgan_jax.engine.checkpoints.contents import Restored, Stored
from osgan_jax.engine.checkpoints.errors import CheckpointError
from osgan_jax.engine.checkpoints.locking import lock
from osgan_jax.engine.checkpoints.manager import Checkpoints

__all__ = ['CheckpointError', 'Checkpoints', 'Restored', 'Stored', 'lock']
