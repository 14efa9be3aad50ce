"""The choice of learning rates from one grid."""

import pytest

from experiments.studies.records import Cell, Result
from experiments.table1 import rates
from experiments.table1.rates import Rates

ROWS = [('lsgan', 'one_stage', 'adam'), ('lsgan', 'two_stage', 'adam')]
PAIRS = [Rates(1e-4, 1e-4), Rates(2e-4, 1e-4)]
GRID = rates.spread_out(ROWS, PAIRS)


def results(scores, status='finished'):
    return [
        Result(Cell(row, 7), status, metrics={} if score is None else {'fd': score})
        for row, score in zip(GRID, scores, strict=True)
    ]


def test_rates_are_read_and_shown():
    assert rates.parse('1e-4:2e-4') == Rates(1e-4, 2e-4)
    assert str(rates.parse('0.0001:0.0002')) == '0.0001:0.0002'


@pytest.mark.parametrize(
    'text', ['', '1e-4', '1e-4:', '1e-4:2e-4:3e-4', '0:1', '-1:1', 'nan:1', 'inf:1', 'a:b']
)
def test_what_is_no_pair_of_rates_is_refused(text):
    with pytest.raises(ValueError, match='expected the rates of G and D'):
        rates.parse(text)


def test_every_row_searches_the_same_grid():
    assert list(GRID.values()) == PAIRS * 2
    assert [row[-1] for row in GRID] == ['g0.0001_d0.0001', 'g0.0002_d0.0001'] * 2
    assert [row[:-1] for row in GRID] == [row for row in ROWS for _ in PAIRS]


def test_each_row_gets_the_rates_of_its_own_best_score():
    scores = [3.0, 2.0, 4.0, 5.0]
    assert rates.choose(results(scores), GRID, 'fd', lower=True) == {
        ROWS[0]: PAIRS[1],
        ROWS[1]: PAIRS[0],
    }
    assert rates.choose(results(scores), GRID, 'fd', lower=False) == {
        ROWS[0]: PAIRS[0],
        ROWS[1]: PAIRS[1],
    }


def test_rates_without_a_score_are_passed_over_unless_all_are():
    assert rates.choose(results([None, 9.0, 4.0, 5.0]), GRID, 'fd', lower=True)[ROWS[0]] == PAIRS[1]
    with pytest.raises(ValueError, match='have a fd for lsgan two_stage adam'):
        rates.choose(results([1.0, 2.0, None, None]), GRID, 'fd', lower=True)
