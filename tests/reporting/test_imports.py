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
