"""Scalars and images for TensorBoard, where tensorboardX is installed."""

from __future__ import annotations

import os
import pathlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from osgan_jax.reporting import images

_warned = False


class TensorBoard:
    """Writes event files to `workdir/tensorboard`; does nothing where tensorboardX is missing.

    Args:
      workdir: the run's directory.
      resume_step: TensorBoard hides earlier events of later steps; None hides none.
      warn: called with one line, once a process, if tensorboardX is missing.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        resume_step: int | None = None,
        *,
        warn: Callable[[str], None] = print,
    ):
        self._writer = None
        try:
            tensorboardX = _import()
        except ImportError:
            global _warned
            if not _warned:
                warn('TensorBoard events are not written: install tensorboardX to have them.')
            _warned = True
            return
        # purge_step is the first step to hide.
        purge = None if resume_step is None else resume_step + 1
        directory = pathlib.Path(workdir) / 'tensorboard'
        self._writer = tensorboardX.SummaryWriter(str(directory), purge_step=purge)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def scalars(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds scalars by name at `step`; NaN and infinity, which it cannot draw, are left out."""
        if self._writer is not None:
            for name, value in metrics.items():
                value = float(np.asarray(value).reshape(()))
                if np.isfinite(value):
                    self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: ArrayLike) -> None:
        """Adds one image `[H, W, C]`, C 1 or 3, floats in [-1, 1] or uint8, at `step`."""
        if self._writer is not None:
            self._writer.add_image(name, images.to_uint8(image), step, dataformats='HWC')

    def close(self) -> None:
        """Writes pending events and closes the files. Safe to call twice."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _import() -> types.ModuleType:
    """Imports tensorboardX without torch, which takes seconds, and of which it wants a type."""
    hides = 'torch' not in sys.modules
    if hides:
        sys.modules['torch'] = None
    try:
        import tensorboardX
    finally:
        if hides:
            del sys.modules['torch']
    return tensorboardX
