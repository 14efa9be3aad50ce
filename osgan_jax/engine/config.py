"""What every configuration has: fields that are flags, ranges, JSON, and what may change later.

A configuration is a frozen dataclass whose every field is made by `field`: each is a flag of the
experiment module that takes it, documented once, here and there the same. `RunConfig` holds the
fields of whatever runs in steps and lives in a workdir.
"""

import dataclasses
import json
from typing import Any, ClassVar, Self

PRECISIONS = ('float32', 'tensorfloat32', 'bfloat16')
# Devices count in int32; seeds are unsigned.
_MOST, _MOST_SEED = 2**31 - 1, 2**32 - 1
# What float32 rounds to infinity begins a little above.
_MOST_REAL = 3e38


def field(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    may_change: bool = False,
    flag: bool = True,
) -> Any:
    """A field of a configuration.

    Args:
      default: its value where none is given.
      text: what it is, the flag's help.
      choices: its possible values, where they are few.
      may_change: whether a resumed run may have another value.
      flag: whether a person may set it; otherwise it is decided when the run starts.
    """
    metadata = {'help': text, 'choices': choices, 'may_change': may_change, 'flag': flag}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """A configuration of any kind.

    Attributes:
      KIND: what a run with such a configuration is called, in its config.json and in errors.
      AT_LEAST: the least value of number fields.
      BEFORE: what fields amounted to in versions that had not got them.
    """

    KIND: ClassVar[str] = ''
    AT_LEAST: ClassVar[dict[str, float]] = {}
    BEFORE: ClassVar[dict[str, Any]] = {}

    def __post_init__(self):
        for each in dataclasses.fields(self):
            value, choices = getattr(self, each.name), each.metadata['choices']
            if choices and value is not None and value not in choices:
                raise ValueError(f'{each.name}={value!r}: expected one of {", ".join(choices)}')
            _check_number(each.name, value)
        for name, least in self.AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not (value >= least and value < float('inf')):
                raise ValueError(f'{name}={value}: expected a number of at least {least}')

    def to_json(self) -> str:
        """The configuration as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The configuration that `to_json` wrote.

        Raises:
          ValueError: if the text is no such object, or has fields this version does not know.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'the configuration is not valid JSON ({error})') from error
        if not isinstance(values, dict):
            raise ValueError('the configuration is not a JSON object')
        known = {each.name for each in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f'the configuration has unknown fields: {", ".join(unknown)}')
        values = {**cls.BEFORE, **values}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_number(name: str, value: Any) -> None:
    """Raises ValueError for numbers that devices have not: too great, infinite or none."""
    most = _MOST_SEED if name == 'seed' else _MOST
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, int) and each > most:
            raise ValueError(f'{name}={each}: expected a number of at most {most}')
        if isinstance(each, float) and not abs(each) < _MOST_REAL:
            raise ValueError(f'{name}={each}: expected a finite number, of float32')


def contradictions(saved: Config, asked: Config) -> list[str]:
    """Fields that differ between a saved and a resuming run and may not, as 'name: a, not b'."""
    found = []
    for each in dataclasses.fields(saved):
        before, now = getattr(saved, each.name), getattr(asked, each.name)
        if before != now and not each.metadata['may_change']:
            found.append(f'{each.name} is {before!r} there and {now!r} now')
    return found


@dataclasses.dataclass(frozen=True)
class RunConfig(Config):
    """What the loop and the records of any run ask for."""

    AT_LEAST: ClassVar[dict[str, float]] = {
        'seed': 0,
        'num_steps': 1,
        'batch_size': 2,
        'num_workers': 0,
        'num_devices': 1,
        'steps_per_call': 1,
        'log_every': 1,
        'sample_every': 1,
        'save_every': 1,
        'eval_every': 1,
        'keep': 1,
        'num_samples': 1,
        'keep_samples': 3,
        'max_seconds': 0.0,
    }

    data_dir: str | None = field(None, 'where the dataset lies or is cached', may_change=True)
    seed: int = field(0, 'seed of parameters, latents and data order')
    num_steps: int | None = field(None, 'updates in all', may_change=True)
    batch_size: int | None = field(None, 'images a step over all devices')
    precision: str = field('float32', 'arithmetic of the networks', choices=PRECISIONS)
    deterministic: bool = field(
        False, 'only operations that give the same numbers in every run; slower, of effect on GPUs'
    )
    num_workers: int = field(0, 'processes that read and decode images', may_change=True)
    num_devices: int | None = field(None, 'devices of each process; default all', may_change=True)
    steps_per_call: int = field(
        1, 'steps in one dispatch; what is written falls on its multiples', may_change=True
    )
    log_every: int = field(10, 'steps between lines of the metrics log')
    sample_every: int = field(500, 'steps between sample grids', may_change=True)
    save_every: int = field(500, 'steps between checkpoints', may_change=True)
    keep: int = field(3, 'checkpoints kept, the newest', may_change=True)
    num_samples: int = field(64, 'images in a sample grid', may_change=True)
    keep_samples: int = field(
        256, 'sample grids kept; of more, every second old one is removed', may_change=True
    )
    max_seconds: float | None = field(
        None, 'end after this long in training steps, interruptions included', may_change=True
    )
    eval_every: int | None = field(None, 'steps between evaluations', may_change=True)
    skip_nonfinite: bool = field(
        False, 'leave out, and count, steps that would make NaN or infinity', may_change=True
    )

    def __post_init__(self):
        super().__post_init__()
        for every in ('log_every', 'sample_every', 'save_every', 'eval_every'):
            if (getattr(self, every) or 0) % self.steps_per_call:
                raise ValueError(
                    f'{every}={getattr(self, every)}: expected a multiple of '
                    f'steps_per_call={self.steps_per_call}'
                )
