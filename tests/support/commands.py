"""The commands of the experiment modules."""

import importlib

MODULES = (
    *('train', 'evaluate', 'sample', 'benchmark', 'table1', 'table2'),
    *('teacher', 'distill', 'compress', 'edit', 'convert', 'export'),
)
"""All experiment modules."""

_PACKAGES = ('benchmark', 'compress', 'table1', 'table2')


def find(module: str):
    """The `main` of `experiments.<module>`, an `experiments.cli.Command`."""
    name = f'{module}.__main__' if module in _PACKAGES else module
    return importlib.import_module(f'experiments.{name}').main
