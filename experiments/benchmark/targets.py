"""Steps compiled for devices that are not there: what they compute and move, and bounds from that.

No time is measured here and none is claimed.
"""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from experiments.benchmark import chips, report, steps, traffic, turns
from osgan_jax.core.collectives import count_processes
from osgan_jax.engine import messages
from osgan_jax.gan.config import TrainConfig
from osgan_jax.io.messages import reason
from osgan_jax.layers import backend
from osgan_jax.runtime import parallel, settings

_LARGEST = 12
_NUMBERS = ('scheme', 'divided', 'flops', 'accessed', 'moved', 'cycles', 'memory')
# Grids of one machine; by default libtpu describes machines of four chips.
_ONE_HOST = (('v5e', (2, 4)), ('v6e', (2, 4)))
# libtpu would otherwise look for the machine that it is on, and refuse a second process.
_ENVIRONMENT = {
    'TPU_SKIP_MDS_QUERY': '1',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_WORKER_HOSTNAMES': 'localhost',
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A chip and the grid of how many.

    Attributes:
      chip: its description.
      grid: chips along each axis, (1,) for one.
    """

    chip: chips.Chip
    grid: tuple[int, ...]

    @property
    def name(self) -> str:
        """As `--target` takes it."""
        return f'{self.chip.name}:{"x".join(map(str, self.grid))}'

    @property
    def count(self) -> int:
        """The number of devices."""
        return math.prod(self.grid) * self.chip.devices


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One scheme's step, as compiled for one device of a target.

    Attributes:
      scheme: its name.
      flops: a device's, by the compiler; of a GPU those of the traced step.
      exact: whether these are the step's own: a compiler counts lazy penalties as if they were of
        every step, and the zeros between groups that are merged for TPUs.
      accessed: bytes by the compiler's count, which includes the chip's own memory; None for a GPU.
      moved: bytes that main memory must deliver and take; of a GPU only what every program must:
        state and batch in, state out.
      cycles: as the compiler estimates them, not measured; None for a GPU.
      memory: most bytes in main memory at a time; of a GPU without intermediate results.
      bound: what follows for the least time of a step.
      divided: whether the devices divide the state among themselves.
      compile_seconds: on this machine.
      operations: of the program, empty for a GPU.
    """

    scheme: str
    flops: float
    exact: bool
    accessed: float | None
    moved: int
    cycles: int | None
    memory: int
    bound: chips.Bound
    divided: bool
    compile_seconds: float
    operations: Sequence[traffic.Operation] = ()


def parse(text: str) -> Target:
    """The target that a flag names.

    Args:
      text: a chip of `chips.CHIPS`, and of TPUs the grid after a colon: 'v5e:2x4', 'v4:2x2x1',
        'v5e' for one chip.

    Raises:
      ValueError: for another text.
    """
    name, _, grid = text.partition(':')
    chip = chips.CHIPS.get(name)
    if chip is None or (grid and not re.fullmatch(r'[1-9]\d{0,2}(x[1-9]\d{0,2}){0,2}', grid)):
        raise ValueError(
            f'target={text!r}: expected CHIP or CHIP:GRID, such as v5e:2x4, with a chip of '
            f'{", ".join(chips.CHIPS)}'
        )
    if chip.platform == 'gpu' and grid not in ('', '1'):
        raise ValueError(f'target={text!r}: bounds of GPUs are those of one; leave out the grid')
    return Target(chip, tuple(map(int, grid.split('x'))) if grid else (1,))


def devices(target: Target) -> Sequence[Any]:
    """The devices of a target, to compile for; none of them can run anything.

    Raises:
      ValueError: without libtpu, or for a grid that it does not know; for a GPU.
    """
    if target.chip.platform != 'tpu':
        raise ValueError(f'{target.name}: no compiler for GPUs that are not there')
    if importlib.util.find_spec('libtpu') is None:
        raise ValueError(
            f'--target={target.name} compiles with libtpu, which is not installed: pip install '
            "'osgan_jax[tpu-topology]'"
        )
    from jax.experimental import topologies

    os.environ.update(_ENVIRONMENT)
    os.environ.setdefault('TPU_ACCELERATOR_TYPE', target.chip.kind)
    options = {}
    grid = target.grid
    if math.prod(grid) == 1:
        grid = (1, 1, 1)
        options['chips_per_host_bounds'] = (1, 1, 1)
    elif (target.chip.name, grid) in _ONE_HOST:
        options['chips_per_host_bounds'] = (*grid, 1)
    name = f'{target.chip.name}:{"x".join(map(str, grid))}'
    try:
        described = topologies.get_topology_desc(name, platform='tpu', **options)
    except Exception as error:
        # Its errors are the runtime's own, of many kinds.
        raise ValueError(
            f'--target={target.name}: libtpu knows no such topology: {reason(error)}'
        ) from error
    return described.devices


def check(target: Target, case: TrainConfig, schemes: Sequence[str]) -> None:
    """Raises ValueError, before anything is compiled, for a case that cannot be divided."""
    if case.batch_size % target.count:
        raise ValueError(
            f'batch_size={case.batch_size} does not divide among the {target.count} devices of '
            f'{target.name}'
        )
    steps.check(dataclasses.replace(case, num_devices=1), schemes)


def compile_schemes(
    target: Target, case: TrainConfig, schemes: Sequence[str]
) -> Iterator[Compiled]:
    """Compiles every scheme's step for a target, which takes minutes for each.

    Args:
      target: a TPU; of a GPU steps are traced, not compiled.
      case: networks, loss, precision, and the batch over all devices.
      schemes: which of `SCHEMES`.

    Yields:
      One after the other.

    Raises:
      ValueError: as `devices`, or for a case that cannot be trained.
    """
    check(target, case, schemes)
    settings.set_precision(case.precision)
    is_gpu = target.chip.platform == 'gpu'
    chosen = jax.local_devices()[:1] if is_gpu else devices(target)
    built = None
    for scheme in schemes:
        with backend.tracing_for(target.chip.platform):
            built = steps.build(case, scheme, chosen, like=built)
            hosts = count_processes(chosen)
            if built.divided and hosts > 1:
                raise ValueError(
                    f'shard_state: {target.name} is of {hosts} machines, for which steps are '
                    'compiled with whole states alone; leave it out'
                )
            lowered = built.lower()
        if is_gpu:
            yield _traced(target, case, scheme, built, lowered)
            continue
        messages.say(f'Compiling {scheme} for {target.name}; this may take minutes ...')
        began = time.perf_counter()
        compiled = lowered.compile()
        seconds = time.perf_counter() - began
        counted = compiled.cost_analysis()
        operations = traffic.operations(compiled.as_text())
        moved = sum(each.bytes for each in operations)
        with backend.tracing_for(target.chip.platform):
            flops = built.count_flops(counted['flops'] * target.count)
        exact = flops is not None
        flops = flops / target.count if exact else counted['flops']
        bound = chips.bound(target.chip, case.precision, flops, moved)
        yield Compiled(
            scheme=scheme,
            flops=flops,
            exact=exact,
            accessed=counted['bytes accessed'],
            moved=moved,
            cycles=sum(each.cycles for each in operations),
            memory=turns.memory(compiled),
            bound=bound,
            divided=bool(built.divided),
            compile_seconds=seconds,
            operations=operations,
        )


def _traced(
    target: Target,
    case: TrainConfig,
    scheme: str,
    built: steps.Built,
    lowered: Any,
) -> Compiled:
    shapes = parallel.shapes(built.state, built.batch, built.devices)
    state, batch = (
        sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)) for tree in shapes
    )
    with backend.tracing_for(target.chip.platform):
        flops = built.count_flops(parallel.flops(lowered, 1)) or math.nan
    moved = 2 * state + batch
    bound = chips.bound(target.chip, case.precision, flops, moved)
    return Compiled(
        scheme=scheme,
        flops=flops,
        exact=True,
        accessed=None,
        moved=moved,
        cycles=None,
        memory=state + batch,
        bound=bound,
        divided=False,
        compile_seconds=0.0,
    )


def table(target: Target, case: TrainConfig, found: Sequence[Compiled]) -> str:
    """Lines of text: a row for each scheme; ratios are to the first."""
    chip, first = target.chip, found[0]
    rate, published = chip.rate(case.precision)
    lines = [
        f'{report.name(case)}, compiled for {target.name}; numbers of one device, '
        f'which holds {"its part" if first.divided else "the whole"} of the state',
        f'{"scheme":<18}{"GFLOP":>10}{"ratio":>8}{"GB counted":>12}{"ratio":>8}{"GB moved":>10}'
        f'{"ratio":>8}{"Mcycles":>9}{"ratio":>8}{"memory MB":>11}{"arithmetic ms":>15}'
        f'{"memory ms":>11}  bound by',
    ]
    for each in found:
        counted, ratio = _with_ratio(each.accessed, first.accessed, 1e9)
        cycles, cycle_ratio = _with_ratio(each.cycles, first.cycles, 1e6)
        lines.append(
            f'{each.scheme:<18}{each.flops / 1e9:>10.2f}{each.flops / first.flops:>8.3f}'
            f'{counted:>12}{ratio:>8}{each.moved / 1e9:>10.3f}{each.moved / first.moved:>8.3f}'
            f'{cycles:>9}{cycle_ratio:>8}{each.memory / 1e6:>11.1f}'
            f'{1e3 * each.bound.arithmetic:>15.3f}{1e3 * each.bound.memory:>11.3f}  {each.bound.by}'
        )
    lines.append(
        f'bounds: {rate / 1e12:g} TFLOP/s in {published} and {chip.bandwidth / 1e9:g} GB/s, as '
        f'published ({chip.source}); no times were measured'
    )
    if not all(each.exact for each in found):
        lines.append(
            'FLOPs are those that the compiler counts: lazy penalties as of every step, and zeros '
            'between merged groups'
        )
    if published != case.precision:
        lines.append(
            f'{chip.name} has no published rate in {case.precision}: the true bound is higher'
        )
    if chip.platform == 'gpu':
        lines.append(
            'a GPU that is not there: FLOPs are those of the traced step, and bytes those that any '
            'program must move (state and batch in, state out); programs compiled for a CPU move '
            'bytes in other ways, and are not compared'
        )
    else:
        lines.append(
            "GB counted: by the compiler, the chip's own memory included; GB moved: to and from "
            'main memory, read from the program, of which alone the memory bound is; Mcycles: the '
            "compiler's estimate, with loops (updates of D alone) counted once and all branches"
        )
    return '\n'.join(lines)


def _with_ratio(number: float | None, first: float | None, unit: float) -> tuple[str, str]:
    if number is None or not first:
        return '', ''
    return f'{number / unit:.3f}', f'{number / first:.3f}'


def bytes_table(each: Compiled) -> str:
    """Where the bytes of a scheme go."""
    return f'{each.scheme}\n{traffic.table(each.operations, largest=_LARGEST)}'


def versions() -> dict[str, str]:
    """The version of the compiler for TPUs, where it is installed."""
    if importlib.util.find_spec('libtpu') is None:
        return {}
    return {'libtpu': importlib.metadata.version('libtpu')}


def as_json(target: Target, case: TrainConfig, found: Sequence[Compiled]) -> dict[str, Any]:
    """The same as an object."""
    chip = target.chip
    return {
        'target': target.name,
        'chip': {name: v for name, v in dataclasses.asdict(chip).items() if name != 'kind'},
        'case': report.name(case),
        'schemes': [
            {
                **{name: getattr(each, name) for name in _NUMBERS},
                'bound': {**dataclasses.asdict(each.bound), 'by': each.bound.by},
                'flop_ratio': each.flops / found[0].flops,
                'moved_ratio': each.moved / found[0].moved,
                'compile_seconds': each.compile_seconds,
                'bytes_by_kind': {
                    kind: size for kind, (_, size, *_) in traffic.by_kind(each.operations).items()
                },
                'cycles_by_kind': {
                    kind: cycles for kind, (*_, cycles) in traffic.by_kind(each.operations).items()
                },
            }
            for each in found
        ],
    }
