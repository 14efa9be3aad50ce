"""Locks between processes, and what goes on without one."""

import errno

import pytest

from osgan_jax.io import locks
from tests.support import holding


@pytest.mark.process
def test_a_lock_that_another_process_holds_is_refused_or_waited_for(tmp_path):
    path = tmp_path / 'new' / '.lock'
    with locks.take(path):
        pass
    with holding.held(path) as child:
        with pytest.raises(BlockingIOError, match='another process holds'):
            locks.take(path, wait=False)
        child.stdin.close()
        with locks.take(path):
            assert child.wait(10) == 0
    locks.take(path, wait=False).close()


@pytest.mark.parametrize('code', [errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_work_goes_on(tmp_path, monkeypatch, code):
    def refuse(*unused):
        raise OSError(code, 'no locks')

    monkeypatch.setattr(locks.fcntl, 'lockf', refuse)
    locks.take(tmp_path / '.lock', wait=False).close()
    monkeypatch.setattr(locks, 'fcntl', None)
    locks.take(tmp_path / 'none' / '.lock', wait=False).close()
    assert not (tmp_path / 'none').exists()


def test_a_directory_that_cannot_be_written_is_left_to_whoever_writes(tmp_path):
    (tmp_path / 'file').touch()
    locks.take(tmp_path / 'file' / '.lock', wait=False).close()
