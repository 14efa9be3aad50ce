"""The measurements of a suite's cases on this process's first device."""

import dataclasses
import importlib.util
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import outcomes
from experiments.benchmark import loop, peak, report, steps, turns
from experiments.benchmark.suite.plan import Case, SkippedError
from experiments.benchmark.suite.store import Save
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io import messages
from osgan_jax.runtime import parallel, settings

Row = dict[str, Any]

# A call's steps are as many as take so long together, so that dispatching does not count.
_CALL_SECONDS = 0.05
# All turns of a case together.
_TURN_SECONDS = 6.0
_LEAST_TURNS, _MOST_TURNS = 5, 30
_TINY_MATRIX, _TINY_COPY = 128, 2**20
_LOOP_STEPS, _LOOP_STEPS_TINY = 200, 30
_COMPILER = 'inductor'
_COMPILER_TINY = 'aot_eager'


class _Program(NamedTuple):
    """A compiled step and its row."""

    built: steps.Built
    compiled: Any
    row: Row


class _Prepared(NamedTuple):
    """What a case needs; rows also hold what was refused."""

    case: Case
    programs: list[_Program]
    rows: list[Row]
    peers: dict[str, turns.Runner]


class AcceleratorBench:
    """Measures on the first device; matrix products and copies are measured once a process."""

    def __init__(self):
        settings.keep_pages()
        settings.keep_compiled()
        self._peaks: dict[str, float] = {}
        self._copy: float | None = None

    def machine(self) -> dict[str, Any]:
        """See `worker.Bench`."""
        return report.machine()

    def prepare(self, case: Case, save: Save) -> _Prepared:
        """Compiles the schemes, or the batches, of a case in parallel."""
        if case.kind == 'peer' and importlib.util.find_spec('torch') is None:
            raise SkippedError('PyTorch is not installed here')
        config = TrainConfig(**case.fields)
        settings.set_precision(config.precision)
        rows: list[Row] = []
        lowered, built = [], None
        for number in range(case.doublings + 1):
            doubled = dataclasses.replace(config, batch_size=config.batch_size * 2**number)
            for scheme in case.schemes:
                row = {'scheme': scheme, 'batch_size': doubled.batch_size}
                rows.append(row)
                try:
                    built = steps.build(doubled, scheme, like=built)
                except ValueError as error:
                    row['refused'] = messages.reason(error)
                    continue
                began = time.perf_counter()
                step = built.lower()
                row['trace_seconds'] = time.perf_counter() - began
                row['flops'] = built.count_flops(parallel.flops(step, 1))
                lowered.append((built, step, row))
        if not lowered:
            raise ValueError('; '.join(row['refused'] for row in rows))
        with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            compiling = [pool.submit(_compile, step, row) for _, step, row in lowered]
        programs = []
        for (built, _, row), done in zip(lowered, compiling, strict=True):
            compiled = done.result()
            if compiled is not None:
                programs.append(_Program(built, compiled, row))
        save(rows)
        peers = _peers(case, config, rows) if case.kind == 'peer' else {}
        return _Prepared(case, programs, rows, peers)

    def measure(self, prepared: _Prepared, save: Save) -> dict[str, Any]:
        """Measures the device's rates, then what is prepared."""
        case = prepared.case
        precision = case.fields['precision']
        facts = {
            'peak_flops': self._peak(precision, case.tiny),
            'copy_bytes_per_second': self._copied(case.tiny),
        }
        measure = {'growth': _grow, 'loop': _feed}.get(case.kind, _by_turns)
        measure(prepared, save)
        for row in prepared.rows:
            _compare(row, prepared.rows[0], facts)
        save(prepared.rows)
        return facts

    def _peak(self, precision: str, tiny: bool) -> float:
        if precision not in self._peaks:
            self._peaks[precision] = peak.measure_peak(precision, (_TINY_MATRIX,) if tiny else None)
        return self._peaks[precision]

    def _copied(self, tiny: bool) -> float:
        if self._copy is None:
            self._copy = peak.measure_copy(_TINY_COPY if tiny else None)
        return self._copy


def _compile(lowered: Any, row: Row) -> Any:
    """The compiled step; None, and the row says so, where the compiler finds it too large."""
    began = time.perf_counter()
    try:
        compiled = lowered.compile()
    except Exception as error:
        if not outcomes.is_exhausted(error):
            raise
        row['out_of_memory'] = True
        return None
    row['compile_seconds'] = time.perf_counter() - began
    row['memory'] = turns.memory(compiled)
    row['bytes_moved'] = (compiled.cost_analysis() or {}).get('bytes accessed')
    return compiled


def _peers(case: Case, config: TrainConfig, rows: list[Row]) -> dict[str, turns.Runner]:
    """PyTorch's steps, eager and compiled; rows of those that are refused are added."""
    try:
        steps.check(config, case.schemes, peer=True)
        found = steps.peer_runners(config, case.schemes)
    except ValueError as error:
        raise SkippedError(messages.reason(error)) from error
    compiler = _COMPILER_TINY if case.tiny else _COMPILER
    for scheme in case.schemes:
        try:
            found |= steps.peer_runners(config, (scheme,), compiler=compiler)
        # Its compilers are other programs, and fail in ways of their own.
        except Exception as error:
            name = f'{steps.PEER} {scheme}, compiled'
            rows.append({'scheme': name, 'refused': messages.reason(error)})
    return found


def _by_turns(prepared: _Prepared, save: Save) -> None:
    case = prepared.case
    runners = {p.row['scheme']: _runner(p, case.tiny) for p in prepared.programs}
    rows = {row['scheme']: row for row in prepared.rows}
    for name, peer in prepared.peers.items():
        peer.call()
        runners[name] = _several(peer.call, case.tiny)
        rows[name] = {'scheme': name, 'batch_size': case.fields['batch_size']}
        prepared.rows.append(rows[name])
    _time(runners, rows, case.tiny, rest=bool(prepared.peers))


def _grow(prepared: _Prepared, save: Save) -> None:
    """One batch after the other, each alone in memory, until one does not fit."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit')
    for number, program in enumerate(prepared.programs):
        row = program.row
        try:
            if limit and row['memory'] and row['memory'] > limit:
                raise MemoryError
            runner = _runner(program, prepared.case.tiny)
            _time({row['scheme']: runner}, {row['scheme']: row}, prepared.case.tiny)
            del runner
        except Exception as error:
            if not outcomes.is_exhausted(error):
                raise
            for later in prepared.programs[number:]:
                later.row['out_of_memory'] = True
            break
        save(prepared.rows)


def _feed(prepared: _Prepared, save: Save) -> None:
    """The loop and the bare step by turns."""
    (program,) = prepared.programs
    case, built = prepared.case, program.built
    count = _LOOP_STEPS_TINY if case.tiny else _LOOP_STEPS
    timing = loop.measure_bare_loop(
        built, program.compiled, jax.tree.map(jnp.copy, built.state), num_steps=count
    )
    program.row.update(
        seconds=timing.step_seconds, loop_seconds=timing.loop_seconds, idle=timing.idle
    )


def _runner(program: _Program, tiny: bool) -> turns.Runner:
    """A program with a state of its own, which its calls use up."""
    built = program.built

    def first(calls: int) -> Callable[[], None]:
        own = jax.tree.map(jnp.copy, built.state)
        return turns.first_call(
            program.compiled,
            own,
            built.batch,
            devices=built.devices,
            divided=built.divided,
            calls=calls,
        )

    return _several(first(1), tiny, again=first)


def _several(
    call: Callable[[], None], tiny: bool, again: Callable[[int], Callable[[], None]] | None = None
) -> turns.Runner:
    """A runner whose call makes enough steps; `again` makes such a call, by default a loop."""
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    count = 1 if tiny else max(1, min(50, math.ceil(_CALL_SECONDS / seconds)))
    if count > 1:
        one = call
        call = again(count) if again else lambda: [one() for _ in range(count)]
    return turns.Runner(call, seconds * count, steps=count)


def _time(
    runners: Mapping[str, turns.Runner],
    rows: Mapping[str, Row],
    tiny: bool,
    *,
    rest: bool = False,
) -> None:
    """Times runners by turns, for about `_TURN_SECONDS` together, and completes their rows."""
    # Of a runner made here this is the time of its first call.
    a_round = sum(runner.first_step_seconds for runner in runners.values())
    repeats = round(_TURN_SECONDS / a_round)
    repeats = 2 if tiny else max(_LEAST_TURNS, min(_MOST_TURNS, repeats))
    for timing in turns.take_turns(runners, repeats, rest=rest):
        rows[timing.scheme] |= {
            'seconds': timing.seconds,
            'low': timing.low,
            'high': timing.high,
            'turns': repeats,
        }


def _compare(row: Row, first: Row, facts: Mapping[str, float]) -> None:
    """Adds rates, shares of what the device reaches, and ratios to the first row."""
    seconds = row.get('seconds')
    if seconds is None:
        return
    row['images_per_second'] = row['batch_size'] / seconds
    if row.get('flops'):
        row['share_of_peak'] = row['flops'] / seconds / facts['peak_flops']
    if row.get('bytes_moved'):
        row['share_of_copy'] = row['bytes_moved'] / seconds / facts['copy_bytes_per_second']
    if first.get('seconds'):
        row['time_ratio'] = seconds / first['seconds']
    if row.get('flops') and first.get('flops'):
        row['flop_ratio'] = row['flops'] / first['flops']
