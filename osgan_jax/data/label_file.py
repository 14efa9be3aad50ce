"""Files of names and labels: CSV, TSV or JSON.

A CSV has two columns, name and label, with or without a header; with a header it may have more
columns, of which those called so count. A JSON is an object of labels by name, a list of pairs, or
StyleGAN's `{"labels": [[name, label], ...]}`.
"""

import csv
import json
import os
from typing import Any

from osgan_jax.io import paths
from osgan_jax.io.messages import one_line, printable

_MOST_BYTES = 2**30
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
        text = file.read().decode('utf-8-sig', 'replace')
    pairs = (
        _from_json(text, shown) if text.lstrip().startswith(('{', '[')) else _from_csv(text, shown)
    )
    found: dict[str, str] = {}
    for name, label in pairs:
        name = name.replace('\\', '/').removeprefix('./')
        if found.setdefault(name, label) != label:
            raise ValueError(f'{shown} gives {printable(name)} two labels')
    if not found:
        raise ValueError(f'{shown} holds no labels')
    return found


def _from_json(text: str, shown: str) -> list[tuple[str, str]]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{shown} is not JSON: {one_line(str(error))[:200]}') from None
    if isinstance(body, dict) and isinstance(body.get('labels'), list):
        body = body['labels']
    rows = list(body.items()) if isinstance(body, dict) else body
    pairs = []
    for row in rows:
        if isinstance(row, dict):
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


def _column(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _from_csv(text: str, shown: str) -> list[tuple[str, str]]:
    delimiter = '\t' if '\t' in text.split('\n')[0] else ','
    if delimiter == ',' and ';' in text.split('\n')[0] and ',' not in text.split('\n')[0]:
        delimiter = ';'
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    name, label = (
        next((header.index(each) for each in known if each in header), None)
        for known in (_NAMES, _LABELS)
    )
    if name is not None and label is not None:
        rows = rows[1:]
    elif len(rows[0]) == 2:
        name, label = 0, 1
    else:
        raise ValueError(
            f'{shown}: expected two columns, name and label, or a header with these, got '
            f'{printable(", ".join(rows[0]))[:100]}'
        )
    pairs = []
    for number, row in enumerate(rows, 1):
        if len(row) <= max(name, label) or not row[label].strip():
            raise ValueError(f'{shown}: row {number} has no label: {printable(",".join(row))[:60]}')
        pairs.append((row[name].strip(), row[label].strip()))
    return pairs
