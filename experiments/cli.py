"""What every experiment module shares: flags from a configuration, and one-sentence errors."""

import dataclasses
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Collection
from typing import Any

from absl import app, flags, logging

from osgan_jax.engine import config

# What jax says where an accelerator, or the machine, has no memory left.
_EXHAUSTED = re.compile('RESOURCE_EXHAUSTED|Out of memory')
# What devices count to, and their seeds.
MOST, MOST_SEED = 2**31 - 1, 2**32 - 1

_DEBUG = flags.DEFINE_bool('debug', False, 'show the traceback of an error')
_COMPILATION_CACHE = flags.DEFINE_string(
    'compilation_cache',
    None,
    "directory that keeps compiled programs for later runs; default in the user's cache; off: none",
)


def define_flags(config_class: type, defaults: dict[str, Any] | None = None) -> None:
    """Defines one flag a field of a dataclass whose fields carry `help` and `choices`.

    Args:
      config_class: the dataclass.
      defaults: other defaults than the dataclass's.
    """
    for field in _flag_fields(config_class):
        default = (defaults or {}).get(field.name, field.default)
        if field.many:
            default = None if default is None else [str(value) for value in default]
            flags.DEFINE_list(field.name, default, field.help)
        elif field.choices:
            flags.DEFINE_enum(field.name, default, field.choices, field.help)
        else:
            _DEFINE[field.kind](field.name, default, field.help)


def config_from_flags(config_class: type) -> Any:
    """The dataclass filled from the flags that `define_flags` defined.

    With --deterministic it also asks for that, before anything uses jax.

    Raises:
      ValueError: for a value that the dataclass refuses, a list of something else than it takes, or
        as `osgan_jax.runtime.settings.request_determinism`.
    """
    values = {}
    for field in _flag_fields(config_class):
        value = getattr(flags.FLAGS, field.name)
        if field.many and value is not None:
            try:
                value = tuple(field.kind(text) for text in value)
            except ValueError as error:
                raise ValueError(f'{field.name}: {error}') from error
        values[field.name] = value
    configuration = config_class(**values)
    if values.get('deterministic'):
        from osgan_jax.runtime import settings

        settings.request_determinism()
    return configuration


def without(config_class: type, names: Collection[str]) -> type:
    """A dataclass of the fields of another that are flags, but for some.

    For modules that make many configurations: what these have in common.

    Args:
      config_class: the dataclass.
      names: fields to leave out.
    """
    hints = typing.get_type_hints(config_class)
    kept = [each.name for each in _flag_fields(config_class) if each.name not in names]
    fields = [
        (each.name, hints[each.name], _copy(each))
        for each in dataclasses.fields(config_class)
        if each.name in kept
    ]
    return dataclasses.make_dataclass(f'Shared{config_class.__name__}', fields, frozen=True)


def _copy(field: dataclasses.Field) -> dataclasses.Field:
    return dataclasses.field(default=field.default, metadata=field.metadata)


def define_process_flags() -> None:
    """Defines the flags by which several processes meet.

    They say how a run is launched, not what it is: unlike a configuration's they are not saved.
    """
    flags.DEFINE_string(
        'coordinator', None, 'host:port of process 0, to train with several; auto asks the cluster'
    )
    flags.DEFINE_integer('num_processes', None, 'processes that train together', upper_bound=MOST)
    flags.DEFINE_integer('process_id', None, 'which of them this is, from 0')
    flags.DEFINE_integer(
        'peer_timeout',
        120,
        'seconds to wait for all processes at the start; later, seconds of silence of one after '
        'which the others end too, with a non-zero exit code',
        lower_bound=1,
        upper_bound=10**6,
    )


def join_processes() -> None:
    """Meets the other processes that the flags speak of; to be called before jax is used.

    Raises:
      ValueError: for flags that do not fit together.
    """
    from osgan_jax.runtime import processes

    values = flags.FLAGS
    processes.join(
        values.coordinator,
        values.num_processes,
        values.process_id,
        peer_timeout=values.peer_timeout,
    )


def _flag_fields(config_class: type) -> list[config.Declaration]:
    """The fields that a person may set; others are decided when the run starts."""
    return [each for each in config.declarations(config_class).values() if each.flag]


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags and runs `main`; what goes wrong becomes one sentence and exit code 1."""

    def guarded(argv: list[str]) -> int:
        if len(argv) > 1:
            return _fail(f'unexpected argument {argv[1]!r}: flags are written --name=value')
        # Libraries log their inner life at INFO; a person wants the run's own words.
        logging.set_verbosity(logging.WARNING)
        try:
            code = _outcome(main)
        except Exception:
            # --debug, or what nobody foresaw.
            if not _has_peers():
                raise
            traceback.print_exc()
            code = 1
        if code == 1 and _has_peers():
            from osgan_jax.runtime import processes

            # An ordinary exit would wait for the others, and they may be waiting for this one.
            processes.leave(code)
        return code

    app.run(guarded, flags_parser=_parse)


def _outcome(main: Callable[[], int | None]) -> int:
    """Runs `main` and returns the exit code."""
    # Imported here: `--help` and a wrong flag need not wait for jax.
    import jax

    from osgan_jax.engine import checkpoints
    from osgan_jax.gan import trainer
    from osgan_jax.runtime import processes, settings

    settings.keep_pages()
    if _COMPILATION_CACHE.value != 'off' and not settings.keep_compiled(_COMPILATION_CACHE.value):
        print('warning: no directory for compiled programs can be written (--compilation_cache)')
    try:
        return main() or 0
    except trainer.Stopped as stopped:
        if processes.is_first():
            print(stopped, flush=True)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        return _fail('interrupted before a step was made')
    except (
        ValueError,
        OSError,
        trainer.NonFiniteError,
        checkpoints.CheckpointError,
        processes.PeerError,
    ) as error:
        if _DEBUG.value:
            raise
        return _fail(processes.speaker() + _sentence(error))
    # Products of flags may be more than devices count to, let alone hold.
    except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
        too_much = isinstance(error, MemoryError | OverflowError) or _EXHAUSTED.search(str(error))
        if _DEBUG.value or not too_much:
            raise
        return _fail(
            f'{processes.speaker()}there is not enough memory: ask for smaller batches, fewer '
            f'images or narrower networks{_greatest_numbers()}'
        )


def _greatest_numbers() -> str:
    """The two greatest numbers that were asked for, to say after what is too much."""
    given = {
        f'--{name}={value}': int(value)
        for name in flags.FLAGS
        if flags.FLAGS[name].present
        for values in [flags.FLAGS[name].value]
        for value in (values if isinstance(values, list) else [values])
        if str(value).isdecimal()
    }
    greatest = sorted(given, key=given.__getitem__, reverse=True)[:2]
    return f' (asked for: {", ".join(greatest)})' if greatest else ''


def _has_peers() -> bool:
    import jax

    return jax.distributed.is_initialized()


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        # absl's words on --flagfile begin with a shout.
        said = _sentence(error).removeprefix('ERROR:: ')
        sys.exit(_fail(f'{said} (--help lists the flags)'))
    except UnicodeDecodeError as error:
        sys.exit(_fail(f'a --flagfile is to be text of flags, one a line: {_sentence(error)}'))


def _fail(message: str) -> int:
    sys.stdout.flush()
    print(f'error: {message}', file=sys.stderr, flush=True)
    return 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{os.fspath(error.filename)}: {error.strerror}'
    return ' '.join(str(error).split()) or type(error).__name__


_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}
