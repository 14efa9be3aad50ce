"""The text of --help: a module's docstring, then all of its flags by group."""

import textwrap
from collections.abc import Iterable

from osgan_jax.engine.declarations import GROUPS, REQUIRED, Declaration

_INDENT = ' ' * 6
_WRAPPER = textwrap.TextWrapper(
    88,
    initial_indent=_INDENT,
    subsequent_indent=_INDENT,
    break_on_hyphens=False,
    break_long_words=False,
)
_KINDS = {int: 'INT', float: 'NUMBER', str: 'TEXT'}
_FLAGFILE = (
    '  --flagfile=FILE\n'
    f'{_INDENT}text file with more flags, one a line\n'
    '  --helpfull\n'
    f"{_INDENT}show absl's own flags too"
)


def describe(doc: str, fields: Iterable[Declaration]) -> str:
    """The text of --help.

    Args:
      doc: the module's docstring, shown as it is.
      fields: the declarations of its flags.
    """
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for each in fields:
        groups[each.group].append(_entry(each))
    groups['other'].append(_FLAGFILE)
    shown = [f'{name}:\n' + '\n'.join(entries) for name, entries in groups.items() if entries]
    return '\n\n'.join([doc.strip(), *shown]) + '\n'


def _entry(each: Declaration) -> str:
    """A flag as it is typed, and below what it is, its values, its range and its default."""
    name = f'  --[no]{each.name}' if each.kind is bool else f'  --{each.name}={_value(each)}'
    facts = '; '.join(
        filter(None, (_values(each), each.range().removeprefix('of '), _default(each)))
    )
    text = f'{each.help} ({facts})' if facts else each.help
    return f'{name}\n{_WRAPPER.fill(text)}'


def _value(each: Declaration) -> str:
    kind = 'NAME' if each.choices or each.names else 'SIZE' if each.parse else _KINDS[each.kind]
    if each.repeated:
        return f'{kind} --{each.name}={kind} ...'
    return f'{kind},{kind},...' if each.many else kind


def _values(each: Declaration) -> str:
    values = ', '.join(each.values())
    return values and f'{"some" if each.many else "one"} of {values}'


def _default(each: Declaration) -> str:
    """A default, and what decides an open one."""
    if each.default is REQUIRED:
        return 'required'
    if each.default not in (None, ()):
        return f'default: {_shown(each.default)}'
    decided = f'decided by {" and ".join(each.decided_by)}' if each.decided_by else ''
    default = '' if each.otherwise is None else f'default: {_shown(each.otherwise)}'
    if decided and default:
        return f'{default}, unless {decided}'
    if default or decided:
        return default or f'default: {decided}'
    return '' if 'by default' in each.help else 'default: none'


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
