"""Parquet files with a column of images, as Hugging Face's hub has them.

A column of images holds the bytes of image files, or structs with such bytes. Labels are a column
of numbers, whose names stand in the file's metadata, or of texts. Of several files in a folder,
those are read whose names have the part among their words: `train-00000-of-00002.parquet`. Tables
without images, such as `metadata.parquet`, are left out beside others.
"""

import json
import os
import re
from typing import Any

import numpy as np

from osgan_jax.data import archive, formats, labelling
from osgan_jax.data.archive import Archive
from osgan_jax.data.array_files import asked_labels
from osgan_jax.data.reading import Note, Reading
from osgan_jax.io.messages import printable, reason, shorten

MAGIC = b'PAR1'

_IMAGES = ('image', 'img', 'images', 'picture', 'bytes', 'png', 'jpg')
_LABELS = ('label', 'labels', 'fine_label', 'target', 'class', 'category', 'y')
_MOST_BYTES = 2**36


def find(folder: str) -> list[str]:
    """The .parquet files of a folder, or of its folder `data`, sorted.

    Empty where none of them holds images and image files lie beside them, which they describe.
    """
    for place in (folder, os.path.join(folder, 'data')):
        if os.path.isdir(place):
            found = [n for n in sorted(os.listdir(place)) if n.endswith('.parquet')]
            found = [os.path.join(place, name) for name in found]
            if found and (any(map(_may_hold_images, found)) or not _has_image_files(place)):
                return found
    return []


def _may_hold_images(path: str) -> bool:
    # Where it cannot be told, whoever reads the file says why.
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return True
    try:
        return bool(_image_columns(parquet.read_schema(path)))
    except (pyarrow.ArrowException, OSError):
        return True


def _has_image_files(folder: str) -> bool:
    return any(
        os.path.splitext(name)[1].lower() in formats.ENDINGS
        for _, _, names in os.walk(folder)
        for name in names
    )


def read(files: list[str], reading: Reading, split: str = 'train') -> Archive:
    """Reads images and labels.

    Args:
      files: of one dataset.
      reading: how they are read.
      split: the part that is wanted, where names of files tell parts.

    Raises:
      ValueError: pyarrow is not installed, files are damaged or have no such columns, or there is
        no such part.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            '.parquet is read with pyarrow, not installed here: pip install pyarrow'
        ) from None
    files, without = _with_images(files)
    files, notes = _of_part(files, split)
    notes += without
    name = printable(files[0] if len(files) == 1 else os.path.dirname(files[0]))
    if sum(map(os.path.getsize, files)) > _MOST_BYTES:
        raise ValueError(f'{name} has more than {_MOST_BYTES:,} bytes')
    try:
        # Never mapped into memory: a file that is cut short meanwhile would end the process.
        schema = parquet.read_schema(files[0])
        column, labels, said = _columns(schema, name, reading)
        wanted = [column] if labels is None else [column, labels]
        table = pyarrow.concat_tables(
            [parquet.read_table(each, columns=wanted, partitioning=None) for each in files]
        )
        contents = [
            _content(row, name, i) for i, row in enumerate(table.column(column).to_pylist())
        ]
        given = None if labels is None else _labels(table.column(labels).to_pylist(), name)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f'{name} cannot be read as parquet: {reason(error)}') from None
    if not contents:
        raise ValueError(f'{name} holds no images')
    class_names = None if labels is None else _class_names(schema, labels)
    return archive.of_files(
        name,
        np.frombuffer(b''.join(contents), np.uint8),
        np.cumsum([0, *map(len, contents)]),
        asked_labels(reading, given),
        reading,
        class_names=class_names,
        notes=(*notes, *said),
        root=f'{name} ({labelling.part_of(split)})',  # parts keep their verdicts side by side
    )


def _with_images(files: list[str]) -> tuple[list[str], list[Note]]:
    """The files that may hold images, or all of them if none may."""
    found = {each: _may_hold_images(each) for each in files}
    if len(set(found.values())) == 1:
        return files, []
    without = [printable(os.path.basename(each)) for each in files if not found[each]]
    note = ('left out', f'files without images ({shorten(without)})')
    return [each for each in files if found[each]], [note]


def _of_part(files: list[str], split: str) -> tuple[list[str], list[Note]]:
    """The files of a part, by the words of their names."""
    wanted = labelling.part_of(split)
    parts = [_part(each) for each in files]
    if len(files) == 1 and wanted in ('train', 'all'):
        # One file is whole, unless its name begins with another part.
        parts = [_part(files[0], 1)]
    if not any(parts):
        labelling.check_whole(split, 'a dataset whose files do not name parts')
        several = ('split', f'all {len(files):,} files, whose names tell no part')
        return files, [several] if len(files) > 1 else []
    if wanted == 'all':
        chosen = files
    else:
        chosen = [f for f, part in zip(files, parts, strict=True) if part == wanted]
    found = ', '.join(dict.fromkeys(part for part in parts if part))
    if not chosen:
        raise ValueError(f'there is no part {split!r} among the files, only {found}')
    notes = [('split', f'{wanted}: {len(chosen)} of {len(files)} files, of {found}')]
    others = [os.path.basename(f) for f, part in zip(files, parts, strict=True) if part is None]
    if others and wanted != 'all':
        shown = shorten(list(map(printable, others)))
        notes.append(('left out', f'files whose names tell no part ({shown}); --split=all has all'))
    return chosen, notes


def _part(path: str, most: int | None = None) -> str | None:
    """The part that the first of `most` words of a file's name tells, None where none does."""
    words = re.split(r'[-_. ]', os.path.basename(path).lower())[:most]
    return next((labelling.SPLITS[word] for word in words if word in labelling.SPLITS), None)


def _image_columns(schema: Any) -> list[str]:
    """Names of the columns that may hold images, the likeliest first."""
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(field.name == 'bytes' and holds_bytes(field.type) for field in kind)
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    columns = [field.name for field in schema if holds_bytes(field.type)]
    known = [each for each in _IMAGES if each in columns]
    return known or (columns if len(columns) == 1 else [])


def _columns(schema: Any, name: str, reading: Reading) -> tuple[str, str | None, list[Note]]:
    """The columns of images and of labels."""
    columns = _image_columns(schema)
    if not columns:
        raise ValueError(
            f'{name} has the columns {shorten(list(map(printable, schema.names)))}; expected one '
            'called image, of bytes or of structs with bytes'
        )
    images, labels = columns[0], None
    if reading.labels != labelling.NONE:
        labels = next((each for each in _LABELS if each in schema.names), None)
    said = [] if images == 'image' else [f'images are {printable(images)!r}']
    if labels not in (None, 'label', 'labels') and reading.labels is None:
        said.append(f'labels are {labels!r}')
    return images, labels, [('columns', ', '.join(said))] if said else []


def _content(row: Any, name: str, index: int) -> bytes:
    content = row.get('bytes') if isinstance(row, dict) else row
    if not isinstance(content, bytes):
        raise ValueError(
            f'image {index} of {name} has no bytes: it names a file elsewhere, or is missing'
        )
    return content


def _labels(values: list[Any], name: str) -> np.ndarray:
    kinds = {type(value) for value in values}
    if kinds not in ({int}, {str}):
        shown = 'missing labels' if type(None) in kinds else 'labels of several kinds, or lists'
        raise ValueError(f'{name} has {shown}; --labels=none ignores them')
    return np.asarray(values)


def _class_names(schema: Any, label: str) -> np.ndarray | None:
    """Names of classes in the metadata that Hugging Face's library writes."""
    try:
        about = json.loads((schema.metadata or {})[b'huggingface'])
        names = about['info']['features'][label]['names']
    except (KeyError, TypeError, ValueError):
        return None
    return np.asarray(list(map(str, names))) if isinstance(names, list) and names else None
