"""References to code of one's own: what they find, and what is said where they find nothing."""

import copy
import pickle
import sys

import pytest

from osgan_jax.io import own_code


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'sound.py').write_text('import beside\ndef build():\n    return beside.X\n')
    (tmp_path / 'beside.py').write_text('X = 7\n')
    yield tmp_path
    for name in ('sound', 'beside'):
        sys.modules.pop(name, None)


def test_files_and_modules_are_loaded(folder, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(folder), *sys.path])
    before = list(sys.path)
    for name in ('sound.py:build', f'{folder}/sound.py:build', 'sound:build', './sound.py:build'):
        assert own_code.load('network', name)() == 7
    assert sys.path == before
    assert own_code.load('network', 'os.path:join') is __import__('os').path.join
    assert own_code.load('loss', 'sound.py:build') is own_code.load('loss', 'sound.py:build')
    (folder / 'sound.py').write_text('def build():\n    return 8\n')
    assert own_code.load('network', 'sound.py:build')() == 8


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('sound.py:', '', 'expected module:function or FILE.py:function'),
        ('none.py:build', '', 'there is no file .*none.py'),
        ('none:build', '', 'there is no module none that Python can import from'),
        ('sound.none:build', '', 'there is no module sound.none|raised ModuleNotFoundError'),
        ('odd.py:buidl', 'def build(): pass', 'odd.py has no buidl; it has build'),
        ('odd.py:f', 'import os\nfrom os import getcwd', 'odd.py has no f; it has no functions'),
        ('odd.py:f', '\ndef f(:', r'raised SyntaxError: .* \(odd.py, line 2\)'),
        ('odd.py:f', '\n\n1 / 0', r'raised ZeroDivisionError: division by zero \(odd.py, line 3\)'),
        ('odd.py:f', 'import nowhere', "raised ModuleNotFoundError: No module named 'nowhere'"),
        ('odd:f', 'import nowhere', "odd raised ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_is_not_there_is_said(folder, name, text, message):
    (folder / 'odd.py').write_text(text)
    with pytest.raises(ValueError, match=f'^network={name}.*({message})'):
        own_code.load('network', name)
    sys.modules.pop('odd', None)


def test_where_code_would_come_from(folder):
    assert own_code.file_of('sound.py:build').absolute() == folder / 'sound.py'
    assert own_code.file_of('sound:build').absolute() == folder / 'sound.py'
    assert own_code.file_of('none:build') is None
    assert own_code.file_of('dcgan') is None
    assert own_code.absolute('sound.py:build') == f'{folder}/sound.py:build'
    assert own_code.absolute('sound:build') == 'sound:build'
    assert 'sound' not in sys.modules


def test_what_is_given_keeps_its_name_alone():
    value = object()
    given = own_code.Given('mine', value)
    assert (given, hash(given)) == ('own(mine)', hash('own(mine)'))
    assert copy.deepcopy({'loss': given})['loss'].value is value
    assert type(pickle.loads(pickle.dumps(given))) is str
    names = (given, 'own(mine)', 'nets.py:build', 'hinge', None)
    assert [own_code.is_own(each) for each in names] == [True, True, True, False, False]
    assert [own_code.is_lost(each) for each in names] == [False, True, False, False, False]
