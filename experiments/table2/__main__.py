r"""Distils a teacher by each algorithm and seed: the paper's Table 2, with the costs.

    python -m experiments.table2 --dataset=digits --teacher_steps=1000 --student_updates=3000 \
        --generator_width=16 --batch_size=64 --seeds=0,1,2 --workdir=runs/table2

trains a LeNet-5 on 32-pixel digits and twelve students of half its width, in about ten minutes on
two CPU cores. The paper's students are

    python -m experiments.table2 --dataset=cifar10 --teacher_network=resnet34 --student=resnet18 \
        --seeds=0 --workdir=runs/cifar10

The rows, --algorithms, are those of experiments.distill (kd, zskt, dfad and one_stage),
one_stage_kl (one-stage training on ZSKT's divergence) and supervised (the student's network trained
on the data with labels alone). All rows share one teacher: the run that --teacher names, or one
that is trained in WORKDIR/teacher.

With --student_updates every student makes as many updates: dfad then makes a fifth as many rounds,
zskt a tenth. With --fraction each makes that share of its published rounds, by default all of them.
Learning rates decay along these rounds. --budget also ends a cell after so many seconds of
training, wherever its schedule then is; --schedule=constant keeps the rates of kd, zskt, dfad and
one_stage constant. Other flags hold for all rows; --recipe=zskt.attention=0, which may be repeated,
holds for one row, or for the teacher.

Each cell is a run of experiments.distill in WORKDIR/<algorithm>-<seed>. Every finished cell updates
table2.md (accuracies beside the paper's; seconds, updates and FLOPs to reach shares of the
teacher's accuracy), table2.csv (a line per cell), figure.png (the accuracy against seconds, updates
and FLOPs) and samples.png (images of the generators) in WORKDIR. Running the same command again
skips finished cells and resumes the interrupted one. A cell whose losses become NaN or infinite is
recorded as failed, the other cells go on, and the exit code is 1. To train a cell again, remove its
directory. Data in files: --dataset=npz --data_dir=train.npz --test_data_dir=test.npz
--test_split=train.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import MAX_SEED, REQUIRED, declarations, field

# What tells cells apart, what is one row's alone, and what has another flag here.
_NOT_SHARED = (
    *('algorithm', 'teacher', 'seed', 'num_steps', 'max_seconds', 'eval_every'),
    *('student_steps', 'generator', 'latent_dim', 'disagreement', 'attention'),
)
_Shared = cli.without(DistillConfig, _NOT_SHARED)
# The teacher takes those over that say where and on what it is trained, not how.
_TEACHERS = (
    *('data_dir', 'split', 'test_split', 'test_data_dir', 'upscale', 'precision'),
    *('labels', 'fit', 'background', 'white_level', 'frames'),
    *('num_workers', 'num_devices', 'steps_per_call', 'log_every', 'save_every', 'keep'),
    *('lock', 'skip_nonfinite', 'deterministic'),
    *('flip', 'crop'),
)
# Its own flags, by what a teacher's configuration calls them.
_OWN = {'teacher_network': 'network', 'teacher_seed': 'seed', 'teacher_steps': 'num_steps'}


@dataclasses.dataclass(frozen=True)
class TableConfig(Config):
    """The cells of the table, and how long each is trained."""

    workdir: str = field(REQUIRED, 'directory of the table; created', path=True)
    algorithms: tuple[str, ...] = field(
        ('kd', 'zskt', 'dfad', 'one_stage'),
        'rows: algorithms of experiments.distill, one_stage_kl and supervised',
    )
    seeds: tuple[int, ...] = field(
        (0, 1, 2), 'seeds of the students of each row', at_least=0, at_most=MAX_SEED
    )
    teacher: str | None = field(
        None,
        'workdir of the teacher, a run of experiments.teacher; by default one is trained in '
        'WORKDIR/teacher',
        path=True,
    )
    student_updates: int | None = field(None, 'updates that every student makes', at_least=1)
    fraction: float | None = field(
        None,
        'share of the published rounds that every student makes, instead of --student_updates; '
        '1 by default',
        above=0,
    )
    budget: float | None = field(
        None, 'seconds of training after which a cell ends; no limit by default', at_least=0
    )
    eval_updates: int | None = field(
        None,
        'updates of a student between evaluations; by default a twentieth of all its updates',
        group='evaluation',
        at_least=1,
    )
    recipe: tuple[str, ...] = field(
        (), 'settings of one row or of the teacher, each as ROW.FIELD=VALUE', repeated=True
    )


@dataclasses.dataclass(frozen=True)
class TrainedTeacherConfig(cli.only(TeacherConfig, ('image_size', 'channels'))):
    """The teacher that is trained, where --teacher names none."""

    teacher_network: str | None = field(
        None,
        "the teacher's architecture; by default resnet34 for colour images, lenet5 for grey ones",
        group='networks',
        names='osgan_jax.networks.classifier_registry:names',
        decided_by='dataset',
    )
    teacher_seed: int = field(0, "the teacher's seed", at_least=0, at_most=MAX_SEED)
    teacher_steps: int | None = field(
        None, "the teacher's updates; 200 epochs by default", at_least=1
    )


@cli.command(TableConfig, TrainedTeacherConfig, _Shared)
def main(asked: TableConfig, trained: TrainedTeacherConfig, common: Config) -> int:
    """Runs the table; returns 0, or raises ValueError if a cell failed."""
    from experiments.studies import runner
    from experiments.table2 import plans, study

    # Only what was given: the data that was not is the teacher's.
    given = {name: getattr(common, name) for name in common.given}
    shared = DistillConfig(**given, max_seconds=asked.budget)
    settings = plans.Settings(
        shared=shared,
        teacher=_teacher(asked.teacher, trained, shared),
        teacher_dir=asked.teacher,
        student_updates=asked.student_updates,
        fraction=asked.fraction,
        eval_updates=asked.eval_updates,
        recipes=plans.parse_recipes(asked.recipe),
    )
    cells = plans.make_cells(asked.algorithms, asked.seeds)
    table = study.Table2(cells, settings, pathlib.Path(asked.workdir))
    advice = (
        'Remove their directories to try them again, with another --recipe in another --workdir'
    )
    runner.conclude(table, runner.run(table), study.FILES, advice)
    return 0


def _teacher(
    workdir: str | None, trained: TrainedTeacherConfig, shared: DistillConfig
) -> TeacherConfig:
    """How the teacher is trained, if there is none yet."""
    values = dataclasses.asdict(trained)
    if workdir is not None:
        defaults = declarations(TrainedTeacherConfig)
        given = [f'--{name}' for name, value in values.items() if value != defaults[name].default]
        if given:
            raise ValueError(f'{", ".join(given)}: the teacher of --teacher is trained already')
        return TeacherConfig()
    if shared.dataset is not None:
        values['dataset'] = shared.dataset
    own = {_OWN.get(name, name): value for name, value in values.items()}
    return TeacherConfig(**own, **{name: getattr(shared, name) for name in _TEACHERS})


if __name__ == '__main__':
    sys.exit(main())
