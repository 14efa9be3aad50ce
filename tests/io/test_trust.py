"""What strangers' files could do to whoever reads them, and that no code here lets them."""

import ast
import io
import os
import pathlib
import tracemalloc

import numpy as np
import pytest

from osgan_jax.io import weights
from tests.support import ROOT, untrusted

# Modules that run code, unpack archives or read formats that hold code; whatever imports one is
# listed here, and why it may.
RISKY = {
    *('pickle', 'cPickle', '_pickle', 'pickletools', 'dill', 'cloudpickle', 'joblib', 'marshal'),
    *('shelve', 'runpy', 'code', 'codeop', 'subprocess', 'pty', 'ctypes', 'tarfile'),
    *('zipfile', 'zipimport', 'yaml', 'xml', 'flax.serialization', 'orbax.checkpoint'),
}
CALLS = {'eval', 'exec', 'compile', '__import__', 'execfile'}
ATTRIBUTES = {
    *('extractall', 'extract', 'unpack_archive', 'system', 'popen', 'spawnv', 'execv', 'execve'),
    *('execvp', 'posix_spawn', 'import_module', 'run_module', 'run_path', 'exec_module', 'hub'),
}
ALLOWED = {
    # Only through a subclass that can look up nothing but its own stand-ins.
    ('osgan_jax/io/torch_files.py', 'import pickle'),
    ('osgan_jax/io/torch_files.py', 'import pickletools'),
    ('osgan_jax/io/torch_files.py', 'pickle.Unpickler'),
    ('osgan_jax/io/pickled_arrays.py', 'import pickle'),
    ('osgan_jax/io/pickled_arrays.py', 'pickle._Unpickler'),
    # The name of an error.
    ('osgan_jax/io/checks.py', 'import pickle'),
    ('osgan_jax/io/checks.py', 'pickle.UnpicklingError'),
    # Members are read, in memory, after their sizes were held against the file's; none is written.
    ('osgan_jax/data/zipped.py', 'import zipfile'),
    ('osgan_jax/io/zip_members.py', 'import zipfile'),
    # An archive is written.
    ('osgan_jax/data/convert.py', 'import zipfile'),
    # This project's own module is started, with a directory that a flag names as its argument.
    ('experiments/benchmark/suite/scheduler.py', 'import subprocess'),
    ('osgan_jax/reporting/image_sets.py', 'import zipfile'),
    # A program of the system encodes pixels that are passed to it.
    ('osgan_jax/editing/video.py', 'import subprocess'),
    ('osgan_jax/io/checks.py', 'import zipfile'),
    ('osgan_jax/io/npz.py', 'import zipfile'),
    ('osgan_jax/io/torch_files.py', 'import zipfile'),
    # A setting of the allocator.
    ('osgan_jax/runtime/settings.py', 'import ctypes'),
    # Modules of the package, by names that stand in it.
    *(
        (f'osgan_jax/{path}', 'importlib.import_module')
        for path in (
            *('__init__.py', 'data/__init__.py', 'distillation/__init__.py'),
            *('editing/__init__.py', 'engine/declarations.py', 'networks/registry.py'),
        )
    ),
    # Code of the user's own, which a flag or a run names; none that lies in the run's own directory
    # (osgan_jax.gan.own.check_apart).
    ('osgan_jax/io/own_code.py', 'importlib.import_module'),
    ('osgan_jax/io/own_code.py', '.exec_module'),
    # Arrays alone, whose claims are checked first (osgan_jax.engine.checkpoints.reading).
    ('osgan_jax/engine/checkpoints/quiet_orbax.py', 'import orbax.checkpoint'),
}


def risks(tree):
    """Yields what in a module's syntax could run, unpack or unpickle something."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
        for name in names:
            if name in RISKY or name.split('.')[0] in RISKY:
                yield f'import {name}'
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ''
            called = f'{owner}.{node.attr}'
            if owner in ('pickle', 'marshal') or node.attr in ATTRIBUTES or called == 'torch.load':
                yield called
        if isinstance(node, ast.Call):
            yield from _risks_of_a_call(node)


def _risks_of_a_call(node):
    function = node.func
    if isinstance(function, ast.Name) and function.id in CALLS:
        yield f'{function.id}()'
    values = {word.arg: getattr(word.value, 'value', ...) for word in node.keywords}
    if isinstance(function, ast.Attribute) and function.attr == 'load':
        owner = function.value.id if isinstance(function.value, ast.Name) else ''
        if owner in ('np', 'numpy') and values.get('allow_pickle') is not False:
            yield 'np.load without allow_pickle=False'
    if values.get('allow_pickle', False) is not False:
        yield 'allow_pickle'
    if values.get('shell', False) is not False:
        yield 'shell'


def test_no_code_here_unpickles_executes_or_unpacks():
    found = set()
    for folder in ('osgan_jax', 'experiments'):
        paths = sorted((ROOT / folder).rglob('*.py'))
        assert len(paths) > 5
        for path in paths:
            name = path.relative_to(ROOT).as_posix()
            found |= {(name, risk) for risk in risks(ast.parse(path.read_text(), name))}
    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), 'no longer needed'


@pytest.mark.parametrize(
    ('code', 'risk'),
    [
        ('import pickle', 'import pickle'),
        ('import pickle as p', 'import pickle'),
        ('from pickle import loads', 'import pickle'),
        ('from pickle import loads', 'import pickle.loads'),
        ('import xml.etree', 'import xml.etree'),
        ('from flax import serialization', 'import flax.serialization'),
        ('def f():\n  import tarfile', 'import tarfile'),
        ('eval(x)', 'eval()'),
        ('np.load(f)', 'np.load without allow_pickle=False'),
        ('np.load(f, allow_pickle=True)', 'np.load without allow_pickle=False'),
        ('np.load(f, allow_pickle=flag)', 'allow_pickle'),
        ('read(f, allow_pickle=True)', 'allow_pickle'),
        ('archive.extractall(x)', 'archive.extractall'),
        ('zipfile.ZipFile(f).extract(m)', '.extract'),
        ('shutil.unpack_archive(f)', 'shutil.unpack_archive'),
        ('os.system(x)', 'os.system'),
        ('run(x, shell=True)', 'shell'),
        ('torch.load(f)', 'torch.load'),
    ],
)
def test_the_search_finds(code, risk):
    assert risk in set(risks(ast.parse(code)))


@pytest.mark.parametrize('code', ['np.load(f, allow_pickle=False)', 're.compile(x)', 'f.load()'])
def test_the_search_leaves_alone(code):
    assert not set(risks(ast.parse(code)))


NAMES = ['../out', '/tmp/osgan-jax-out', 'a/../../out', 'C:\\out', 'a\0b', '.', '..', '']


@pytest.mark.parametrize('name', NAMES)
def test_names_that_are_paths_write_nothing(tmp_path, name, monkeypatch):
    """Members and tensors may be called anything: names never become paths."""
    folder = tmp_path / 'within'
    folder.mkdir()
    one = np.ones(1, np.float32)
    npz = folder / 'weights.npz'
    safetensors = folder / 'weights.safetensors'
    # Written without zipfile's own repairs of names.
    np.savez(npz, **{'x' * len(name): one})
    member, written = (f'{text}.npy'.encode() for text in ('x' * len(name), name))
    npz.write_bytes(npz.read_bytes().replace(member, written))
    safetensors.write_bytes(_safetensors(name, one))

    def refuse(path, flags, *arguments, **keywords):
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), path
        return opened(path, flags, *arguments, **keywords)

    opened = os.open
    monkeypatch.setattr(os, 'open', refuse)
    before = sorted(tmp_path.rglob('*'))
    for path in (npz, safetensors):
        try:
            found = weights.read(path)
        except ValueError as error:
            assert str(error).startswith('cannot read weights from')  # noqa: PT017
        else:
            assert list(found.values()) == [one]
    assert sorted(tmp_path.rglob('*')) == before
    assert not pathlib.Path('/tmp/osgan-jax-out').exists()
    assert not pathlib.Path('/tmp/osgan-jax-out.npy').exists()


def _safetensors(name, array):
    import json
    import struct

    entry = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': [0, array.nbytes]}
    header = json.dumps({name: entry}).encode()
    return struct.pack('<Q', len(header)) + header + array.tobytes()


def test_claims_take_no_memory(tmp_path):
    """Files of a few hundred bytes that ask for 4 TB."""
    count = 10**12
    one = np.ones(1, np.float32)
    npz = tmp_path / 'weights.npz'
    array = io.BytesIO()
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (count,)}
    np.lib.format.write_array_header_1_0(array, header)
    untrusted.archive(npz, [('x.npy', array.getvalue() + one.tobytes())])
    safetensors = tmp_path / 'weights.safetensors'
    safetensors.write_bytes(_safetensors('x', one).replace(b'[1]', b'[%d]' % count))
    broken = bytearray(safetensors.read_bytes())
    broken[0] += len(str(count)) - 1  # the length of the header
    safetensors.write_bytes(broken)
    for path, message in ((npz, r'claims [\d,]+ bytes'), (safetensors, 'invalid shape')):
        tracemalloc.start()
        try:
            untrusted.refused(path, message)
            assert tracemalloc.get_traced_memory()[1] < 1 << 22
        finally:
            tracemalloc.stop()
