"""Editing images with a trained generator: mixing styles, paths between images, directions.

`EditableGenerator` is a generator and its variables in the form that edits ask for; `sheets` lays
images out, `paths` goes from one image or class to another, `directions` finds what to move along,
`labels` asks people or classifiers what samples show, `animation` writes moving pictures; `edit`
makes files of all this from a run and an `EditConfig`.
"""

from osgan_jax.editing import animation, directions, labels, paths, sheets
from osgan_jax.editing.config import EditConfig
from osgan_jax.editing.desk import edit
from osgan_jax.editing.generators import EditableGenerator

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
