"""TensorBoard events, with and without tensorboardX."""

import sys

import numpy as np

from osgan_jax.reporting import tensorboard


def test_events_are_written(tmp_path):
    with tensorboard.TensorBoard(tmp_path, resume_step=10) as board:
        board.scalars(11, {'loss_d': np.float32(0.5), 'gamma': np.ones((1,))})
        board.image(11, 'samples', np.zeros((4, 4, 1), np.float32))
        board.image(11, 'samples', np.zeros((4, 4, 3), np.uint8))
    board.close()
    (path,) = (tmp_path / 'tensorboard').iterdir()
    data = path.read_bytes()
    assert b'loss_d' in data
    assert b'samples' in data
    assert b'\x89PNG' in data


def test_missing_library_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    monkeypatch.setattr(tensorboard, '_warned', False)
    said = []
    for _ in range(2):
        board = tensorboard.TensorBoard(tmp_path, warn=said.append)
        board.scalars(1, {'x': 1.0})
        board.image(1, 'y', np.zeros((2, 2, 1)))
        board.close()
    assert len(said) == 1
    assert 'install tensorboardX' in said[0]
    assert list(tmp_path.iterdir()) == []
