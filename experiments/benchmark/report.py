"""Tables, JSON and a chart of the measured times."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmark.rounds import RoundCase
from experiments.benchmark.turns import StepTiming
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import atomic
from osgan_jax.reporting import summary

Rows = Sequence[tuple[TrainConfig, Sequence[StepTiming]]]

_COLOURS = ('#0072B2', '#D55E00', '#E69F00', '#009E73', '#999999', '#CC79A7', '#56B4E9')
_NAMED = (
    ('network', ''),
    ('image_size', 'px'),
    ('width', 'width'),
    ('batch_size', 'batch'),
    ('method', ''),
    ('loss', ''),
    ('precision', ''),
    ('num_devices', 'devices'),
    ('steps_per_call', 'steps a call'),
    ('accumulate', 'parts'),
)


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
    usual = TrainConfig()
    parts = []
    for field, unit in _NAMED:
        value = getattr(case, field)
        always = field in ('network', 'image_size', 'batch_size', 'method')
        if value is not None and (always or value != getattr(usual, field)):
            before = unit in ('width', 'batch')
            parts.append(f'{unit} {value}' if before else f'{value} {unit}'.strip())
    return ', '.join(parts)


def table(case: TrainConfig, timings: Sequence[StepTiming], peak: float) -> str:
    """One case's steps as lines of text; ratios are to the first scheme.

    Args:
      case: what was timed.
      timings: those of its schemes.
      peak: FLOP per second of large matrix products at this precision, on one device.
    """
    first = timings[0]
    head = (
        f'{"scheme":<24}{"ms":>9}{"quartiles":>17}{"images/s":>10}{"GFLOP":>9}{"of peak":>9}'
        f'{"memory":>10}{"compile s":>11}{"first step s":>14}{"time ratio":>12}{"FLOP ratio":>12}'
    )
    lines = [name(case), head]
    for timing in timings:
        share = _share(timing, peak)
        cells = [
            f'{timing.scheme:<24}',
            f'{1e3 * timing.seconds:>9.1f}',
            f'{f"{1e3 * timing.low:.1f}..{1e3 * timing.high:.1f}":>17}',
            f'{case.batch_size / timing.seconds:>10.0f}',
            f'{_or_blank(timing.flops, lambda flops: f"{flops / 1e9:.2f}"):>9}',
            f'{_or_blank(share, lambda share: f"{share:.0%}"):>9}',
            f'{_or_blank(timing.bytes, lambda size: summary.human(size, "B")):>10}',
            f'{_or_blank(timing.compile_seconds, lambda seconds: f"{seconds:.1f}"):>11}',
            f'{timing.first_step_seconds:>14.1f}',
            f'{timing.seconds / first.seconds:>12.3f}',
            f'{_or_blank(_flop_ratio(timing, first), lambda ratio: f"{ratio:.3f}"):>12}',
        ]
        lines.append(''.join(cells).rstrip())
    return '\n'.join(lines)


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
        images = case.batch_size / base_case.batch_size
        lines.append(
            f'{name(case):<{width}}{images:>8.2f}{flops:>9}{time:>9.2f}{excess:>9}{memory:>9}'
        )
    return '\n'.join(lines)


def rows_as_json(rows: Rows, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    """One object per scheme and case: the case, the timing and the ratios that follow."""
    entries = []
    for case, timings in rows:
        for timing in timings:
            entries.append(
                {
                    'case': {field: getattr(case, field) for field, _ in _NAMED},
                    **dataclasses.asdict(timing),
                    'images_per_second': case.batch_size / timing.seconds,
                    'share_of_peak': _share(timing, peaks[case.precision]),
                    'time_ratio': timing.seconds / timings[0].seconds,
                    'flop_ratio': _flop_ratio(timing, timings[0]),
                }
            )
    return entries


def rounds_table(case: RoundCase, timings: Sequence[StepTiming], peak: float) -> str:
    """One case's rounds of distillation as lines of text; ratios are to the first algorithm.

    Args:
      case: what was timed.
      timings: those of its algorithms; `seconds` are a round's.
      peak: as for `table`.
    """
    first = timings[0]
    head = (
        f'{"algorithm":<16}{"ms a round":>12}{"quartiles":>18}{"GFLOP":>9}{"of peak":>9}'
        f'{"memory":>10}{"compile s":>11}{"round ratio":>13}{"updates":>9}{"ms an update":>14}'
        f'{"update ratio":>14}'
    )
    lines = [case.name, head]
    for timing in timings:
        share, updates = _share(timing, peak), case.updates(timing.scheme)
        an_update = timing.seconds / updates
        cells = [
            f'{timing.scheme:<16}',
            f'{1e3 * timing.seconds:>12.1f}',
            f'{f"{1e3 * timing.low:.1f}..{1e3 * timing.high:.1f}":>18}',
            f'{_or_blank(timing.flops, lambda flops: f"{flops / 1e9:.2f}"):>9}',
            f'{_or_blank(share, lambda share: f"{share:.0%}"):>9}',
            f'{_or_blank(timing.bytes, lambda size: summary.human(size, "B")):>10}',
            f'{_or_blank(timing.compile_seconds, lambda seconds: f"{seconds:.1f}"):>11}',
            f'{timing.seconds / first.seconds:>13.3f}',
            f'{updates:>9}',
            f'{1e3 * an_update:>14.1f}',
            f'{an_update * case.updates(first.scheme) / first.seconds:>14.3f}',
        ]
        lines.append(''.join(cells).rstrip())
    return '\n'.join(lines)


def rounds_as_json(
    rows: Sequence[tuple[RoundCase, Sequence[StepTiming]]], peaks: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One object per algorithm and case."""
    entries = []
    for case, timings in rows:
        for timing in timings:
            updates = case.updates(timing.scheme)
            entries.append(
                {
                    'case': dataclasses.asdict(case),
                    **dataclasses.asdict(timing),
                    'student_updates': updates,
                    'seconds_per_student_update': timing.seconds / updates,
                    'share_of_peak': _share(timing, peaks[case.precision]),
                    'time_ratio': timing.seconds / timings[0].seconds,
                    'flop_ratio': _flop_ratio(timing, timings[0]),
                }
            )
    return entries


def save_chart(
    path: pathlib.Path, rows: Sequence[tuple[str, Sequence[StepTiming]]], title: str
) -> None:
    """Draws bars of each step's time over the first scheme's, one group per case, as a PNG."""
    # The object interface: no global backend is chosen and no display is needed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    schemes = list(dict.fromkeys(timing.scheme for _, timings in rows for timing in timings))
    figure = Figure(figsize=(8, 1.4 + 0.3 * sum(len(t) + 1 for _, t in rows)), layout='constrained')
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    at, ticks, shown = 0.0, [], set()
    for label, timings in rows:
        start = at
        for timing in timings:
            ratio = timing.seconds / timings[0].seconds
            spread = np.abs(np.array([[timing.low], [timing.high]]) / timings[0].seconds - ratio)
            axis.barh(
                at,
                ratio,
                xerr=spread,
                height=0.9,
                color=_COLOURS[schemes.index(timing.scheme) % len(_COLOURS)],
                ecolor='#555555',
                label=None if timing.scheme in shown else timing.scheme,
            )
            text = f' {ratio:.2f}   {_milliseconds(timing.seconds)}'
            axis.text(max(ratio, timing.high / timings[0].seconds), at, text, va='center', size=8)
            shown.add(timing.scheme)
            at += 1
        ticks.append(((start + at - 1) / 2, label.replace(', ', '\n', 1)))
        at += 0.8
    axis.set_yticks([tick for tick, _ in ticks], [label for _, label in ticks], size=8)
    axis.invert_yaxis()
    axis.set_xlabel(f'time of a step over that of {rows[0][1][0].scheme}')
    axis.set_title(title, size=10)
    axis.spines[['top', 'right']].set_visible(False)
    axis.margins(x=0.18)
    figure.legend(loc='outside lower center', ncols=4, frameon=False, fontsize=8)
    with atomic.replacing(path) as file:
        figure.savefig(file, format='png', dpi=110, metadata={'Software': None})


def _milliseconds(seconds: float) -> str:
    shown = 1e3 * seconds
    return f'{shown:,.0f} ms' if shown >= 100 else f'{shown:.3g} ms'


def _share(timing: StepTiming, peak: float) -> float | None:
    if timing.flops is None:
        return None
    return timing.flops / timing.seconds / (peak * timing.processors)


def _flop_ratio(timing: StepTiming, first: StepTiming) -> float | None:
    return timing.flops / first.flops if timing.flops and first.flops else None


def _or_blank(value: Any, text: Any) -> str:
    return '' if value is None else text(value)
