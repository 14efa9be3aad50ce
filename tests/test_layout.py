"""The house's rule: one folder a room, imports that run one way, and no circle between files."""

import ast
import pathlib
import sys

import pytest

from tests.support import ROOT

# From the ground up: a room imports rooms of the floors below its own, and its own files.
FLOORS = (
    {'core', 'layers', 'io'},
    {'runtime', 'data', 'networks', 'reporting'},
    {'engine', 'evaluation'},
    {'gan'},
    {'distillation', 'compression'},
    # Of published weights it makes runs of the rooms below.
    {'pretrained'},
    {'editing'},
    {'experiments'},
)
MOST_ROOMS = 20
# Folders of tests that are not a room's.
OTHER_TESTS = {'support', 'faults', 'experiments', 'examples'}

FILES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for package in ('osgan_jax', 'experiments')
    for path in sorted((ROOT / package).rglob('*.py'))
}


def _room(module: str) -> str:
    parts = module.split('.')
    return parts[0] if parts[0] == 'experiments' or len(parts) == 1 else parts[1]


def _folders(path: pathlib.Path) -> set[str]:
    return {p.name for p in path.iterdir() if any(p.rglob('*.py'))} if path.is_dir() else set()


def _imported(path: pathlib.Path) -> set[str]:
    """Full names of what a file imports, also inside functions; of `from a import b`, `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def _file_of(name: str) -> str | None:
    """The project's module that a name is, or stands in."""
    return next((n for n in (name, name.rpartition('.')[0]) if n in FILES), None)


IMPORTED = {module: _imported(path) for module, path in FILES.items()}
ARROWS = {
    module: {_file_of(name) for name in names} - {None, module}
    for module, names in IMPORTED.items()
}


def _circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that import one another: components, by Tarjan's algorithm."""
    order, low, stack, found = {}, {}, [], []

    def visit(module):
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in sorted(arrows[module]):
            if other not in order:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == order[module]:
            at = stack.index(module)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for module in arrows:
        if module not in order:
            visit(module)
    return [group for group in found if len(group) > 1]


def test_circles_are_found():
    arrows = {'a': {'b'}, 'b': {'c'}, 'c': {'a', 'd'}, 'd': {'e'}, 'e': set(), 'f': {'d'}}
    assert _circles(arrows) == [['a', 'b', 'c']]


def test_no_files_import_one_another():
    assert _circles(ARROWS) == []


def test_every_room_is_on_a_floor():
    rooms = _folders(ROOT / 'osgan_jax')
    assert rooms == set().union(*FLOORS) - {'experiments'}
    assert len(rooms) <= MOST_ROOMS


def test_no_module_lies_beside_the_rooms():
    assert [path.name for path in (ROOT / 'osgan_jax').glob('*.py')] == ['__init__.py']


@pytest.mark.parametrize('floor', range(len(FLOORS)))
def test_arrows_run_one_way(floor):
    below = set().union(*FLOORS[:floor])
    upward = [
        f'{module} -> {other}'
        for module, others in sorted(ARROWS.items())
        for other in sorted(others)
        if _room(module) in FLOORS[floor] and _room(other) not in {_room(module), *below}
    ]
    assert upward == []


def test_core_imports_jax_alone():
    # And what jax itself imports.
    allowed = {'jax', 'numpy', 'osgan_jax', *sys.stdlib_module_names}
    for module, names in IMPORTED.items():
        if _room(module) in {'core', 'osgan_jax'}:
            assert {name.split('.')[0] for name in names} <= allowed, module
            assert {_room(other) for other in ARROWS[module]} <= {'core'}, module


def test_tests_stand_where_their_rooms_do():
    assert _folders(ROOT / 'tests') <= set().union(*FLOORS) | OTHER_TESTS
