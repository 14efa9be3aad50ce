"""Distils a teacher in every way, over seeds: the paper's Table 2, with what it costs.

    python -m experiments.table2 --dataset=digits --teacher_steps=1000 --student_updates=3000 \
        --generator_width=16 --batch_size=64 --seeds=0,1,2 --workdir=runs/table2

trains a LeNet-5 on 32-pixel digits and twelve halves of one under it, in about ten minutes on two
CPU cores. The paper's students are

    python -m experiments.table2 --dataset=cifar10 --teacher_network=resnet34 --student=resnet18 \
        --seeds=0 --workdir=runs/cifar10

Rows, --algorithms, are those of experiments.distill: kd, zskt, dfad and one_stage; also
one_stage_kl, one-stage training on ZSKT's divergence, and supervised, the student's network
trained on the data with labels alone. All have one teacher, WORKDIR/teacher or what --teacher
names.

--student_updates makes cells equal in updates of the student: dfad then makes a fifth as many
rounds, zskt a tenth. --fraction has each make that share of its published rounds; the default is
1, all of them. Rates decay along these rounds. --budget ends a cell after so many seconds of
training besides, wherever its schedule then is; --schedule=constant leaves the rates of kd, zskt,
dfad and one_stage alone. Flags of recipes hold for all rows, and --recipe=zskt.attention=0 for one
of them, or for the teacher; it may be repeated.

Each cell is a run in WORKDIR/<algorithm>-<seed>, as experiments.distill makes them. After every
cell WORKDIR has new versions of table2.md (accuracies beside the paper's, and seconds, updates and
FLOPs to reach shares of the teacher's), table2.csv (a line a cell), figure.png (the accuracy
against seconds, updates and FLOPs) and samples.png (what the generators make). Running the same
command again passes over finished cells and resumes the one that was interrupted. A cell whose
losses are no longer finite is recorded as failed and the others go on; the exit code is then 1. To
make a cell anew, remove its directory. Data in files: --dataset=npz --data_dir=train.npz
--test_data_dir=test.npz --test_split=train.
"""

import dataclasses
import pathlib
import typing

from absl import flags

from experiments import cli
from osgan_jax.distillation.config import DistillConfig, TeacherConfig

# What tells cells apart, what is one row's alone, and what has another flag here.
_NOT_SHARED = (
    *('algorithm', 'teacher', 'seed', 'num_steps', 'max_seconds', 'eval_every'),
    *('student_steps', 'generator', 'latent_dim', 'disagreement', 'attention'),
)
_Shared = cli.without(DistillConfig, _NOT_SHARED)
# The teacher takes those over that say where and on what it is trained, not how.
_TEACHERS = (
    *('data_dir', 'split', 'test_split', 'test_data_dir', 'upscale', 'precision'),
    *('num_workers', 'num_devices', 'steps_per_call', 'log_every', 'save_every', 'keep'),
    *('flip', 'crop'),
)

_WORKDIR = flags.DEFINE_string('workdir', None, 'directory of the table; created', required=True)
_ALGORITHMS = flags.DEFINE_list(
    'algorithms', ['kd', 'zskt', 'dfad', 'one_stage'], 'rows; also one_stage_kl, supervised'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'students of each algorithm')
_TEACHER = flags.DEFINE_string(
    'teacher', None, 'workdir of experiments.teacher; default: one is trained in WORKDIR/teacher'
)
_TEACHER_NETWORK = flags.DEFINE_string(
    'teacher_network', None, 'default resnet34 for colour images, lenet5 for grey ones'
)
_TEACHER_SEED = flags.DEFINE_integer(
    'teacher_seed', 0, 'of the teacher that is trained', upper_bound=cli.MOST_SEED
)
_TEACHER_STEPS = flags.DEFINE_integer(
    'teacher_steps', None, 'its updates; default 200 epochs', upper_bound=cli.MOST
)
_IMAGE_SIZE = flags.DEFINE_integer(
    'image_size', None, "pixels; default the dataset's", upper_bound=cli.MOST
)
_CHANNELS = flags.DEFINE_integer(
    'channels', None, "1 or 3; default the dataset's", upper_bound=cli.MOST
)
_STUDENT_UPDATES = flags.DEFINE_integer(
    'student_updates', None, 'that every student makes', upper_bound=cli.MOST
)
_FRACTION = flags.DEFINE_float(
    'fraction', None, 'of its published rounds that every student makes instead; default 1'
)
_BUDGET = flags.DEFINE_float(
    'budget', None, 'seconds of training after which a cell is ended', lower_bound=0.0
)
_EVAL_UPDATES = flags.DEFINE_integer(
    'eval_updates',
    None,
    "student's updates between evaluations; default a twentieth of them all",
    upper_bound=cli.MOST,
)
_RECIPE = flags.DEFINE_multi_string(
    'recipe', [], 'ROW.FIELD=VALUE, a field of one row or of the teacher alone'
)
cli.define_flags(_Shared)


def main() -> int:
    """Runs the table; returns 0, or raises ValueError if a cell failed."""
    from experiments.studies import runner
    from experiments.table2 import plans, study

    seeds = runner.parse_seeds(_SEEDS.value)
    values = dataclasses.asdict(cli.config_from_flags(_Shared))
    settings = plans.Settings(
        shared=DistillConfig(**values, max_seconds=_BUDGET.value),
        teacher=_teacher(values),
        teacher_dir=_TEACHER.value,
        student_updates=_STUDENT_UPDATES.value,
        fraction=_FRACTION.value,
        eval_updates=_EVAL_UPDATES.value,
        recipes=plans.parse_recipes(_RECIPE.value),
    )
    cells = plans.make_cells(_ALGORITHMS.value, seeds)
    table = study.Table2(cells, settings, pathlib.Path(_WORKDIR.value))
    advice = (
        'Remove their directories to try them again, with another --recipe in another --workdir'
    )
    runner.conclude(table, runner.run(table), study.FILES, advice)
    return 0


def _teacher(values: dict[str, typing.Any]) -> TeacherConfig:
    """How the teacher is trained, if there is none yet."""
    own = {
        'network': _TEACHER_NETWORK,
        'seed': _TEACHER_SEED,
        'num_steps': _TEACHER_STEPS,
        'image_size': _IMAGE_SIZE,
        'channels': _CHANNELS,
    }
    if _TEACHER.value is not None:
        given = [f'--{flag.name}' for flag in own.values() if flag.present]
        if given:
            raise ValueError(f'{", ".join(given)}: the teacher of --teacher is trained already')
        return TeacherConfig()
    own = {name: flag.value for name, flag in own.items()}
    if values['dataset'] is not None:
        own['dataset'] = values['dataset']
    return TeacherConfig(**own, **{name: values[name] for name in _TEACHERS})


if __name__ == '__main__':
    cli.run(main)
