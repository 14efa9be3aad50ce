"""Table 2: a teacher, and students of each algorithm and seed that learn from it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.studies import records, runner
from experiments.studies.records import Cell, Record
from experiments.table2 import figures, plans, report
from experiments.table2.plans import TEACHER, Plan, Settings, Teacher
from experiments.table2.report import Result
from osgan_jax import data
from osgan_jax.distillation import classifiers, learners, students, teachers
from osgan_jax.distillation.classifiers import Accuracy, Classifier
from osgan_jax.distillation.config import DistillConfig, TeacherConfig, resolve_teacher
from osgan_jax.engine import resuming, runs
from osgan_jax.evaluation import score_log
from osgan_jax.gan import model

FILES = ('table2.md', 'table2.csv', 'figure.png', 'samples.png')


class Table2(runner.Study):
    """The study of distillation; the teacher lives in `workdir/teacher` or where it was given."""

    def __init__(
        self,
        cells: Sequence[Cell],
        settings: Settings,
        workdir: pathlib.Path,
        *,
        dataset: data.Dataset | None = None,
        test: data.Dataset | None = None,
    ):
        """Defines the study.

        Args:
          cells: from `plans.make_cells`.
          settings: how the teacher and the students are trained.
          workdir: the study's directory.
          dataset: to train on, instead of the configured one.
          test: to measure on, likewise.

        Raises:
          ValueError: for data or a teacher that do not fit.
          FileNotFoundError: for a teacher or a dataset that is not there.
        """
        self.cells, self.workdir = cells, workdir
        self._settings, self._dataset, self._test = settings, dataset, test
        # Before the study listens to signals: until then they end the process.
        self._asked = self._open()

    def prepare(self, progress: runner.Progress) -> Mapping[Cell, Any]:
        """Trains the teacher unless it is there.

        Raises:
          ValueError: for cells that cannot be trained, or that were trained otherwise.
          osgan_jax.engine.nonfinite.NonFiniteError: if the teacher's training fails.
        """
        self._trace_rounds(progress)
        progress.current = TEACHER
        if self._asked is not None:
            self._train_teacher(self._asked, progress)
        self._teacher = teacher = classifiers.load(self._teacher_dir)
        # Complete now, with what training has found out, such as the means of the channels.
        self._teacher_config = teacher.run.config
        self._plans = self._plan(self.cells, teacher.digest())
        configs = {cell: plan.config for cell, plan in self._plans.items()}
        for cell, config in configs.items():
            runner.check_saved(self.workdir / cell.name, self._run(config))
        self._teachers_result = self._result_of_teacher(progress)
        networks = {learners.architecture(config): config for config in configs.values()}
        self._parameters = {
            name: model.num_parameters(self._shapes(config)['params'])
            for name, config in networks.items()
        }
        return configs

    def is_scored(self, record: Record) -> bool:
        """Whether the accuracy was measured on the test part."""
        return record['about'].get('fingerprint') == self._about['fingerprint']

    def train(self, cell: Cell, progress: runner.Progress) -> Record:
        """Trains or resumes a student and measures it."""
        directory, config = self.workdir / cell.name, self._plans[cell].config
        parts = {'dataset': self._dataset, 'test': self._test}
        if isinstance(config, TeacherConfig):
            result = teachers.train_teacher(config, directory, **parts)
        else:
            config = dataclasses.replace(config, teacher=str(self._teacher_dir))
            result = students.distill(config, directory, teacher=self._teacher, **parts)
        return self._finished(directory, int(result.state.step), config.max_seconds, progress)

    def describe(self, record: Record) -> str:
        """The accuracy and the rounds."""
        return f'accuracy {record["metrics"]["accuracy"]:.4f} after {record["step"]:,} rounds'

    def tabulate(self) -> list[Result]:
        """Writes table2.md, table2.csv, figure.png and samples.png."""
        results = [
            self._teachers_result,
            *(self._result(cell, plan) for cell, plan in self._plans.items()),
        ]
        setting = report.setting(self._settings, results[0], results[1].network)
        dataset = self._dataset.name
        texts = (report.markdown(results, dataset, setting), report.csv_text(results))
        runner.write_texts(self.workdir, dict(zip(FILES, texts, strict=False)))
        figures.save_figure(results, self.workdir / 'figure.png', dataset)
        figures.save_samples(results, self.workdir / 'samples.png')
        return results

    def _open(self) -> TeacherConfig | None:
        """Opens the data and resolves the teacher's configuration, as far as it is known.

        Returns:
          How the teacher is trained; None if it was given.
        """
        settings = self._settings
        recipe = settings.recipes.get(TEACHER, {})
        is_given = settings.teacher_dir is not None
        if is_given:
            if recipe:
                raise ValueError(
                    'recipe: the teacher of --teacher is trained already, so its settings '
                    'cannot change'
                )
            self._teacher_dir = pathlib.Path(settings.teacher_dir)
            config = classifiers.load(self._teacher_dir).run.config
        else:
            self._teacher_dir = self.workdir / TEACHER
            config = dataclasses.replace(settings.teacher, **recipe)
        known = {field.name for field in dataclasses.fields(TeacherConfig)}
        values = {k: v for k, v in dataclasses.asdict(config).items() if k in known}
        asked = TeacherConfig(**values | plans.data_of(settings, config))
        self._dataset = self._dataset or teachers.open_part(asked)
        self._test = self._test or teachers.open_part(asked, test=True)
        teachers.check_labelled(self._dataset)
        teachers.check_alike(self._dataset, self._test)
        self._teacher_config = config if is_given else self._resolve_teacher(asked)
        network = learners.classifier(self._teacher_config, self._dataset.num_classes)
        self._about = Accuracy(network, self._test, self._teacher_config).about
        return None if is_given else asked

    def _resolve_teacher(self, config: TeacherConfig) -> TeacherConfig:
        """The configuration of a teacher to be trained, checked against its directory."""
        dataset = self._dataset
        saved = runs.read(self._teacher_dir, TeacherConfig)
        # Training computes them; until then any will do.
        statistics = ((0.5,) * dataset.channels,) * 2
        if saved is not None:
            statistics = saved.config.mean, saved.config.std
        resolved = resolve_teacher(
            config,
            image_size=dataset.image_size,
            channels=dataset.channels,
            num_examples=len(dataset),
            statistics=lambda: statistics,
        )
        if saved is not None:
            resuming.check_same(self._teacher_dir, saved, self._run(resolved))
        return resolved

    def _trace_rounds(self, progress: runner.Progress) -> None:
        """Traces a round of each new algorithm: what cannot work should not cost others' hours."""
        begun = {c.row for c in self.cells if runs.kind_of(self.workdir / c.name) is not None}
        first = {cell.row: cell for cell in self.cells if cell.row not in begun}
        classes, config = self._dataset.num_classes, self._teacher_config
        module = learners.classifier(config, classes)
        like = Classifier(self._run(config), 0, module, self._shapes(config))
        for plan in self._plan(list(first.values()), '').values():
            progress.check()
            learners.classifier(plan.config, classes)
            if isinstance(plan.config, DistillConfig):
                students.count_flops(plan.config, like)

    def _train_teacher(self, asked: TeacherConfig, progress: runner.Progress) -> None:
        """Trains or resumes the teacher, unless it is done."""
        directory, config = self._teacher_dir, self._teacher_config
        record = records.read(directory)
        if record is not None and runner.is_long_enough(record, config) and self.is_scored(record):
            return
        progress.check()
        progress.say(f'Training the teacher in {directory}.')
        result = teachers.train_teacher(asked, directory, dataset=self._dataset, test=self._test)
        record = self._finished(directory, int(result.state.step), None, progress)
        records.write(directory, record)
        progress.say(f'teacher: accuracy {record["metrics"]["accuracy"]:.4f}')

    def _plan(self, cells: Sequence[Cell], digest: str) -> dict[Cell, Plan]:
        """How cells are trained under a teacher with that digest."""
        teacher = Teacher(self._teacher_config, digest, len(self._dataset))
        return {cell: plans.plan(self._settings, cell, teacher) for cell in cells}

    def _run(self, config: TeacherConfig | DistillConfig) -> runs.Run:
        """The run that a configuration describes."""
        dataset = self._dataset
        uses_data = isinstance(config, TeacherConfig) or config.algorithm == 'kd'
        count = len(dataset) if uses_data else 0
        return runs.Run(config, dataset.num_classes, dataset.class_names, count)

    def _shapes(self, config: TeacherConfig | DistillConfig) -> Any:
        """Shapes of the variables of the classifier that a resolved configuration trains."""
        module = learners.classifier(config, self._dataset.num_classes)
        images = jnp.zeros((2, config.image_size, config.image_size, config.channels))
        return jax.eval_shape(lambda key: module.init(key, images, train=False), jax.random.key(0))

    def _finished(
        self, directory: pathlib.Path, step: int, budget: float | None, progress: runner.Progress
    ) -> Record:
        """The record of a run that finished."""
        line = self._evaluation(directory, step, progress)
        return records.finished_record(
            step,
            line.get('seconds'),
            budget=budget,
            metrics={name: line.get(name) for name in ('accuracy', 'flops')},
            about=dict(self._about),
            asked=['accuracy'],
        )

    def _evaluation(
        self, directory: pathlib.Path, step: int, progress: runner.Progress
    ) -> dict[str, Any]:
        """A checkpoint's accuracy on the test part, measured now where training did not."""
        lines = [line for line in score_log.read(directory) if line['step'] == step]
        for line in lines:
            if line['fingerprint'] == self._about['fingerprint']:
                return line
        classifier = classifiers.load(directory, step)
        measure = Accuracy(classifier.module, self._test, classifier.run.config)
        cost = {name: lines[0].get(name) if lines else None for name in ('seconds', 'flops')}
        accuracy = measure(classifier.variables, progress.check)
        return {'step': step, **cost, 'accuracy': accuracy, **measure.about}

    def _result(self, cell: Cell, plan: Plan) -> Result:
        """The result of a student; accuracies on other images do not count."""
        known = records.load(cell, self.workdir, self.is_scored)
        updates = learners.updates_a_round(plan.config)
        known['evaluations'] = [
            {**line, 'updates': line['step'] * updates}
            for line in known['evaluations']
            if line['fingerprint'] == self._about['fingerprint']
        ]
        network = learners.architecture(plan.config)
        return Result(
            **{**known, 'about': self._about},
            image_size=plan.config.image_size,
            network=network,
            parameters=self._parameters[network],
            batch_size=plan.config.batch_size,
            updates_a_round=updates,
            published=plan.published,
        )

    def _result_of_teacher(self, progress: runner.Progress) -> Result:
        teacher, config = self._teacher, self._teacher_config
        line = self._evaluation(self._teacher_dir, teacher.step, progress)
        return Result(
            Cell((TEACHER,), config.seed),
            status='finished',
            step=teacher.step,
            seconds=line.get('seconds'),
            metrics={name: line.get(name) for name in ('accuracy', 'flops')},
            about=self._about,
            network=teacher.architecture,
            parameters=model.num_parameters(teacher.variables['params']),
            batch_size=config.batch_size,
            updates_a_round=learners.updates_a_round(config),
        )
