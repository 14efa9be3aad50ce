"""Fields of configurations that are flags, each declared once by `field`.

The `Declaration` of a field holds all that is known of it: its default, its range, its help, what
decides it where it is left open (None), and whether it may change when a run is resumed. This
module imports neither jax nor flax: `--help` needs it.
"""

import dataclasses
import functools
import importlib
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from osgan_jax.core import image_sizes

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
_EXPECTED = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a text'}
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
      also: further types that a program may give, such as the number of a class by name or number.
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
    also: tuple[type, ...] = ()
    many: bool = False

    def values(self) -> tuple[str, ...]:
        """The possible values, where they have names; otherwise none."""
        if not self.names:
            return self.choices
        module, _, function = self.names.partition(':')
        return tuple(getattr(importlib.import_module(module), function)())

    def parsed(self, value: Any) -> Any:
        """The value in the one form that a configuration keeps, of the field's own type.

        Raises:
          ValueError: as `parse`; for a value of another type.
        """
        if value is None:
            return None
        parse = self.parse or self._typed
        if not self.many:
            return parse(value)
        if not isinstance(value, list | tuple):
            raise ValueError(f'{self.name}={value!r}: expected several values, as a tuple')
        return tuple(map(parse, value))

    def _typed(self, item: Any) -> Any:
        """A value of the field's type; a program may give numpy's numbers, 1e4 and paths."""
        if getattr(item, 'shape', None) == ():
            item = item.item()
        if self.kind is int and isinstance(item, float) and item.is_integer():
            item = int(item)
        if self.kind is str and isinstance(item, os.PathLike):
            item = os.fspath(item)
        known = (self.kind, *self.also, *((int,) if self.kind is float else ()))
        if isinstance(item, bool) != (self.kind is bool) or not isinstance(item, known):
            raise ValueError(f'{self.name}={item!r}: expected {_EXPECTED[self.kind]}')
        return item

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
        hint = _kinds(hints[each.name])[0]
        many = typing.get_origin(hint) is tuple
        kind, *also = _kinds(typing.get_args(hint)[0] if many else hints[each.name])
        found[each.name] = dataclasses.replace(
            each.metadata['declaration'],
            name=each.name,
            default=each.default,
            kind=kind,
            also=tuple(also),
            many=many,
            **getattr(config_class, 'CHANGED', {}).get(each.name, {}),
        )
    return types.MappingProxyType(found)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of a union but None's; of any other type itself."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(part for part in parts if part is not types.NoneType)


def otherwise(config_class: type) -> dict[str, Any]:
    """The values of open fields that nothing else decides, by name."""
    fields = declarations(config_class).values()
    return {each.name: each.otherwise for each in fields if each.otherwise is not None}


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
