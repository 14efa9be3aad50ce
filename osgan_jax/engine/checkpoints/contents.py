"""The results of reading a checkpoint."""

from typing import Any, NamedTuple

import numpy as np


class Restored(NamedTuple):
    """A checkpoint read back by `Checkpoints.restore`."""

    state: Any
    iterator_state: bytes
    step: int


class Stored(NamedTuple):
    """A checkpoint as it lies on disk, read back by `Checkpoints.read`.

    Attributes:
      step: its step.
      arrays: in host memory by leaf name; keys of random numbers are their uint32 words.
      described: shape and dtype of each leaf, see `leaves.to_host`.
      iterator_state: of this process.
      metadata: as passed to `save`.
    """

    step: int
    arrays: dict[str, np.ndarray]
    described: dict[str, dict[str, Any]]
    iterator_state: bytes
    metadata: dict[str, Any]
