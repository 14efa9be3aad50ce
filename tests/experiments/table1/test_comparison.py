"""Variants against a baseline, seed by seed."""

import math

import pytest

from experiments.studies.records import Cell, Result
from experiments.table1 import comparison
from experiments.table1.comparison import Comparison

COLUMNS = ['method', 'scheme', 'optimizer']
BASE = ('two_stage', 'adam')
TABLE = Comparison(COLUMNS, BASE, 'fd', lower=True)


def result(method, scheme, seed, score, *, pace=0.1, step=100, curve=(), status='finished'):
    lines = [{'step': at, 'fd': value, 'num_samples': 10} for at, value in curve]
    return Result(
        Cell((method, scheme, 'adam'), seed),
        status,
        step=step,
        seconds=step * pace,
        pace=pace,
        metrics={'fd': score},
        evaluations=lines,
    )


def body(lines, title):
    start = lines.index(f'## {title}')
    lines = lines[start + 6 :]
    end = lines.index('') if '' in lines else len(lines)
    return [line.strip('| ').split(' | ') for line in lines[:end]]


def test_pairs_share_a_key():
    found = comparison.pair({0: 1.0, 1: 4.0, 2: 9.0}, {0: 2.0, 1: 2.0, 5: 1.0})
    assert (found.difference.mean, found.difference.count) == (0.5, 2)
    assert found.difference.std == pytest.approx(math.sqrt(4.5))
    assert found.ratio == pytest.approx(1.0)  # half and twice
    assert (found.better, found.count) == (1, 2)
    assert comparison.pair({0: 1.0}, {1: 1.0}) is None


def test_a_higher_score_may_be_the_better_one_and_ratios_want_positive_scores():
    found = comparison.pair({0: 3.0, 1: -1.0}, {0: 2.0, 1: 2.0}, lower=False)
    assert (found.better, found.ratio) == (1, None)
    assert found.cells()[1:] == ['-', '1 of 2']
    equal = comparison.pair({0: 3.0}, {0: 3.0})
    assert (equal.better, equal.ratio) == (0, 1.0)


def test_the_end_of_training_is_compared_by_method_and_over_methods():
    results = [
        *(result('lsgan', 'one_stage', seed, score) for seed, score in enumerate([1.0, 1.0])),
        *(result('lsgan', 'two_stage', seed, score) for seed, score in enumerate([2.0, 4.0])),
        result('wgan', 'one_stage', 0, 80.0),
        result('wgan', 'one_stage', 1, 1.0, status='failed'),
        result('wgan', 'two_stage', 0, 10.0),
        result('wgan', 'two_stage', 1, 1.0),
    ]
    lines = TABLE.markdown(results)
    assert body(lines, 'At the end of training') == [
        ['LSGAN (asym)', 'one_stage', 'adam', '-2.000 ± 1.414', '0.354', '2 of 2'],
        ['LSGAN (asym)', 'two_stage', 'adam', '-', '-', '-'],
        ['WGAN (sym)', 'one_stage', 'adam', '70.00', '8.000', '0 of 1'],
        ['WGAN (sym)', 'two_stage', 'adam', '-', '-', '-'],
        ['all methods', 'one_stage', 'adam', '-', '1.000', '2 of 3'],
    ]


def test_equal_seconds_are_those_of_the_fastest_row():
    """two_stage takes twice as long: it is judged by its 50th step, between its evaluations."""
    results = [
        result('lsgan', 'one_stage', 0, 3.0, curve=[(40, 6.0), (100, 3.0)]),
        result('lsgan', 'two_stage', 0, 1.0, pace=0.2, curve=[(40, 5.0), (60, 3.0), (100, 1.0)]),
    ]
    assert comparison.equal_seconds(results) == {'lsgan': pytest.approx(10.0)}
    steps = {results[0].cell.row: 100.0, results[1].cell.row: 50.0}
    scores = comparison.scores_at(results, 'fd', steps=steps)
    assert scores['lsgan', 'one_stage', 'adam'] == {0: pytest.approx(3.0)}
    assert scores['lsgan', 'two_stage', 'adam'] == {0: pytest.approx(4.0)}
    lines = TABLE.markdown(results)
    ours, theirs = body(lines, 'In equal seconds')
    assert ours[3:] == ['100.0', '10', '3.000', '-1.000', '0.750', '1 of 1']
    assert theirs[3:] == ['200.0', '10', '4.000', '-', '-', '-']


def test_the_best_evaluation_is_looked_for_until_the_same_step_or_second():
    results = [
        result('lsgan', 'one_stage', 0, 7.0, curve=[(20, 9.0), (40, 2.0), (100, 7.0)]),
        result('lsgan', 'two_stage', 0, 1.0, pace=0.2, curve=[(20, 5.0), (40, 8.0), (100, 1.0)]),
    ]
    lines = TABLE.markdown(results)
    ours, theirs = body(lines, 'At the best evaluation')
    assert ours[3:] == ['2.000', '1.000', '2.000', '0 of 1']
    assert theirs[3:] == ['1.000', '-', '-', '-']
    ours, theirs = body(lines, 'At the best evaluation in equal seconds')
    assert ours[5:] == ['2.000', '-3.000', '0.400', '1 of 1']
    assert theirs[5:] == ['5.000', '-', '-', '-']
    higher = comparison.scores_at(results, 'fd', best=max)
    assert higher['lsgan', 'one_stage', 'adam'] == {0: 9.0}


def test_a_row_whose_curve_begins_too_late_has_no_score_in_time():
    results = [
        result('lsgan', 'one_stage', 0, 3.0, curve=[(100, 3.0)]),
        result('lsgan', 'two_stage', 0, 1.0, pace=0.2, curve=[(60, 3.0), (100, 1.0)]),
    ]
    steps = {result.cell.row: 50.0 for result in results}
    assert comparison.scores_at(results, 'fd', steps=steps)['lsgan', 'two_stage', 'adam'] == {}
    assert '## In equal seconds' not in TABLE.markdown(results)


def test_nothing_is_compared_without_a_baseline_or_curves():
    alone = [result('lsgan', 'one_stage', 0, 3.0)]
    assert TABLE.markdown(alone) == []
    both = [*alone, result('lsgan', 'two_stage', 0, 4.0)]
    assert '## In equal seconds' not in TABLE.markdown(both)
    assert TABLE.markdown(both)[1] == '## At the end of training'


def test_a_single_evaluation_at_the_end_is_no_best_one():
    results = [
        result('lsgan', scheme, 0, 1.0, curve=[(100, 1.0)]) for scheme in ('one_stage', 'two_stage')
    ]
    titles = [line for line in TABLE.markdown(results) if line.startswith('## ')]
    assert titles == ['## At the end of training', '## In equal seconds']


def test_cells_of_unequal_steps_were_given_equal_seconds_already():
    curve = [(50, 2.0), (100, 1.0)]
    results = [
        result('lsgan', 'one_stage', 0, 1.0, curve=curve),
        result('lsgan', 'two_stage', 0, 1.0, step=70, curve=curve),
    ]
    assert '## In equal seconds' not in TABLE.markdown(results)


def test_methods_that_make_other_numbers_of_steps_an_epoch_are_compared_all_the_same():
    curve = [(20, 2.0), (40, 1.0), (100, 1.0)]
    results = [
        result(method, scheme, 0, 1.0, step=step, curve=curve[: 2 if step == 40 else 3])
        for method, step in (('lsgan', 100), ('wgan', 40))
        for scheme in ('one_stage', 'two_stage')
    ]
    assert len(body(TABLE.markdown(results), 'In equal seconds')) == 5


def test_the_pace_is_the_median_over_the_log(tmp_path):
    """What else the machine did during one line has no say, nor what a resumed run did twice."""
    from experiments.studies import records

    cell = Cell(('lsgan', 'one_stage'), 0)
    (tmp_path / cell.name).mkdir()
    log = tmp_path / cell.name / 'timing.jsonl'
    log.write_text(
        ''.join(
            f'{{"step": {step}, "seconds": {seconds}}}\n'
            for step, seconds in [(10, 5), (20, 6), (30, 7), (40, 99), (50, 100), (40, 101)]
        )
    )
    assert records.load(cell, tmp_path, lambda record: True)['pace'] == pytest.approx(0.1)
