"""Jobs: what one step is, and what is shown of it."""

import abc
import os
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from osgan_jax import data
from osgan_jax.core import collectives, image_sizes
from osgan_jax.engine import adoption, origins, recorder, resuming, runs
from osgan_jax.engine.config import RunConfig
from osgan_jax.io import paths

PyTree = Any
# Datasets that say nothing of their images.
_UNNAMED = ('folder', 'npz')

Update = Callable[..., tuple[Any, dict[str, jax.Array]]]


class Job(abc.ABC):
    """Something that is trained in steps, by `osgan_jax.engine.runner.run`.

    A job defines `open`, `build`, `create`, `describe` and `open_recorder`, which are called once
    and in this order; a resumed job creates no state. `flops` and `example_batch` are called in the
    thread that compiles. What all jobs have in common is the runner's.

    Attributes:
      title: first line of the summary.
      advice: how a person may go on after a loss or a parameter is no longer finite.
      step_name: what a person calls a step.
      renewable: parts of the state that may begin anew when a run is forked.
      workdir: the run's directory.
      request: what to train, as asked for.
      config: the same, and what a run that goes on brings.
      dataset: what batches are drawn from; None for a job that needs no data.
      constants: what every step reads and none changes, such as a teacher's parameters; None for
        none.
      run: what `open` returned.
      notes: names and values of the summary that say how the run goes on.
      devices: those of all processes that share a step.
      divided: parts of the state whose large tensors the devices divide among themselves, see
        `osgan_jax.runtime.shards`; known once the job is built.
    """

    title: ClassVar[str]
    advice: ClassVar[str]
    step_name: ClassVar[str] = 'step'
    renewable: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        config: RunConfig,
        workdir: str | os.PathLike[str],
        dataset: data.Dataset | None = None,
    ):
        self.request = self.config = config
        self.workdir = pathlib.Path(paths.expand(workdir))
        self.dataset = dataset
        data.check_dataset(dataset)
        self.constants: PyTree = None
        self.notes: list[tuple[str, str]] = []
        self.run: runs.Run
        self.devices: list[jax.Device]
        self.divided: tuple[str, ...] = ()

    @abc.abstractmethod
    def open(self) -> runs.Run:
        """Opens the data and resolves the configuration; leaves the workdir alone.

        Raises:
          ValueError: for a configuration that contradicts itself or the data.
          FileNotFoundError: for data that are not there.
        """

    def resume_config(self) -> None:
        """Takes the fields that were not asked for from the run in the workdir, if it goes on.

        Raises:
          ValueError: if the directory holds a run of another kind, or a damaged config.json.
        """
        saved = resuming.saved_config(self.workdir, type(self.request))
        if saved is not None:
            self.config = adoption.adopt(self.request, saved) or self.request
        elif self.request.fork:
            self.config = origins.fork_config(self.request, self.workdir)

    @abc.abstractmethod
    def build(self) -> tuple[PyTree, Update]:
        """The shapes of a state and the step, for `run` and `devices`.

        Returns:
          `(shapes, update)`: the state is a pytree with a `step`, and all its numbers must stay
          finite; the update is `(state, batch) -> (state, metrics)`, with constants
          `(state, batch, constants) -> (state, metrics)`.
        """

    @abc.abstractmethod
    def create(self) -> Any:
        """A fresh state; the step may be compiled meanwhile."""

    def initialise(self) -> origins.Beginning | None:
        """A first state that comes from elsewhere in part; None for the fresh one."""
        return None

    def renew(self, state: Any, parts: frozenset[str]) -> Any:
        """A forked state, whose `parts` its source had not or otherwise and are fresh.

        Args:
          state: the state.
          parts: some of `renewable`.
        """
        del parts
        return state

    @abc.abstractmethod
    def describe(self, flops: float | None) -> list[tuple[str, str | None]]:
        """Names and values for the summary; the runner adds steps, devices and workdir.

        Args:
          flops: as `open_recorder` is given them.
        """

    @abc.abstractmethod
    def open_recorder(
        self, start: int, flops: float | None, check: Callable[[], None]
    ) -> recorder.Recorder:
        """The recorder of the first process.

        Args:
          start: the step that the run goes on from.
          flops: of a step, over all devices; None where they are not known.
          check: to be called now and then by what takes long, before files are open; what it raises
            passes.
        """

    def prepare(self, state: Any) -> None:
        """Compiles what the recorder calls first, while the step is compiled; here nothing."""
        del state

    def flops(self, compiled: float | None) -> float | None:
        """FLOPs of a step over all devices, given the compiler's count; None if unknown."""
        return compiled

    def open_batches(self) -> data.Batches:
        """This process's share of the batches."""
        config = self.run.config
        return data.batches(
            self.dataset,
            config.batch_size,
            seed=config.seed,
            num_workers=config.num_workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def example_batch(self) -> dict[str, Any]:
        """A batch as the step takes this process's rows of it, all zeros."""
        rows = self.run.config.batch_size // jax.process_count()
        shape = (*image_sizes.sides(self.dataset.image_size), self.dataset.channels)
        images = np.zeros((rows, *shape), np.float32)
        return {'image': images, 'label': np.zeros(rows, np.int32)}

    @property
    def dataset_name(self) -> str:
        """The dataset's name; for images of one's own, with that of their folder or file."""
        name, place = self.dataset.name, self.run.config.data_dir
        if name in _UNNAMED and place is not None:
            return f'{name} {pathlib.Path(place).absolute().name}'
        return name

    @property
    def collectives(self) -> collectives.Collectives:
        """What the devices of a step exchange."""
        return collectives.collectives_over(self.devices)
