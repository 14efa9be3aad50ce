"""Curves: what is drawn where, and the file's safety."""

import gc
import math

import numpy as np
import pytest
from PIL import Image

from osgan_jax.reporting import curves, metrics_log


def test_smooth_by_hand():
    # Length 2 is decay 1/2: weights 1, 1/2, 1/4 backwards.
    values = np.array([np.nan, 4.0, 1.0, np.inf, 7.0])
    smoothed = curves.smooth(values, 2)
    assert math.isnan(smoothed[0])
    expected = [4.0, (1 + 4 / 2) / 1.5, (1 / 2 + 4 / 4) / 0.75, (7 + 1 / 4 + 4 / 8) / 1.375]
    np.testing.assert_allclose(smoothed[1:], expected, rtol=1e-12)
    np.testing.assert_array_equal(curves.smooth(np.arange(5.0), 1), np.arange(5.0))


def test_scale():
    assert curves._scale(np.array([1.0, 2.0, 50.0]), 2.0) == 'linear'
    assert curves._scale(np.array([1.0, 2.0, 500.0]), 2.0) == 'log'
    assert curves._scale(np.array([-1.0, 1.0, 1.0, 500.0]), 1.0) == 'symlog'
    assert curves._scale(np.array([-1.0, -1.0, -1.0]), 1.0) == 'linear'
    assert curves._scale(np.zeros(3), 0.0) == 'linear'


def test_png(tmp_path):
    with metrics_log.MetricsLog(tmp_path) as log:
        assert curves.save_curves(tmp_path) is None
        for step in range(1, 60):
            row = {'loss_d': 1 / step, 'loss_g': 2.0, 'gamma_mean': -1.0, 'dead': math.nan}
            log.write(step, row | ({'fid': 300.0 / step} if step % 20 == 0 else {}))
    columns = metrics_log.read(log.path)
    assert curves._panels(columns) == [
        ('loss', ['loss_d', 'loss_g']),
        ('gamma', ['gamma_mean']),
        ('fid', ['fid']),
    ]
    path = curves.save_curves(tmp_path, title='lsgan')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['curves.png', 'metrics.jsonl']
    with Image.open(path) as image:
        assert image.format == 'PNG'
        assert image.size == (1232, 748)
    before = path.read_bytes()
    curves.save_curves(tmp_path, title='lsgan')
    assert path.read_bytes() == before


def test_a_student_has_a_panel_for_all_it_logs():
    names = ('loss_d', 'loss_g', 'logit_real', 'accuracy_d', 'gamma', 'floored', 'penalty_d')
    names += ('stage', 'teacher_real', 'teacher_fake', 'margin', 'teacher_margin')
    columns = {name: np.ones(3) for name in names}
    panels = dict(curves._panels(columns))
    # The stage is a line in all panels.
    assert {name for drawn in panels.values() for name in drawn} == set(names) - {'stage'}
    # Both discriminators side by side.
    assert panels['logit'] == ['logit_real', 'teacher_real', 'teacher_fake']
    assert panels['margin'] == ['margin', 'teacher_margin']


def test_the_step_at_which_stage_two_begins_is_marked(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    lines = []
    monkeypatch.setattr(Axes, 'axvline', lambda axis, x, **_: lines.append(x))
    with metrics_log.MetricsLog(tmp_path) as log:
        for step in range(1, 31):
            log.write(step, {'logit_real': 1.0, 'teacher_real': 2.0, 'stage': 1.0 + (step >= 12)})
    curves.save_curves(tmp_path)
    assert lines == [12]


def test_gamma_is_a_band_where_its_quantiles_are_known(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    names = ['gamma', 'gamma_q05', 'gamma_q50', 'gamma_q95']
    with metrics_log.MetricsLog(tmp_path) as log:
        for step in range(1, 31):
            log.write(step, dict(zip(names, [1e6, -2.0, -1.0, 0.5], strict=True)))
    assert curves._panels(metrics_log.read(log.path)) == [('gamma', names)]
    bands = []
    monkeypatch.setattr(Axes, 'fill_between', lambda axis, *at, **_: bands.append((axis, at)))
    curves.save_curves(tmp_path)
    ((axis, (steps, low, high)),) = bands
    np.testing.assert_array_equal(steps, np.arange(1, 31))
    assert (set(low), set(high)) == ({-2.0}, {0.5})
    (median,) = axis.lines  # and not the mean
    assert set(median.get_ydata()) == {-1.0}


def test_ticks_of_a_symlog_axis_by_hand():
    assert curves._symlog_ticks(np.array([-180.0, 60.0]), 9.0) == [0, 100, 10, -100, -10]
    # Of 10 to 10^6 every third, from the greatest down.
    assert curves._symlog_ticks(np.array([2e6]), 2.0) == [0, 1e6, 1e3, -1e6, -1e3]
    assert curves._symlog_ticks(np.array([15.0]), 12.0) == [0, 10, -10]


@pytest.mark.parametrize('values', [[1e-6, 1e9], [-1e9, 1.0, 1.0, 1.0, 1e9], [0.0, 1.0]])
def test_labels_of_an_axis_are_few(values):
    from matplotlib.figure import Figure

    columns = {'step': np.arange(len(values)) * 1_000_000, 'loss_d': np.array(values)}
    axis = Figure(figsize=(5.6, 3.4)).subplots()
    curves._draw(axis, 'loss', ['loss_d'], columns)
    axis.figure.canvas.draw()
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert 2 <= len([label for label in ticks if label.get_text()]) <= 8
    assert axis.get_yticklabels(minor=True) == []


def test_no_log(tmp_path):
    with pytest.raises(FileNotFoundError):
        curves.save_curves(tmp_path)


def test_running_median_by_hand_and_thinned():
    values = np.array([1.0, 9.0, 2.0, 1e9, 3.0])
    at, medians = curves.running_median(values, 3)
    np.testing.assert_array_equal(at, np.arange(5))
    np.testing.assert_array_equal(medians, [1.0, 5.0, 2.0, 9.0, 3.0])
    at, medians = curves.running_median(np.arange(1000.0), 1, points=11)
    assert len(at) == 11
    np.testing.assert_array_equal(at, medians)
    assert at[-1] == 999


def test_a_long_log_is_drawn_from_a_part_of_its_lines(tmp_path, monkeypatch):
    with metrics_log.MetricsLog(tmp_path) as log:
        for step in range(3 * curves._MAX_LINES):
            log.write(step, {'loss_d': 1.0})
    drawn = []
    monkeypatch.setattr(curves, '_draw', lambda axis, label, names, columns: drawn.append(columns))
    curves.save_curves(tmp_path)
    (columns,) = drawn
    assert len(columns['step']) == curves._MAX_LINES + 1
    assert columns['step'][0] == 0
    assert columns['step'][-1] == 3 * curves._MAX_LINES - 1


def test_a_figure_is_gone_when_it_is_written(tmp_path):
    from matplotlib.figure import Figure

    with metrics_log.MetricsLog(tmp_path) as log:
        log.write(1, {'loss_d': 1.0})
    gc.collect()  # those of other tests
    gc.disable()  # as if there were so many other objects that Python never looked
    try:
        curves.save_curves(tmp_path)
        assert not any(issubclass(type(each), Figure) for each in gc.get_objects())
    finally:
        gc.enable()
