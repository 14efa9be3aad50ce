"""How a run goes on: what a saved configuration brings, and what a new one may ask for instead.

To resume a run, give only the fields that are to change: fields that were not given keep the values
that the run began with, whatever presets have become since. Each field declares whether it may
change (`osgan_jax.engine.declarations.Declaration.may_change`).
"""

import dataclasses
from collections.abc import Iterable
from typing import TypeVar

from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import Declaration, declarations

# What decides an open field by a table of values, which another version may have changed.
_PRESETS = {'method', 'scheme', 'network', 'dataset', 'algorithm', 'optimizer'}

_C = TypeVar('_C', bound=Config)


def asked_for(config: Config) -> frozenset[str]:
    """Names of the fields that a configuration asks for.

    A field that was given as None is left open, unless it may change and nothing decides it: then
    None is a value, such as no limit of time.
    """
    return frozenset(
        each.name
        for each in declarations(type(config)).values()
        if each.name in config.given
        and (getattr(config, each.name) is not None or (each.may_change and not each.decided_by))
    )


def merge(asked: _C, saved: _C) -> _C:
    """What was asked for, and a saved run's values of all other fields.

    Of the fields that no flag sets only those are taken that presets decide, or that say so; the
    others depend on what the run is given, such as its teacher.
    """
    given, fields = asked_for(asked), declarations(type(saved)).values()
    taken = {
        each.name: getattr(saved, each.name)
        for each in fields
        if each.name not in given and not each.once
        if each.flag or each.adopted or _is_preset(each)
    }
    for each in fields:
        # A field that took another field's value follows it.
        if each.follows in given and taken.get(each.name) == getattr(saved, each.follows):
            taken[each.name] = None
    return dataclasses.replace(asked, **taken)


def adopt(asked: _C, saved: _C) -> _C | None:
    """The configuration that resumes a saved run; None if it asks for what may not change."""
    return None if contradictions(saved, asked, asked_for(asked)) else merge(asked, saved)


def contradictions(saved: Config, asked: Config, names: Iterable[str] | None = None) -> list[str]:
    """The fields that differ between a saved and a resuming run and may not change.

    Args:
      saved: the configuration of the saved run.
      asked: that of the resuming one.
      names: fields to compare; all by default.
    """
    return [
        f'{each.name} is {before!r} there and {now!r} now'
        for each, before, now in _differing(saved, asked)
        if not (each.may_change or saved.is_alike(each.name, now))
        and (names is None or each.name in names)
    ]


def changes(saved: Config, now: Config) -> list[str]:
    """The fields that a resumed run has otherwise, as 'log_every 10 -> 50'."""
    return [f'{each.name} {_text(a)} -> {_text(b)}' for each, a, b in _differing(saved, now)]


def differing(saved: Config, now: Config, groups: set[str]) -> list[tuple[str, str, str]]:
    """Names and both values of fields of some groups that differ and may not change."""
    return [
        (each.name, _text(before), _text(after))
        for each, before, after in _differing(saved, now)
        if each.group in groups and not each.may_change
    ]


def _differing(saved: Config, other: Config) -> list[tuple[Declaration, object, object]]:
    found = []
    for name, each in declarations(type(saved)).items():
        before, now = getattr(saved, name), getattr(other, name)
        if before != now and not each.once:
            found.append((each, before, now))
    return found


def _is_preset(each: Declaration) -> bool:
    """Whether presets decide a field that a resumed run may not change."""
    deciders = set(each.decided_by) - {'teacher'}
    return not each.may_change and bool(deciders) and deciders <= _PRESETS


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ','.join(map(str, value)) or 'none'
    return f'{value:g}' if isinstance(value, float) else str(value)
