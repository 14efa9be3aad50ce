"""The console commands: osgan-train runs `experiments.train`, and so on.

`experiments` is a common name: a project of the user's, or another installed package, may have it
and come first on Python's path. The commands therefore run the `experiments` beside `osgan_jax`,
with which it is installed.
"""

import importlib
import importlib.util
import pathlib
import sys
import types


def main() -> int:
    """Runs the module that the command is named after, with the flags of this process."""
    module = pathlib.Path(sys.argv[0]).stem.removeprefix('osgan-')
    root = pathlib.Path(importlib.util.find_spec('osgan_jax').origin).parents[1]
    # Not imported by name, and whatever another package has made of its __init__.py.
    package = types.ModuleType('experiments')
    package.__path__ = [str(root / 'experiments')]
    sys.modules['experiments'] = package
    name = f'experiments.{module}'
    if importlib.util.find_spec(name).submodule_search_locations:
        name += '.__main__'
    return importlib.import_module(name).main()
