import os
import pathlib
import subprocess
import sys

import pytest

from osgan_jax.io import atomic
from tests.support import ROOT


def write(path, content=b'new'):
    with atomic.replacing(path) as file:
        file.write(content)


def test_the_file_is_replaced_on_success_alone(tmp_path):
    path = tmp_path / 'folder' / 'file'
    write(path, b'old')
    with pytest.raises(KeyboardInterrupt), atomic.replacing(path) as file:  # noqa: PT012
        file.write(b'half')
        file.flush()
        assert path.read_bytes() == b'old'
        raise KeyboardInterrupt
    assert path.read_bytes() == b'old'
    write(path)
    assert path.read_bytes() == b'new'
    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize('mask', [0o022, 0o077])
def test_the_mode_is_that_of_any_new_file(tmp_path, mask):
    # In a process of its own: the mask is the whole process's.
    code = (
        'import os, sys; from osgan_jax.io import atomic; os.umask(int(sys.argv[2]))\n'
        "with atomic.replacing(sys.argv[1]) as file: file.write(b'new')"
    )
    path = tmp_path / 'file'
    subprocess.run([sys.executable, '-c', code, path, str(mask)], cwd=ROOT, check=True)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_errors_name_the_file(tmp_path):
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'folder' / 'below'
    with pytest.raises(NotADirectoryError) as caught:
        write(path)
    assert caught.value.filename == str(path)


def test_what_a_kill_left_is_removed(tmp_path):
    for name in ('step_1.png', 'step_2.png', 'other.png'):
        with atomic.replacing(tmp_path / name) as file:
            os.link(file.name, tmp_path / f'{pathlib.Path(file.name).name}.tmp')
        (tmp_path / name).unlink()
    assert len(os.listdir(tmp_path)) == 3
    atomic.remove_unfinished(tmp_path / 'step_*.png')
    (left,) = os.listdir(tmp_path)
    assert left.startswith('.other.png.')
