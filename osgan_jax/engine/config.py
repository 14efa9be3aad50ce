"""Configurations: dataclasses whose fields are flags, each declared once by `field`.

A configuration is a frozen dataclass. The `Declaration` of a field holds all that is known of it:
its default, its range, its help, what decides it where it is left open (None), and whether it may
change when a run is resumed. `RunConfig` holds the fields of every run that makes steps and has a
workdir. This module imports neither jax nor flax: `--help` needs it.
"""

import dataclasses
import functools
import importlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from osgan_jax.core import image_sizes

PRECISIONS = ('float32', 'tensorfloat32', 'bfloat16')

REQUIRED = dataclasses.MISSING
"""The default of a field that must be given."""

# The order in which --help shows them.
GROUPS = (
    'run',
    'data',
    'networks',
    'projection',
    'mixing and paths',
    'directions',
    'masks and gradients',
    'losses',
    'penalties',
    'augmentation',
    'optimizer',
    'evaluation',
    'output',
    'devices',
    'processes',
    'other',
)

MAX_INT = 2**31 - 1
MAX_SEED = 2**32 - 1
# A little below the greatest float32, which rounding may exceed.
_MAX_FLOAT = 3e38


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """All that is known of a field.

    Attributes:
      help: what the field is, with its unit; neither its range nor what decides it.
      group: one of `GROUPS`, under which `--help` lists the flag.
      choices: the possible values, where they are few.
      names: instead of choices, where the possible values are found: 'module:function', a function
        that returns them, in a module that imports neither jax nor numpy: `--help` calls it.
        Whoever uses the value checks it.
      at_least: the least number.
      above: a number that the value must exceed.
      at_most: the greatest number; by default what int32 holds.
      below: a number that must exceed the value.
      finite: whether infinity is refused.
      otherwise: the value of an open field that nothing else decides; `fill` sets it.
      decided_by: what decides an open field: 'method', 'network', 'dataset' and so on.
      older: the value in runs that were made before there was the field; None where it is open.
      may_change: whether a resumed run may have another value.
      once: whether it holds for one call, and is not kept with the run.
      follows: the field whose value an open one takes.
      begins: whether it names the run that this one begins with, so that a fork does not take it.
      carried: whether a run that begins with another's parameters takes its value.
      flag: whether a person may set it; otherwise it is decided when the run starts.
      adopted: of a field without a flag, whether a run that goes on has the value that it began
        with until it is decided again.
      path: whether the text is a path, or each item of a tuple; flags expand `~` and `$VAR` in it.
      pretrained: of a path, whether `pretrained:NAME` is taken in its place.
      repeated: of a tuple of texts that may hold commas: the flag is given once for each of them.
      parse: makes the value, or each item of a tuple, out of what was given, as a flag's text; for
        values that are written in several ways.
      name: the field's and its flag's name.
      default: the value where none is given, or `REQUIRED`.
      kind: type of the value, or of the items of a tuple: bool, int, float or str.
      many: whether the value is a tuple.
    """

    help: str
    group: str = 'run'
    choices: tuple[str, ...] = ()
    names: str = ''
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    finite: bool = True
    otherwise: Any = None
    decided_by: tuple[str, ...] = ()
    older: Any = None
    may_change: bool = False
    once: bool = False
    follows: str = ''
    begins: bool = False
    carried: bool = False
    flag: bool = True
    adopted: bool = False
    path: bool = False
    pretrained: bool = False
    repeated: bool = False
    parse: Callable[[Any], Any] | None = None
    name: str = ''
    default: Any = None
    kind: type = str
    many: bool = False

    def values(self) -> tuple[str, ...]:
        """The possible values, where they have names; otherwise none."""
        if not self.names:
            return self.choices
        module, _, function = self.names.partition(':')
        return tuple(getattr(importlib.import_module(module), function)())

    def parsed(self, value: Any) -> Any:
        """The value in the one form that a configuration keeps.

        Raises:
          ValueError: as `parse`.
        """
        if value is None:
            return None
        return tuple(map(self.parse, value)) if self.many else self.parse(value)

    def check(self, value: Any) -> None:
        """Raises ValueError unless the field may have the value, or each item of a tuple."""
        for item in value if isinstance(value, tuple) else (value,):
            if item is None:
                continue
            if self.choices and item not in self.choices:
                expected = f'{"some" if self.many else "one"} of {", ".join(self.choices)}'
                raise ValueError(f'{self.name}={item!r}: expected {expected}')
            if isinstance(item, int | float):
                self._check_number(item)

    def _check_number(self, value: float) -> None:
        # Devices count in int32, and compute in float32.
        most = MAX_INT if self.at_most is None else self.at_most
        if isinstance(value, int) and value > most:
            raise ValueError(f'{self.name}={value}: expected a number of at most {most}')
        if self.finite and isinstance(value, float) and not abs(value) < _MAX_FLOAT:
            raise ValueError(f'{self.name}={value}: expected a finite number, of float32')
        # Written so that NaN is refused.
        inside = (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
        if not inside:
            raise ValueError(f'{self.name}={value}: expected a number {self.range()}')

    def range(self) -> str:
        """The numbers the field may have, as 'of at least 1' or 'in [0, 1)'; '' for any."""
        least = self.above if self.at_least is None else self.at_least
        most = self.below if self.at_most is None else self.at_most
        if most is None:
            word = 'above' if self.at_least is None else 'of at least'
            return '' if least is None else f'{word} {least}'
        if least is None:
            return f'{"below" if self.at_most is None else "of at most"} {most}'
        left, right = '(' if self.at_least is None else '[', ')' if self.at_most is None else ']'
        return f'in {left}{least}, {most}{right}'


def field(default: Any, help: str, *, decided_by: str | tuple[str, ...] = (), **known: Any) -> Any:
    """Declares a field of a configuration.

    Args:
      default: the value where none is given; None leaves the field open; `REQUIRED` for no default.
      help: what the field is.
      decided_by: what decides an open field, one thing or several.
      **known: further attributes of its `Declaration`.
    """
    decided_by = (decided_by,) if isinstance(decided_by, str) else decided_by
    declaration = Declaration(help=help, decided_by=decided_by, **known)
    return dataclasses.field(default=default, metadata={'declaration': declaration})


@functools.cache
def declarations(config_class: type) -> Mapping[str, Declaration]:
    """The fields of a dataclass that `field` declared, by name, in their order."""
    hints = typing.get_type_hints(config_class)
    found = {}
    for each in dataclasses.fields(config_class):
        hint = _kind(hints[each.name])
        many = typing.get_origin(hint) is tuple
        found[each.name] = dataclasses.replace(
            each.metadata['declaration'],
            name=each.name,
            default=each.default,
            kind=_kind(typing.get_args(hint)[0]) if many else hint,
            many=many,
            **getattr(config_class, 'CHANGED', {}).get(each.name, {}),
        )
    return types.MappingProxyType(found)


def _kind(hint: Any) -> Any:
    """The first type of a union that is not None's."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def otherwise(config_class: type) -> dict[str, Any]:
    """The values of open fields that nothing else decides, by name."""
    fields = declarations(config_class).values()
    return {each.name: each.otherwise for each in fields if each.otherwise is not None}


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
            if declaration.parse:
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


def check_rising(name: str, values: tuple[float, ...] | None) -> None:
    """Raises ValueError unless each value of a field is greater than the one before."""
    if list(values or ()) != sorted(set(values or ())):
        raise ValueError(f'{name}={list(values)}: expected rising numbers')


def dataset_field(default: str | None, **known: Any) -> Any:
    """The field of a dataset's name."""
    help = 'a dataset by name, folder or npz (images of your own in --data_dir), or tfds:NAME'
    return field(default, help, group='data', names='osgan_jax.data:names', **known)


def image_size_field(default: Any = None, help: str = '', **known: Any) -> Any:
    """The field of the size of images, or of several sizes."""
    help = help or 'pixels of images, as 64, or height x width, as 64x128'
    return field(default, help, **{'group': 'data', 'parse': image_sizes.parse, **known})


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
        None, 'devices of each process; all by default', at_least=1, may_change=True
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
