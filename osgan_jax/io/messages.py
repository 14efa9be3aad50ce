"""Words from outside in messages: names, paths and errors, on one line and fit for a terminal."""

import os

_MOST_CHARACTERS = 300
MOST_NAMES = 5


def printable(text: str | os.PathLike[str]) -> str:
    """Returns a path, or any text, with what is not printable escaped."""
    return ''.join(char if char.isprintable() else _escaped(char) for char in os.fsdecode(text))


def _escaped(char: str) -> str:
    # A byte of a file name that is not text becomes a lone surrogate in Python.
    byte = ord(char) - 0xDC00
    return f'\\x{byte:02x}' if 0x80 <= byte <= 0xFF else repr(char)[1:-1]


def one_line(text: str) -> str:
    """Returns printable text without line breaks."""
    return printable(' '.join(text.split()))


def reason(error: BaseException | str) -> str:
    """Returns what an error says: one printable line without a full stop, 300 characters at most.

    Of an error of the system that is its description, without number and path; of an error that
    says nothing, its type.
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = one_line(said).rstrip('.') or type(error).__name__
    return line if len(line) <= _MOST_CHARACTERS else f'{line[: _MOST_CHARACTERS - 3]}...'


def quote(found: object) -> str:
    """Returns a name from a file in quotes: one line of ASCII, 100 characters at most."""
    text = found if isinstance(found, str) else f'<{type(found).__name__}>'
    return ascii(text if len(text) <= 100 else f'{text[:97]}...')


def counted(count: int, one: str, many: str = '') -> str:
    """Returns a number with its noun: '1 image', '2,000 images'."""
    return f'{count:,} {one if count == 1 else many or one + "s"}'


def shorten(names: list[str]) -> str:
    """Returns the first five of printable names, and how many more there are."""
    rest = len(names) - MOST_NAMES
    return ', '.join(names[:MOST_NAMES]) + (f' and {rest} more' if rest > 0 else '')


def listing(faults: dict[str, list[str]]) -> str:
    """Returns how many faults of each kind there are, and the first names.

    Args:
      faults: printable names by what is wrong with them.
    """
    return '; '.join(
        f'{len(names)} {what}: {shorten(names)}' for what, names in faults.items() if names
    )
