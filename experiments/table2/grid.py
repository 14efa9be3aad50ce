"""Table 2: a teacher and its students, each a training run in a directory of its own.

The teacher lives in `workdir/teacher`, a student in `workdir/<algorithm>-<seed>`. Whatever
interrupts the table, the same call goes on: finished cells are passed over, one that was training
resumes at its last checkpoint.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.studies import records, stopping
from experiments.table2 import cells, report
from experiments.table2.cells import TEACHER, Cell, Planned, Study, Taught
from experiments.table2.results import Result, collect, shapes
from osgan_jax import data, reporting
from osgan_jax.distillation import classifiers, learners, students, teachers
from osgan_jax.distillation.classifiers import Accuracy, Classifier
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_teacher
from osgan_jax.engine import nonfinite, runs
from osgan_jax.evaluation import score_log
from osgan_jax.gan import model


@dataclasses.dataclass(frozen=True)
class _Table:
    """What all cells of a table have in common.

    Attributes:
      study: how they are trained.
      workdir: where.
      teacher_dir: where the teacher lives.
      asked: how it is trained; None of one that is there already.
      teacher: its resolved configuration; of one still to be trained, as far as it is known.
      dataset: to train on.
      test: to measure on.
      about: the test part, as evaluations have it.
    """

    study: Study
    workdir: pathlib.Path
    teacher_dir: pathlib.Path
    asked: TeacherConfig | None
    teacher: TeacherConfig | DistillConfig
    dataset: data.Dataset
    test: data.Dataset
    about: Mapping[str, Any]

    def plan(self, grid: Sequence[Cell], digest: str) -> list[Planned]:
        """The cells' configurations under a teacher with that digest."""
        taught = Taught(self.teacher, digest, len(self.dataset))
        return [cells.plan(self.study, cell, taught) for cell in grid]

    def run_of(self, config: TeacherConfig | DistillConfig) -> runs.Run:
        """What its directory says of a run with that configuration."""
        sees = isinstance(config, TeacherConfig) or config.algorithm == 'kd'
        seen = len(self.dataset) if sees else 0
        return runs.Run(config, self.dataset.num_classes, self.dataset.class_names, seen)

    def is_done(self, directory: pathlib.Path, config: TeacherConfig | DistillConfig) -> bool:
        """Whether nothing is left to do for a cell; `config` is resolved."""
        record = records.read(directory)
        if record is None or record['status'] == 'failed':
            # A failure would repeat itself: a run is the same whenever it is made.
            return record is not None
        ended = record['step'] >= config.num_steps
        if config.max_seconds is not None:
            ended |= record['budget'] == config.max_seconds
        return ended and record['about'].get('fingerprint') == self.about['fingerprint']


def run(
    study: Study,
    grid: Sequence[Cell],
    workdir: str | os.PathLike[str],
    *,
    dataset: data.Dataset | None = None,
    test: data.Dataset | None = None,
    say: Callable[[str], None] = print,
) -> list[Result]:
    """Trains what is left of a teacher and its students; tables are written after every cell.

    A cell whose run is no longer finite is recorded as failed, and the others go on; not so the
    teacher, without whom there are no others.

    Args:
      study: how they are trained.
      grid: from `cells.cells`.
      workdir: the table's directory.
      dataset: to train on, instead of the configured one.
      test: to measure on, likewise.
      say: called with a line after every cell.

    Returns:
      What is known of the teacher, and of every cell in the order of `grid`.

    Raises:
      ValueError: for cells that cannot be trained, or that were trained with another configuration.
      FileNotFoundError: for a teacher or a dataset that is not there.
      osgan_jax.gan.trainer.NonFiniteError: if the teacher's training fails.
      osgan_jax.gan.trainer.Stopped: after SIGINT or SIGTERM; calling again goes on.
    """
    current, done, trained = 'preparing', 0, 0
    with stopping.stoppable(lambda: f'{current}, {done} of {len(grid)} cells done'):
        table = _open(study, pathlib.Path(workdir), dataset, test)
        _check_can_be_trained(table, grid)
        current = TEACHER
        _train_teacher(table, say)
        teacher = classifiers.load(table.teacher_dir)
        # What its training has found out, such as the means of the channels.
        table = dataclasses.replace(table, teacher=teacher.run.config)
        planned = table.plan(grid, teacher.digest())
        for each in planned:
            _check_same(table, each)
        taught = _teachers_result(table, teacher)
        waiting = [p for p in planned if not table.is_done(table.workdir / p.cell.name, p.config)]
        began = time.monotonic()
        for done, each in enumerate(planned):
            if each not in waiting:
                continue
            current = each.cell.name
            record = _train(table, each, teacher)
            records.write(table.workdir / each.cell.name, record)
            trained += 1
            _tabulate(table, taught, planned)
            rest = len(waiting) - trained
            seconds = (time.monotonic() - began) / trained * rest
            say(_line(done + 1, len(grid), each, record, seconds if rest else None))
        done, current = len(grid), 'writing tables'
        return _tabulate(table, taught, planned)


def _open(
    study: Study, workdir: pathlib.Path, dataset: data.Dataset | None, test: data.Dataset | None
) -> _Table:
    """Opens the data and resolves the teacher's configuration."""
    if study.teacher_dir is None:
        directory = workdir / TEACHER
        config = dataclasses.replace(study.teacher, **study.recipes.get(TEACHER, {}))
    else:
        if study.recipes.get(TEACHER):
            raise ValueError('recipe: a teacher that is given with --teacher is trained already')
        directory = pathlib.Path(study.teacher_dir)
        config = classifiers.load(directory).run.config
    fields = cells.data_of(study, config)
    known = {field.name for field in dataclasses.fields(TeacherConfig)}
    like = {k: v for k, v in dataclasses.asdict(config).items() if k in known}
    where = TeacherConfig(**like | fields)
    dataset = dataset or teachers.open_part(where)
    test = test or teachers.open_part(where, test=True)
    teachers.check_labelled(dataset)
    teachers.check_alike(dataset, test)
    if study.teacher_dir is None:
        config = _resolved_teacher(directory, where, dataset)
    asked = where if study.teacher_dir is None else None
    network = learners.classifier(config, dataset.num_classes)
    about = Accuracy(network, test, config).about
    return _Table(study, workdir, directory, asked, config, dataset, test, about)


def _resolved_teacher(
    directory: pathlib.Path, config: TeacherConfig, dataset: data.Dataset
) -> TeacherConfig:
    """The configuration of a teacher to be trained, checked against what its directory holds."""
    saved = runs.read(directory, TeacherConfig)

    def statistics():
        if saved is not None:
            return saved.config.mean, saved.config.std
        # Its training finds them out; until then any will do.
        return (0.5,) * dataset.channels, (0.5,) * dataset.channels

    resolved = resolve_teacher(
        config,
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_examples=len(dataset),
        statistics=statistics,
    )
    if saved is not None:
        asked = runs.Run(resolved, dataset.num_classes, dataset.class_names, len(dataset))
        runs.check_same(directory, saved, asked)
    return resolved


def _check_can_be_trained(table: _Table, grid: Sequence[Cell]) -> None:
    """Traces a round of each new algorithm: what cannot work should not cost others' hours."""
    begun = {c.algorithm for c in grid if runs.kind_of(table.workdir / c.name) is not None}
    first = {cell.algorithm: cell for cell in grid if cell.algorithm not in begun}
    classes = table.dataset.num_classes
    module, variables = (make(table.teacher, classes) for make in (learners.classifier, shapes))
    like = Classifier(table.run_of(table.teacher), 0, module, variables)
    for planned in table.plan(list(first.values()), ''):
        learners.classifier(planned.config, classes)
        if isinstance(planned.config, DistillConfig):
            students.count_flops(planned.config, like)


def _train_teacher(table: _Table, say: Callable[[str], None]) -> None:
    """Trains or resumes the teacher, unless it was given or is there."""
    directory = table.teacher_dir
    if table.asked is None or table.is_done(directory, table.teacher):
        return
    say(f'Training the teacher in {directory}.')
    result = teachers.train_teacher(table.asked, directory, dataset=table.dataset, test=table.test)
    record = _finished(table, directory, int(result.state.step), None)
    records.write(directory, record)
    say(f'teacher: accuracy {record["metrics"]["accuracy"]:.4f}')


def _train(table: _Table, planned: Planned, teacher: Classifier) -> dict[str, Any]:
    """Trains or resumes a cell; returns its record."""
    directory, config = table.workdir / planned.cell.name, planned.config
    parts = {'dataset': table.dataset, 'test': table.test}
    try:
        if isinstance(config, TeacherConfig):
            result = teachers.train_teacher(config, directory, **parts)
        else:
            config = dataclasses.replace(config, teacher=str(table.teacher_dir))
            result = students.distill(config, directory, teacher=teacher, **parts)
    except nonfinite.NonFiniteError as error:
        # The first sentence says what and when; the rest is advice for a single run.
        reason = str(error).split('. ')[0].rstrip('.')
        empty = {'step': None, 'seconds': None, 'metrics': {}, 'about': {}, 'asked': []}
        return {'status': 'failed', 'reason': reason, 'budget': config.max_seconds, **empty}
    return _finished(table, directory, int(result.state.step), config.max_seconds)


def _finished(
    table: _Table, directory: pathlib.Path, step: int, budget: float | None
) -> dict[str, Any]:
    """The record of a run that has come to its end."""
    line = _evaluation(table, directory, step)
    return {
        'status': 'finished',
        'reason': '',
        'budget': budget,
        'step': step,
        'seconds': line.get('seconds'),
        'metrics': {name: line.get(name) for name in ('accuracy', 'flops')},
        'about': dict(table.about),
        'asked': ['accuracy'],
    }


def _evaluation(
    table: _Table,
    directory: pathlib.Path,
    step: int,
    classifier: Classifier | None = None,
) -> dict[str, Any]:
    """The evaluation of a checkpoint on the test part, made now where training made none."""
    lines = [line for line in score_log.read(directory) if line['step'] == step]
    for line in lines:
        if line['fingerprint'] == table.about['fingerprint']:
            return line
    if classifier is None:
        classifier = classifiers.load(directory, step)
    measure = Accuracy(classifier.module, table.test, classifier.run.config)
    cost = {name: lines[0].get(name) if lines else None for name in ('seconds', 'flops')}
    return {'step': step, **cost, 'accuracy': measure(classifier.variables), **measure.about}


def _check_same(table: _Table, planned: Planned) -> None:
    """Raises ValueError if a cell's directory holds another run, or a longer one."""
    directory, config = table.workdir / planned.cell.name, planned.config
    saved = runs.read(directory, type(config))
    if saved is not None:
        runs.check_same(directory, saved, table.run_of(config))
    record = records.read(directory)
    if record is None or record['status'] == 'failed' or record['step'] >= config.num_steps:
        return
    before = record['budget'] or 0.0
    if config.max_seconds is not None and config.max_seconds < before:
        raise ValueError(
            f'{directory} was trained for {before:g} s, longer than asked for now: give at least '
            'that much, or another --workdir'
        )


def _tabulate(table: _Table, taught: Result, planned: Sequence[Planned]) -> list[Result]:
    """Collects the results, and writes all tables and figures of them."""
    results = [taught, *collect(planned, table.workdir, table.about, table.dataset.num_classes)]
    report.write(
        table.workdir,
        results,
        table.dataset.name,
        report.setting(table.study, taught, planned),
    )
    return results


def _teachers_result(table: _Table, teacher: Classifier) -> Result:
    line = _evaluation(table, table.teacher_dir, teacher.step, teacher)
    config = teacher.run.config
    distilled = isinstance(config, DistillConfig)
    return Result(
        TEACHER,
        config.seed,
        status='finished',
        network=teacher.architecture,
        parameters=model.num_parameters(teacher.variables['params']),
        batch_size=config.batch_size,
        updates_a_round=config.student_steps if distilled else 1,
        step=teacher.step,
        seconds=line.get('seconds'),
        flops=line.get('flops'),
        accuracy=line['accuracy'],
        about=table.about,
    )


def _line(
    done: int, total: int, planned: Planned, record: dict[str, Any], left: float | None
) -> str:
    text = f'cell {done} of {total}: {planned.cell.name} '
    if record['status'] == 'failed':
        text += f'failed: {record["reason"]}'
    else:
        text += f'accuracy {record["metrics"]["accuracy"]:.4f} after {record["step"]:,} rounds'
    if left is not None:
        text += f'; about {reporting.progress.duration(left)} left'
    return text
