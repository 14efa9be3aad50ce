"""Code of one's own that a configuration names: networks, losses.

A reference is `module:name` or `FILE.py:name`, what a program gives is a `Given`. A run keeps both
as text: a reference is loaded again, of what was given only the name is left.
"""

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import pathlib
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from osgan_jax.io import messages, paths

_PREFIX = 'own('
_ENDING = '.py'


class Given(str):
    """The name, in a configuration, of an object that a program gave, and the object.

    It compares, prints and is saved as the text `own(NAME)`.
    """

    value: Any

    def __new__(cls, name: str, value: Any) -> 'Given':
        """Makes the name of a value."""
        given = super().__new__(cls, f'{_PREFIX}{name})')
        given.value = value
        return given

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Given':
        """The same: networks and functions are not copied with a configuration."""
        return self

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Another process gets the name alone."""
        return str, (str(self),)


def is_own(name: str | None) -> bool:
    """Whether a name is a reference, or that of something a program gave."""
    return name is not None and (':' in name or name.startswith(_PREFIX))


def is_lost(name: str | None) -> bool:
    """Whether a name is all that is left of what a program gave."""
    return (name or '').startswith(_PREFIX) and not isinstance(name, Given)


def absolute(name: str) -> str:
    """A reference with the whole path of its file; any other name as it is."""
    place, _, attribute = name.rpartition(':')
    if isinstance(name, Given) or not place.endswith(_ENDING):
        return name
    return f'{pathlib.Path(paths.expand(place)).absolute()}:{attribute}'


def without_folder(name: str) -> str:
    """A reference with the last name of its file alone; any other name as it is."""
    place, _, attribute = name.rpartition(':')
    if isinstance(name, Given) or not place.endswith(_ENDING):
        return name
    return f'{pathlib.PurePath(place).name}:{attribute}'


def file_of(name: str) -> pathlib.Path | None:
    """The file that a reference would load; None where there is none, or it cannot be told."""
    if isinstance(name, Given) or ':' not in name:
        return None
    place = name.rpartition(':')[0]
    if place.endswith(_ENDING):
        return pathlib.Path(paths.expand(place))
    # The outermost package alone: looking for what is in it would run it.
    with _importable(pathlib.Path.cwd()), contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(place.partition('.')[0])
        if spec is not None and spec.origin is not None:
            return pathlib.Path(spec.origin)
    return None


def load(field: str, name: str) -> Any:
    """What a reference names.

    Args:
      field: the configuration's field, for messages.
      name: `module:name` or `FILE.py:name`.

    Raises:
      ValueError: a text of another form, a file or module that is not there or cannot be loaded,
        or a name that is not in it.
    """
    place, _, attribute = name.rpartition(':')
    if not place or not attribute:
        raise ValueError(
            f'{field}={name}: expected module:function or FILE.py:function, such as '
            'my_nets.py:build'
        )
    module = _load_file(field, name) if place.endswith(_ENDING) else _load_module(field, name)
    if not hasattr(module, attribute):
        own = [key for key, value in vars(module).items() if _is_offered(module, key, value)]
        close = difflib.get_close_matches(attribute, own, 3) or own
        has = f'it has {messages.shorten(close)}' if close else 'it has no functions'
        raise ValueError(f'{field}={name}: {place} has no {attribute}; {has}')
    return getattr(module, attribute)


def call(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function of one's own.

    Args:
      what: what is called, the first words of an error.
      function: the function.
      *args: its arguments.
      **kwargs: its keyword arguments.

    Raises:
      ValueError: whatever the function raised, with the line of it.
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:
        raise ValueError(f'{what} {describe(error)}') from error


def unknown(field: str, name: str, names: Sequence[str]) -> str:
    """What is wrong with a name that is neither one of those there are nor a reference."""
    close = difflib.get_close_matches(name, names, 1)
    meant = f'did you mean {close[0]}? Use' if close else 'use'
    return (
        f'unknown {field} {name!r}: {meant} one of {", ".join(names)}, or your own: '
        'module:function or FILE.py:function'
    )


def describe(error: BaseException) -> str:
    """What an error of foreign code says, and its line there: 'raised KeyError: ... (a.py:3)'."""
    kind = type(error).__name__
    said = messages.reason(error)
    said = '' if said == kind else f': {said}'
    return f'raised {kind}{said}{_line(error)}'


def _load_module(field: str, name: str) -> types.ModuleType:
    place = name.rpartition(':')[0]
    with _importable(pathlib.Path.cwd()):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            missing = error.name or ''
            if place == missing or place.startswith(f'{missing}.'):
                raise ValueError(
                    f'{field}={name}: there is no module {place} that Python can import from '
                    f'{messages.printable(pathlib.Path.cwd())}; give one that it can, or a file: '
                    'path/to/FILE.py:function'
                ) from error
            raise ValueError(f'{field}={name}: {place} {describe(error)}') from error
        except Exception as error:
            raise ValueError(f'{field}={name}: {place} {describe(error)}') from error


def _load_file(field: str, name: str) -> types.ModuleType:
    path = pathlib.Path(absolute(name).rpartition(':')[0])
    if not path.is_file():
        raise ValueError(f'{field}={name}: there is no file {messages.printable(path)}')
    content = path.read_bytes()
    # By its content too: what was changed is loaded anew, and what was not keeps its classes.
    key = hashlib.sha256(str(path).encode() + b'\0' + content).hexdigest()[:16]
    module_name = f'osgan_jax_own_{key}'
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, and linen modules are such, look their module up.
    sys.modules[module_name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ValueError(f'{field}={name}: the file {describe(error)}') from error
    return module


@contextlib.contextmanager
def _importable(folder: pathlib.Path) -> Iterator[None]:
    """Makes the modules of a folder importable, after all others."""
    text = str(folder)
    sys.path.append(text)
    try:
        yield
    finally:
        # The last one: a folder that was on the path before keeps its place.
        del sys.path[max(i for i, entry in enumerate(sys.path) if entry == text)]


def _is_offered(module: types.ModuleType, name: str, value: Any) -> bool:
    """Whether a name of a module is a function or value of its own, not one that it imported."""
    if name.startswith('_') or isinstance(value, types.ModuleType):
        return False
    return getattr(value, '__module__', module.__name__) == module.__name__ and callable(value)


def _line(error: BaseException) -> str:
    """The innermost line of an error outside of installed packages, as ' (FILE, line 3)'."""
    if isinstance(error, SyntaxError) and error.filename:
        return f' ({messages.printable(pathlib.Path(error.filename).name)}, line {error.lineno})'
    package = str(pathlib.Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not ('site-packages' in frame.filename or frame.filename.startswith((package, '<')))
    ]
    if not frames:
        return ''
    return (
        f' ({messages.printable(pathlib.Path(frames[-1].filename).name)}, line {frames[-1].lineno})'
    )
