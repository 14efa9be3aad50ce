"""The configurations of Table 2's cells.

Cells are equal in updates of the student, or each makes the same fraction of its published rounds;
either decides the number of rounds, along which rates decay. A limit in seconds comes on top: it
ends a cell wherever its schedule then is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies import runner
from experiments.studies.records import Cell
from osgan_jax.distillation import learners
from osgan_jax.distillation.config import (
    ALGORITHMS,
    DATA_FIELDS,
    DistillConfig,
    TeacherConfig,
    resolve_student,
    resolve_teacher,
)
from osgan_jax.engine import adoption
from osgan_jax.engine.declarations import Declaration, declarations

SUPERVISED = 'supervised'
TEACHER = 'teacher'
# Rows that are an algorithm with other options.
_VARIANTS = {'one_stage_kl': {'algorithm': 'one_stage', 'disagreement': 'kl'}}
ROWS = (*ALGORITHMS, *_VARIANTS, SUPERVISED)
"""Rows of students: the algorithms, one-stage on ZSKT's divergence, and labels alone."""

# Fields that all cells share or that tell them apart: a row cannot set them.
FIXED_FIELDS = (
    *DATA_FIELDS,
    *('algorithm', 'teacher', 'student', 'network', 'image_size', 'channels'),
    *('seed', 'num_steps', 'max_seconds', 'eval_every'),
)
_EVALUATIONS = 20


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the teacher and all students are trained.

    Attributes:
      shared: what all students are trained with; `max_seconds` ends each. A dataset of None is the
        teacher's. Cells set the algorithm, the seed, the number of steps and the evaluations.
      teacher: how the teacher is trained, where there is none yet.
      teacher_dir: a run of experiments.teacher or experiments.distill to take instead.
      student_updates: updates that each student makes.
      fraction: share of its published rounds that each makes instead; 1 if neither is given.
      eval_updates: updates of a student between evaluations; None for a twentieth of them all.
      recipes: fields that hold for one row, by its name, `teacher` included.
    """

    shared: DistillConfig
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    teacher_dir: str | None = None
    student_updates: int | None = None
    fraction: float | None = None
    eval_updates: int | None = None
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.student_updates is not None and self.fraction is not None:
            raise ValueError(
                '--student_updates and --fraction exclude each other: all cells have equal '
                'updates of the student, or equal shares of the published rounds'
            )
        if self.shared.max_seconds is not None and self.eval_updates is None:
            raise ValueError(
                'with --budget the number of updates of a cell is not known in advance: give '
                '--eval_updates, the updates of a student between evaluations'
            )
        if self.shared.dataset == 'none':
            raise ValueError('dataset=none: accuracies are measured on data; give --dataset')


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The facts of a teacher that its students need.

    Attributes:
      config: the teacher's resolved configuration.
      digest: digest of its variables; '' before it is trained.
      num_examples: images of the training part.
    """

    config: TeacherConfig | DistillConfig
    digest: str
    num_examples: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a cell is trained.

    Attributes:
      config: resolved; `num_steps` are the rounds that its schedule is made for.
      published: rounds of the published recipe.
    """

    config: DistillConfig | TeacherConfig
    published: int


def make_cells(names: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells in the order they are run, see `runner.make_cells`.

    Args:
      names: some of `ROWS`.
      seeds: seeds of the students.

    Raises:
      ValueError: for an unknown or repeated name, or none at all.
    """
    for name in names:
        if name not in ROWS:
            raise ValueError(f'algorithms={name!r}: expected some of {", ".join(ROWS)}')
    runner.check_once('algorithms', names)
    return runner.make_cells([(name,) for name in names], seeds)


def plan(settings: Settings, cell: Cell, teacher: Teacher) -> Plan:
    """A cell's configuration.

    Raises:
      ValueError: for fields that the algorithm refuses.
    """
    (name,) = cell.row
    # As published first: the number of rounds follows from that.
    if name == SUPERVISED:
        published = _supervised(settings, cell.seed, teacher)
    else:
        published = _student(settings, name, cell.seed, teacher)
    config = _resolve(published, teacher)
    updates = settings.student_updates
    if updates is None:
        rounds = (1.0 if settings.fraction is None else settings.fraction) * config.num_steps
    else:
        rounds = updates / learners.updates_a_round(config)
    rounds = whole(rounds, config.steps_per_call)
    between = rounds / _EVALUATIONS
    if settings.eval_updates is not None:
        between = settings.eval_updates / learners.updates_a_round(config)
    limited = dataclasses.replace(
        published,
        num_steps=rounds,
        eval_every=whole(between, config.steps_per_call),
        max_seconds=settings.shared.max_seconds,
    )
    return Plan(_resolve(limited, teacher), config.num_steps)


def whole(rounds: float, steps_per_call: int) -> int:
    """The nearest number of rounds that calls of so many can make, at least one call."""
    return max(1, round(rounds / steps_per_call)) * steps_per_call


def parse_recipes(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The values of --recipe: fields of single rows.

    Args:
      texts: such as `zskt.attention=0` or `teacher.decay_at=0.5,0.75`.

    Returns:
      Values by row and field.

    Raises:
      ValueError: for a row or field that does not exist or is not a row's to set, or a value that
        the field cannot have.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition('=')
        row, dot, name = place.partition('.')
        if not (equals and dot and value):
            raise ValueError(f'recipe={text}: expected ROW.FIELD=VALUE, such as zskt.attention=0')
        if row not in (TEACHER, *ROWS):
            raise ValueError(f'recipe={text}: expected a row of {", ".join((TEACHER, *ROWS))}')
        kind = TeacherConfig if row in (TEACHER, SUPERVISED) else DistillConfig
        fields = {
            field: declaration
            for field, declaration in declarations(kind).items()
            if field not in (*FIXED_FIELDS, *_VARIANTS.get(row, ())) and declaration.flag
        }
        if name not in fields:
            raise ValueError(f'recipe={text}: expected a field of {", ".join(fields)}')
        try:
            found.setdefault(row, {})[name] = _value(fields[name], value)
        except ValueError as error:
            raise ValueError(f'recipe={text}: {error}') from error
    return found


def _student(settings: Settings, name: str, seed: int, teacher: Teacher) -> DistillConfig:
    return dataclasses.replace(
        settings.shared,
        **{'algorithm': name, **_VARIANTS.get(name, {})},
        **settings.recipes.get(name, {}),
        **data_of(settings, teacher.config),
        seed=seed,
        num_steps=None,
        eval_every=None,
        max_seconds=None,
    )


def _supervised(settings: Settings, seed: int, teacher: Teacher) -> TeacherConfig:
    """The student's architecture, trained on data with labels alone."""
    fields = {field.name for field in dataclasses.fields(TeacherConfig)}
    common = {
        field.name: getattr(settings.shared, field.name)
        for field in dataclasses.fields(DistillConfig)
        if field.name in fields and field.name not in FIXED_FIELDS
    }
    # The same inputs as the others have, unless a recipe says otherwise.
    common |= {'mean': teacher.config.mean, 'std': teacher.config.std}
    common |= settings.recipes.get(SUPERVISED, {})
    student = _resolve(_student(settings, 'one_stage', seed, teacher), teacher)
    return TeacherConfig(
        **common,
        **data_of(settings, teacher.config),
        seed=seed,
        network=student.student,
        image_size=teacher.config.image_size,
        channels=teacher.config.channels,
    )


def data_of(settings: Settings, teacher: TeacherConfig | DistillConfig) -> dict[str, Any]:
    """The data that students are trained and measured on: the study's, or the teacher's."""
    shared = settings.shared
    own = set(DATA_FIELDS) if shared.dataset is not None else adoption.asked_for(shared)
    return {name: getattr(shared if name in own else teacher, name) for name in DATA_FIELDS}


def _resolve(config, teacher: Teacher):
    if isinstance(config, TeacherConfig):
        return resolve_teacher(
            config,
            image_size=config.image_size,
            channels=config.channels,
            num_examples=teacher.num_examples,
            statistics=lambda: (config.mean, config.std),
        )
    return resolve_student(
        config,
        network=learners.architecture(teacher.config),
        teacher=teacher.config,
        num_examples=teacher.num_examples if config.algorithm == 'kd' else 0,
        digest=teacher.digest,
    )


def _value(declaration: Declaration, text: str) -> Any:
    if declaration.many:
        return tuple(map(declaration.kind, text.split(',')))
    if declaration.kind is bool:
        if text not in ('true', 'false'):
            raise ValueError(f'expected true or false, got {text!r}')
        return text == 'true'
    return declaration.kind(text)
