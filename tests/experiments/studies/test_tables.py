"""What tables and curves of any study are made of."""

import math

import numpy as np
import pytest

from experiments.studies import figures, tables
from experiments.studies.records import Cell, Result

ABOUT = {'fingerprint': 'f', 'num_samples': 100, 'content': 'c', 'label_policy': 'data'}
KIND = figures.kind(ABOUT)


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ([10.0, 12.0], '11.00 ± 1.41'),  # sqrt(2)
        ([3.0], '3.000'),
        ([0.018, 0.019, 0.020], '0.01900 ± 0.00100'),
        ([12345.0, 12355.0], '12350 ± 7'),
        ([0.0, 0.0], '0.00 ± 0.00'),
        ([-1e-9, 1e-9], '0.000000 ± 0.000000'),
        ([math.nan], 'nan'),
    ],
)
def test_spread_shows_four_digits_and_the_sample_deviation(values, text):
    assert str(tables.spread(values)) == text


def test_spread_of_nothing_is_nothing():
    assert tables.spread([]) is None
    assert tables.spread([1.0]).std is None
    assert tables.spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7)), 3)


def result(evaluations):
    return Result(Cell(('lsgan',), 0), evaluations=evaluations)


def evaluations(scores, rate=10.0, **fields):
    return [
        {'step': step, 'seconds': step / rate, 'fd': score, **ABOUT, **fields}
        for step, score in scores.items()
    ]


def test_curve_averages_seeds_where_all_were_evaluated():
    two = [
        result(evaluations({100: 4.0, 200: 2.0, 300: 1.0})),
        result(evaluations({100: 6.0, 200: 4.0})),
    ]
    places, mean, std = figures.curve(two, 'fd', 'step', KIND)
    assert places.tolist() == [100, 200]
    assert mean.tolist() == [5.0, 3.0]
    np.testing.assert_allclose(std, math.sqrt(2))


def test_curve_interpolates_to_common_seconds():
    two = [
        result(evaluations({100: 4.0, 200: 2.0}, rate=10)),  # at 10 and 20 s
        result(evaluations({100: 4.0, 200: 2.0}, rate=8)),  # at 12.5 and 25 s
    ]
    places, mean, _ = figures.curve(two, 'fd', 'seconds', KIND)
    assert places.tolist() == [12.5, 20.0]
    np.testing.assert_allclose(mean, [(3.5 + 4.0) / 2, (2.0 + 2.8) / 2])


def test_curve_of_single_points_and_of_nothing():
    two = [
        result(evaluations({100: 4.0})),
        result(evaluations({110: 6.0})),
    ]
    places, mean, std = figures.curve(two, 'fd', 'step', KIND)
    assert (places.tolist(), mean.tolist()) == ([105.0], [5.0])
    np.testing.assert_allclose(std, math.sqrt(2))
    for other in ({'fingerprint': 'other'}, {'content': 'other'}, {'label_policy': 'uniform'}):
        assert figures.curve(two, 'fd', 'step', figures.kind(ABOUT | other)) is None
    untimed = [result(evaluations({100: 4.0}, seconds=None))]
    assert figures.curve(untimed, 'fd', 'seconds', KIND) is None
    assert figures.curve([], 'fd', 'step', KIND) is None
