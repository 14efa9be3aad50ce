"""The grid's cells, with stand-ins for training and evaluation."""

import json
import signal
import types

import pytest

import osgan_jax
from experiments.studies import records
from experiments.table1 import grid
from osgan_jax.engine import runs
from osgan_jax.gan import trainer
from tests.support import small

ABOUT = {
    'extractor': 'classifier',
    'convention': 'a convention',
    'fingerprint': '0123456789abcdef',
    'num_samples': 100,
    'seed': 0,
    'num_real': 40,
    'dataset': 'small',
}
CELLS = grid.cells(['lsgan', 'wgan'], ['one_stage', 'two_stage'], [0, 1])
SCORING = records.Scoring(('fid',), 100)


def test_cells_finish_a_seed_of_all_before_the_next():
    names = [c.name for c in grid.cells(['lsgan', 'wgan'], ['one_stage', 'two_stage'], [0, 7])]
    assert names == [
        *('lsgan-one_stage-0', 'lsgan-two_stage-0', 'wgan-one_stage-0', 'wgan-two_stage-0'),
        *('lsgan-one_stage-7', 'lsgan-two_stage-7', 'wgan-one_stage-7', 'wgan-two_stage-7'),
    ]
    assert len(grid.cells([], ['one_stage'], [0])) == 10
    assert 'cgan' not in {c.method for c in grid.cells([], ['one_stage'], [0], labelled=False)}


@pytest.mark.parametrize(
    ('names', 'schemes', 'seeds', 'message'),
    [
        (['gan'], ['one_stage'], [0], "method='gan'"),
        (['lsgan'], ['three'], [0], "schemes='three'"),
        (['lsgan', 'lsgan'], ['one_stage'], [0], 'each once'),
        (['lsgan'], ['one_stage'], [], 'seeds='),
        (['lsgan'], [], [0], 'schemes='),
    ],
)
def test_unknown_repeated_and_absent_cells_are_refused(names, schemes, seeds, message):
    with pytest.raises(ValueError, match=message):
        grid.cells(names, schemes, seeds)


class Stage:
    """Stand-ins that record what they were asked for."""

    def __init__(self):
        self.trained, self.evaluated, self.said = [], [], []
        self.fails, self.stops = set(), set()
        self.fingerprint = ABOUT['fingerprint']

    def train(self, config, workdir, *, dataset):
        self.trained.append(workdir.name)
        if workdir.name in self.stops:
            raise trainer.Stopped('Stopped at step 3 of 4; saved.', signal.SIGTERM)
        runs.write(workdir, runs.Run(small.resolve(config), small.CLASSES, (), small.EXAMPLES))
        if workdir.name in self.fails:
            raise trainer.NonFiniteError('loss_d became nan at step 3. The run is stopped.')
        (workdir / 'timing.jsonl').write_text('{"step": 2, "seconds": 5.0}\n')
        state = types.SimpleNamespace(step=4, sampling_variables=lambda: workdir.name)
        return types.SimpleNamespace(state=state)

    def extractor_for(self, dataset, *, inception_weights, convention, warn, progress):
        assert convention == 'torch'
        return types.SimpleNamespace(fingerprint=self.fingerprint)

    def evaluator(self, gan, dataset, extractor, *, metrics, num_samples, seed, warn):
        def evaluate(name):
            self.evaluated.append(name)
            return {'classifier_fd': 2.0 if 'one_stage' in name else 3.0}

        evaluate.about = {**ABOUT, 'fingerprint': self.fingerprint, 'num_samples': num_samples}
        return evaluate

    def write(self, workdir, entry):
        with open(workdir / 'evaluations.jsonl', 'a') as file:
            file.write(json.dumps(entry) + '\n')

    def read(self, workdir):
        path = workdir / 'evaluations.jsonl'
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def plot(self, workdir):
        pass

    def run(self, workdir, cells=CELLS, scoring=SCORING, **fields):
        shared = small.make_config(**fields)
        say = self.said.append
        return grid.run(cells, shared, workdir, scoring, dataset=small.dataset(), say=say)


@pytest.fixture
def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr(trainer, 'train', stage.train)
    for name in ('evaluation', 'evaluation_records'):
        monkeypatch.setattr(osgan_jax, name, stage, raising=False)
    return stage


def test_grid_runs_every_cell_and_writes_the_tables(stage, tmp_path):
    results = stage.run(tmp_path)
    assert stage.trained == stage.evaluated == [cell.name for cell in CELLS]
    assert {result.status for result in results} == {'finished'}
    assert results[0].seconds == 10.0  # 5 s at step 2 of 4
    text = (tmp_path / 'table1.md').read_text()
    assert '| LSGAN (asym) | one_stage | **2.000 ± 0.000** (↓) | 2 | 4 | 10 |' in text
    assert 'Each: 4 steps, batch 8, dcgan of 16 pixels, width 4, float32, rates of each' in text
    assert len((tmp_path / 'table1.csv').read_text().splitlines()) == 9
    assert (tmp_path / 'figure4.png').exists()
    assert len(stage.said) == 8
    assert stage.said[0].startswith('cell 1 of 8: lsgan-one_stage-0 step 4, classifier_fd 2; about')
    assert 'left' not in stage.said[-1]


def test_finished_cells_are_passed_over_until_more_is_asked(stage, tmp_path):
    stage.run(tmp_path, CELLS[:2])
    stage.trained.clear()
    (tmp_path / 'table1.md').unlink()
    stage.run(tmp_path, CELLS[:2])
    assert stage.trained == []
    assert (tmp_path / 'table1.md').exists()
    stage.run(tmp_path, CELLS[:2], num_steps=5)
    assert len(stage.trained) == 2
    stage.trained.clear()
    stage.run(tmp_path, CELLS[:2], scoring=records.Scoring(('fid', 'kid'), 100))
    stage.fingerprint = 'other'
    stage.run(tmp_path, CELLS[:2], scoring=records.Scoring(('fid', 'kid'), 100))
    assert len(stage.trained) == 4


def test_scores_of_another_kind_do_not_count(stage, tmp_path):
    stage.run(tmp_path, CELLS[:2])
    extractor = types.SimpleNamespace(fingerprint='other')
    found = grid.collect(CELLS[:2], tmp_path, extractor, SCORING)
    assert {result.status for result in found} == {'missing'}


def test_a_failed_cell_is_recorded_and_the_others_go_on(stage, tmp_path):
    stage.fails = {'lsgan-two_stage-0'}
    results = stage.run(tmp_path)
    assert [r.name for r in results if r.status == 'failed'] == ['lsgan-two_stage-0']
    assert len(stage.evaluated) == 7
    assert results[1].reason == 'loss_d became nan at step 3'
    assert stage.said[1].startswith('cell 2 of 8: lsgan-two_stage-0 failed: loss_d became nan')
    assert (
        '| LSGAN (asym) | two_stage | 3.000 | 1 of 2, 1 failed |'
        in (tmp_path / 'table1.md').read_text()
    )
    stage.trained.clear()
    stage.run(tmp_path)
    assert stage.trained == []


def test_an_interrupted_grid_goes_on_where_it_was(stage, tmp_path):
    stage.stops = {'wgan-one_stage-0'}
    with pytest.raises(trainer.Stopped, match=r'wgan-one_stage-0, 2 of 8.*same command') as stopped:
        stage.run(tmp_path)
    assert stopped.value.signum == signal.SIGTERM
    assert 'LSGAN' in (tmp_path / 'table1.md').read_text()
    stage.stops, stage.trained = set(), []
    stage.run(tmp_path)
    assert stage.trained == [cell.name for cell in CELLS[2:]]


def test_a_signal_outside_of_training_stops_too(stage, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(stage, 'plot', lambda workdir: signal.raise_signal(signal.SIGINT))
    with pytest.raises(trainer.Stopped, match='lsgan-one_stage-0'):
        stage.run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_budget_leaves_steps_open(stage, tmp_path):
    config = grid.configure(small.make_config(num_steps=None, max_seconds=5.0), CELLS[0])
    assert (config.method, config.scheme, config.seed) == ('lsgan', 'one_stage', 0)
    assert config.num_steps >= 10**8
    assert config.max_seconds == 5.0
    with pytest.raises(ValueError, match='--budget or --num_steps'):
        grid.configure(small.make_config(num_steps=4, max_seconds=5.0), CELLS[0])
    stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=5.0)
    stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=5.0)
    assert len(stage.trained) == 2
    assert 'Each: 5 s of training' in (tmp_path / 'table1.md').read_text()
    stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=9.0)
    assert len(stage.trained) == 4
    with pytest.raises(ValueError, match='longer than asked'):
        stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=8.0)


def test_another_configuration_is_refused_before_anything_is_trained(stage, tmp_path):
    stage.run(tmp_path, cells=CELLS[:2])
    stage.trained.clear()
    with pytest.raises(ValueError, match='batch_size is 8 there and 4 now'):
        stage.run(tmp_path, cells=CELLS[:1:-1] + CELLS[:2], batch_size=4)
    with pytest.raises(ValueError, match='longer than asked'):
        stage.run(tmp_path, num_steps=3)
    assert stage.trained == []


def test_a_damaged_record_is_named(stage, tmp_path):
    stage.run(tmp_path, cells=CELLS[:1])
    path = tmp_path / CELLS[0].name / 'cell.json'
    for content in ('{', '{"status": "finished"}', '[]'):
        path.write_text(content)
        with pytest.raises(ValueError, match='cannot be used'):
            stage.run(tmp_path, cells=CELLS[:1])
