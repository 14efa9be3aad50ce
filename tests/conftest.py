"""Settings that must be made before jax starts."""

import os
import tempfile

# Tests compile many small programs and run each for a moment: less optimised machine code halves
# their time. Numerics stay IEEE; timings belong to experiments.benchmark, never to a test.
os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_backend_optimization_level=0'

# Neither found in, nor left in, the cache of whoever runs the tests.
_cache = tempfile.TemporaryDirectory(prefix='osgan_jax-tests-')
os.environ['OSGAN_JAX_CACHE'] = _cache.name

import jax  # noqa: E402 (reads what was set above)

# Several CPU devices, so that the parallel paths are real in every test that asks for them.
jax.config.update('jax_num_cpu_devices', 4)
