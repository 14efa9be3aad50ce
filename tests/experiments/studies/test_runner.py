"""The runner of studies, on a study whose cells take no time."""

import json
import pathlib
import signal
import types

import pytest

from experiments.studies import records, runner
from experiments.studies.records import Cell
from osgan_jax.engine.nonfinite import NonFiniteError
from osgan_jax.runtime import stopping

CELLS = runner.make_cells([('a',), ('b', 'c')], [0, 7])


class Toy(runner.Study):
    """Records what it was asked for; a cell's score is its seed."""

    def __init__(self, workdir: pathlib.Path, num_steps=4, max_seconds=None):
        self.cells, self.workdir = CELLS, workdir
        self.config = types.SimpleNamespace(num_steps=num_steps, max_seconds=max_seconds)
        self.trained, self.tabulated, self.said = [], [], []
        self.fails, self.stops, self.signals = set(), set(), {}
        self.fingerprint = 'x'

    def prepare(self, progress):
        return dict.fromkeys(self.cells, self.config)

    def is_scored(self, record):
        return record['about']['fingerprint'] == self.fingerprint

    def train(self, cell, progress):
        self.trained.append(cell.name)
        (self.workdir / cell.name).mkdir(exist_ok=True)
        if cell.name in self.stops:
            raise stopping.Stopped('Stopped at step 3 of 4; saved.', signal.SIGTERM)
        if cell.name in self.fails:
            raise NonFiniteError('loss_d became nan at step 3. The run is stopped.')
        if self.signals.get(cell.name) == 'while scoring':
            signal.raise_signal(signal.SIGINT)
        progress.check()
        if self.signals.get(cell.name) == 'afterwards':
            signal.raise_signal(signal.SIGINT)
        return records.finished_record(
            self.config.num_steps,
            1.0,
            budget=self.config.max_seconds,
            metrics={'score': cell.seed},
            about={'fingerprint': self.fingerprint},
            asked=['score'],
        )

    def describe(self, record):
        return f'score {record["metrics"]["score"]}'

    def tabulate(self):
        results = [
            records.Result(**records.load(cell, self.workdir, self.is_scored)) for cell in CELLS
        ]
        self.tabulated.append(len(records.finished(results)))
        return results

    def run(self):
        self.trained.clear()
        return runner.run(self, say=self.said.append)


def test_cells_finish_a_seed_of_all_before_the_next():
    assert [cell.name for cell in CELLS] == ['a-0', 'b-c-0', 'a-7', 'b-c-7']
    with pytest.raises(ValueError, match=r'seeds=\[1, 1\]: expected at least one, and each once'):
        runner.make_cells([('a',)], [1, 1])
    with pytest.raises(ValueError, match='seeds='):
        runner.make_cells([('a',)], [])


def test_every_cell_is_run_and_the_tables_follow(tmp_path):
    study = Toy(tmp_path)
    results = study.run()
    assert study.trained == [cell.name for cell in CELLS]
    assert study.tabulated == [1, 2, 3, 4, 4]
    assert [(r.status, r.metrics['score']) for r in results] == [
        ('finished', s) for s in (0, 0, 7, 7)
    ]
    assert study.said[0].startswith('cell 1 of 4: a-0 score 0; about')
    assert study.said[-1] == 'cell 4 of 4: b-c-7 score 7'
    record = json.loads((tmp_path / 'a-7' / 'cell.json').read_text())
    assert record == {
        'status': 'finished', 'reason': '', 'budget': None, 'step': 4, 'seconds': 1.0,
        'metrics': {'score': 7}, 'about': {'fingerprint': 'x'}, 'asked': ['score'],
    }  # fmt: skip


def test_finished_cells_are_skipped_until_more_is_asked(tmp_path):
    Toy(tmp_path).run()
    study = Toy(tmp_path)
    study.run()
    assert (study.trained, study.tabulated) == ([], [4])
    longer = Toy(tmp_path, num_steps=5)
    longer.run()
    assert len(longer.trained) == 4
    study.fingerprint = 'y'
    study.run()
    assert len(study.trained) == 4


def test_a_budget_counts_where_steps_are_open(tmp_path):
    Toy(tmp_path, max_seconds=5.0).run()
    same, more = (Toy(tmp_path, num_steps=10**9, max_seconds=s) for s in (5.0, 9.0))
    same.run()
    assert same.trained == []
    more.run()
    assert len(more.trained) == 4


def test_a_failed_cell_is_recorded_and_the_others_are_run(tmp_path):
    study = Toy(tmp_path)
    study.fails = {'b-c-0'}
    results = study.run()
    assert [r.status for r in results] == ['finished', 'failed', 'finished', 'finished']
    assert results[1].reason == 'loss_d became nan at step 3'
    assert study.said[1].startswith('cell 2 of 4: b-c-0 failed: loss_d became nan at step 3; about')
    study.run()
    assert study.trained == []
    (tmp_path / 'a.md').write_text('a table')
    with pytest.raises(ValueError, match=r'1 of 4 cells failed: b-c-0\. Try again'):
        runner.conclude(study, results, ['a.md', 'b.png'], 'Try again')


@pytest.mark.parametrize('moment', ['in training', 'while scoring', 'afterwards'])
def test_an_interrupted_study_continues_where_it_was(tmp_path, moment):
    study, before = Toy(tmp_path), signal.getsignal(signal.SIGINT)
    # A signal that arrives when a cell is done stops the study before the next.
    recorded = moment == 'afterwards'
    if moment == 'in training':
        study.stops = {'a-7'}
    else:
        study.signals = {'a-7': moment}
    where = 'b-c-7, 3' if recorded else 'a-7, 2'
    message = rf'Stopped \({where} of 4 cells done\). Run the same command again to go on.'
    with pytest.raises(stopping.Stopped, match=message) as stopped:
        study.run()
    assert stopped.value.signum == (signal.SIGTERM if moment == 'in training' else signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert study.tabulated[-1] == 2 + recorded
    study.stops, study.signals = set(), {}
    study.run()
    assert study.trained == [cell.name for cell in CELLS[2 + recorded :]]


def test_a_damaged_record_is_named(tmp_path):
    Toy(tmp_path).run()
    path = tmp_path / 'a-0' / 'cell.json'
    for content in ('{', '{"status": "finished"}', '[]'):
        path.write_text(content)
        with pytest.raises(ValueError, match='cannot be used'):
            Toy(tmp_path).run()


def test_evaluations_beyond_the_end_are_those_of_a_run_that_was_killed(tmp_path):
    Toy(tmp_path).run()
    line = '{{"step": {}, "fingerprint": "x", "seed": 0, "num_samples": 9, "score": 1}}\n'
    lines = [line.format(step) for step in (2, 4, 6)]
    (tmp_path / 'a-0' / 'evaluations.jsonl').write_text(''.join(lines))
    known = records.load(Cell(('a',), 0), tmp_path, lambda record: True)
    assert [line['step'] for line in known['evaluations']] == [2, 4]
    unknown = records.load(Cell(('a',), 0), tmp_path, lambda record: False)
    assert 'status' not in unknown
    assert [line['step'] for line in unknown['evaluations']] == [2, 4, 6]
