"""Editing images with a trained generator: projection, mixing, paths between images, directions.

`EditableGenerator` is a generator and its variables in the form that edits need; `sheets` lays
images out, `paths` leads from one image or class to another, `directions` finds directions to move
latents along, `labels` holds what people or classifiers see in samples, `animation` writes moving
pictures. `projection` finds the latents of an image by a `similarity`, and `latents` keeps them in
files; `masks` and `gradients` show what depends on G's weights, and what D's logits depend on.
`edit` makes files of all this from a run and an `EditConfig`. The configuration costs no jax; the
rest loads where it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from osgan_jax.editing.config import EditConfig

if TYPE_CHECKING:
    from osgan_jax.editing import (
        animation,
        directions,
        gradients,
        labels,
        latents,
        masks,
        paths,
        projection,
        sheets,
        similarity,
    )
    from osgan_jax.editing.generators import EditableGenerator
    from osgan_jax.editing.render import edit

__all__ = [
    'EditConfig',
    'EditableGenerator',
    'animation',
    'directions',
    'edit',
    'gradients',
    'labels',
    'latents',
    'masks',
    'paths',
    'projection',
    'sheets',
    'similarity',
]

_HOMES = {'EditableGenerator': 'generators', 'edit': 'render'}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module(f'{__name__}.{_HOMES.get(name, name)}')
    return getattr(module, name) if name in _HOMES else module
