"""Checks that a resumed run, and data opened again, match the run as it began."""

import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from osgan_jax import reporting
from osgan_jax.data import classes, identity
from osgan_jax.data.dataset import Dataset
from osgan_jax.engine import adoption, checkpoints, runs
from osgan_jax.engine import config as configuration
from osgan_jax.engine.runs import DAMAGE, Run


def saved_config(
    workdir: str | os.PathLike[str], kind: type[configuration.RunConfig]
) -> configuration.RunConfig | None:
    """The configuration of the run in a directory; None where there is no run.

    Without config.json it is that of the newest readable checkpoint.

    Raises:
      ValueError: as `runs.read`.
    """
    saved = runs.read(workdir, kind)
    if saved is not None:
        return saved.config
    try:
        with checkpoints.Checkpoints(workdir, read_only=True) as found:
            return runs.recall(found.metadata(), kind)
    # If no checkpoint can be read, restoring says so in better words.
    except checkpoints.CheckpointError:
        return None


def last_logged(workdir: str | os.PathLike[str]) -> int:
    """The last step in a run's metrics.jsonl, 0 where there is none."""
    try:
        steps = reporting.metrics_log.read(pathlib.Path(workdir) / 'metrics.jsonl')['step']
    except DAMAGE:
        return 0
    return int(steps.max(initial=0))


def check_unstarted(workdir: str | os.PathLike[str], saved: Run | None) -> str | None:
    """Checks that a directory without checkpoints has not lost any.

    Args:
      workdir: the directory.
      saved: its run, None without config.json.

    Returns:
      A warning for an interrupted run that starts again from step 0; None for a fresh directory.

    Raises:
      ValueError: if the run there must have saved checkpoints.
    """
    last = last_logged(workdir)
    if not last:
        return None
    # A save ends before the next one begins.
    if saved is not None and last > 2 * saved.config.save_every:
        raise ValueError(
            f'{workdir} holds a run that reached step {last}, but none of its checkpoints: '
            'restore its directory checkpoints, or choose another workdir to start from step 0'
        )
    return (
        f'{workdir} holds a run that came to step {last} and was interrupted before its first '
        'checkpoint: it starts again from step 0.'
    )


def check_same(
    workdir: str | os.PathLike[str],
    saved: Run,
    asked: Run,
    request: configuration.RunConfig | None = None,
) -> None:
    """Checks that a run goes on as it began.

    Args:
      workdir: its directory.
      saved: the run there.
      asked: the run that would go on.
      request: what a person asked for, if that is known: what follows from it is not named.

    Raises:
      ValueError: naming every field in which they contradict each other; other images are accepted
        where the configuration says so.
    """
    names = None if request is None else adoption.asked_for(request)
    found = adoption.contradictions(saved.config, asked.config, names)
    derived = [] if found else adoption.contradictions(saved.config, asked.config)
    images = None if asked.config.data_changed else data_change(saved, asked)
    if images is not None:
        found.append(f'{images} (--data_changed goes on with them)')
    if other := classes.difference(saved.class_names, asked.class_names):
        found.append(f'the dataset: {other}')
    found += _other_values(saved.own or {}, asked.own or {})
    if found:
        refuse(workdir, derived + found)
    if derived:
        refuse(
            workdir,
            derived,
            'This follows from the teacher, the dataset or the version: give those it began with',
        )


def refuse(
    workdir: str | os.PathLike[str],
    found: list[str],
    advice: str = 'Leave this out to resume it',
) -> NoReturn:
    """Raises ValueError for what contradicts the run that has checkpoints in a directory."""
    raise ValueError(
        f'{workdir} holds checkpoints of another configuration: {"; ".join(found)}. {advice}, or '
        'give another --workdir to start afresh'
    )


def data_change(saved: Run, asked: Run) -> str | None:
    """How the images of a run differ from those it had, in a clause; None where they do not."""
    given = ''
    if saved.source and saved.source['dataset'] not in (saved.config.dataset, _name_of(asked)):
        given = (
            f', where a program passed {saved.source["dataset"]!r} as arrays: from Python, pass '
            'them again as dataset='
        )
    if saved.num_examples != asked.num_examples:
        counts = f'{saved.num_examples} images there and has {asked.num_examples} now'
        return f'the dataset had {counts}{given}'
    if saved.source and asked.source:
        if identity.difference(saved.source, asked.source):
            return f'the dataset had other images or labels there{given}'
    # Of images that are not recorded only the name of their part is known.
    elif saved.num_examples and saved.config.split != asked.config.split:
        return f'split is {saved.config.split!r} there and {asked.config.split!r} now'
    return None


def _name_of(run: Run) -> str | None:
    return run.source['dataset'] if run.source else run.config.dataset


def check_reopens(run: Run, whose: str, advice: str) -> None:
    """Raises ValueError if a run's images were given by a program, so that no name opens them.

    Args: as `reopen`.
    """
    source = run.source
    if source and source['dataset'] != run.config.dataset:
        raise ValueError(
            f'{whose} was trained on {source["num_images"]:,} images called '
            f'{source["dataset"]!r} that a program passed as arrays, not on '
            f'{run.config.dataset}: {advice}'
        )


def reopen(
    run: Run,
    whose: str,
    load: Callable[[], Dataset],
    advice: str,
    accept: Callable[[str], None] | None = None,
) -> Dataset:
    """Opens the dataset that a run's configuration names, and no other than it was trained on.

    Args:
      run: the run; one that does not record its images is believed.
      whose: the run's directory or role, for messages.
      load: opens the dataset by the configuration's fields.
      advice: what to do where the dataset is another one.
      accept: called with a sentence where other images of the same classes are welcome.

    Raises:
      ValueError: if the run was trained on other images.
    """
    check_reopens(run, whose, advice)
    source, dataset = run.source, load()
    changed = source and identity.difference(source, identity.identify(dataset))
    other = classes.difference(run.class_names, dataset.class_names)
    if changed := changed or other:
        said = (
            f'{whose} was trained on images other than those that {dataset.name} '
            f'({dataset.split}) has now: {changed}'
        )
        if accept is None or other:
            raise ValueError(f'{said}; {advice}')
        accept(said)
    return dataset


def _other_values(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What code of one's own computes otherwise than it did, one phrase a value."""
    before, now = saved.get('values', {}), asked.get('values', {})
    return [
        f'the loss is another: its {name} at the same logits is {before[name]:.6g} there and '
        f'{now[name]:.6g} now'
        for name in before
        if name in now and not math.isclose(before[name], now[name], rel_tol=1e-3, abs_tol=1e-4)
    ]
