"""The one-screen table that a run opens with.

Plain text: rich.table would fold paths, read brackets as markup and be no shorter.
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIXES = ((1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k'))
_WIDTH = 88


def human(value: float, unit: str = '') -> str:
    """A number with three significant digits and a decimal prefix.

    Args:
      value: any real number.
      unit: what it counts, e.g. 'FLOP'.

    Returns:
      `human(12_656_257) == '12.7 M'`, `human(3.2e9, 'FLOP') == '3.2 GFLOP'`,
      `human(512, 'B') == '512 B'`.
    """
    for factor, prefix in _PREFIXES:
        # 999,960 is 1 M, not 1000 k: the limit is where three digits round up.
        if abs(value) >= factor * 0.9995:
            return f'{_three_digits(value / factor)} {prefix}{unit}'
    return f'{_three_digits(value)} {unit}'.rstrip()


def summary(fields: Mapping[str, Any] | Iterable[tuple[str, Any]], title: str = 'osgan_jax') -> str:
    """Lays names and values out as a table of two columns, in the order given.

    Args:
      fields: names and values. A string is shown as it is, an int with thousands separators, a
        float with four digits, a bool as yes or no, a pair `(number, unit)` through `human`;
        a sequence of strings is joined by commas; a field that is None is left out.
      title: the first line.

    Returns:
      Lines of at most 88 characters (unless one word is longer), without a newline at the end.
    """
    items = fields.items() if isinstance(fields, Mapping) else fields
    rows = [(name, _text(value)) for name, value in items if value is not None]
    indent = 2 + max((len(name) for name, _ in rows), default=0) + 2
    lines = []
    for name, text in rows:
        wrapped = [
            piece
            for line in text.splitlines() or ['']
            for piece in textwrap.wrap(line, _WIDTH - indent, break_long_words=False) or ['']
        ]
        lines.append(f'  {name:<{indent - 2}}{wrapped[0]}'.rstrip())
        lines.extend(' ' * indent + piece for piece in wrapped[1:])
    rule = '-' * min(_WIDTH, max(map(len, [title, *lines])))
    return '\n'.join([title, rule, *lines, rule])


def _three_digits(value: float) -> str:
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    text = f'{value:.{digits}f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, int):
        return f'{value:,}'
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int | float):
        return human(*value)
    if isinstance(value, list | tuple):
        return ', '.join(map(_text, value))
    return str(value)
