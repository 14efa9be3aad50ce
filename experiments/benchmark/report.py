"""Tables, JSON and a chart of the measured times."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from experiments.benchmark.rounds import RoundCase
from experiments.benchmark.turns import StepTiming
from osgan_jax.engine.config import fill
from osgan_jax.engine.declarations import otherwise
from osgan_jax.gan.config import TrainConfig
from osgan_jax.reporting import summary

Rows = Sequence[tuple[TrainConfig, Sequence[StepTiming]]]

_NAMED = (
    ('network', ''),
    ('image_size', 'px'),
    ('width', 'width'),
    ('batch_size', 'batch'),
    ('method', ''),
    ('loss', ''),
    ('optimizer', ''),
    ('precision', ''),
    ('num_devices', 'devices'),
    ('steps_per_call', 'steps a call'),
    ('accumulate', 'parts'),
    ('d_steps', 'D steps'),
    ('r1', 'R1'),
    ('r2', 'R2'),
    ('gradient_penalty', 'gradient penalty'),
    ('penalty_every', 'steps between penalties'),
)
_UNITS_BEFORE = ('width', 'batch', 'R1', 'R2', 'gradient penalty')


def machine() -> dict[str, Any]:
    """The device, the processor and the versions of the libraries."""
    device = jax.local_devices()[0]
    packages = ['jax', 'jaxlib', 'flax', 'optax', 'numpy']
    if importlib.util.find_spec('torch') is not None:
        packages.append('torch')
    return {
        'device': device.device_kind,
        'platform': device.platform,
        'processor': platform.processor() or platform.machine(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None,
        'python': platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def name(case: TrainConfig) -> str:
    """A case's name: 'dcgan, 64 px, width 64, batch 32, lsgan'."""
    return name_of({field: getattr(case, field) for field, _ in _NAMED})


def name_of(case: Mapping[str, Any]) -> str:
    """The name of a case as files have it: its fields, of which older files lack some."""
    usual = fill(TrainConfig(), otherwise(TrainConfig))
    parts = []
    for field, unit in _NAMED:
        value = case.get(field)
        always = field in ('network', 'image_size', 'batch_size', 'method')
        # A penalty's weight of 0 is none.
        if value not in (None, 0) and (always or value != getattr(usual, field)):
            text = f'{value:g}' if isinstance(value, float) else f'{value}'
            parts.append(f'{unit} {text}' if unit in _UNITS_BEFORE else f'{text} {unit}'.strip())
    return ', '.join(parts)


def table(case: TrainConfig, timings: Sequence[StepTiming], peak: float) -> str:
    """One case's steps as lines of text; ratios are to the first scheme.

    Args:
      case: what was timed.
      timings: those of its schemes.
      peak: FLOP per second of large matrix products at this precision, on one device.
    """
    first, columns = timings[0], {'scheme': 24, 'ms': 9, 'quartiles': 17, 'images/s': 10}
    columns |= {'GFLOP': 9, 'of peak': 9, 'memory': 10, 'compile s': 11}
    columns |= {'first step s': 14, 'time ratio': 12, 'FLOP ratio': 12}
    rows = [
        [
            *_times(timing),
            f'{case.images_per_step / timing.seconds:.0f}',
            *_costs(timing, peak),
            f'{timing.first_step_seconds:.1f}',
            f'{timing.seconds / first.seconds:.3f}',
            _or_blank(_flop_ratio(timing, first), '{:.3f}'.format),
        ]
        for timing in timings
    ]
    return _aligned(name(case), columns, rows)


def growth(rows: Rows) -> str | None:
    """How the first scheme's time and memory grow from the first case on, beside its arithmetic.

    Args:
      rows: cases and their timings.

    Returns:
      Lines of text; None for a single case. Time is expected to grow as the FLOPs of one device
      do (on CPU all devices are the same cores); 'excess' is the growth beyond that.
    """
    if len(rows) < 2:
        return None
    width = max(len(name(case)) for case, _ in rows) + 2
    lines = [
        f'growth of {rows[0][1][0].scheme}, over the first case (time is expected to grow '
        'as the FLOPs a device, on CPU all FLOPs, do)',
        f'{"":<{width}}{"images":>8}{"FLOPs":>9}{"time":>9}{"excess":>9}{"memory":>9}',
    ]
    (base_case, (base, *_)), *_ = rows
    for case, (timing, *_) in rows:
        time = timing.seconds / base.seconds
        flops = memory = excess = ''
        if timing.flops and base.flops:
            a_device = timing.flops / timing.processors / (base.flops / base.processors)
            flops, excess = f'{a_device:.2f}', f'{time / a_device - 1:+.0%}'
        if timing.bytes and base.bytes:
            memory = f'{timing.bytes / base.bytes:.2f}'
        images = case.images_per_step / base_case.images_per_step
        lines.append(
            f'{name(case):<{width}}{images:>8.2f}{flops:>9}{time:>9.2f}{excess:>9}{memory:>9}'
        )
    return '\n'.join(lines)


def rows_as_json(rows: Rows, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    """One object per scheme and case: the case, the timing and the ratios that follow."""
    return [
        {
            'case': {field: getattr(case, field) for field, _ in _NAMED},
            'images_per_second': case.images_per_step / timing.seconds,
            **_as_json(timing, timings[0], peaks[case.precision]),
        }
        for case, timings in rows
        for timing in timings
    ]


def rounds_table(case: RoundCase, timings: Sequence[StepTiming], peak: float) -> str:
    """One case's rounds of distillation as lines of text; ratios are to the first algorithm.

    Args:
      case: what was timed.
      timings: those of its algorithms; `seconds` are a round's.
      peak: as for `table`.
    """
    first, columns = timings[0], {'algorithm': 16, 'ms a round': 12, 'quartiles': 18}
    columns |= {'GFLOP': 9, 'of peak': 9, 'memory': 10, 'compile s': 11, 'round ratio': 13}
    columns |= {'updates': 9, 'ms an update': 14, 'update ratio': 14}
    rows = []
    for timing in timings:
        updates = case.updates(timing.scheme)
        an_update = timing.seconds / updates
        rows.append(
            [
                *_times(timing),
                *_costs(timing, peak),
                f'{timing.seconds / first.seconds:.3f}',
                f'{updates}',
                f'{1e3 * an_update:.1f}',
                f'{an_update * case.updates(first.scheme) / first.seconds:.3f}',
            ]
        )
    return _aligned(case.name, columns, rows)


def rounds_as_json(
    rows: Sequence[tuple[RoundCase, Sequence[StepTiming]]], peaks: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One object per algorithm and case."""
    return [
        {
            'case': dataclasses.asdict(case),
            'student_updates': case.updates(timing.scheme),
            'seconds_per_student_update': timing.seconds / case.updates(timing.scheme),
            **_as_json(timing, timings[0], peaks[case.precision]),
        }
        for case, timings in rows
        for timing in timings
    ]


def _times(timing: StepTiming) -> list[str]:
    """The name, the median and the quartiles, of tables."""
    low, high = 1e3 * timing.low, 1e3 * timing.high
    return [timing.scheme, f'{1e3 * timing.seconds:.1f}', f'{low:.1f}..{high:.1f}']


def _costs(timing: StepTiming, peak: float) -> list[str]:
    """FLOPs, their rate, memory and compile time, of tables."""
    return [
        _or_blank(timing.flops, lambda flops: f'{flops / 1e9:.2f}'),
        _or_blank(_share(timing, peak), '{:.0%}'.format),
        _or_blank(timing.bytes, lambda size: summary.human(size, 'B')),
        _or_blank(timing.compile_seconds, '{:.1f}'.format),
    ]


def _aligned(title: str, columns: Mapping[str, int], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column flush left, the others flush right, each of its own width."""
    lines = [title]
    for cells in (list(columns), *rows):
        sides = ['<', *'>' * (len(columns) - 1)]
        padded = [
            f'{cell:{side}{width}}'
            for cell, side, width in zip(cells, sides, columns.values(), strict=True)
        ]
        lines.append(''.join(padded).rstrip())
    return '\n'.join(lines)


def _as_json(timing: StepTiming, first: StepTiming, peak: float) -> dict[str, Any]:
    """A timing and its ratios to the first one and to the peak."""
    return {
        **dataclasses.asdict(timing),
        'share_of_peak': _share(timing, peak),
        'time_ratio': timing.seconds / first.seconds,
        'flop_ratio': _flop_ratio(timing, first),
    }


def _share(timing: StepTiming, peak: float) -> float | None:
    if timing.flops is None:
        return None
    return timing.flops / timing.seconds / (peak * timing.processors)


def _flop_ratio(timing: StepTiming, first: StepTiming) -> float | None:
    return timing.flops / first.flops if timing.flops and first.flops else None


def _or_blank(value: Any, text: Any) -> str:
    return '' if value is None else text(value)
