"""What a library user who needs no reports does not pay for."""

import os
import subprocess
import sys

from tests.support import ROOT

CODE = """
import sys
import osgan_jax.engine.checkpoints, osgan_jax.reporting
heavy = {'orbax', 'matplotlib', 'PIL', 'tensorboardX', 'rich', 'absl', 'tensorstore', 'flax'}
print(sorted(heavy & set(sys.modules)))
osgan_jax.reporting.TensorBoard(sys.argv[1]).close()
print('tensorboardX' in sys.modules)
import torch
"""


def test_heavy_libraries_are_imported_where_they_are_used(tmp_path):
    # Whoever imports this torch is interrupted; for tensorboardX there is none.
    (tmp_path / 'torch.py').write_text('print("torch"); raise SystemExit')
    done = subprocess.run(
        [sys.executable, '-c', CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (tmp_path, ROOT)))},
    )
    assert done.stdout == '[]\nTrue\ntorch\n'


NAMES = """
import sys
import osgan_jax
from osgan_jax import networks
from osgan_jax.core import loss_names
from osgan_jax.gan import Config, methods
assert min(map(len, (networks.names(), loss_names.names(), methods.names()))) >= 4
assert Config(method='lsgan', loss='hinge').network is None
print(sorted({'jax', 'flax', 'optax'} & set(sys.modules)))
assert osgan_jax.losses.names() == loss_names.names()
assert osgan_jax.one_stage_grads and osgan_jax.AdversarialLoss
print(sorted({'jax', 'flax', 'optax'} & set(sys.modules)))
"""


def test_names_and_configurations_do_without_jax_and_the_heart_costs_jax_alone():
    done = subprocess.run([sys.executable, '-c', NAMES], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n['jax']\n"
