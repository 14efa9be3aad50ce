"""The cells of Table 2, with stand-ins for training, and once without."""

import signal
import types

import numpy as np
import pytest

from experiments.studies import records, runner
from experiments.studies.records import Cell
from experiments.table2 import plans
from experiments.table2.study import Table2
from osgan_jax.distillation import classifiers, learners, students, teachers
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_teacher
from osgan_jax.engine import checkpoints, resuming, runs
from osgan_jax.evaluation import score_log
from osgan_jax.gan import trainer
from tests.support import tiny

GRID = plans.make_cells(['kd', 'one_stage'], [0, 1])
NAMES = [cell.name for cell in GRID]


def make_settings(shared=None, **fields):
    values = {'batch_size': 8, 'num_devices': 1, **(shared or {})}
    fields = {'teacher': TeacherConfig(num_steps=6, batch_size=8, num_devices=1), **fields}
    return plans.Settings(DistillConfig(**values), **fields)


class Stage:
    """Stand-ins that record what they were asked for."""

    def __init__(self):
        self.trained, self.traced, self.said = [], [], []
        self.fails, self.stops = set(), set()
        self.data = {'dataset': tiny.dataset(), 'test': tiny.dataset(12, seed=1)}

    def train_teacher(self, config, workdir, *, dataset, test):
        resolved = resolve_teacher(
            config, image_size=32, channels=1, num_examples=40, statistics=lambda: ((0.2,), (0.3,))
        )
        return self.train(resolved, workdir, 40, test)

    def distill(self, config, workdir, *, teacher, dataset, test):
        return self.train(config, workdir, 40 if config.algorithm == 'kd' else 0, test)

    def train(self, config, workdir, seen, test):
        self.trained.append(workdir.name)
        if workdir.name in self.stops:
            raise trainer.Stopped('Stopped at step 3 of 4; saved.', signal.SIGTERM)
        run = runs.Run(config, tiny.CLASSES, test.class_names, seen)
        if runs.read(workdir, type(config)) is not None:
            resuming.check_same(workdir, runs.read(workdir, type(config)), run)
        runs.write(workdir, run)
        if workdir.name in self.fails:
            raise trainer.NonFiniteError('loss_student became nan at step 3. The run is stopped.')
        step = config.num_steps if config.max_seconds is None else 4
        about = classifiers.Accuracy(learners.classifier(config, tiny.CLASSES), test, config).about
        for at in range(config.eval_every, step + 1):
            cost = {'seconds': at / 2, 'flops': 1e6 * at, 'seed': config.seed}
            line = {'step': at, 'accuracy': min(1.0, at / 5), **cost, **about}
            score_log.write(workdir, line)
        return types.SimpleNamespace(state=types.SimpleNamespace(step=step))

    def load(self, workdir, step=None):
        run = runs.read(workdir, TeacherConfig)
        if run is None:
            raise FileNotFoundError(f'{workdir} holds no run')
        module = learners.classifier(run.config, tiny.CLASSES)
        variables = {'params': {'w': np.full(7, run.config.seed, np.float32)}}
        return classifiers.Classifier(run, run.config.num_steps, module, variables)

    def count_flops(self, config, teacher):
        self.traced.append(config.algorithm)

    def run(self, workdir, grid=GRID, shared=None, **fields):
        fields = {'student_updates': 4, **fields}
        settings = make_settings(shared, **fields)
        table = Table2(grid, settings, workdir, **self.data)
        return runner.run(table, say=self.said.append)


@pytest.fixture
def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr(teachers, 'train_teacher', stage.train_teacher)
    monkeypatch.setattr(students, 'distill', stage.distill)
    monkeypatch.setattr(students, 'count_flops', stage.count_flops)
    monkeypatch.setattr(classifiers, 'load', stage.load)
    return stage


def test_teacher_and_cells_are_trained_and_the_tables_written(stage, tmp_path):
    grid = [*GRID, Cell(('supervised',), 0)]
    results = stage.run(tmp_path, grid)
    assert stage.trained == ['teacher', *NAMES, 'supervised-0']
    assert stage.traced == ['kd', 'one_stage']
    assert [r.status for r in results] == ['finished'] * 6
    teacher, kd = results[:2]
    assert (teacher.cell.name, teacher.step, teacher.accuracy, teacher.seconds) == (
        'teacher-0', 6, 1.0, 3.0
    )  # fmt: skip
    assert (kd.step, kd.accuracy, kd.seconds, kd.flops) == (4, 0.8, 2.0, 4e6)
    assert kd.parameters == 15_738 - 6 * 43  # FACTS' half LeNet for 10 classes; here 4 of 42 + 1
    assert [line['step'] for line in kd.evaluations] == [1, 2, 3, 4]
    # What the teacher's training has found out holds for all.
    assert runs.read(tmp_path / 'kd-0', DistillConfig).config.mean == (0.2,)
    assert runs.read(tmp_path / 'supervised-0', TeacherConfig).config.std == (0.3,)
    text = (tmp_path / 'table2.md').read_text()
    assert (
        '5 of 5 cells finished. Teacher: lenet5, seed 0. Students: lenet5_half, float32, 4' in text
    )
    assert (
        '| KD | lenet5_half | 15.5 k | 0.8000 ± 0.0000 | 0.939 | 0.733 | 2 | 4 | 0.4% | 4 |' in text
    )
    # 0.2 an evaluation, one of them each half second.
    assert '| One-stage (one) | 1.5 | 2.0 | - | - | - |' in text
    assert len((tmp_path / 'table2.csv').read_text().splitlines()) == 7
    assert (tmp_path / 'figure.png').exists()
    assert stage.said[1] == 'teacher: accuracy 1.0000'
    assert stage.said[2].startswith('cell 1 of 5: kd-0 accuracy 0.8000 after 4 rounds; about')
    assert 'left' not in stage.said[-1]


def test_finished_cells_are_skipped(stage, tmp_path):
    stage.run(tmp_path)
    stage.trained.clear()
    stage.traced.clear()
    (tmp_path / 'table2.md').unlink()
    results = stage.run(tmp_path)
    assert stage.trained == stage.traced == []
    assert results[1].accuracy == 0.8
    assert (tmp_path / 'table2.md').exists()
    stage.run(tmp_path, plans.make_cells(['kd', 'one_stage', 'dfad'], [0]), student_updates=4)
    assert stage.trained == ['dfad-0']
    assert stage.traced == ['dfad']


def test_a_stop_in_the_teachers_training_says_so(stage, tmp_path):
    stage.stops = {'teacher'}
    with pytest.raises(trainer.Stopped, match='teacher, 0 of 4') as stopped:
        stage.run(tmp_path)
    assert stopped.value.signum == signal.SIGTERM


def test_a_failed_teacher_ends_the_study(stage, tmp_path):
    stage.fails = {'teacher'}
    with pytest.raises(trainer.NonFiniteError):
        stage.run(tmp_path)
    assert stage.trained == ['teacher']


def test_a_teacher_that_is_given_is_not_trained(stage, tmp_path):
    stage.run(tmp_path / 'a', GRID[:1], teacher=TeacherConfig(num_steps=6, seed=5, batch_size=8))
    stage.trained.clear()
    given = str(tmp_path / 'a' / 'teacher')
    results = stage.run(tmp_path / 'b', teacher_dir=given)
    assert stage.trained == NAMES
    assert (results[0].seed, results[0].accuracy) == (5, 1.0)
    saved = runs.read(tmp_path / 'b' / 'kd-0', DistillConfig)
    assert saved.config.teacher == given
    assert not (tmp_path / 'b' / 'teacher').exists()
    # Another teacher is another table.
    with pytest.raises(ValueError, match='teacher_digest'):
        stage.run(tmp_path / 'b')
    with pytest.raises(ValueError, match='trained already'):
        stage.run(tmp_path / 'b', teacher_dir=given, recipes={'teacher': {'crop': 0}})
    with pytest.raises(FileNotFoundError, match='no run'):
        stage.run(tmp_path / 'b', teacher_dir=str(tmp_path / 'c'))


def test_another_configuration_is_refused_before_anything_is_trained(stage, tmp_path):
    stage.run(tmp_path, GRID[:2])
    stage.trained.clear()
    with pytest.raises(ValueError, match='num_steps is 4 there and 5 now'):
        stage.run(tmp_path, GRID[::-1], student_updates=5)
    with pytest.raises(ValueError, match='learning_rate is'):
        stage.run(tmp_path, GRID[::-1], recipes={'kd': {'learning_rate': 1.0}})
    with pytest.raises(ValueError, match='num_steps is 6 there and 7 now'):
        stage.run(tmp_path, teacher=TeacherConfig(num_steps=7, batch_size=8))
    assert stage.trained == []


def test_impossible_cells_are_refused_before_the_teacher_is_trained(stage, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(teachers, 'train_teacher', stage.train_teacher)
    with pytest.raises(ValueError, match='stages'):
        # Attention transfer between a LeNet and a network with residual blocks.
        stage.run(tmp_path, plans.make_cells(['zskt'], [0]), {'student': 'wrn16_1'})
    with pytest.raises(ValueError, match='unknown classifier'):
        stage.run(tmp_path, plans.make_cells(['supervised'], [0]), {'student': 'alexnet'})
    assert stage.trained == []


def test_a_budget_ends_cells_and_can_be_raised(stage, tmp_path):
    fields = {'student_updates': 40, 'eval_updates': 1}
    results = stage.run(tmp_path, GRID[:2], {'max_seconds': 5.0}, **fields)
    assert [r.step for r in results[1:]] == [4, 4]
    assert 'no more than 5 s of training' in (tmp_path / 'table2.md').read_text()
    assert '| 0.016% | 4 |' in (tmp_path / 'table2.md').read_text()  # of 25,000
    stage.trained.clear()
    stage.run(tmp_path, GRID[:2], {'max_seconds': 5.0}, **fields)
    assert stage.trained == []
    with pytest.raises(ValueError, match='longer than this command asks'):
        stage.run(tmp_path, GRID[:2], {'max_seconds': 4.0}, **fields)
    stage.run(tmp_path, GRID[:2], {'max_seconds': 9.0}, **fields)
    results = stage.run(tmp_path, GRID[:2], **fields)
    assert stage.trained == NAMES[:2] * 2
    assert [r.step for r in results[1:]] == [40, 40]
    # Nothing is left to be ended.
    stage.run(tmp_path, GRID[:2], {'max_seconds': 4.0}, **fields)
    assert len(stage.trained) == 4


@pytest.mark.slow
def test_a_real_teacher_its_students_and_other_test_images(tmp_path):
    grid = plans.make_cells(['kd', 'one_stage'], [0])
    settings = make_settings({'generator_width': 4}, student_updates=2, eval_updates=1)
    train, test = tiny.dataset(), tiny.dataset(12, seed=1)
    results = runner.run(Table2(grid, settings, tmp_path, dataset=train, test=test))
    assert [r.status for r in results] == ['finished'] * 3
    for each in results[1:]:
        assert [line['updates'] for line in each.evaluations] == [1, 2]
        assert each.flops > 0
        assert each.samples is None or each.algorithm == 'one_stage'
    for name in ('table2.md', 'table2.csv', 'figure.png', 'samples.png'):
        assert (tmp_path / name).exists()
    teacher = classifiers.load(tmp_path / 'teacher')
    student = classifiers.load(tmp_path / 'one_stage-0')
    assert student.run.config.teacher_digest == teacher.digest()

    before = records.read(tmp_path / 'kd-0')
    other = tiny.dataset(20, seed=2)
    results = runner.run(Table2(grid, settings, tmp_path, dataset=train, test=other))
    images = np.stack([other[i]['image'] for i in range(20)]) / 127.5 - 1
    labels = np.array([other[i]['label'] for i in range(20)])
    for result, directory in zip(results, ('teacher', 'kd-0', 'one_stage-0'), strict=True):
        logits = classifiers.load(tmp_path / directory)(images)
        assert result.accuracy == (np.argmax(logits, -1) == labels).mean()
        assert result.about['num_samples'] == 20
    # Nothing was trained for it.
    assert records.read(tmp_path / 'kd-0')['seconds'] == before['seconds']
    with checkpoints.Checkpoints(tmp_path / 'kd-0', read_only=True) as saved:
        assert saved.latest_step() == 2
