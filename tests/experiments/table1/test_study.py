"""Table 1's cells, with stand-ins for training and evaluation."""

import types

import pytest

from experiments.studies import runner
from experiments.table1 import study
from osgan_jax.data import identity
from osgan_jax.engine import runs
from osgan_jax.evaluation import evaluators
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
CELLS = study.make_cells(['lsgan', 'wgan'], ['one_stage', 'two_stage'], [0, 1])


def test_cells_are_methods_by_schemes():
    assert [cell.name for cell in CELLS[:4]] == [
        *('lsgan-one_stage-0', 'lsgan-two_stage-0', 'wgan-one_stage-0', 'wgan-two_stage-0'),
    ]
    assert len(study.make_cells([], ['one_stage'], [0])) == 10
    unlabelled = study.make_cells([], ['one_stage'], [0], labelled=False)
    assert ('cgan', 'one_stage') not in {cell.row for cell in unlabelled}


def test_variants_are_schemes_with_optimisers():
    variants = ['one_stage:adam', 'one_stage:optimistic_adam']
    adam, optimistic = study.make_cells(['lsgan'], variants, [0])
    assert (adam.name, optimistic.name) == (
        'lsgan-one_stage-adam-0',
        'lsgan-one_stage-optimistic_adam-0',
    )
    found = small.resolve(study.configure(small.make_config(), optimistic))
    assert (found.scheme, found.optimizers()) == ('one_stage', ('optimistic_adam',) * 2)


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
        study.make_cells(names, schemes, seeds)


class Stage:
    """Stand-ins that record what they were asked for."""

    def __init__(self):
        self.trained, self.evaluated = [], []
        self.fingerprint = ABOUT['fingerprint']

    def train(self, config, workdir, *, dataset):
        self.trained.append(workdir.name)
        runs.write(workdir, runs.Run(small.resolve(config), small.CLASSES, (), small.EXAMPLES))
        (workdir / 'timing.jsonl').write_text('{"step": 2, "seconds": 5.0}\n')
        state = types.SimpleNamespace(step=4, sampling_variables=lambda: workdir.name)
        return types.SimpleNamespace(state=state)

    def extractor_for(self, dataset, *, convention, warn, progress, **sources):
        assert set(sources) == {'inception_weights', 'dinov2_weights', 'classifier'}
        assert convention == 'torch'
        return types.SimpleNamespace(fingerprint=self.fingerprint)

    def evaluator(
        self,
        gan,
        dataset,
        extractor,
        *,
        metrics,
        num_samples,
        seed,
        label_policy,
        warn,
        real_progress,
    ):
        def evaluate(name, check):
            check()
            self.evaluated.append(name)
            return {'classifier_fd': 2.0 if 'one_stage' in name else 3.0}

        evaluate.about = {
            **ABOUT,
            'fingerprint': self.fingerprint,
            'num_samples': num_samples,
            'content': identity.identify(dataset)['content'],
        }
        evaluate.halves, evaluate.few = {}, None
        evaluate.entry = lambda step, seconds, values: {
            **{'step': step, 'seconds': seconds},
            **values,
            **evaluate.about,
        }
        return evaluate

    def run(self, workdir, cells=CELLS, metrics=('fid',), **fields):
        self.trained.clear()
        shared = small.make_config(**fields)
        table = study.Table1(
            cells, shared, workdir, small.dataset(), metrics=metrics, num_samples=100
        )
        return runner.run(table, say=lambda text: None)


@pytest.fixture
def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr(trainer, 'train', stage.train)
    monkeypatch.setattr(evaluators, 'extractor_for', stage.extractor_for)
    monkeypatch.setattr(evaluators, 'Evaluator', stage.evaluator)
    return stage


def test_every_cell_is_trained_and_scored_and_the_tables_written(stage, tmp_path):
    results = stage.run(tmp_path)
    assert stage.trained == stage.evaluated == [cell.name for cell in CELLS]
    assert {result.status for result in results} == {'finished'}
    assert results[0].seconds == 10.0  # 5 s at step 2 of 4
    assert [line['step'] for line in results[0].evaluations] == [4]
    text = (tmp_path / 'table1.md').read_text()
    assert '| LSGAN (asym) | one_stage | **2.000 ± 0.000** (↓) | 2 | 4 | 10 |' in text
    assert 'Each: 4 steps, batch 8, dcgan of 16 pixels, width 4, float32, rates of each' in text
    assert len((tmp_path / 'table1.csv').read_text().splitlines()) == 9
    assert (tmp_path / 'figure4.png').exists()


def test_a_cell_is_scored_again_when_other_scores_are_asked(stage, tmp_path):
    stage.run(tmp_path, CELLS[:2])
    stage.run(tmp_path, CELLS[:2])
    assert stage.trained == []
    more = ('fid', 'kid')
    stage.run(tmp_path, CELLS[:2], metrics=more)
    assert len(stage.trained) == 2
    stage.run(tmp_path, CELLS[:2])
    assert stage.trained == []
    stage.fingerprint = 'other'
    stage.run(tmp_path, CELLS[:2], metrics=more)
    assert len(stage.trained) == 2


def test_a_budget_leaves_steps_open(stage, tmp_path):
    config = study.configure(small.make_config(num_steps=None, max_seconds=5.0), CELLS[0])
    assert (config.method, config.scheme, config.seed) == ('lsgan', 'one_stage', 0)
    assert config.num_steps >= 10**8
    assert config.max_seconds == 5.0
    with pytest.raises(ValueError, match='--budget or --num_steps'):
        study.configure(small.make_config(num_steps=4, max_seconds=5.0), CELLS[0])
    stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=5.0)
    assert 'Each: 5 s of training' in (tmp_path / 'table1.md').read_text()
    stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=9.0)
    assert len(stage.trained) == 2
    with pytest.raises(ValueError, match='longer than this command asks'):
        stage.run(tmp_path, CELLS[:2], num_steps=None, max_seconds=8.0)


def test_a_budget_needs_the_end_of_a_schedule_that_falls(stage, tmp_path):
    for cells, fields in [
        (CELLS[:1], {'schedule': 'cosine'}),
        (study.make_cells(['sngan_resnet'], ['one_stage'], [0]), {'network': 'dcgan'}),
    ]:
        fields = {'num_steps': None, 'max_seconds': 5.0, **fields}
        with pytest.raises(ValueError, match=f'{cells[0].name}: .* give --schedule_steps'):
            stage.run(tmp_path, cells, **fields)
        stage.run(tmp_path, cells, **fields, schedule_steps=100)
        assert len(stage.trained) == 1


def test_another_configuration_is_refused_before_anything_is_trained(stage, tmp_path):
    stage.run(tmp_path, cells=CELLS[:2])
    with pytest.raises(ValueError, match='batch_size is 8 there and 4 now'):
        stage.run(tmp_path, cells=CELLS[:1:-1] + CELLS[:2], batch_size=4)
    with pytest.raises(ValueError, match='longer than this command asks'):
        stage.run(tmp_path, num_steps=3)
    assert stage.trained == []


def test_the_setting_tells_d_steps_that_are_not_one():
    def told(*methods, **fields):
        cells = [small.resolve(small.make_config(method=name, **fields)) for name in methods]
        return study._setting(cells)

    assert 'batch 8, dcgan' in told('lsgan', 'wgan')
    assert 'batch 8, 5 D steps, dcgan' in told('wgan', optimizer='rmsprop')
    assert 'batch 8, D steps of each method, dcgan' in told('lsgan', 'wgan_gp')
    assert 'batch 8, 2 D steps, dcgan' in told('lsgan', 'wgan_gp', d_steps=2)
