"""Which array of a file holds images, and which labels: by the names that people give them."""

import re
from collections.abc import Iterable

from osgan_jax.data.labelling import SPLITS, part_of

# In the order of trust.
_IMAGES = ('images', 'image', 'imgs', 'img', 'x', 'data', 'samples', 'arr_0')
_LABELS = (
    *('labels', 'label', 'y', 'targets', 'target', 'fine_labels', 'fine_label', 'classes'),
    *('class', 'categories', 'arr_1'),
)


def choose(names: Iterable[str], split: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Chooses arrays by name.

    Args:
      names: of a file's arrays, such as `images` and `labels`, or `x_train`, `y_train`, `x_test`.
      split: the part that is wanted, where there are parts.

    Returns:
      `(images, labels, parts)`: names, None where there is none; the parts that there are.
    """
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        part, plain = _part(name.lower())
        parts.setdefault(part, {}).setdefault(plain, name)
    known = tuple(part for part in parts if part and any(n in parts[part] for n in _IMAGES))
    chosen = parts.get('', {})
    if known and not any(name in chosen for name in _IMAGES):
        chosen = parts.get(part_of(split), {})
    else:
        known = ()
    images, labels = (
        next((chosen[name] for name in order if name in chosen), None)
        for order in (_IMAGES, _LABELS)
    )
    return images, labels, known


def _part(name: str) -> tuple[str, str]:
    """The part that an array's name speaks of, '' for none, and the rest of the name."""
    pieces = re.split(r'[_-]', name)
    for place in (0, -1):
        if len(pieces) > 1 and pieces[place] in SPLITS:
            rest = pieces[1:] if place == 0 else pieces[:-1]
            return SPLITS[pieces[place]], '_'.join(rest)
    return '', name
