"""Trained classifiers, as a run holds them, and their accuracy."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import data
from osgan_jax.core import classifier_inputs, image_sizes
from osgan_jax.distillation import learners
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.engine import checkpoints, runs
from osgan_jax.evaluation.features import cache
from osgan_jax.gan import model
from osgan_jax.io import checked_npz, paths

PyTree = Any
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A teacher or a student as a checkpoint holds it.

    Attributes:
      run: its run, with a `TeacherConfig` or a `DistillConfig`.
      step: step of the checkpoint.
      module: linen module `(standardised images [N, H, W, C], train) -> Outputs`.
      variables: its parameters and statistics.
    """

    run: runs.Run
    step: int
    module: nn.Module
    variables: PyTree = dataclasses.field(repr=False)

    @property
    def architecture(self) -> str:
        """Its name in `osgan_jax.networks.classifiers`."""
        return learners.architecture(self.run.config)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits `[N, K]` of images `[N, H, W, C]` in [-1, 1]."""
        config = self.run.config
        images = classifier_inputs.standardise(jnp.asarray(images), config.mean, config.std)
        return self.module.apply(self.variables, images, train=False).logits

    def digest(self) -> str:
        """A fingerprint of its variables: equal if and only if they are, to the bit."""
        return model.digest(self.variables)


def load(workdir: str | os.PathLike[str], step: int | None = None) -> Classifier:
    """Reads the classifier of a run of `experiments.teacher` or `distill`, which may still train.

    Args:
      workdir: the run's directory.
      step: step of the checkpoint; None for the newest good one.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if its configuration is damaged, or it is a run of another kind.
      osgan_jax.engine.checkpoints.CheckpointError: if there is no such checkpoint, or none is good.
    """
    workdir = pathlib.Path(paths.expand(workdir))
    kind = DistillConfig if runs.kind_of(workdir) == DistillConfig.KIND else TeacherConfig
    run = runs.read(workdir, kind)
    if run is None:
        raise FileNotFoundError(
            f'{workdir} holds no run (no config.json): give the --workdir of experiments.teacher'
        )
    config = run.config
    student = learners.student(config, run.num_classes, None)
    generator = None
    if isinstance(config, DistillConfig) and config.algorithm != 'kd':
        generator = learners.generator(config, None)
    like = jax.eval_shape(lambda: learners.create(config, student, generator))
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        restored = saved.restore(like, step)
    return Classifier(run, restored.step, student.module, restored.state.student.variables)


class Accuracy:
    """The share of a dataset's images that a classifier assigns to the right class.

    Attributes:
      count: number of images.
      about: dataset, split and number of images, for records.
    """

    def __init__(self, module: nn.Module, dataset: data.Dataset, config: Any):
        """Reads the images, for their fingerprint; each call reads them again.

        Args:
          module: the classifier.
          dataset: labelled images.
          config: has mean and std.
        """
        self._dataset, self.count = dataset, len(dataset)
        shape = (self.count, *image_sizes.sides(dataset.image_size), dataset.channels)
        images = (images for images, _ in cache.batches(dataset, _ROWS))
        self.about = {
            'dataset': f'{dataset.name} ({dataset.split})',
            'num_samples': self.count,
            'fingerprint': checked_npz.digest(
                checked_npz.Blocks(shape, np.dtype(np.uint8), images), dataset.labels()
            ),
        }
        # Statistics shared over devices belong to training.
        module = module.clone(axis_name=None)

        @jax.jit
        def right(variables, images, labels):
            images = images.astype(jnp.float32) / 127.5 - 1
            images = classifier_inputs.standardise(images, config.mean, config.std)
            logits = module.apply(variables, images, train=False).logits
            return jnp.sum(jnp.argmax(logits, -1) == labels)

        self._right = right

    def __call__(self, variables: PyTree, check: Callable[[], None] | None = None) -> float:
        """The accuracy, 0 to 1; `check` is called before each batch, and may raise."""
        total, rows = 0, min(_ROWS, self.count)
        for images, labels in cache.batches(self._dataset, rows):
            if check is not None:
                check()
            missing = rows - len(images)
            if missing:
                # No class is -1: the rows that fill up the last batch are never right.
                images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
                labels = np.pad(labels, (0, missing), constant_values=-1)
            total += int(self._right(variables, images, labels))
        return total / self.count
