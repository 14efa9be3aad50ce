"""The config.json of a run's directory: written at the start, checked on resuming."""

import dataclasses
import json
import os
import pathlib
import stat
import types
import typing
from collections.abc import Mapping
from typing import Any

from osgan_jax.engine import config as configuration
from osgan_jax.io import atomic, messages

_FILE = 'config.json'
_DEFAULT_KIND = 'train'  # of files without a kind
_MAX_BYTES = 1 << 24  # many thousand class names take less than one MB
_MAX_COUNT = 1 << 31  # images or classes of a dataset


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's configuration and facts about its data, enough to rebuild its networks.

    Attributes:
      config: resolved, an `osgan_jax.engine.config.RunConfig`.
      num_classes: of the dataset, 0 without labels.
      class_names: of the dataset.
      num_examples: of the dataset, images an epoch; 0 for a run without data.
      source: identity of the dataset, of `osgan_jax.data.identity.identify`; None for a run without
        data, or one that was made before it was recorded.
      own: facts about code of one's own that the configuration names; None without any. Of its
        `values`, numbers by name, a resumed run has the same.
      origin: where the run began, if from another run's checkpoint: `how` (fork or init_from), the
        `workdir` and the `step` of that run; None if afresh.
      earlier: the datasets before it, where the run went on with other images: the last `step` with
        each, and its `source`.
    """

    config: Any
    num_classes: int
    class_names: tuple[str, ...]
    num_examples: int
    source: Mapping[str, Any] | None = None
    own: Mapping[str, Any] | None = None
    earlier: tuple[Mapping[str, Any], ...] = ()
    origin: Mapping[str, Any] | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Steps an epoch; whole where a step takes one batch."""
        batches = self.num_examples // self.config.batch_size
        return batches / self.config.batches_per_step


class OtherKindError(ValueError):
    """A run is of another kind than those that are asked for."""


DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    RecursionError,
)
"""The errors of reading damaged or hostile bytes."""


def to_json(run: Run) -> dict[str, Any]:
    """A run as JSON holds it."""
    return {
        'kind': run.config.KIND,
        'config': json.loads(run.config.kept().to_json()),
        'dataset': {
            'num_classes': run.num_classes,
            'class_names': list(run.class_names),
            'num_examples': run.num_examples,
            **({} if run.source is None else {'source': dict(run.source)}),
            **({'earlier': [dict(each) for each in run.earlier]} if run.earlier else {}),
        },
        **({} if run.own is None else {'own': dict(run.own)}),
        **({} if run.origin is None else {'origin': dict(run.origin)}),
    }


def from_json(
    body: Any, whose: str | os.PathLike[str], *kinds: type[configuration.RunConfig]
) -> Run:
    """The run of a JSON object.

    Args:
      body: as `to_json` returned it.
      whose: the directory that it is in, for messages.
      *kinds: the classes that the run's configuration may be of.

    Raises:
      OtherKindError: it is of none of these.
      `DAMAGE`: it describes no run.
    """
    known = {kind.KIND: kind for kind in kinds}
    dataset, found = body['dataset'], body.get('kind', _DEFAULT_KIND)
    if found not in known:
        raise OtherKindError(
            f'{whose} holds a run of experiments.{found}, not of experiments.'
            f'{" or experiments.".join(known)}: give another workdir'
        )
    return Run(
        config=_config(known[found], body['config']),
        num_classes=_count(dataset, 'num_classes'),
        class_names=tuple(map(str, dataset['class_names'])),
        num_examples=_count(dataset, 'num_examples'),
        source=_source(dataset.get('source')),
        own=_own(body.get('own')),
        earlier=_earlier(dataset.get('earlier', [])),
        origin=_origin(body.get('origin')),
    )


def write(workdir: str | os.PathLike[str], run: Run) -> None:
    """Writes `workdir/config.json`, whole or not at all."""
    with atomic.replacing(pathlib.Path(workdir) / _FILE) as file:
        file.write((json.dumps(to_json(run), indent=2) + '\n').encode())


def read(workdir: str | os.PathLike[str], *kinds: type[configuration.RunConfig]) -> Run | None:
    """Reads `workdir/config.json`; None where there is none.

    Args:
      workdir: the run's directory.
      *kinds: the classes that the run's configuration may be of.

    Raises:
      ValueError: if it is damaged, from another version, or of a run of another kind.
    """
    path = pathlib.Path(workdir) / _FILE
    try:
        return from_json(json.loads(_read_file(path)), workdir, *kinds)
    except FileNotFoundError:
        return None
    except OtherKindError:
        raise
    except DAMAGE as error:
        raise ValueError(
            f'{path} cannot be used ({_reason(error)}): restore it, delete it if there are '
            'checkpoints (they hold a copy), or choose another workdir'
        ) from error


def recall(
    metadata: Mapping[str, Any], kind: type[configuration.RunConfig]
) -> configuration.RunConfig | None:
    """The configuration in a checkpoint's metadata, for a directory without config.json.

    Returns:
      The configuration; None without one, or if it is of another kind or version.
    """
    try:
        return _config(kind, metadata['config'])
    except DAMAGE:
        return None


def kind_of(workdir: str | os.PathLike[str]) -> str | None:
    """The kind of run that a directory holds; None where none can be read."""
    try:
        body = json.loads(_read_file(pathlib.Path(workdir) / _FILE))
        return str(body.get('kind', _DEFAULT_KIND))
    except DAMAGE:
        return None


def peek(workdir: str | os.PathLike[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of a run's configuration by field, and the names of its classes, of any kind.

    Raises:
      ValueError: if its config.json is missing or damaged.
    """
    try:
        return contents(json.loads(_read_file(pathlib.Path(workdir) / _FILE)))
    except DAMAGE as error:
        raise ValueError(
            f'{workdir} holds no run whose config.json can be used ({_reason(error)}): give the '
            'workdir of a run'
        ) from error


def contents(body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What `peek` returns, of a JSON object as `to_json` returned it.

    Raises:
      `DAMAGE`: it describes no run.
    """
    return dict(body['config']), tuple(map(str, body['dataset']['class_names']))


def _read_file(path: pathlib.Path) -> bytes:
    """The content of a run's file, unless no run wrote it."""
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):  # a pipe would be waited for
        raise ValueError('it is not a file')
    if info.st_size > _MAX_BYTES:
        raise ValueError(f'it has {info.st_size} bytes, more than any run writes')
    return path.read_bytes()


def _config(kind: type[configuration.RunConfig], values: Any) -> Any:
    """The configuration of a JSON object; every field must have its own type."""
    config = kind.from_json(json.dumps(values))
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is not typing.ClassVar:
            value = getattr(config, name)
            if not _is_of(value, hint):
                raise ValueError(f'{name}={value!r}: expected {_name(hint)}')
    return config.complete()


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has a field's type: a plain type, a union or a tuple."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of(v, typing.get_args(hint)[0]) for v in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _count(dataset: dict[str, Any], name: str) -> int:
    value = dataset[name]
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise ValueError(f'{name}={value!r}: expected a count')
    return value


def _source(value: Any) -> dict[str, Any] | None:
    """The identity of a dataset, None where a run does not record it."""
    if value is None:
        return None
    hints = {'dataset': str, 'split': str, 'num_images': int, 'content': str}
    if 'fingerprint' in value:
        hints['fingerprint'] = str
    for name, hint in hints.items():
        if type(value[name]) is not hint:
            raise ValueError(f'source: {name}={value[name]!r}: expected {hint.__name__}')
    return value


def _own(value: Any) -> dict[str, Any] | None:
    """Facts about code of one's own, None where there is none."""
    if value is None:
        return None
    for name, number in value.get('values', {}).items():
        if type(number) not in (int, float):
            raise ValueError(f'own: {name}={number!r}: expected a number')
    return value


def _origin(value: Any) -> dict[str, Any] | None:
    """Where a run began; None if afresh."""
    if value is None:
        return None
    return {
        'how': str(value['how']),
        'workdir': str(value['workdir']),
        'step': _count(value, 'step'),
    }


def _earlier(value: Any) -> tuple[dict[str, Any], ...]:
    """The datasets that a run had before."""
    return tuple(
        {'step': _count(each, 'step'), 'source': _source(each['source'])} for each in value
    )


def _reason(error: BaseException) -> str:
    missing = ' is missing' if isinstance(error, KeyError) else ''
    return messages.reason(error) + missing
