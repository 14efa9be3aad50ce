"""Cards: what a person needs to know of weights before using them.

A card is a JSON file, card.json, in the folder of an export:

    title         what the generator draws, in a few words
    data          name, split and number of the images it was trained on, their source and licence
    licence       of the weights
    command       that trained it
    steps         of this command
    training      seconds on the clock, machine, and the day on which it ended
    parameters    of generator and discriminator
    scores        evaluations of this checkpoint, as evaluations.jsonl of its run has them
    limits        what it is not good for

What a run does not know is null, for a person to fill in; `gaps` names it.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from osgan_jax.engine import runs
from osgan_jax.engine.declarations import declarations
from osgan_jax.evaluation import score_log
from osgan_jax.gan import methods, model
from osgan_jax.gan.config import OWN, TrainConfig
from osgan_jax.io import messages, own_code, packaged
from osgan_jax.reporting import timing

FILE = 'card.json'
FORMAT = 'osgan_jax card 1'

_MOST_BYTES = 1 << 20
# Flags that a command has in any case, first.
_SAID = ('method', 'scheme', 'dataset', 'image_size', 'num_steps')


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of an export.

    Raises:
      FileNotFoundError: it has none.
      ValueError: it is damaged, or of another version.
    """
    path = pathlib.Path(folder) / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError('it is larger than any card')
        body = json.loads(path.read_bytes())
        if body['format'] != FORMAT:
            raise ValueError(f'its format is {messages.quote(body["format"])}, expected {FORMAT!r}')
    except FileNotFoundError:
        raise FileNotFoundError(
            f'{messages.printable(folder)} has no card: export again with --card'
        ) from None
    except runs.DAMAGE as error:
        raise ValueError(
            f'{messages.printable(path)} cannot be used ({messages.reason(error)}): restore it, or '
            'export again with --card'
        ) from None
    return body


def gaps(card: Any, name: str = '') -> list[str]:
    """The names of what is not filled in, such as 'data.licence'."""
    if isinstance(card, dict):
        parts = [gaps(value, f'{name}.{key}' if name else key) for key, value in card.items()]
        return [each for part in parts for each in part]
    return [] if card or card == 0 else [name]


def draft(
    workdir: str | os.PathLike[str],
    run: runs.Run,
    step: int,
    params: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A card of a checkpoint.

    Args:
      workdir: the run's directory, for its times and scores.
      run: the run.
      step: the checkpoint's.
      params: parameters of the networks that are exported, by name.
      before: an earlier card, whose words of a person are kept where it is of as many images of
        the same split of the same dataset: words about other data would be false.
    """
    source = run.source or {}
    card = {
        'format': FORMAT,
        'title': None,
        'data': {
            'name': source.get('dataset', run.config.dataset),
            'split': run.config.split,
            'images': run.num_examples,
            'source': None,
            'licence': None,
        },
        'licence': None,
        'command': command(run),
        'steps': step,
        'training': {
            'seconds': timing.seconds_until(workdir, step),
            'machine': None,
            'date': _date(workdir),
        },
        'parameters': {name: model.num_parameters(tree) for name, tree in params.items()},
        'scores': [
            {key: value for key, value in entry.items() if key != 'per_class'}
            for entry in score_log.read(workdir)
            if entry['step'] == step
        ],
        'limits': None,
    }
    before = before or {}
    told = before.get('data', {})
    same = all(told.get(name) == card['data'][name] for name in ('name', 'split', 'images'))
    return _filled(card, before if same else {})


def _filled(card: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A card whose gaps are filled from an earlier one."""
    filled = {}
    for key, value in card.items():
        earlier = before.get(key)
        if isinstance(value, dict) and isinstance(earlier, dict):
            value = _filled(value, earlier)
        filled[key] = earlier if value is None else value
    return filled


def _date(workdir: str | os.PathLike[str]) -> str | None:
    """The day, by UTC, on which a run last recorded its times; None where it has not."""
    try:
        ended = os.path.getmtime(pathlib.Path(workdir) / timing.FILE)
    except OSError:
        return None
    return datetime.datetime.fromtimestamp(ended, datetime.UTC).date().isoformat()


def command(run: runs.Run) -> str | None:
    """The shortest command that gives a run's configuration, but for what may change on resuming.

    Returns:
      The command; None of a run of another kind than experiments.train, or that a program trained
      on its own images, losses or networks, which no flags name.
    """
    config = run.config
    source = run.source or {}
    if (
        type(config) is not TrainConfig
        or run.own
        or source.get('dataset', config.dataset) != (config.dataset)
    ):
        return None
    decided = [
        each
        for each in declarations(TrainConfig).values()
        if each.flag and (not each.may_change or each.name in ('num_steps', 'split'))
    ]
    # The dataset's own size is not known: --image_size is always said.
    facts = {'num_classes': run.num_classes, 'num_examples': run.num_examples}
    facts |= {name: getattr(config, name) for name in ('image_size', 'channels')}
    values = {each.name: getattr(config, each.name) for each in decided}
    values = {name: v for name, v in values.items() if v != _default(name)}

    def gives_it(values: dict[str, Any]) -> bool:
        try:
            asked = TrainConfig(**values)
            got = methods.resolve(methods.opening(asked), **facts, asked=asked)
        except ValueError:
            return False
        return all(getattr(got, each.name) == getattr(config, each.name) for each in decided)

    if not gives_it(values):
        return None
    # What recipes decide goes first, so that a person's own choices are what is left.
    for name in sorted(values, key=lambda name: name in _SAID):
        fewer = {key: value for key, value in values.items() if key != name}
        if name not in _SAID and gives_it(fewer):
            values = fewer
    order = [*_SAID, *(name for name in values if name not in _SAID)]
    words = [_flag(name, values[name]) for name in order if name in values]
    return ' '.join(['python -m experiments.train', *words])


def _default(name: str) -> Any:
    return None if name in _SAID else declarations(TrainConfig)[name].default


def _flag(name: str, value: Any) -> str:
    declared = declarations(TrainConfig)[name]
    if isinstance(value, bool):
        return f'--{name}' if value else f'--no{name}'
    if declared.repeated:
        return ' '.join(shlex.quote(f'--{name}={each}') for each in value)
    items = value if declared.many else (value,)
    if declared.path:
        items = [_last(each) for each in items]
    if name in OWN:
        items = [own_code.without_folder(each) for each in items]
    return shlex.quote(f'--{name}={",".join(map(str, items))}')


def public(run: runs.Run) -> runs.Run:
    """A run without the folders of the machine that it was on: paths end in their last names."""
    values = {}
    for each in declarations(type(run.config)).values():
        value = getattr(run.config, each.name)
        if each.path and value:
            values[each.name] = tuple(map(_last, value)) if each.many else _last(value)
    origin = run.origin and {**run.origin, 'workdir': _last(run.origin['workdir'])}
    return dataclasses.replace(run, config=dataclasses.replace(run.config, **values), origin=origin)


def _last(path: str) -> str:
    return path if packaged.is_named(path) else pathlib.PurePath(path).name
