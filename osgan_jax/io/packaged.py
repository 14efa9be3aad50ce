"""Trained models inside the package: an export of `experiments.export` each, with its card.

Where a run is read, `pretrained:NAME` names one of them.
"""

import pathlib

PREFIX = 'pretrained:'
FOLDER = pathlib.Path(__file__).parents[1] / 'pretrained' / 'models'


def names() -> tuple[str, ...]:
    """The names of all models."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob('*/export.json')))


def folder(name: str) -> pathlib.Path:
    """The folder of a model.

    Raises:
      ValueError: there is no such model.
    """
    if name not in names():
        raise ValueError(f'pretrained={name!r}: expected one of {", ".join(names())}')
    return FOLDER / name


def is_named(path: str) -> bool:
    """Whether a text is `pretrained:NAME`, of any name."""
    return path.startswith(PREFIX)
