"""Settings of a process: kept programs, kept pages."""

import os
import subprocess
import sys

import jax
import pytest

from osgan_jax.runtime import settings
from tests.support import ROOT

# Compiles one update on two devices, says whether it was found, and a hash of what it computed.
PROGRAM = """
import hashlib, sys
import jax, numpy as np
jax.config.update('jax_num_cpu_devices', 2)
from osgan_jax.runtime import settings
settings.keep_pages()
if sys.argv[1]:
    settings.keep_compiled(sys.argv[1])
found = []
jax.monitoring.register_event_listener(
    lambda name, **_: found.append(name) if name.endswith('cache_hits') else None)
from tests.support import small
gan, state, update, devices = small.build(num_devices=2, scheme='one_stage')
from osgan_jax.runtime import parallel
state = parallel.replicate(state, devices)
before = jax.tree.leaves(state.params_g)[0]
for index in range(3):
    state, metrics = update(state, parallel.put_batch(small.batch(index), devices))
digest = hashlib.sha256()
for leaf in jax.tree.leaves((state.params_g, state.params_d, state.opt_g, metrics)):
    digest.update(np.asarray(leaf).tobytes())
print(bool(found), before.is_deleted(), digest.hexdigest())
"""


def _words(program: str, flags: str) -> list[str]:
    """What a program prints in a process of its own, with XLA_FLAGS."""
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=ROOT,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def _run(cache: str) -> list[str]:
    # Without the one that this process has.
    environment = {k: v for k, v in os.environ.items() if k != 'JAX_COMPILATION_CACHE_DIR'}
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, cache],
        cwd=ROOT,
        env={**environment, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.slow
def test_found_programs_compute_the_same_bits_and_still_donate(tmp_path):
    without = _run('')
    first = _run(str(tmp_path))
    second = _run(str(tmp_path))
    assert without[0] == first[0] == 'False'
    assert second[0] == 'True'
    assert without[1] == second[1] == 'True'
    assert without[2] == first[2] == second[2]


def test_directory_that_cannot_be_made_is_none(tmp_path):
    (tmp_path / 'file').write_text('')
    assert settings.keep_compiled(tmp_path / 'file' / 'below') is None


def test_the_directory_that_jax_has_been_given_comes_first():
    given = jax.config.jax_compilation_cache_dir
    assert str(settings.keep_compiled()) == given
    assert jax.config.jax_compilation_cache_dir == given


def test_pages_are_kept_where_glibc_is_the_library():
    """In a process of its own: the setting is the whole process's."""
    program = (
        'import platform; from osgan_jax.runtime import settings;'
        'print(settings.keep_pages(), platform.libc_ver()[0])'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kept, *library = done.stdout.split()
    assert (kept == 'True') == (library == ['glibc'])


@pytest.mark.parametrize(
    ('flags', 'calls', 'said'),
    [
        ('', '', 'caller many caller many 1'),
        ('', 'settings.set_cpu_devices(2)', 'caller many threads one 2'),
        ('--xla_force_host_platform_device_count=2', '', 'threads one threads one 2'),
        # A second command of one process.
        ('', 'jax.devices(); settings.keep_pages()', 'caller many caller many 1'),
    ],
)
def test_a_single_cpu_device_computes_in_the_thread_that_calls_it(flags, calls, said):
    """Where pages are kept; several devices have threads of their own, which share one arena."""
    program = f"""
import jax
from osgan_jax.runtime import settings
options = {{}}
settings._set_malloc = lambda given: options.update(given) or True
def say():
    threads = jax.config.read('jax_cpu_enable_async_dispatch')
    print('threads' if threads else 'caller', 'one' if settings._ARENA_MAX in options else 'many')
settings.keep_pages()
say()
{calls}
say()
print(len(jax.devices()))
"""
    assert _words(program, flags) == said.split()


def test_elsewhere_pages_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert settings.keep_pages() is False


@pytest.mark.parametrize(
    ('count', 'flags', 'devices'),
    [
        ('None', '', 1),
        ('2', '', 2),
        ('99', '', 2),
        ('2', '--xla_force_host_platform_device_count=3', 3),
    ],
)
def test_a_cpu_is_as_many_devices_as_asked_for_and_has_cores(count, flags, devices):
    program = f"""
import os
os.sched_getaffinity = lambda pid: {{0, 1}}
from osgan_jax.runtime import settings
settings.divide_cpu({count})
import jax
print(len(jax.devices()))
settings.divide_cpu(5)  # it has started
print(len(jax.devices()))
"""
    assert _words(program, flags) == [str(devices)] * 2
