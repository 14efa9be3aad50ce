"""Configurations: dataclasses whose fields are flags, declared by `osgan_jax.engine.declarations`.

A configuration is a frozen dataclass. `RunConfig` holds the fields of every run that makes steps
and has a workdir. This module imports neither jax nor flax: `--help` needs it.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from osgan_jax.engine.declarations import MAX_SEED, declarations, field

PRECISIONS = ('float32', 'tensorfloat32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class Config:
    """A configuration of any kind.

    Attributes:
      KIND: what a run with such a configuration is called, in its config.json and in errors.
      CHANGED: attributes that the declarations of inherited fields have here, by field.
    """

    KIND: ClassVar[str] = ''
    CHANGED: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __new__(cls, *args: Any, **values: Any) -> Self:
        """Makes a configuration that knows which of its fields it was given."""
        config = super().__new__(cls)
        names = [each.name for each in dataclasses.fields(cls)]
        object.__setattr__(config, '_given', frozenset((*names[: len(args)], *values)))
        return config

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that were given, rather than left at their defaults."""
        return self._given

    def __post_init__(self):
        for name, declaration in declarations(type(self)).items():
            object.__setattr__(self, name, declaration.parsed(getattr(self, name)))
            declaration.check(getattr(self, name))

    def to_json(self) -> str:
        """The configuration as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

    def replace(self, **values: Any) -> Self:
        """The configuration with other values, which count as given, and no others than before."""
        changed = dataclasses.replace(self, **values)
        object.__setattr__(changed, '_given', self.given | set(values))
        return changed

    def kept(self) -> Self:
        """The configuration as a run keeps it, without what holds for one call."""
        fields = declarations(type(self)).values()
        return dataclasses.replace(self, **{e.name: e.default for e in fields if e.once})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The configuration that `to_json` wrote.

        Raises:
          ValueError: for a text that is not a JSON object, and for unknown fields.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'the configuration is not valid JSON ({error})') from error
        if not isinstance(values, dict):
            raise ValueError('the configuration is not a JSON object')
        unknown = sorted(set(values) - set(declarations(cls)))
        if unknown:
            raise ValueError(f'the configuration has unknown fields: {", ".join(unknown)}')
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def is_alike(self, name: str, other: Any) -> bool:
        """Whether another value of a field may be the same by another name."""
        return getattr(self, name) == other

    def complete(self) -> Self:
        """A saved configuration, whose fields that came later have the values of that time."""
        fields = declarations(type(self)).values()
        return fill(self, {each.name: each.older for each in fields if each.older is not None})


_C = TypeVar('_C', bound=Config)


def fill(config: _C, values: Mapping[str, Any]) -> _C:
    """The configuration, in which open fields have the values given for them."""
    unset = {name: value for name, value in values.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **unset)


READING = ('labels', 'fit', 'background', 'white_level', 'frames', 'layout')
"""Fields that say how images and labels are read from files."""

_devices = functools.partial(field, group='devices')


def _output(default: int, help: str, at_least: int = 1) -> Any:
    """A field of the output, which a resumed run may change."""
    return field(default, help, group='output', at_least=at_least, may_change=True)


@dataclasses.dataclass(frozen=True)
class RunConfig(Config):
    """The fields of every run."""

    data_dir: str | None = field(
        None,
        'directory or file of the dataset',
        group='data',
        decided_by='dataset',
        may_change=True,
        path=True,
    )
    labels: str | None = field(
        None,
        'CSV or JSON file of names and labels; folders uses class folders and leaves out images '
        "beside them; none uses no labels; by default StyleGAN's dataset.json, or else class "
        'folders',
        group='data',
        path=True,
        may_change=True,
    )
    fit: str = field(
        'crop',
        'how an image gets the shape of --image_size: crop keeps its centre, pad adds borders, '
        'stretch distorts it',
        group='data',
        choices=('crop', 'pad', 'stretch'),
    )
    background: str = field(
        'white',
        'colour behind transparent pixels and of the borders of --fit=pad: white, black, grey or '
        '#RRGGBB',
        group='data',
    )
    white_level: int = field(
        65535,
        'value of white in 16-bit grey images, such as 4095 for a 12-bit camera',
        group='data',
        at_least=1,
        at_most=65535,
    )
    frames: str = field(
        'first',
        'pages or frames to take of a file that has several',
        group='data',
        choices=('first', 'all'),
    )
    # Older runs neither sorted classes naturally nor recognised splits, strays and contents.
    layout: str | None = field(
        None,
        'how folders are understood',
        group='data',
        decided_by='dataset',
        otherwise='recognised',
        older='top_folders',
        flag=False,
    )
    fork: str | None = field(
        None,
        'RUN@STEP, RUN@best or RUN: a new workdir goes on from that checkpoint of another run, '
        'with other values where flags give some',
        path=True,
        begins=True,
    )
    data_changed: bool = field(
        False,
        'go on with other images than those trained on so far, more or fewer, of the same classes',
        group='data',
        may_change=True,
        once=True,
    )
    seed: int = field(
        0,
        'seed of the parameters, the latents and the order of the data',
        at_least=0,
        at_most=MAX_SEED,
    )
    num_steps: int | None = field(None, 'number of steps', at_least=1, may_change=True)
    batch_size: int | None = field(None, 'images per step, over all devices', at_least=2)
    precision: str = _devices('float32', 'arithmetic of the networks', choices=PRECISIONS)
    deterministic: bool = _devices(
        False,
        'use only deterministic operations; slower, and without effect on CPUs',
    )
    num_workers: int = field(
        0,
        'processes that read and decode images; 0 reads in the main process',
        group='data',
        at_least=0,
        may_change=True,
    )
    num_devices: int | None = _devices(
        None,
        'devices of each process; all by default; a CPU is one, or up to as many as it has cores',
        at_least=1,
        may_change=True,
    )
    steps_per_call: int = _devices(
        1,
        'steps per call of the compiled program; logs, samples, checkpoints and scores come at '
        'multiples of this number',
        at_least=1,
        may_change=True,
    )
    log_every: int = _output(10, 'steps between lines of metrics.jsonl')
    sample_every: int = _output(500, 'steps between sample grids')
    save_every: int = _output(500, 'steps between checkpoints')
    keep: int = _output(3, 'number of newest checkpoints to keep')
    num_samples: int = _output(64, 'number of images in a sample grid')
    keep_samples: int = _output(
        256,
        'number of sample grids to keep; beyond it, every second older grid is removed',
        at_least=3,
    )
    max_seconds: float | None = field(
        None,
        'seconds of training steps after which the run ends, counted across resumptions; no limit '
        'by default',
        at_least=0,
        may_change=True,
    )
    eval_every: int | None = field(
        None, 'steps between evaluations', group='evaluation', at_least=1, may_change=True
    )
    skip_nonfinite: bool = field(
        False,
        'skip and count the steps that would write NaN or infinity, instead of ending the run',
        may_change=True,
    )
    lock: bool = field(
        True,
        'keep other runs out of the workdir; --nolock is for file systems without locks, where you '
        'must see to it that one run uses it',
        may_change=True,
        once=True,
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of the dataset that a step takes."""
        return 1

    @property
    def images_per_step(self) -> int:
        """Images of the dataset that a step takes, over all devices."""
        return self.batch_size * self.batches_per_step

    def reading(self) -> dict[str, Any]:
        """Arguments of `osgan_jax.data.load`: how images and labels are read."""
        values = {name: getattr(self, name) for name in READING}
        return {name: value for name, value in values.items() if value is not None}

    def __post_init__(self):
        super().__post_init__()
        for name in ('log_every', 'sample_every', 'save_every', 'eval_every'):
            if (getattr(self, name) or 0) % self.steps_per_call:
                raise ValueError(
                    f'{name}={getattr(self, name)}: expected a multiple of '
                    f'steps_per_call={self.steps_per_call}'
                )
