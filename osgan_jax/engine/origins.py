"""Runs that begin at another run's checkpoint: which checkpoint, and what of it fits.

A fork goes on with everything that its source had, under other rates, losses or schedules. Fields
that change the shapes of the state are refused. The source is only read.
"""

import dataclasses
import os
import pathlib
from typing import Any, NamedTuple, TypeVar

from osgan_jax.data import classes
from osgan_jax.engine import adoption, checkpoints, resuming, runs
from osgan_jax.engine.checkpoints import leaves
from osgan_jax.engine.config import Config, RunConfig
from osgan_jax.engine.declarations import declarations
from osgan_jax.io import messages, paths

_BEST = 'best'
# Fields by which others were filled when the source began; they are what it has now.
_KEPT = ('method', 'algorithm')

_C = TypeVar('_C', bound=RunConfig)


class Beginning(NamedTuple):
    """The state that a run begins with, where that is not a fresh one.

    Attributes:
      state: as `Job.create` makes it.
      step: the step it stands before.
      metadata: as a checkpoint has it.
      run: the run, which records where it began.
      notes: names and values of the summary.
      iterator_state: of the batches; empty for their beginning.
    """

    state: Any
    step: int
    metadata: dict[str, Any]
    run: runs.Run
    notes: list[tuple[str, str]]
    iterator_state: bytes = b''


class Place(NamedTuple):
    """A checkpoint of a run.

    Attributes:
      workdir: the run's directory, or its `best`.
      step: which; None for the newest.
    """

    workdir: pathlib.Path
    step: int | None


def place(text: str) -> Place:
    """The checkpoint that `RUN`, `RUN@STEP` or `RUN@best` names.

    Raises:
      ValueError: if there is no such run, or no best checkpoint of it.
    """
    text = os.fspath(paths.expand(text))
    name, at, which = text.rpartition('@')
    if not at or os.path.isdir(text):
        found = Place(pathlib.Path(text), None)
    elif which == _BEST:
        found = Place(pathlib.Path(name) / _BEST, None)
        if os.path.isdir(name) and not found.workdir.is_dir():
            raise ValueError(
                f'{messages.printable(name)} has no best checkpoint, which runs with --eval_every '
                'keep: give a step, or none for the newest'
            )
    elif which.isdecimal() and len(which) < 19:
        found = Place(pathlib.Path(name), int(which))
    else:
        raise ValueError(
            f'{messages.printable(text)}: no such directory; expected RUN, RUN@STEP or RUN@best'
        )
    if runs.kind_of(found.workdir) is None:
        raise ValueError(
            f'{messages.printable(found.workdir)} holds no run whose config.json can be read: give '
            'the workdir of a run'
        )
    return found


def read(where: Place) -> checkpoints.Stored:
    """Reads a checkpoint; its directory is not written to.

    Raises:
      CheckpointError: as `Checkpoints.read`.
    """
    with checkpoints.Checkpoints(where.workdir, read_only=True) as saved:
        return saved.read(where.step)


def fork_config(asked: _C, workdir: pathlib.Path) -> _C:
    """What was asked for, with the source's values of all other fields.

    Raises:
      ValueError: for a source that cannot be read, is of another kind or the workdir itself, or a
        field that decides nothing any more.
    """
    where = place(asked.fork)
    if where.workdir.resolve() in (workdir.resolve(), workdir.resolve() / _BEST):
        raise ValueError(
            f'fork={asked.fork}: that is the --workdir itself; give a new --workdir, or leave '
            '--fork out to resume it'
        )
    source = runs.read(where.workdir, type(asked)).config
    given = adoption.asked_for(asked)
    for name in _KEPT:
        if name in given and getattr(asked, name) != getattr(source, name):
            raise ValueError(
                f'{name}={getattr(asked, name)}: a fork keeps what the {name} of its source, '
                f'{getattr(source, name)}, has decided; leave it out, and give the fields that '
                'are to differ, such as --loss or --learning_rate_g'
            )
    beginnings = [each.name for each in declarations(type(asked)).values() if each.begins]
    if both := [name for name in beginnings if name in given and name != 'fork']:
        raise ValueError(
            f'fork={asked.fork} and {both[0]}={getattr(asked, both[0])}: a run begins with one of '
            'them; give one'
        )
    return adoption.merge(asked, dataclasses.replace(source, **dict.fromkeys(beginnings)))


def fork(job: Any, state: Any) -> Beginning:
    """The state of a job's source, for `Job.run`.

    Raises:
      ValueError: naming the fields, where the source's state does not fit; for other images, unless
        they are accepted.
      CheckpointError: for a checkpoint that is not there or damaged.
    """
    run, where = job.run, place(job.run.config.fork)
    source = runs.read(where.workdir, type(run.config))
    changed = _check_data(where.workdir, source, run)
    stored = read(where)
    expected = leaves.expected(state)
    fits, misfits = leaves.fitting(stored.described, expected)
    renewed = frozenset(name.partition('/')[0] for name in misfits) & job.renewable
    # Counts that an optimiser has or has not with its schedule.
    shapes = {name: [tuple(leaf['shape'])] for name, leaf in stored.described.items()}
    for name, (shape, _) in expected.items():
        shapes.setdefault(name, []).append(shape)
    wrong = {
        name: text
        for name, text in misfits.items()
        if name.partition('/')[0] not in renewed and any(shapes[name])
    }
    if wrong:
        _refuse(job, where.workdir, source.config, wrong)
    arrays = {name: stored.arrays[name] for name in fits if name.partition('/')[0] not in renewed}
    state = job.renew(leaves.to_devices(state, arrays), renewed)
    notes = [('forked', f'from {where.workdir}, {job.step_name} {stored.step:,}')]
    beginnings = {e.name for e in declarations(type(run.config)).values() if e.begins}
    begun = dataclasses.replace(
        source.config, **{name: getattr(run.config, name) for name in beginnings}
    )
    if differing := adoption.changes(begun, run.config):
        notes.append(('changed', ', '.join(differing)))
    if renewed:
        notes.append(('begun anew', ', '.join(sorted(renewed))))
    earlier = source.earlier
    if changed:
        notes.append(('data changed', changed))
        earlier += ({'step': stored.step, 'source': source.source},)
    run = dataclasses.replace(run, earlier=earlier, origin=record('fork', where, stored.step))
    order = b'' if changed else stored.iterator_state
    return Beginning(state, stored.step, stored.metadata, run, notes, order)


def record(how: str, where: Place, step: int) -> dict[str, Any]:
    """What config.json keeps of where a run began, see `osgan_jax.engine.runs.Run.origin`."""
    return {'how': how, 'workdir': str(where.workdir.absolute()), 'step': step}


def _check_data(workdir: pathlib.Path, source: runs.Run, run: runs.Run) -> str | None:
    """How the images differ from the source's, in a clause; refuses what was not accepted."""
    changed = resuming.data_change(source, run)
    if changed and not run.config.data_changed:
        raise ValueError(
            f'{workdir} was trained on other images: {changed}; give the same, or --data_changed '
            'to go on with these'
        )
    if other := classes.difference(source.class_names, run.class_names):
        raise ValueError(
            f'{workdir} cannot be forked with this dataset: {other}; --init_from takes what fits'
        )
    return changed


def _refuse(job: Any, workdir: pathlib.Path, source: Config, wrong: dict[str, str]) -> None:
    """Raises ValueError, naming the fields that a state which does not fit comes from."""
    optimisers = all(any(p.startswith('opt') for p in name.split('/')) for name in wrong)
    groups = {'optimizer'} if optimisers else {'networks', 'data'}
    fields = adoption.differing(source, job.run.config, groups)
    asked = adoption.asked_for(job.request)
    fields = [each for each in fields if each[0] in asked] or fields
    named = ' and '.join(f'{name}={now} ({before} there)' for name, before, now in fields)
    name, text = next(iter(wrong.items()))
    more = f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''
    raise ValueError(
        f'{workdir} cannot be forked with {named or "another version or dataset"}: {name} is '
        f'{text}{more}. Leave it out, or begin with what fits by --init_from'
    )
