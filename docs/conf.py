"""How Sphinx builds the site: `make docs` writes it to docs/_build/html.

The pages are MyST Markdown. docs/generated/ is made at the start: the API reference, one page a
room, from docstrings; notebooks of examples/ with the outputs that they were saved with; and pages
whose home is elsewhere in the repository. Nothing is fetched, neither here nor by who reads the
site: formulas become MathML, fonts are the system's.
"""

import os
import pathlib
import pkgutil
import re
import shutil
import sys

from docutils import nodes
from docutils.utils.math import latex2mathml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
GENERATED = HERE / 'generated'
sys.path.insert(0, str(ROOT))

import osgan_jax  # noqa: E402 (found by the path above)

project = 'osgan_jax'
author = 'the osgan_jax authors'
release = version = osgan_jax.__version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
exclude_patterns = ['_build', '**/.ipynb_checkpoints']

myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 3
nb_execution_mode = 'off'  # a slow test runs them
nb_merge_streams = True

default_role = 'code'  # what single backticks of docstrings mean
autosummary_generate = False
autodoc_member_order = 'bysource'
autodoc_default_options = {'members': True, 'ignore-module-all': True, 'show-inheritance': True}
autodoc_typehints_format = 'short'
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# Each object is documented in its own module; following would list `builtins` among the sources.
viewcode_follow_imported_members = False

html_theme = 'sphinx_book_theme'
html_title = f'osgan_jax {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_theme_options = {'show_toc_level': 2, 'use_download_button': False}
html_copy_source = False
html_show_copyright = False
html_math_renderer = 'mathml'

# Pages whose home is elsewhere in the repository.
COPIED = {
    'benchmarks/README.md': 'benchmarks.md',
    'benchmarks/results/digits_table2/table2.md': 'digits_table2.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    **{f'examples/{path.name}': f'notebooks/{path.name}' for path in ROOT.glob('examples/*.ipynb')},
}


def relink(text: str, old: pathlib.Path, new: pathlib.Path) -> str:
    """A page's text with relative links that hold where the page is put.

    Args:
      text: Markdown.
      old: the folder that its links start from.
      new: the folder that it is put into.
    """

    def moved(match: re.Match) -> str:
        target, anchor = match[1], match[2] or ''
        path = pathlib.Path(os.path.normpath(old / target))
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None
        if name in COPIED:
            path = GENERATED / COPIED[name]
        return f']({os.path.relpath(path, new)}{anchor})'

    return re.sub(r'\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)', moved, text)


def generate(app) -> None:
    """Writes docs/generated/."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    for name, page in COPIED.items():
        home, there = ROOT / name, GENERATED / page
        there.parent.mkdir(exist_ok=True)
        there.write_text(relink(home.read_text(), home.parent, there.parent))
    for room in pkgutil.iter_modules(osgan_jax.__path__):
        package = f'osgan_jax.{room.name}'
        (GENERATED / f'{package}.rst').write_text(_api(package))


def _api(package: str) -> str:
    """The page of a room: its own docstring, and each of its public modules."""
    folder = pkgutil.resolve_name(package).__path__
    modules = [each.name for each in pkgutil.walk_packages(folder, f'{package}.')]
    public = [name for name in modules if '._' not in name]
    lines = []
    for name, rule in [(package, '='), *((name, '-') for name in public)]:
        lines += [name, rule * len(name), '', f'.. automodule:: {name}', '']
    return '\n'.join(lines)


def read(app, docname: str, source: list[str]) -> None:
    """Has links to copied pages lead to the copies."""
    path = HERE / f'{docname}.md'
    if path.exists() and GENERATED not in path.parents:
        source[0] = relink(source[0], path.parent, path.parent)


def escape(app, what, name, obj, options, lines: list[str]) -> None:
    """Lets docstrings write |x| for an absolute value: bars outside of code are not markup."""
    for i, line in enumerate(lines):
        parts = line.split('`')
        parts[::2] = [part.replace('|', r'\|') for part in parts[::2]]
        lines[i] = '`'.join(parts)


def mathml(translator, node: nodes.Element) -> None:
    """Writes a formula as MathML, which browsers draw without a script."""
    block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app) -> None:
    """Connects the functions above."""
    app.connect('builder-inited', generate)
    app.connect('source-read', read)
    app.connect('autodoc-process-docstring', escape)
    app.add_html_math_renderer('mathml', (mathml, None), (mathml, None))
