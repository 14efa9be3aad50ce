"""What a library user who needs no reports does not pay for."""

import subprocess
import sys

CODE = """
import sys
import osgan_jax.engine.checkpoints, osgan_jax.reporting
heavy = {'orbax', 'matplotlib', 'PIL', 'tensorboardX', 'rich', 'absl', 'tensorstore', 'flax'}
print(sorted(heavy & set(sys.modules)))
"""


def test_heavy_libraries_are_imported_where_they_are_used():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'
