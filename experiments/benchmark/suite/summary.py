"""The report of a suite, from its files alone: a table in Markdown, one JSON, charts."""

import importlib.util
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmark.suite.store import NOT_RUN, Store
from osgan_jax.io import atomic
from osgan_jax.reporting import figures

REPORT, RESULTS, RATIOS, RATES = 'report.md', 'results.json', 'ratios.png', 'rates.png'
_COLUMNS = (
    *('case', 'step', 'batch', 'ms', 'quartiles', 'images/s', 'ratio', 'FLOP ratio'),
    *('GFLOP', 'of peak', 'of copy', 'memory', 'compile'),
)
_NUMBERS_OF = """\
Times are medians of turns taken in one process. Ratios are to the case's first row. `of peak` is
the share of the rate of large matrix products; `of copy` is the share of the rate of large copies
that the bytes counted by the compiler come to. Both rates are measured in the process that measured
the row. FLOPs are those of the traced step. `memory` is what the compiler reserves: state, batch
and intermediate results.
"""

Result = tuple[Mapping[str, Any], Mapping[str, Any]]


def write(store: Store) -> list[pathlib.Path]:
    """Writes all of it beside the results.

    Args:
      store: also of a suite that was killed, or goes on.

    Returns:
      The files; charts only where matplotlib is installed and something was timed.

    Raises:
      ValueError: if there is no plan.
    """
    plan, results = store.plan(), store.results()
    body = {
        **{name: value for name, value in plan.items() if name != 'cases'},
        'cases': [{**case, **result} for case, result in results],
    }
    texts = {
        RESULTS: json.dumps(body, indent=1) + '\n',
        REPORT: text(plan, results),
    }
    written = []
    for name, content in texts.items():
        with atomic.replacing(store.directory / name) as file:
            file.write(content.encode())
        written.append(store.directory / name)
    return written + _charts(store.directory, plan, results)


def text(plan: Mapping[str, Any], results: Sequence[Result]) -> str:
    """The report in Markdown."""
    machine = plan.get('machine') or {}
    lines = ['# Training steps on an accelerator', '']
    lines += [f'* {key}: {value}' for key, value in machine.items()]
    lines += [
        f'* date: {plan["date"]}',
        f'* command: `{" ".join(plan["command"])}`',
        f'* scale: {plan["scale"]}; budget: {plan["budget"]:g} s',
        '',
    ]
    rates = {
        case['fields']['precision']: result
        for case, result in reversed(results)
        if 'peak_flops' in result
    }
    if rates:
        lines += ['| precision | large matrix products | large copies |', '|---|---|---|']
        for precision, result in rates.items():
            lines.append(
                f'| {precision} | {result["peak_flops"] / 1e12:,.2f} TFLOP/s | '
                f'{result["copy_bytes_per_second"] / 1e9:,.0f} GB/s |'
            )
        lines.append('')
    rows = [
        _cells(case, row)
        for case, result in results
        for row in result['rows']
        if 'seconds' in row or row.get('out_of_memory')
    ]
    if rows:
        lines += [f'| {" | ".join(_COLUMNS)} |', '|---' * len(_COLUMNS) + '|']
        lines += [f'| {" | ".join(cells)} |' for cells in rows]
        lines += ['', _NUMBERS_OF]
    loops = [
        f'* {case["name"]}: {1e3 * row["loop_seconds"]:.3g} ms a step of the loop, '
        f'{1e3 * row["seconds"]:.3g} ms bare: the device idles {row["idle"]:.1%} of the time'
        for case, result in results
        for row in result['rows']
        if 'idle' in row
    ]
    if loops:
        lines += ['## The training loop', '', *loops, '']
    missing = [*_unfinished(results), *_refused(results)]
    if missing:
        lines += ['## Not measured', '', *missing, '']
    return '\n'.join(lines).rstrip() + '\n'


def _unfinished(results: Sequence[Result]) -> list[str]:
    lines = []
    for case, result in results:
        if result['status'] == 'done':
            continue
        why = f': {result["reason"]}' if result.get('reason') else ''
        # A suite that was killed left its last case so.
        status = 'begun, and not finished' if result['status'] == 'running' else result['status']
        lines.append(f'* {case["name"]}: {status}{why}')
    return lines


def _refused(results: Sequence[Result]) -> list[str]:
    return [
        f'* {case["name"]}, {row["scheme"]}: {row["refused"]}'
        for case, result in results
        for row in result['rows']
        if 'refused' in row
    ]


def _cells(case: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    def shown(name: str, form: str, unit: float = 1.0, suffix: str = '') -> str:
        value = row.get(name)
        return '' if value is None else f'{value * unit:{form}}{suffix}'

    quartiles = f'{1e3 * row["low"]:.3g} to {1e3 * row["high"]:.3g}' if 'low' in row else ''
    return [
        case['name'],
        row['scheme'],
        str(row['batch_size']),
        'out of memory' if row.get('out_of_memory') else shown('seconds', '.3g', 1e3),
        quartiles,
        shown('images_per_second', ',.0f'),
        shown('time_ratio', '.3f'),
        shown('flop_ratio', '.3f'),
        shown('flops', ',.2f', 1e-9),
        shown('share_of_peak', '.0%'),
        shown('share_of_copy', '.0%'),
        shown('memory', ',.0f', 1e-6, ' MB'),
        shown('compile_seconds', '.1f', 1.0, ' s'),
    ]


def _charts(
    directory: pathlib.Path, plan: Mapping[str, Any], results: Sequence[Result]
) -> list[pathlib.Path]:
    timed = [
        (case, [row for row in result['rows'] if 'seconds' in row])
        for case, result in results
        if case['kind'] in ('steps', 'peer')
    ]
    timed = [(case, rows) for case, rows in timed if rows]
    if not timed:
        return []
    if importlib.util.find_spec('matplotlib') is None:
        # A machine that only measures need not draw: --report does, anywhere.
        print('no charts: matplotlib is not installed; --report=DIR draws them elsewhere')
        return []
    device = (plan.get('machine') or {}).get('device', '')
    schemes = list(dict.fromkeys(row['scheme'] for _, rows in timed for row in rows))
    written = []
    for name, field, label in (
        (RATIOS, 'time_ratio', "time over that of the case's first step"),
        (RATES, 'share_of_peak', 'share of the rate of large matrix products'),
    ):
        drawn = [(case, [row for row in rows if field in row]) for case, rows in timed]
        drawn = [(case, rows) for case, rows in drawn if rows]
        if not drawn:
            continue
        columns = max(len(rows) for _, rows in drawn) + 1
        figure = figures.new_figure((8, 1.2 + 0.16 * columns * len(drawn)))
        axis = figure.subplots()
        for index, (_, rows) in enumerate(drawn):
            for offset, row in enumerate(rows):
                colour = f'C{schemes.index(row["scheme"]) % 10}'
                axis.barh(index * columns + offset, row[field], height=0.9, color=colour)
        ticks = [index * columns + (len(rows) - 1) / 2 for index, (_, rows) in enumerate(drawn)]
        axis.set_yticks(ticks, [case['name'] for case, _ in drawn], size=8)
        axis.invert_yaxis()
        axis.set_xlabel(label)
        axis.set_title(f'{device}, {plan["date"]}', size=10)
        axis.spines[['top', 'right']].set_visible(False)
        for number, scheme in enumerate(schemes):
            axis.barh(math.nan, math.nan, color=f'C{number % 10}', label=scheme)
        figure.legend(loc='outside lower center', ncols=4, frameon=False, fontsize=8)
        figures.save_figure(figure, directory / name)
        written.append(directory / name)
    return written


def counts(results: Sequence[Result]) -> str:
    """How many cases ended how, in words."""
    statuses = [result['status'] for _, result in results]
    parts = [f'{statuses.count(status)} {status}' for status in dict.fromkeys(statuses)]
    return ', '.join(sorted(parts, key=lambda part: part.endswith(NOT_RUN)))
