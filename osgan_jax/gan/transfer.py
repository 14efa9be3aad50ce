"""Training that begins with what another run has learnt: on other images, classes or sizes.

Parameters, statistics and averages are taken by path and shape; whatever does not fit begins fresh,
and is named. Embeddings of classes are taken class by class, by name. Optimisers are fresh, and
training begins at step 0. What a run does not ask for of networks and method is as in its source,
which may also be an export: of G alone, or of G and D.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from osgan_jax.engine import adoption, origins, runs
from osgan_jax.engine.checkpoints import Stored, leaves
from osgan_jax.engine.declarations import declarations
from osgan_jax.gan import exported, model
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import messages, packaged, paths

# Parts of a state, and what a person calls them.
_PARAMS = {'params_g': 'G', 'params_d': 'D'}
_PARTS = ('params_g', 'stats_g', 'params_d', 'stats_d')
_OF_D = ('params_d', 'stats_d')
_AVERAGE = {'ema_g/params': 'params_g', 'ema_g': 'stats_g'}

_C = TypeVar('_C', bound=TrainConfig)


class _Classes(NamedTuple):
    """The classes of both runs.

    Attributes:
      here: names of this run's.
      there: names of the source's; empty where it has none.
      axes: by leaf name, the axis along which it has a row a class.
    """

    here: Sequence[str]
    there: Sequence[str]
    axes: dict[str, int]

    @property
    def are_same(self) -> bool:
        """Whether rows of both are of the same classes, as far as is known."""
        return not self.there or list(self.here) == list(self.there)

    @property
    def shared(self) -> list[str]:
        """Names that both have."""
        return [name for name in self.here if name in set(self.there)]


def place(text: str) -> origins.Place:
    """Where --init_from leads: as `origins.place`, or to an export, or by `pretrained:NAME`.

    Raises:
      ValueError: as `origins.place`, or if there is no such model.
    """
    folder = paths.expand(text, pretrained=True)
    return (
        origins.Place(pathlib.Path(folder), None)
        if exported.is_export(folder)
        else (origins.place(text))
    )


def carry(asked: _C) -> _C:
    """What was asked for, with the source's networks and method where flags say nothing of them.

    Raises:
      ValueError: if there is no such source.
    """
    values, _ = _peek(place(asked.init_from))
    given = adoption.asked_for(asked)
    # Sizes of another network, or what another method wants, are its own.
    others = any(
        name in given and getattr(asked, name) != values.get(name) for name in ('network', 'method')
    )
    carried = {
        each.name: tuple(value) if isinstance(value, list) else value
        for each in declarations(type(asked)).values()
        if each.carried and each.name not in given and not (others and each.group != 'data')
        if (value := values.get(each.name)) is not None
    }
    return dataclasses.replace(asked, **carried)


def begin(
    run: runs.Run, state: model.TrainState, create: Callable[[int], model.TrainState]
) -> origins.Beginning:
    """The state at step 0 with what its source has of it.

    Args:
      run: the run, whose configuration names its source.
      state: fresh.
      create: shapes of such a state with another number of classes.

    Raises:
      ValueError: if nothing of the source's networks fits.
      osgan_jax.engine.checkpoints.CheckpointError: for a checkpoint that is not there, or damaged.
    """
    where = place(run.config.init_from)
    _, names = _peek(where)
    stored = _read(where)
    classes = _Classes(run.class_names, names, _class_axes(run, state, create))
    taken, fresh = _take(state, stored, classes)
    counts = {}
    for part, word in _PARAMS.items():
        own = [name for name in leaves.expected(state) if name.startswith(f'{part}/')]
        counts[word] = sum(name in taken for name in own), len(own)
    if not any(count for count, _ in counts.values()):
        raise ValueError(
            f'init_from={run.config.init_from}: nothing of its networks fits this run '
            f'({messages.shorten([f"{n} is {text}" for n, text in fresh.items()])}); give the same '
            '--network, or leave --init_from out'
        )
    state = model.renew(leaves.to_devices(state, taken), ('slow',))
    shares = [f'{count} of {total} tensors of {word}' for word, (count, total) in counts.items()]
    source = origins.record('init_from', where, stored.step)
    if packaged.is_named(run.config.init_from):
        source['workdir'] = run.config.init_from  # wherever the package is
    notes = [('begun with', f'{source["workdir"]}, step {stored.step:,}: {", ".join(shares)}')]
    if fresh:
        shown = [f'{name} ({text})' for name, text in fresh.items()]
        notes.append(('fresh', messages.shorten(shown)))
    if classes.axes and not classes.are_same:
        new = [name for name in classes.here if name not in set(classes.shared)]
        parts = [f'{messages.shorten(classes.shared) or "none"} by name']
        parts += [f'fresh {messages.shorten(new)}'] if new else []
        notes.append(('embeddings', '; '.join(parts)))
    run = dataclasses.replace(run, origin=source)
    return origins.Beginning(state, 0, {}, run, notes)


def _peek(where: origins.Place) -> tuple[dict[str, Any], tuple[str, ...]]:
    """As `runs.peek`, also of an export."""
    if exported.is_export(where.workdir):
        return exported.peek(where.workdir)[0]
    return runs.peek(where.workdir)


def _read(where: origins.Place) -> Stored:
    """As `origins.read`, also of an export."""
    if exported.is_export(where.workdir):
        return exported.stored(where.workdir, exported.peek(where.workdir)[1])
    return origins.read(where)


def _take(
    state: model.TrainState, stored: Stored, classes: _Classes
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Values by leaf name that the source has, and of all other parameters how they differ."""
    host = leaves.to_host(state)[1]
    parts = _PARTS
    if stored.metadata.get('generator_only'):  # its discriminator was never trained
        parts = tuple(part for part in parts if part not in _OF_D)
    _, misfits = leaves.fitting(stored.described, leaves.expected(state))
    taken, fresh = {}, {}
    for name, own in host.items():
        part = name.partition('/')[0]
        if part not in _PARTS:
            continue
        there = stored.arrays.get(name) if part in parts else None
        value = _fitted(name, own, there, classes)
        if value is not None:
            taken[name] = value
        elif part in _PARAMS:
            fresh[name] = misfits.get(name, 'of other classes' if there is not None else 'absent')
    for name, own in host.items():
        if name.startswith('ema_g/'):
            plain = _plain(name)
            value = _fitted(plain, taken.get(plain, own), stored.arrays.get(name), classes)
            # Without an average of the source's, this one begins at G.
            value = taken.get(plain) if value is None else value
            if value is not None:
                taken[name] = value
    return taken, fresh


def _plain(name: str) -> str:
    """The name of G's own leaf, of which a leaf of the average is one."""
    prefix = next(each for each in _AVERAGE if name.startswith(f'{each}/'))
    return f'{_AVERAGE[prefix]}/{name.removeprefix(f"{prefix}/")}'


def _fitted(
    name: str, own: np.ndarray, there: np.ndarray | None, classes: _Classes
) -> np.ndarray | None:
    """The source's value of a leaf, this run's own of other classes; None if unfit."""
    if there is None or there.dtype != own.dtype or there.ndim != own.ndim:
        return None
    axis = classes.axes.get(name)
    if axis is None or classes.are_same:
        return there if there.shape == own.shape else None
    shapes = [np.delete(array.shape, axis).tolist() for array in (own, there)]
    if shapes[0] != shapes[1] or there.shape[axis] != len(classes.there) or not classes.shared:
        return None
    here_rows = [list(classes.here).index(each) for each in classes.shared]
    there_rows = [list(classes.there).index(each) for each in classes.shared]
    value = np.moveaxis(own.copy(), axis, 0)
    value[here_rows] = np.moveaxis(there, axis, 0)[there_rows]
    return np.moveaxis(value, 0, axis)


def _class_axes(
    run: runs.Run, state: model.TrainState, create: Callable[[int], model.TrainState]
) -> dict[str, int]:
    """The axis of each leaf that has a row a class: it grows with the number of classes."""
    if not run.config.conditional:
        return {}
    own = leaves.expected(state)
    more = leaves.expected(jax.eval_shape(lambda: create(run.num_classes + 1)))
    axes = {}
    for name in own.keys() & more.keys():  # a student's state has more than the networks
        shape = own[name][0]
        differing = [i for i, size in enumerate(shape) if more[name][0][i] != size]
        if differing:
            axes[name] = differing[0]
    return axes
