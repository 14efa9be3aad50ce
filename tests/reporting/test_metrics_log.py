"""The metrics log: the same bytes with and without interruptions."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.reporting import metrics_log


def write(log, steps):
    for step in steps:
        log.write(step, {'loss_d': 1 / step, 'loss_g': -float(step)})


def test_lines_are_json_and_read_back(tmp_path):
    with metrics_log.MetricsLog(tmp_path / 'run') as log:
        log.write(10, {'a': np.float32(0.1), 'b': jnp.float32(1 / 3), 'n': np.int64(7)})
        log.write(20, {'a': math.nan, 'b': -math.inf, 'c': np.ones((1,))})
        # Flushed: a reader sees the lines while the log is open.
        lines = log.path.read_text().splitlines()
    assert lines == [
        '{"step": 10, "a": 0.1, "b": 0.33333334, "n": 7}',
        '{"step": 20, "a": "NaN", "b": "-Infinity", "c": 1.0}',
    ]
    assert np.float32(json.loads(lines[0])['b']) == np.float32(1 / 3)
    columns = metrics_log.read(tmp_path / 'run' / 'metrics.jsonl')
    assert columns['step'].tolist() == [10, 20]
    np.testing.assert_array_equal(columns['a'], [0.1, np.nan])
    np.testing.assert_array_equal(columns['b'], [0.33333334, -np.inf])
    np.testing.assert_array_equal(columns['c'], [np.nan, 1.0])


@pytest.mark.parametrize('killed_after', [3, 4, 6])
@pytest.mark.parametrize('torn', ['', '{"step": 7, "los', '{"step": 7}', '\x00\x00\n'])
def test_resumed_log_is_identical(tmp_path, killed_after, torn):
    with metrics_log.MetricsLog(tmp_path / 'whole', resume_step=0) as log:
        write(log, range(1, 9))
    with metrics_log.MetricsLog(tmp_path / 'cut', resume_step=0) as log:
        write(log, range(1, killed_after + 1))
    with open(log.path, 'a') as file:
        file.write(torn)
    with metrics_log.MetricsLog(tmp_path / 'cut', resume_step=3) as log:
        write(log, range(4, 9))
    whole = (tmp_path / 'whole' / 'metrics.jsonl').read_bytes()
    assert log.path.read_bytes() == whole
    assert [path.name for path in (tmp_path / 'cut').iterdir()] == ['metrics.jsonl']


def bounded(directory, resume_step):
    return metrics_log.MetricsLog(directory, resume_step, every=10, at_most=6)


def test_a_long_log_keeps_every_second_line_again_and_again(tmp_path):
    with bounded(tmp_path, 0) as log:
        for step in range(10, 5001, 10):
            appended = log.write(step, {'loss': step / 7})
            steps = metrics_log.read(log.path)['step']
            apart = 10 if step < 70 else steps[1] - steps[0]
            assert len(steps) == min(step // 10, len(steps)) <= 6
            assert len(steps) >= min(step // 10, 3)
            assert steps.tolist() == list(range(apart, step + 1, apart))
            assert appended == (step % apart == 0)
        # What is read back is what was written, not only its steps.
        columns = metrics_log.read(log.path)
    np.testing.assert_array_equal(columns['loss'], columns['step'] / 7)
    assert [path.name for path in tmp_path.iterdir()] == ['metrics.jsonl']


# Before a thinning and after it, just at one, and far back.
@pytest.mark.parametrize(('killed_at', 'saved_at'), [(60, 40), (90, 50), (70, 70), (300, 0)])
def test_an_interrupted_long_log_is_that_of_a_whole_run(tmp_path, killed_at, saved_at):
    with bounded(tmp_path / 'whole', 0) as log:
        write(log, range(10, 401, 10))
    with bounded(tmp_path / 'cut', 0) as log:
        write(log, range(10, killed_at + 1, 10))
    with bounded(tmp_path / 'cut', saved_at) as log:
        write(log, range(saved_at + 10, 401, 10))
    assert log.path.read_bytes() == (tmp_path / 'whole' / 'metrics.jsonl').read_bytes()


def test_without_resume_step_only_the_torn_line_goes(tmp_path):
    path = tmp_path / 'timing.jsonl'
    path.write_text('{"step": 5, "x": 1.0}\n{"step": 9, "x')
    with metrics_log.MetricsLog(tmp_path, filename='timing.jsonl') as log:
        log.write(6, {'x': 2.0})
    assert path.read_text() == '{"step": 5, "x": 1.0}\n{"step": 6, "x": 2.0}\n'


def test_start_from_zero_empties(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 5, "x": 1.0}\n')
    metrics_log.MetricsLog(tmp_path, resume_step=0).close()
    assert metrics_log.read(tmp_path / 'metrics.jsonl')['step'].shape == (0,)


def test_read_passes_over_what_is_no_line_of_ours(tmp_path):
    path = tmp_path / 'm.jsonl'
    path.write_text('[1]\n{"x": 2}\n\n{"step": 1, "x": "word"}\nhello\n{"step": 2, "x": 3}\n')
    columns = metrics_log.read(path)
    assert columns['step'].tolist() == [2]
    assert columns['x'].tolist() == [3.0]
    with pytest.raises(FileNotFoundError):
        metrics_log.read(tmp_path / 'none')


def test_refuses(tmp_path):
    with metrics_log.MetricsLog(tmp_path) as log:
        with pytest.raises(ValueError, match="called 'step'"):
            log.write(1, {'step': 2})
        with pytest.raises(ValueError, match=r'gamma must be one number, got float64\(3,\)'):
            log.write(1, {'gamma': np.zeros(3)})
        with pytest.raises(ValueError, match='name must be one number'):
            log.write(1, {'name': 'lsgan'})
    assert log.path.read_text() == ''


def test_of_a_long_log_every_kth_line_and_the_last_are_read(tmp_path):
    with metrics_log.MetricsLog(tmp_path) as log:
        write(log, range(1, 12))
    steps = lambda at_most: metrics_log.read(log.path, at_most)['step'].tolist()  # noqa: E731
    assert steps(11) == steps(100) == list(range(1, 12))
    assert steps(10) == [1, 3, 5, 7, 9, 11]
    assert steps(3) == [1, 5, 9, 11]
    assert steps(1) == [1, 11]
    log.path.write_text('')
    assert steps(1) == []
