"""Editing images with a trained generator: mixing styles, paths between images, directions.

`EditableGenerator` is a generator and its variables in the form that edits need; `sheets` lays
images out, `paths` leads from one image or class to another, `directions` finds directions to move
latents along, `labels` holds what people or classifiers see in samples, `animation` writes moving
pictures. `edit` makes files of all this from a run and an `EditConfig`.
"""

from osgan_jax.editing import animation, directions, labels, paths, sheets
from osgan_jax.editing.config import EditConfig
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.editing.render import edit

__all__ = [
    'EditConfig',
    'EditableGenerator',
    'animation',
    'directions',
    'edit',
    'labels',
    'paths',
    'sheets',
]
