"""Published weights as variables: converts their names, shapes and layouts into ours."""

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax
import numpy as np

from osgan_jax.io.messages import MOST_NAMES, listing, quote

_NEAR = 0.85  # of 1 for equal names
_MOST_COMPARED = 200  # characters of a name


class Tensor(NamedTuple):
    """A published tensor and the variable that it becomes.

    Attributes:
      path: the variable's, collection first: `('params', 'Conv_0', 'kernel')`.
      shape: as published.
      convert: makes the variable's array of the published one.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray


def from_torch(path: tuple[str, ...], shape: tuple[int, ...]) -> Tensor:
    """PyTorch's tensor of a variable.

    Kernels of dense layers are `[O, I]` there and `[I, O]` here, those of convolutions
    `[O, I, kh, kw]` and `[kh, kw, I, O]`; other variables are the same.

    Args:
      path: the variable's.
      shape: the variable's.
    """
    if path[-1] == 'kernel' and len(shape) == 2:
        return Tensor(path, shape[::-1], np.transpose)
    if path[-1] == 'kernel' and len(shape) == 4:
        published = (shape[3], shape[2], *shape[:2])
        return Tensor(path, published, lambda array: array.transpose(2, 3, 1, 0))
    return Tensor(path, shape)


def convert(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, Tensor], whose: str
) -> dict[str, Any]:
    """Makes variables of tensors.

    Args:
      tensors: arrays by published name.
      expected: all that there must be, and no others; those that become a `var` are variances.
      whose: weights they should be, for the message.

    Returns:
      Nested dicts of the variables, float32 on the host.

    Raises:
      ValueError: as `select`.
    """
    found = select(
        tensors,
        {name: tensor.shape for name, tensor in expected.items()},
        whose,
        variances={name for name, tensor in expected.items() if tensor.path[-1] == 'var'},
    )
    flat = {
        tensor.path: np.array(tensor.convert(found[name]), np.float32, order='C')
        for name, tensor in expected.items()
    }
    return flax.traverse_util.unflatten_dict(flat)


def select(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    whose: str,
    *,
    variances: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Checks names, shapes and values of tensors, and makes them float32.

    Args:
      tensors: arrays by name.
      shapes: those expected, all of them and no others.
      whose: weights they should be, for the message.
      variances: names of tensors that must not be negative.

    Returns:
      Arrays in the order of `shapes`.

    Raises:
      ValueError: tensors are missing, unknown, of another shape or type, not finite, or negative
        variances; it names a few of each, beside unknown ones the nearest that is missing.
    """
    arrays, misshapen, unfit, negative = {}, [], [], []
    for name in shapes.keys() & tensors.keys():
        array, shape = np.asarray(tensors[name]), shapes[name]
        if array.shape != shape:
            misshapen.append(f'{quote(name)} {list(array.shape)} for {list(shape)}')
        elif array.dtype.kind != 'f':
            unfit.append(f'{quote(name)} {array.dtype}')
        else:
            with np.errstate(over='ignore'):
                arrays[name] = np.asarray(array, np.float32)
            if not np.isfinite(arrays[name]).all():
                unfit.append(quote(name))
            elif name in variances and arrays[name].min() < 0:
                negative.append(quote(name))
    faults = {
        'missing': [quote(name) for name in shapes if name not in tensors],
        'unknown': _with_nearest(
            [name for name in tensors if name not in shapes],
            [name for name in shapes if name not in tensors],
        ),
        'of another shape': sorted(misshapen),
        'of another type, or not finite': sorted(unfit),
        'with variances below zero': sorted(negative),
    }
    if any(faults.values()):
        raise ValueError(f'these are not {whose}: {listing(faults)}')
    return {name: arrays[name] for name in shapes}


def _with_nearest(unknown: list[str], missing: list[str]) -> list[str]:
    """Unknown names in quotes; those that a message shows with the missing name next to them."""
    shown = []
    for index, name in enumerate(unknown):
        near = []
        if index < MOST_NAMES and len(name) <= _MOST_COMPARED:
            near = difflib.get_close_matches(name, missing, 1, _NEAR)
        shown.append(quote(name) + (f' (near {quote(near[0])})' if near else ''))
    return shown
