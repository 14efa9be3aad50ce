"""What Table 2 compares, and how long each of its cells is trained.

Cells are equal in updates of the student, or each makes the same fraction of its published rounds;
either decides the number of rounds, along which rates decay. A limit in seconds comes on top: it
ends a cell wherever its schedule then is.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from osgan_jax.distillation.config import (
    ALGORITHMS,
    DistillConfig,
    TeacherConfig,
    resolve_student,
    resolve_teacher,
)
from osgan_jax.engine.config import declarations

SUPERVISED = 'supervised'
TEACHER = 'teacher'
# What is no algorithm by itself, but one with other options.
_VARIANTS = {'one_stage_kl': {'algorithm': 'one_stage', 'disagreement': 'kl'}}
NAMES = (*ALGORITHMS, *_VARIANTS, SUPERVISED)
"""Rows of students: the algorithms, one-stage on ZSKT's divergence, and labels alone."""

DATA_FIELDS = ('dataset', 'data_dir', 'split', 'test_split', 'test_data_dir', 'upscale')
# What all cells have in common, and what tells them apart: neither is one row's to set.
FIXED_FIELDS = (
    *DATA_FIELDS,
    *('algorithm', 'teacher', 'student', 'network', 'image_size', 'channels'),
    *('seed', 'num_steps', 'max_seconds', 'eval_every'),
)
_EVALUATIONS = 20


@dataclasses.dataclass(frozen=True)
class Cell:
    """One student."""

    algorithm: str
    seed: int

    @property
    def name(self) -> str:
        """Its directory: dfad-0."""
        return f'{self.algorithm}-{self.seed}'


@dataclasses.dataclass(frozen=True)
class Study:
    """How the teacher and all students are trained.

    Attributes:
      shared: of all students; `max_seconds` ends each. Their dataset, where it is None, is the
        teacher's. The algorithm, the seed, the number of steps and the evaluations are the cells'.
      teacher: how the teacher is trained, where there is none yet.
      teacher_dir: a run of experiments.teacher or experiments.distill to take instead.
      student_updates: that each student makes.
      fraction: of its published rounds that each student makes, instead; 1 if neither is given.
      eval_updates: updates of a student between evaluations; None for a twentieth of them all.
      recipes: fields of a row alone, by its name, `teacher` included.
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
                'give --student_updates or --fraction: cells are equal in updates of the student '
                'or in their share of the published rounds'
            )
        if self.fraction is not None and not 0 < self.fraction < float('inf'):
            raise ValueError(f'fraction={self.fraction}: expected a number above 0')
        for name in ('student_updates', 'eval_updates'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name}={value}: expected a number of at least 1')
        if self.shared.max_seconds is not None and self.eval_updates is None:
            raise ValueError(
                'with --budget nobody knows how many updates a cell will make: give '
                '--eval_updates, the updates of a student between evaluations'
            )
        if self.shared.dataset == 'none':
            raise ValueError('dataset=none: accuracies are measured on data; give --dataset')


@dataclasses.dataclass(frozen=True)
class Taught:
    """What students take over from their teacher, and what they are trained on.

    Attributes:
      config: the teacher's, resolved.
      digest: of its variables; '' before it is trained.
      num_examples: images of the training part.
    """

    config: TeacherConfig | DistillConfig
    digest: str
    num_examples: int


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell and its configuration.

    Attributes:
      cell: which.
      config: resolved; `num_steps` are the rounds that its schedule is made for.
      published: rounds of the published recipe.
    """

    cell: Cell
    config: DistillConfig | TeacherConfig
    published: int

    @property
    def network(self) -> str:
        """The student's architecture."""
        return architecture(self.config)

    @property
    def updates_a_round(self) -> int:
        """Of the student."""
        return _updates_a_round(self.config)


def cells(names: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells in the order they are run: a seed of all algorithms before the next seed.

    Args:
      names: some of `NAMES`.
      seeds: of the students.

    Raises:
      ValueError: for an unknown or repeated name, or none at all.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f'algorithms={name!r}: expected some of {", ".join(NAMES)}')
    for what, values in (('algorithms', names), ('seeds', seeds)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f'{what}={list(values)}: expected at least one, and each once')
    return [Cell(name, seed) for seed in seeds for name in names]


def plan(study: Study, cell: Cell, taught: Taught) -> Planned:
    """A cell's configuration.

    Raises:
      ValueError: for fields that the algorithm refuses.
    """
    named = _supervised if cell.algorithm == SUPERVISED else _student
    # As published first: that is where the number of rounds comes from.
    published = named(study, cell, taught)
    config = _resolve(published, taught)
    updates = study.student_updates
    if updates is None:
        rounds = (1.0 if study.fraction is None else study.fraction) * config.num_steps
    else:
        rounds = updates / _updates_a_round(config)
    rounds = whole(rounds, config.steps_per_call)
    between = rounds / _EVALUATIONS
    if study.eval_updates is not None:
        between = study.eval_updates / _updates_a_round(config)
    limited = dataclasses.replace(
        published,
        num_steps=rounds,
        eval_every=whole(between, config.steps_per_call),
        max_seconds=study.shared.max_seconds,
    )
    return Planned(cell, _resolve(limited, taught), config.num_steps)


def whole(rounds: float, steps_per_call: int) -> int:
    """The nearest number of rounds that calls of so many can make, at least one call."""
    return max(1, round(rounds / steps_per_call)) * steps_per_call


def parse_recipes(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fields of single rows, as a person writes them.

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
        if row not in (TEACHER, *NAMES):
            raise ValueError(f'recipe={text}: expected a row of {", ".join((TEACHER, *NAMES))}')
        kind = TeacherConfig if row in (TEACHER, SUPERVISED) else DistillConfig
        fields = [
            each.name
            for each in declarations(kind).values()
            if each.name not in FIXED_FIELDS and each.flag
        ]
        if name not in fields:
            raise ValueError(f'recipe={text}: expected a field of {", ".join(fields)}')
        try:
            found.setdefault(row, {})[name] = _value(typing.get_type_hints(kind)[name], value)
        except ValueError as error:
            raise ValueError(f'recipe={text}: {error}') from error
    return found


def _student(study: Study, cell: Cell, taught: Taught) -> DistillConfig:
    own = {'algorithm': cell.algorithm, **_VARIANTS.get(cell.algorithm, {})}
    return dataclasses.replace(
        study.shared,
        **own,
        **study.recipes.get(cell.algorithm, {}),
        **data_of(study, taught.config),
        seed=cell.seed,
        num_steps=None,
        eval_every=None,
        max_seconds=None,
    )


def _supervised(study: Study, cell: Cell, taught: Taught) -> TeacherConfig:
    """The student's architecture, trained on data with labels alone."""
    names = {field.name for field in dataclasses.fields(TeacherConfig)}
    common = {
        field.name: getattr(study.shared, field.name)
        for field in dataclasses.fields(DistillConfig)
        if field.name in names and field.name not in FIXED_FIELDS
    }
    # The same inputs as the others have; a person may say otherwise.
    common |= {'mean': taught.config.mean, 'std': taught.config.std}
    common |= study.recipes.get(SUPERVISED, {})
    other = dataclasses.replace(cell, algorithm='one_stage')
    network = architecture(_resolve(_student(study, other, taught), taught))
    config = TeacherConfig(**common, **data_of(study, taught.config), seed=cell.seed)
    return dataclasses.replace(
        config,
        network=network,
        image_size=taught.config.image_size,
        channels=taught.config.channels,
    )


def data_of(study: Study, teacher: TeacherConfig | DistillConfig) -> dict[str, Any]:
    """The data that students are trained and measured on: the study's, or the teacher's."""
    if study.shared.dataset is not None:
        return {name: getattr(study.shared, name) for name in DATA_FIELDS}
    values = {name: getattr(teacher, name) for name in DATA_FIELDS}
    # Where they lie may have changed since.
    moved = {name: getattr(study.shared, name) for name in ('data_dir', 'test_data_dir')}
    return values | {name: value for name, value in moved.items() if value is not None}


def _resolve(config, taught: Taught):
    if isinstance(config, TeacherConfig):
        return resolve_teacher(
            config,
            image_size=config.image_size,
            channels=config.channels,
            num_examples=taught.num_examples,
            statistics=lambda: (config.mean, config.std),
        )
    return resolve_student(
        config,
        network=architecture(taught.config),
        teacher=taught.config,
        num_examples=taught.num_examples if config.algorithm == 'kd' else 0,
        digest=taught.digest,
    )


def architecture(config: DistillConfig | TeacherConfig) -> str:
    """What a resolved configuration trains."""
    return config.student if isinstance(config, DistillConfig) else config.network


def _updates_a_round(config: DistillConfig | TeacherConfig) -> int:
    return config.student_steps if isinstance(config, DistillConfig) else 1


def _value(hint: Any, text: str) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    # Of `tuple[float, ...]` the arguments are no alternatives.
    kind = kinds[0] if kinds and typing.get_origin(hint) is not tuple else hint
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(item(part) for part in text.split(','))
    if kind is bool:
        if text not in ('true', 'false'):
            raise ValueError(f'expected true or false, got {text!r}')
        return text == 'true'
    return kind(text)
