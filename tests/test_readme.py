"""README tells the truth: its example runs, its tables and flags are the code's."""

import ast
import configparser
import importlib.util
import pkgutil
import re
import runpy
import sys

import pytest
from packaging.requirements import Requirement

from osgan_jax import data
from osgan_jax.core import losses
from osgan_jax.gan import methods
from tests.support import ROOT, commands
from tests.support.marks import slow_but

README = (ROOT / 'README.md').read_text()
GUIDES = ROOT / 'docs' / 'guides'

# Import names that differ from their distributions'.
DISTRIBUTIONS = {
    'PIL': 'Pillow',
    'sklearn': 'scikit-learn',
    'orbax': 'orbax-checkpoint',
    'pillow_heif': 'pillow-heif',
}


@pytest.mark.parametrize(('steps', 'least'), slow_but([(4000, 90), (100, 0)], (100, 0)))
def test_example_is_the_file_and_learns_the_ring(capsys, tmp_path, steps, least):
    page = (GUIDES / 'models.md').read_text()
    code = re.search(r'```python\n(.*?)```', page, re.DOTALL).group(1)
    assert code == (ROOT / 'examples' / 'own_models.py').read_text()
    assert 'range(4000)' in code
    path = tmp_path / 'own_models.py'
    path.write_text(code.replace('range(4000)', f'range({steps})'))
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    share = int(re.match(r'(\d+)% of the fakes lie on the ring', said).group(1))
    assert least <= share <= 100


def test_method_table_is_the_presets():
    page = (GUIDES / 'training.md').read_text()
    rows = re.findall(r'^\| (\w+) \| ([^|]+) \| (\w+) \| ([^|]+) \|$', page, re.MULTILINE)
    assert [(flag, title, loss) for flag, title, loss, _ in rows] == [
        (name, method.title, method.loss) for name, method in methods.TABLE1.items()
    ]
    for _, _, loss, gamma in rows:
        assert (gamma == '-1') == losses.get(loss).symmetric


PAGES = [
    *ROOT.glob('*.md'),
    *(ROOT / 'benchmarks').glob('*.md'),
    *(p for p in (ROOT / 'docs').rglob('*.md') if not {'generated', '_build'} & {*p.parts}),
]


# Of other programs, in pages that speak of them.
# XLA's, pytest's, and those of osgan_jax.data.convert and describe.
THEIR_FLAGS = {'xla_backend_optimization_level', 'durations', 'to', 'sheet'}


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_flag_exists(page):
    fields = [each for module in commands.MODULES for each in commands.find(module).fields.values()]
    flags = {each.name for each in fields}
    flags |= {f'no{each.name}' for each in fields if each.kind is bool}
    flags |= {'help', 'debug', *THEIR_FLAGS}
    for flag in re.findall(r'(?<![\w-])--(\w+)', page.read_text()):
        assert flag in flags, flag


def test_every_dataset_is_in_the_guide():
    guide = (GUIDES / 'data.md').read_text()
    table = guide[guide.index('| `--dataset`') : guide.index('CelebA')]
    for name in data.names():
        assert re.search(rf'\b{name}\b', table), name


def test_pictures_exist():
    for path in re.findall(r'\]\((docs/[^)]+)\)', README):
        assert (ROOT / path).stat().st_size > 0


def test_readme_is_a_front_page():
    assert README.count('\n') <= 150
    assert max(map(len, README.splitlines())) <= 140


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_and_name_of_the_code_exists(page):
    text = page.read_text()
    folders = 'osgan_jax|experiments|tests|docs|examples|benchmarks'
    for path in re.findall(rf'\b((?:{folders})/[\w/.]*\w)', text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r'`(test_\w+\.py)`', text):
        assert list((ROOT / 'tests').rglob(name)), name
    for name in re.findall(r'\b(osgan_jax(?:\.\w+)+)', text):
        assert pkgutil.resolve_name(name) is not None
    for name in re.findall(r'\b(experiments\.\w+)', text):
        assert importlib.util.find_spec(name), name


# Optional libraries, and the one module, or folder of modules, that may import them.
OPTIONAL = {
    'torch': ('peer', ROOT / 'experiments' / 'benchmark' / 'peers'),
    'pillow_heif': ('heif', ROOT / 'osgan_jax' / 'data' / 'formats.py'),
    'pyarrow': ('parquet', ROOT / 'osgan_jax' / 'data' / 'parquet.py'),
    'flatbuffers': ('stablehlo', ROOT / 'osgan_jax' / 'pretrained' / 'stablehlo.py'),
    'h5py': ('hdf5', ROOT / 'osgan_jax' / 'data' / 'array_files.py'),
}


def declared(extra=None):
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    text = parser['options.extras_require'][extra] if extra else None
    lines = (text or parser['options']['install_requires']).splitlines()
    return {r.name: r for r in (Requirement(line) for line in lines if line.strip())}


def test_every_import_is_declared():
    found = {}
    for folder in ('osgan_jax', 'experiments'):
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module]
                else:
                    continue
                for module in modules:
                    found.setdefault(module.split('.')[0], set()).add(path)
    for module, (extra, path) in OPTIONAL.items():
        importing = found.pop(module)
        assert all(path in (each, *each.parents) for each in importing), importing
        assert DISTRIBUTIONS.get(module, module) in declared(extra)
    third_party = set(found) - set(sys.stdlib_module_names) - {'osgan_jax', 'experiments'}
    names = {re.sub('[-_]', '', name).lower() for name in declared()}
    for module in third_party - {'absl'}:
        name = DISTRIBUTIONS.get(module, module)
        assert re.sub('[-_]', '', name).lower() in names, module
    assert 'absl-py' in declared()


def test_pins_lie_within_the_declared_ranges():
    pins = dict(
        line.split('==')
        for line in (ROOT / 'requirements.txt').read_text().splitlines()
        if line and not line.startswith('#')
    )
    pins = {name.lower().replace('_', '-'): version for name, version in pins.items()}
    for name, requirement in declared().items():
        version = pins[name.lower().replace('_', '-')]
        assert requirement.specifier.contains(version), name


@pytest.mark.parametrize('name', ['demo', 'test'])
def test_the_two_commands_are_the_makefiles(name):
    assert f'make {name}' in README
    assert re.search(rf'^{name}: ', (ROOT / 'Makefile').read_text(), re.MULTILINE)
