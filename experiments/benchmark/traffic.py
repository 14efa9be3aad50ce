"""Bytes that a compiled program moves and its estimated cycles, by operation, from its text.

Every operation of the program that is executed reads its operands and writes its results; what a
fusion computes inside it stays in registers. On a TPU some of these arrays live in the chip's own
memory (memory space 1 in the text) and cost the main memory nothing. libtpu's compiler notes how
many cycles it estimates for each operation, and chooses between programs by that.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

_BITS = {'pred': 8, 'bf16': 16, 'token': 0, 'c64': 64, 'c128': 128}
_SHAPE = re.compile(r'([a-z][a-z0-9]*)\[([0-9,]*)\](\{[^{}]*\})?')
_INSTRUCTION = re.compile(
    r'^\s+(?:ROOT )?%?([\w.\-]+) = ((?:\(.*?\)|[a-z]\S*)) ([a-z][\w\-]*)\((.*)$'
)
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_OPERAND = re.compile(r'%([\w.\-]+)')
# Names for what is there already, or what the other half of a pair is counted for.
_FREE = {
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'iota'),
    *('partition-id', 'replica-id', 'opt-barrier', 'optimization-barrier', 'domain'),
}
# Calls that set memory aside, or see several arrays as one.
_NAMES_ALONE = ('AllocateBuffer', 'ConcatBitcast')
_COLLECTIVES = ('all-reduce', 'all-gather', 'reduce-scatter', 'collective', 'all-to-all')
_MOVES = ('copy', 'transpose', 'slice', 'concatenate', 'pad', 'reshape', 'reverse', 'async')
# A part of the first operand is read.
_PARTS = ('slice', 'slice-start', 'dynamic-slice', 'gather')
_CALLERS = ('while', 'conditional', 'call')

CONVOLUTIONS, COLLECTIVES = 'convolutions and products', 'collectives'
OPTIMISER_PRODUCTS = 'kernel gradients with their optimiser'
OPTIMISERS, REDUCTIONS = 'optimisers and averages', 'reductions (norms, biases)'
STATE = 'copies of the state to and from the chip'
ELEMENTWISE, MOVES = 'elementwise', 'copies and changes of layout'
KINDS = (
    CONVOLUTIONS,
    OPTIMISER_PRODUCTS,
    OPTIMISERS,
    STATE,
    REDUCTIONS,
    ELEMENTWISE,
    MOVES,
    COLLECTIVES,
)
"""Kinds of operations, by what the operation, or something inside a fusion, is."""


@dataclasses.dataclass(frozen=True)
class Array:
    """An array: its bytes, and whether they lie in the chip's main memory."""

    bytes: int
    main: bool
    wide: bool  # float32


@dataclasses.dataclass(frozen=True)
class Operation:
    """An executed operation.

    Attributes:
      name: in the program.
      kind: one of `KINDS`.
      read: bytes of operands in main memory.
      written: bytes of results in main memory.
      wide: bytes of both that are float32.
      near: bytes of operands and results in the chip's own memory.
      cycles: as the compiler estimates them, 0 where it says nothing.
      source: what it was traced from.
    """

    name: str
    kind: str
    read: int
    written: int
    wide: int
    near: int
    cycles: int
    source: str

    @property
    def bytes(self) -> int:
        """Bytes moved to and from main memory."""
        return self.read + self.written


def operations(text: str) -> list[Operation]:
    """The operations of a compiled program, those that move most first.

    Args:
      text: of `jax.stages.Compiled.as_text()`.

    Returns:
      Bodies of loops are counted once, and all branches of a condition. Operands count whole,
      also where a fusion reads a part.
    """
    computations, entry = _computations(text)
    found = list(_executed(computations, entry))
    return sorted(found, key=lambda each: each.bytes, reverse=True)


def by_kind(found: Sequence[Operation]) -> dict[str, tuple[int, int, int, int, int]]:
    """By kind: operations, bytes of main memory, float32 ones among them, near bytes, cycles."""
    sums = {kind: (0, 0, 0, 0, 0) for kind in KINDS}
    for each in found:
        one = (1, each.bytes, each.wide, each.near, each.cycles)
        sums[each.kind] = tuple(map(sum, zip(sums[each.kind], one, strict=True)))
    return {kind: total for kind, total in sums.items() if total[0]}


def table(found: Sequence[Operation], *, largest: int = 0) -> str:
    """Lines of text: a row for each kind, then the largest operations."""
    head = f'{"bytes moved":<42}{"operations":>12}{"MB":>10}{"share":>8}{"float32 MB":>12}'
    lines = [head + f'{"near MB":>12}{"Mcycles":>10}']
    kinds = by_kind(found)
    totals = tuple(map(sum, zip(*kinds.values(), strict=True))) or (0, 0, 0, 0, 0)
    for kind, (count, size, wide, near, cycles) in {**kinds, 'in all': totals}.items():
        share = size / max(totals[1], 1)
        lines.append(
            f'{kind:<42}{count:>12}{size / 1e6:>10.1f}{share:>8.0%}{wide / 1e6:>12.1f}'
            f'{near / 1e6:>12.1f}{cycles / 1e6:>10.3f}'
        )
    lines.append(
        "MB: to and from main memory; near: to and from the chip's own memory; Mcycles: the "
        "compiler's estimate"
    )
    for each in found[:largest]:
        lines.append(
            f'  {each.bytes / 1e6:>8.1f} MB ({each.read / 1e6:.1f} read)  {each.kind:<38} '
            f'{each.name}  {each.source}'
        )
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    arrays: tuple[Array, ...]
    code: str
    operands: tuple[str, ...]
    called: tuple[str, ...]
    cycles: int
    source: str
    root: bool


def _computations(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    """All computations by name, instructions by name; and which is the entry."""
    found: dict[str, dict[str, _Instruction]] = {}
    entry, current = '', None
    for line in text.splitlines():
        if not line.startswith(' '):
            begun = _COMPUTATION.match(line)
            if begun and '->' in line:
                current = found.setdefault(begun[2], {})
                entry = begun[2] if begun[1] else entry
            continue
        parts = _INSTRUCTION.match(line)
        if parts is None or current is None:
            continue
        name, shapes, code, rest = parts.groups()
        inside, after = _split(rest)
        source = re.search(r'op_name="([^"]*)"', after)
        called = re.findall(
            r'(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)',
            after,
        )
        branches = re.search(r'branch_computations=\{([^}]*)\}', after)
        called += _OPERAND.findall(branches[1]) if branches else []
        if code == 'custom-call' and any(f'"{name}"' in after for name in _NAMES_ALONE):
            code = 'bitcast'
        current[name] = _Instruction(
            name,
            tuple(_arrays(shapes)),
            code,
            tuple(_OPERAND.findall(inside)),
            tuple(called),
            _cycles(after),
            source[1] if source else '',
            line.lstrip().startswith('ROOT '),
        )
    return found, entry


def _split(rest: str) -> tuple[str, str]:
    """Operands within the parenthesis that is open, and what follows it."""
    depth = 1
    for index, char in enumerate(rest):
        depth += {'(': 1, ')': -1}.get(char, 0)
        if not depth:
            return rest[:index], rest[index + 1 :]
    return rest, ''


def _cycles(after: str) -> int:
    found = re.search(r'"estimated_cycles":"(\d+)"', after)
    # The greatest number stands for an unknown one.
    return int(found[1]) if found and int(found[1]) < 2**60 else 0


def _arrays(shapes: str) -> Iterator[Array]:
    for dtype, sizes, layout in _SHAPE.findall(shapes):
        space = re.search(r'S\((\d+)\)', layout)
        if space and space[1] != '1':
            continue  # semaphores
        bits = _BITS.get(dtype) or int(re.sub(r'\D.*', '', dtype.lstrip('fsuc')) or 0)
        count = math.prod(map(int, filter(None, sizes.split(','))))
        yield Array(count * bits // 8, not space, dtype == 'f32')


def _executed(
    computations: Mapping[str, Mapping[str, _Instruction]], name: str
) -> Iterator[Operation]:
    known = computations.get(name, {})
    results = _results(known)
    for each in known.values():
        if each.code in _CALLERS:
            for called in each.called:
                yield from _executed(computations, called)
            continue
        # Of an asynchronous pair the start is counted.
        if each.code in _FREE or each.code.endswith(('-done', '-update')):
            continue
        operands = [known[operand] for operand in each.operands if operand in known]
        read = [array for operand in operands for array in operand.arrays]
        written = list(each.arrays)
        if each.code.endswith('-start'):
            # Operands and results, and what the other half is recognised by.
            written = written[:1] if each.code == 'copy-start' else written[len(read) :]
        if each.code in _PARTS:  # of an operand no more is read than is written
            read = [dataclasses.replace(read[0], bytes=sum(array.bytes for array in written))]
        inside = {each.code, *_codes(computations, each.called)}
        yield Operation(
            each.name,
            _kind(each, inside, operands, each.name in results),
            sum(array.bytes for array in read if array.main),
            sum(array.bytes for array in written if array.main),
            sum(array.bytes for array in (*read, *written) if array.main and array.wide),
            sum(array.bytes for array in (*read, *written) if not array.main),
            each.cycles,
            each.source,
        )


def _results(known: Mapping[str, _Instruction]) -> set[str]:
    """What a computation returns, through the operations that only name it again."""
    found: set[str] = set()
    left = [operand for each in known.values() if each.root for operand in each.operands]
    while left:
        name = left.pop()
        if name in known and name not in found:
            found.add(name)
            if known[name].code in _FREE or known[name].code.endswith('-done'):
                left += known[name].operands
    return found


def _codes(
    computations: Mapping[str, Mapping[str, _Instruction]], called: Sequence[str]
) -> Iterator[str]:
    for name in called:
        for each in computations.get(name, {}).values():
            yield each.code
            yield from _codes(computations, each.called)


def _kind(
    each: _Instruction, inside: set[str], operands: Sequence[_Instruction], result: bool
) -> str:
    """The kind of an operation; `result` says whether the program returns what it computes."""
    if any(code.startswith(_COLLECTIVES) for code in inside):
        return COLLECTIVES
    if each.code.startswith(_MOVES):
        given = any(operand.code == 'parameter' for operand in operands)
        return STATE if given or result else MOVES
    # Mapped over devices, a program does not name its arguments.
    updates = result or any('state.opt_' in operand.source for operand in operands)
    if inside & {'convolution', 'dot', 'custom-call'}:
        return OPTIMISER_PRODUCTS if updates else CONVOLUTIONS
    if updates:
        return OPTIMISERS
    return REDUCTIONS if inside & {'reduce', 'reduce-window'} else ELEMENTWISE
