"""Training a GAN: the job that a configuration and a dataset make."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax

from osgan_jax import data
from osgan_jax import networks as registry
from osgan_jax.core import image_sizes
from osgan_jax.data import identity
from osgan_jax.engine import messages, origins, runner, runs
from osgan_jax.engine.config import fill
from osgan_jax.engine.job import Job, Update
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.engine.runner import Result
from osgan_jax.engine.summary import count_flops
from osgan_jax.gan import best_checkpoint, freezing, methods, model, own, summary, transfer, updates
from osgan_jax.gan.config import TrainConfig
from osgan_jax.gan.recorder import GANRecorder, Watched
from osgan_jax.reporting.summary import human
from osgan_jax.runtime.stopping import Stopped

__all__ = ['GANJob', 'NonFiniteError', 'Result', 'Stopped', 'train']


def train(
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    *,
    dataset: data.Dataset | None = None,
    networks: Any = None,
) -> Result:
    """Trains, or resumes, the run that lives in `workdir`.

    Writes there: config.json, metrics.jsonl (the same whether or not the run was interrupted),
    timing.jsonl, diversity.jsonl (how varied samples are beside real images), tensorboard/,
    samples/step_*.png from fixed latents, curves.png, checkpoints/;
    with evaluations also evaluations.jsonl, evaluations.png and best/, a directory of the same kind
    with the best checkpoint.

    Args:
      config: what to train; open fields are resolved from the method and the dataset.
      workdir: the run's directory.
      dataset: instead of the configured one, already opened.
      networks: instead of the configured ones, `osgan_jax.gan.Networks` of one's own.

    Returns:
      As `osgan_jax.engine.runner.run`, which also says what else is raised; the state is
      a `TrainState`.

    Raises:
      ValueError: for a configuration that contradicts itself, or the dataset.
      FileNotFoundError: for a dataset that is not there.
    """
    if networks is not None:
        if config.network is not None:
            raise ValueError(f'network={config.network} and networks: give one of them')
        # Nothing but what was given: what was not, a resumed run decides.
        given = {name: getattr(config, name) for name in config.given}
        config = type(config)(**{**given, 'network': networks})
    return runner.run(GANJob(config, workdir, dataset))


def open_dataset(config: TrainConfig) -> data.Dataset:
    """The dataset that a configuration names."""
    config = methods.opening(config)
    network = registry.get(config.network or methods.get(config.method).network)
    if config.image_size is not None:
        network.check_size(config.image_size)
    return data.load(
        config.dataset,
        split=config.split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        flip=config.flip,
        upscale=config.upscale,
        sizes=network.image_sizes,
        oblong=network.oblong,
        **config.reading(),
    )


class GANJob(Job):
    """Training of a GAN.

    Attributes:
      asked: the configuration as it was asked for, to be searched for contradictions.
      gan: its networks and optimisers, once built.
    """

    title = 'osgan_jax: one run'
    renewable = frozenset(('ema_g', 'slow', 'loss_state', 'penalties', 'augmentation'))
    advice = (
        'Lower --learning_rate_d or --learning_rate_g, change the loss or normalisation, or '
        'another --seed; where it is a rare accident, --skip_nonfinite.'
    )
    gan: model.GAN

    def __init__(
        self,
        config: TrainConfig,
        workdir: str | os.PathLike[str],
        dataset: data.Dataset | None = None,
    ):
        """Makes the job; the arguments are those of `train`."""
        super().__init__(config, workdir, dataset)
        self.asked = config

    def resume_config(self) -> None:
        """As `Job.resume_config`; a run that is there was allowed when it began."""
        super().resume_config()
        request, named = self.request, [self.workdir]
        begins = runs.kind_of(self.workdir) is None
        if self.config is not request:
            self.asked = type(request)()
        elif request.init_from and begins:
            self.config = transfer.carry(request)
        if begins and request.fork:
            named.append(origins.place(request.fork).workdir)
        elif begins and request.init_from:
            named.append(transfer.place(request.init_from).workdir)
        if self.config is not request:
            for directory in named:
                own.check_apart(self.config, directory, request)

    def open(self) -> runs.Run:
        """Opens the dataset and resolves the configuration."""
        config = self.config
        if config.eval_every and jax.process_count() > 1:
            # The best checkpoint would be one process's to choose and all processes' to write.
            raise ValueError(
                'eval_every: several processes cannot evaluate during training; leave it out, '
                'and run experiments.evaluate in parallel or afterwards'
            )
        if self.dataset is None:
            self.dataset = messages.read_dataset(config.dataset, lambda: open_dataset(config))
        dataset = self.dataset
        config = methods.resolve(
            fill(config, {'flip': dataset.flip}),
            image_size=dataset.image_size,
            channels=dataset.channels,
            num_classes=dataset.num_classes,
            num_examples=len(dataset),
            dataset=dataset.name,
            asked=self.asked,
            why_unlabelled=dict(dataset.notes).get('labels', '').removeprefix('none: '),
        )
        source = identity.identify(dataset)
        return runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset), source)

    def build(self) -> tuple[Any, Update]:
        """Builds the networks, the shapes of their state and the step."""
        config = self.run.config
        self.gan = self._make(self.run.num_classes, self.collectives.axis_name)
        self.check_rows(config.minibatch_deviation)
        self._shapes, update = self.build_step()
        self.divided = model.divided(config, self.devices, self._shapes)
        if config.shard_state and not self.divided:
            self.notes.append(
                ('state', 'whole on every device: no large tensor divides among them')
            )
        both = (self._shapes.params_g, self._shapes.params_d)
        self.run = dataclasses.replace(self.run, own=own.record(config, self.gan, self._shapes))
        params = dict(zip((freezing.GENERATOR, freezing.DISCRIMINATOR), both, strict=True))
        self._frozen = freezing.describe(config.freeze, self.gan.frozen, params)
        self._sizes = [human(model.num_parameters(p)) for p in both]
        return self._shapes, update

    def _make(self, num_classes: int, axis_name: str | None) -> model.GAN:
        return model.build(
            self.run.config,
            num_classes=num_classes,
            steps_per_epoch=self.run.steps_per_epoch,
            axis_name=axis_name,
        )

    def build_step(self) -> tuple[Any, Update]:
        """The shapes of a state and the step of the networks, see `build`."""
        config = self.run.config
        self._create = model.creation(self.gan, config.seed)
        update = updates.make_update(
            self.gan, config.scheme, self._create, self.collectives, accumulate=config.accumulate
        )
        return self._create.shapes, update

    def create(self) -> Any:
        """A fresh state, with warnings of what is surprising in it."""
        state = self._create()
        for remark in own.remarks(self.run.config, self.gan, state):
            messages.warn(f'{remark}.')
        return state

    def initialise(self) -> origins.Beginning | None:
        """A first state with what --init_from names has of it; None without."""
        if not self.run.config.init_from:
            return None

        def create(num_classes: int) -> model.TrainState:
            return model.create(self._make(num_classes, None), 0)

        return transfer.begin(self.run, self.create(), create)

    def renew(self, state: Any, parts: frozenset[str]) -> Any:
        """Begins averages and slow weights at the networks; the rest stays fresh."""
        return model.renew(state, parts)

    def check_rows(self, group: int | None) -> None:
        """Raises ValueError unless a D's groups divide the images that a device judges at a time.

        Args:
          group: samples in a group of D's minibatch standard deviation; 0 or None for none.
        """
        config = self.run.config
        rows = config.batch_size // len(self.devices) // config.accumulate
        group = min(group or 0, rows)
        if group and rows % group:
            raise ValueError(
                f'groups of {group} (minibatch_deviation) do not divide the {rows} images that D '
                'takes at once on a device: choose another --batch_size'
            )

    def flops(self, compiled: float | None) -> float | None:
        """As `updates.count_flops`."""
        return updates.count_flops(
            self.gan,
            compiled,
            self._shapes,
            self.example_batch(),
            self.devices,
            accumulate=self.run.config.accumulate,
        )

    def describe(self, flops: float | None) -> list[tuple[str, str | None]]:
        """What is trained, on what, and how."""
        config, dataset = self.run.config, self.dataset
        size = f'{image_sizes.text(config.image_size)}x{config.channels}'
        batch = f'{config.batch_size} real and as many fake images'
        if config.d_steps > 1:
            batch = f'{config.d_steps} batches of {batch}'
        return [
            ('method', f'{config.method}: {methods.get(config.method).title}, {config.loss} loss'),
            ('scheme', config.scheme),
            *self.describe_teacher(),
            ('dataset', f'{self.dataset_name}, {len(dataset):,} images an epoch, {size}'),
            *dataset.remarks(),
            ('conditional', self._conditional()),
            ('networks', summary.networks_of(config)),
            ('parameters', f'G {self._sizes[0]}, D {self._sizes[1]}'),
            ('frozen', self._frozen),
            ('a step', batch + count_flops(flops)),
            ('recipe', self.describe_recipe()),
            *summary.lines(config, len(dataset), dataset.name),
        ]

    def _conditional(self) -> str | None:
        """Whether labels are trained with, where there are any."""
        if not self.dataset.num_classes:
            return None
        return 'yes' if self.run.config.conditional else 'no: --conditional trains with the labels'

    def describe_recipe(self) -> str:
        """Whose recipe it is."""
        return summary.whose(self.run.config, len(self.dataset), self.dataset.name)

    def describe_teacher(self) -> list[tuple[str, str]]:
        """Lines of the summary about a teacher; none here."""
        return []

    @functools.cached_property
    def _watched(self) -> Watched:
        return Watched(self.gan, self.run.config)

    def prepare(self, state: Any) -> None:
        """Draws what the recorder will draw first, for its programs are compiled by that."""
        self._watched.grid(state)

    def open_recorder(
        self, start: int, flops: float | None, check: Callable[[], None]
    ) -> GANRecorder:
        """The recorder, which keeps the best checkpoint where evaluations are asked for."""
        del flops  # no figure of its own
        config = self.run.config
        chosen = None
        if config.eval_every:
            chosen = best_checkpoint.BestCheckpoint(
                self.run, self.workdir, self.gan, self.dataset, check=check, warn=messages.warn
            )
        return GANRecorder(
            self.run,
            self.workdir,
            self._watched,
            start,
            title=f'{config.method}, {config.scheme}, {self.dataset_name}',
            chosen=chosen,
            real=self.dataset if config.collapse_alarm else None,
        )
