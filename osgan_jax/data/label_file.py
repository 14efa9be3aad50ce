"""Files of names and labels: CSV, TSV, JSON or JSON Lines.

A CSV has two columns, name and label, with or without a header; with a header it may have more
columns, of which those called so count. A JSON is an object of labels by name, a list of pairs, or
StyleGAN's `{"labels": [[name, label], ...]}`; JSON Lines have a pair a line, or an object with a
key for the name and one for the label, as Hugging Face's metadata.jsonl.
"""

import codecs
import csv
import io
import json
import os
import unicodedata
from typing import Any

from osgan_jax.io import paths
from osgan_jax.io.messages import one_line, printable

_MOST_BYTES = 2**30
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_END = 'end of the file'
_NAMES = ('name', 'file', 'filename', 'file_name', 'image', 'image_id', 'img', 'path', 'id')
_LABELS = ('label', 'class', 'category', 'target', 'class_name', 'label_name', 'breed', 'y')


def read(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads labels by name.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is not such a file, or gives a name two labels.
    """
    path = paths.expand(path)
    shown = printable(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f'no file {shown}: --labels is a CSV or JSON file of names and labels, folders or none'
        )
    if not os.path.isfile(path) or os.path.getsize(path) > _MOST_BYTES:
        raise ValueError(f'{shown} is not a CSV or JSON file of names and labels')
    with open(path, 'rb') as file:
        content = file.read()
    try:
        text = content.decode('utf-16' if content.startswith(_UTF16) else 'utf-8-sig')
    except UnicodeDecodeError:
        raise ValueError(f'{shown} is not UTF-8: save it as CSV UTF-8') from None
    is_json = text.lstrip().startswith(('{', '['))
    found: dict[str, str] = {}
    for name, label in (_from_json if is_json else _from_csv)(text, shown):
        name = same_name(name.replace('\\', '/').removeprefix('./'))
        if found.setdefault(name, label) != label:
            raise ValueError(f'{shown} gives {printable(name)} two labels')
    if not found:
        raise ValueError(f'{shown} holds no labels')
    return found


def same_name(name: str) -> str:
    """A name in the form in which it is compared: a Mac stores letters apart from their accents."""
    return unicodedata.normalize('NFC', name)


def _from_json(text: str, shown: str) -> list[tuple[str, str]]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        body = _json_lines(text, shown, error)
    if isinstance(body, dict) and isinstance(body.get('labels'), list):
        body = body['labels']
    # JSON Lines of one line.
    if _is_row(body) or (isinstance(body, list) and body and isinstance(body[0], str)):
        body = [body]
    rows = list(body.items()) if isinstance(body, dict) else body
    pairs = []
    for row in rows:
        if isinstance(row, dict):
            if not _is_row(row):
                raise ValueError(
                    f'{shown}: expected a name ({", ".join(_NAMES)}) and a label '
                    f'({", ".join(_LABELS)}) in each row, got '
                    f'{printable(", ".join(row))[:100] or "nothing"}'
                )
            row = (_column(row, _NAMES), _column(row, _LABELS))
        if not isinstance(row, list | tuple) or len(row) != 2 or not isinstance(row[0], str):
            raise ValueError(f'{shown}: expected pairs of name and label, got {str(row)[:60]!r}')
        if type(row[1]) not in (int, str):
            raise ValueError(
                f'{shown}: expected a whole number or a name as label of {printable(row[0])}, got '
                f'{printable(str(row[1]))[:60]}'
            )
        pairs.append((row[0], str(row[1])))
    return pairs


def _json_lines(text: str, shown: str, whole: Exception) -> list[Any]:
    """The values of JSON Lines.

    Args:
      text: the content of the file.
      shown: its name, for messages.
      whole: why it is not one value.
    """
    rows = []
    for number, line in enumerate(text.split('\n'), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            if not rows:
                raise ValueError(f'{shown} is not JSON: {one_line(str(whole))[:200]}') from None
            said = one_line(str(error).partition(': line ')[0])
            raise ValueError(f'{shown}: line {number} is not JSON: {said[:200]}') from None
    return rows


def _is_row(value: Any) -> bool:
    """Whether a value is an object with a name and a label, rather than of labels by name."""
    return isinstance(value, dict) and all(
        any(each in value for each in keys) for keys in (_NAMES, _LABELS)
    )


def _column(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _from_csv(text: str, shown: str) -> list[tuple[str, str]]:
    delimiter = '\t' if '\t' in text.split('\n')[0] else ','
    if delimiter == ',' and ';' in text.split('\n')[0] and ',' not in text.split('\n')[0]:
        delimiter = ';'
    rows = _rows(text, delimiter, shown)
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0][1]]
    name, label = (
        next((header.index(each) for each in known if each in header), None)
        for known in (_NAMES, _LABELS)
    )
    if name is not None and label is not None:
        rows = rows[1:]
    elif len(rows[0][1]) == 2:
        name, label = 0, 1
    else:
        raise ValueError(
            f'{shown}: expected two columns, name and label, or a header with these, got '
            f'{printable(", ".join(rows[0][1]))[:100]}'
        )
    pairs = []
    for line, row in rows:
        if len(row) <= max(name, label) or not row[label].strip():
            raise ValueError(f'{shown}: line {line} has no label: {printable(",".join(row))[:60]}')
        # A quote that is not closed takes what follows it, up to the next quote, for one cell.
        if any(each in row[name] + row[label] for each in '\r\n'):
            raise ValueError(
                f'{shown}: line {line} has a name or label over several lines, or a quote that is '
                'not closed'
            )
        pairs.append((row[name].strip(), row[label].strip()))
    return pairs


def _rows(text: str, delimiter: str, shown: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV that are not empty, each with the number of its line."""
    file = io.StringIO(f'{text.rstrip()}\n{_END}', newline='')
    reader = csv.reader(file, delimiter=delimiter)
    rows, line = [], 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f'{shown}: line {line} is not CSV: {error}') from None
    # A last quote that is not closed takes all that follows it for one cell.
    line, last = rows.pop()
    if last != [_END]:
        raise ValueError(f'{shown}: line {line} has a quote that is not closed')
    return [(line, row) for line, row in rows if any(row)]
