"""The summary that a run opens with, one screen of text."""

from collections.abc import Sequence

import jax

from osgan_jax import reporting
from osgan_jax.engine.job import Job
from osgan_jax.engine.runs import Run
from osgan_jax.runtime import settings


def text(job: Job, start: int, flops: float | None) -> str:
    """The summary of a job that stands before its next step.

    Args:
      job: built.
      start: the step it goes on from, 0 at the beginning.
      flops: of a step, over all devices; None where they are not known.
    """
    fields = [
        *job.describe(flops),
        (f'{job.step_name}s', length(job.run)),
        ('devices', devices(job.devices, divided=bool(job.divided))),
        ('workdir', str(job.workdir)),
        ('resumed', f'from {job.step_name} {start:,}' if start else None),
        *job.notes,
    ]
    return reporting.summary.summary(fields, title=job.title)


def devices(used: Sequence[jax.Device], *, divided: bool = False) -> str:
    """The devices of all processes, for a person; `divided` is whether they divide the state."""
    described = f'{len(used)} {used[0].device_kind}'
    if jax.process_count() > 1:
        described += f', in {jax.process_count()} processes'
    if divided:
        described += ', which divide large tensors of the state'
    if settings.is_deterministic():
        described += ', deterministic'
    return described


def length(run: Run) -> str:
    """The steps of a run, and the seconds that may end it sooner, for a person."""
    config = run.config
    steps = f'{config.num_steps:,}'
    if run.num_examples:
        epochs = config.num_steps / run.steps_per_epoch
        steps += f' ({epochs:.0f} epochs)' if epochs >= 9.5 else f' ({epochs:.2g} epochs)'
    if config.max_seconds is None:
        return steps
    return f'{steps}, or {config.max_seconds:g} s of training, whichever ends first'


def count_flops(flops: float | None) -> str:
    """A step's FLOPs as the end of a line; empty where they are not known."""
    return '' if flops is None else f', {reporting.summary.human(flops, "FLOP")}'
