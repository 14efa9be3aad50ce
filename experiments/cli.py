"""Commands: a function of configurations becomes the `main` of an experiment module.

The flags of a module are the fields of its configurations, which
`osgan_jax.engine.declarations.field` declares. For example

    @cli.command(Workdir, TrainConfig)
    def main(where: Workdir, config: TrainConfig) -> None:
        ...

    if __name__ == '__main__':
        sys.exit(main())

A test can call `main([flag, ...])` in its own process: afterwards absl's flags are as before.
Nothing here imports jax before the flags have been read, so --help and wrong flags answer at once.
"""

import contextlib
import dataclasses
import pathlib
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from absl.testing import flagsaver

from experiments import flag_help, outcomes
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import REQUIRED, Declaration, declarations, field
from osgan_jax.io import packaged, paths

_HELP = {'help', 'helpshort', 'helpfull', 'h', '?'}


@dataclasses.dataclass(frozen=True)
class Workdir(Config):
    """Where a run is."""

    workdir: str = field(REQUIRED, 'directory of the run; created', path=True)


@dataclasses.dataclass(frozen=True)
class Source(Config):
    """The networks that a command reads: those of a run, of an export, or of this package."""

    workdir: str | None = field(None, 'directory of the training run, or of an export', path=True)
    pretrained: str | None = field(
        None,
        'instead of a --workdir, a model of this package; files are written to pretrained-NAME',
        names='osgan_jax.io.packaged:names',
    )

    def __post_init__(self):
        super().__post_init__()
        if self.pretrained is not None:
            packaged.folder(self.pretrained)
        self.check_source()

    def check_source(self) -> None:
        """Raises ValueError unless there is one source."""
        if self.workdir is not None and self.pretrained is not None:
            raise ValueError('--workdir and --pretrained exclude each other: give one')
        if self.workdir is None and self.pretrained is None:
            raise ValueError(
                'give --workdir, the directory of a run, or --pretrained, one of '
                f'{", ".join(packaged.names())} (--help lists the flags)'
            )

    @property
    def source(self) -> str:
        """What the networks are read from."""
        return f'{packaged.PREFIX}{self.pretrained}' if self.pretrained else self.workdir

    def introduce(self) -> None:
        """Prints what a model of this package is, and the terms of its data and weights."""
        if self.pretrained:
            from osgan_jax import pretrained

            card = pretrained.card(self.pretrained)
            print(
                f'{self.pretrained}: {card["title"]}; of {card["data"]["name"]} '
                f'({card["data"]["licence"]}), weights {card["licence"]}.',
                flush=True,
            )

    @property
    def folder(self) -> pathlib.Path:
        """Where files are written: the workdir, or in the current directory pretrained-NAME."""
        return pathlib.Path(f'pretrained-{self.pretrained}' if self.pretrained else self.workdir)


@dataclasses.dataclass(frozen=True)
class OwnNetworks(Config):
    """Where a run's own networks are, for what reads it."""

    network: str | None = field(
        None,
        'function that returns the networks of a run that was trained with your own, '
        'module:function or FILE.py:function; by default the one that the run names',
        group='networks',
    )


@dataclasses.dataclass(frozen=True)
class Processes(Config):
    """How several processes find each other: part of a launch, and not saved with the run."""

    coordinator: str | None = field(
        None,
        'host:port of process 0, for training with several processes; auto asks the cluster',
        group='processes',
    )
    num_processes: int | None = field(None, 'processes that train together', group='processes')
    process_id: int | None = field(None, 'number of this process, from 0', group='processes')
    peer_timeout: int = field(
        120,
        'seconds to wait for all processes at the start; later, seconds without a response of '
        'one process after which the others exit with a non-zero code',
        group='processes',
        at_least=1,
        at_most=10**6,
    )

    def join(self) -> None:
        """Connects to the other processes; call it before jax is used.

        Raises:
          ValueError: for flags that do not fit together.
        """
        from osgan_jax.runtime import processes

        processes.join(
            self.coordinator, self.num_processes, self.process_id, peer_timeout=self.peer_timeout
        )


def command(*config_classes: type) -> Callable[[Callable[..., int | None]], 'Command']:
    """Makes a function the command of its module; see `Command`."""
    return lambda function: Command(function, config_classes)


def without(config_class: type, names: Collection[str]) -> type:
    """A configuration with the fields of another that are flags, except some.

    For modules that make many configurations: the fields that these share.

    Args:
      config_class: the configuration.
      names: fields to leave out.
    """
    flagged = [each.name for each in declarations(config_class).values() if each.flag]
    return only(config_class, [name for name in flagged if name not in names])


def only(config_class: type, names: Collection[str], required: Collection[str] = ()) -> type:
    """A configuration with some fields of another, in their order.

    Args:
      config_class: the configuration.
      names: fields to keep.
      required: those that have no default here.
    """
    hints = typing.get_type_hints(config_class)
    fields = []
    for each in dataclasses.fields(config_class):
        if each.name in names:
            default = REQUIRED if each.name in required else each.default
            like = dataclasses.field(default=default, metadata=each.metadata)
            fields.append((each.name, hints[each.name], like))
    # Fields without a default come first.
    fields.sort(key=lambda part: part[2].default is not REQUIRED)
    name = f'Part{config_class.__name__}'
    return dataclasses.make_dataclass(name, fields, bases=(Config,), frozen=True)


class Command:
    """A module's `main`: reads flags, calls a function with configurations, reports errors.

    Attributes:
      function: what is called with the configurations.
      fields: the declarations of all flags, by name.
      argv: the flags as they were typed, of the newest call.
    """

    argv: Sequence[str] = ()

    def __init__(self, function: Callable[..., int | None], config_classes: Sequence[type]):
        """Initialises the command.

        Args:
          function: takes an instance of each class, returns an exit code or None for 0. The
            docstring of its module is the first part of --help.
          config_classes: configurations whose fields are the flags.
        """
        self.function = function
        self._config_classes = (*config_classes, outcomes.CommonConfig)
        self.fields: Mapping[str, Declaration] = {
            name: each
            for config_class in self._config_classes
            for name, each in declarations(config_class).items()
            if each.flag
        }

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command; what goes wrong becomes one sentence on stderr and exit code 1.

        Args:
          argv: the flags; by default those that the process was started with.
        """
        words = sys.argv if argv is None else [self.function.__module__, *argv]
        try:
            self.argv = words[1:]
            with _defined(self.fields.values()):
                app.run(self._run, argv=words, flags_parser=self._parse)
        except SystemExit as ended:
            return ended.code or 0
        raise AssertionError('absl returned without an exit code')

    def help(self, full: bool = False) -> str:
        """The text of --help, or of --helpfull, which has absl's own flags too."""
        text = flag_help.describe(self.function.__globals__['__doc__'], self.fields.values())
        if full:
            theirs = [
                each for each in flags.FLAGS.flags_by_module_dict() if each.startswith('absl')
            ]
            text += ''.join(map(flags.FLAGS.module_help, sorted(theirs)))
        return text

    def _parse(self, argv: list[str]) -> list[str]:
        asked = {each.lstrip('-') for each in argv[1:] if each.startswith('-')} & _HELP
        if asked:
            print(self.help(full='helpfull' in asked), end='', flush=True)
            sys.exit(0)
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            # absl's words on --flagfile begin with a shout.
            said = outcomes.sentence(error).removeprefix('ERROR:: ')
            sys.exit(outcomes.fail(f'{said} (--help lists the flags)'))
        except UnicodeDecodeError as error:
            sys.exit(
                outcomes.fail(
                    f'a --flagfile is to be text of flags, one a line: {outcomes.sentence(error)}'
                )
            )

    def _run(self, argv: list[str]) -> int:
        if len(argv) > 1:
            return outcomes.fail(f'unexpected argument {argv[1]!r}: flags are written --name=value')
        missing = [
            f'--{name}'
            for name, each in self.fields.items()
            if each.default is REQUIRED and flags.FLAGS[name].value is None
        ]
        if missing:
            return outcomes.fail(f'give {", ".join(missing)} (--help lists the flags)')
        # Libraries log their inner life at INFO; a person wants the run's own words.
        logging.set_verbosity(logging.WARNING)
        try:
            *configs, common = map(_from_flags, self._config_classes)
        except ValueError as error:
            if flags.FLAGS.debug:
                raise
            return outcomes.fail(outcomes.sentence(error))
        return outcomes.of(self.function, configs, common)


@contextlib.contextmanager
def _defined(fields: Collection[Declaration]) -> Iterator[None]:
    """Defines flags for fields in absl's registry; at the end, all other flags are as before."""
    before = flagsaver.save_flag_values()
    for each in fields:
        _define(each)
    try:
        yield
    finally:
        for each in fields:
            delattr(flags.FLAGS, each.name)
        # Libraries that were imported meanwhile have defined their own, and go on using them.
        flagsaver.restore_flag_values({**flagsaver.save_flag_values(), **before})


def _define(each: Declaration) -> None:
    default = None if each.default is REQUIRED else each.default
    if each.many:
        define = flags.DEFINE_multi_string if each.repeated else flags.DEFINE_list
        texts = None if default is None else [str(value) for value in default]
        define(each.name, texts, each.help)
    elif each.choices:
        flags.DEFINE_enum(each.name, default, each.choices, each.help)
    elif each.parse:
        flags.DEFINE_string(each.name, default, each.help)
    else:
        _DEFINE[each.kind](each.name, default, each.help)


def _from_flags(config_class: type) -> Any:
    """A configuration with the flags that were given.

    Raises:
      ValueError: for a value that the configuration refuses, or a list of something else than it
        takes.
    """
    values = {}
    for each in declarations(config_class).values():
        if not (each.flag and flags.FLAGS[each.name].present):
            continue
        value = flags.FLAGS[each.name].value
        if each.many and not each.parse and value is not None:
            try:
                value = tuple(each.kind(text) for text in value)
            except ValueError as error:
                raise ValueError(f'{each.name}: {error}') from error
        if each.path and value is not None:
            value = tuple(_path(v, each) for v in value) if each.many else _path(value, each)
        values[each.name] = value
    return config_class(**values)


def _path(text: str, each: Declaration) -> str:
    # An empty one is not a path, and is refused where it is used.
    found = paths.expand(text, pretrained=each.pretrained) if text else text
    # A run keeps the name: where the package is differs from machine to machine.
    return text if packaged.is_named(text) else found


_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}
