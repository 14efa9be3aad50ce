"""One run in one directory."""

import dataclasses
import errno
import fcntl
import os

import pytest

from osgan_jax.engine import checkpoints, runs
from osgan_jax.engine.checkpoints import locking
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from tests.support import holding, small


def test_lock_within_one_process(tmp_path):
    with checkpoints.lock(tmp_path / 'run'):
        with (
            pytest.raises(checkpoints.CheckpointError, match='already in use by this process'),
            checkpoints.lock(tmp_path / 'run'),
        ):
            pass
        with checkpoints.lock(tmp_path / 'other'):
            pass
    with checkpoints.lock(tmp_path / 'run'):
        pass


@pytest.mark.process
def test_lock_of_another_process(tmp_path):
    path = tmp_path / '.lock'
    path.write_bytes(b'process 7 on\n\x1b[31m\xff far away' + b'x' * 10_000)
    with holding.held(path):
        with pytest.raises(checkpoints.CheckpointError) as caught, checkpoints.lock(tmp_path):
            pass
        assert f'{tmp_path} is in use by another run (process 7 on' in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500 + len(str(tmp_path))
    # What a dead process left in the file is no obstacle.
    with checkpoints.lock(tmp_path):
        assert path.read_text().startswith(f'process {os.getpid()} on ')


def test_a_lock_is_not_taken_through_a_link(tmp_path):
    """A directory from a stranger could otherwise have any file of its user's emptied."""
    precious = tmp_path / 'precious'
    precious.write_text('kept')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / '.lock').symlink_to(precious)
    with (
        pytest.raises(checkpoints.CheckpointError, match=r'cannot write in .*run: .*choose'),
        checkpoints.lock(tmp_path / 'run'),
    ):
        pass
    assert precious.read_text() == 'kept'


def test_file_systems_without_locks_are_refused(tmp_path, monkeypatch):
    def refuse(*unused):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with (
        pytest.raises(
            checkpoints.CheckpointError, match=r'does not support locks.*another file system\.$'
        ),
        checkpoints.lock(tmp_path),
    ):
        pass
    with (
        pytest.raises(checkpoints.CheckpointError, match=r'another file system, or give --nolock'),
        checkpoints.lock(tmp_path, can_go_without=True),
    ):
        pass


def test_systems_without_locks_are_refused_and_can_be_used_without(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, 'fcntl', None)
    config = small.make_config(num_steps=1)
    with pytest.raises(checkpoints.CheckpointError, match=r'no record locks.*or give --nolock'):
        trainer.train(config, tmp_path / 'run', dataset=small.dataset())
    config = dataclasses.replace(config, lock=False)
    trainer.train(config, tmp_path / 'run', dataset=small.dataset())
    with checkpoints.Checkpoints(tmp_path / 'run') as saved:
        assert saved.latest_step() == 1
    # It is of that call alone.
    assert runs.read(tmp_path / 'run', TrainConfig).config.lock


def test_a_lock_needs_no_room(tmp_path, monkeypatch):
    def refuse(*unused):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'write', refuse)
    with (
        checkpoints.lock(tmp_path),
        pytest.raises(checkpoints.CheckpointError, match='already in use'),
        checkpoints.lock(tmp_path),
    ):
        pass
