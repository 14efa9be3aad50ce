r"""Trains and scores a grid of methods, schemes and seeds: the paper's Table 1 and Figure 4.

    python -m experiments.table1 --dataset=digits --methods=dcgan_sym,wgan,lsgan \
        --schemes=one_stage,two_stage --seeds=0,1,2 --width=16 --batch_size=64 --budget=60 \
        --eval_every=200 --workdir=runs/table1

trains 18 cells for 60 s each. With --budget all cells train for as many seconds, so that a faster
scheme makes more steps; with --num_steps they make as many steps. --eval_every adds points to the
curves. The paper's cells on CelebA are

    python -m experiments.table1 --dataset=celeb_a --split=all --seeds=0,1,2,3,4 \
        --inception_weights=fetch --metrics=fid,kid --workdir=runs/celeb_a

with 30 epochs each. The optimiser is Adam unless you name another. --variants compares optimisers:

    python -m experiments.table1 --dataset=digits --methods=dcgan --seeds=0,1 --num_steps=1000 \
        --variants=one_stage:adam,one_stage:optimistic_adam,two_stage:adam --workdir=runs/optimism

With --rates, which goes with --variants, the learning rates of every method and variant are first
chosen from the same pairs of rates of G and D: each pair is trained with another seed and for a
third as long, in WORKDIR/rates, and the pair of the best score is used in the table.

Each cell is a run of experiments.train in WORKDIR/<method>-<scheme>-<seed>, and with --variants in
WORKDIR/<method>-<scheme>-<optimizer>-<seed>.
Every finished cell updates table1.md, table1.csv (a line per cell), figure4.png (the score against
seconds and steps) and samples.png in WORKDIR. Below its table, table1.md compares each variant with
the baseline seed by seed at the end of training and, where --eval_every adds points, at the best
evaluation and in equal seconds. Running the same command again skips finished cells and resumes the
interrupted one. A cell whose losses become NaN or infinite is recorded as failed, the other cells
go on, and the exit code is 1. To train a cell again, remove its directory.

Without --inception_weights the scores come from a classifier trained on the dataset itself. They
are named classifier_fd and so on, because they are not FID.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from experiments import cli
from osgan_jax.engine.config import Config, fill
from osgan_jax.engine.declarations import MAX_SEED, REQUIRED, field
from osgan_jax.gan.config import OPTIMIZERS, SCHEMES, TrainConfig

# What tells cells apart, what a method decides, and what has another flag here.
_NOT_SHARED = (
    *('method', 'scheme', 'seed'),
    *('loss', 'loss_options', 'conditional', 'weight_clip'),
    *('num_samples', 'max_seconds'),
)
_COMPARED = ('one_stage', 'two_stage')
_Shared = cli.without(TrainConfig, _NOT_SHARED)


@dataclasses.dataclass(frozen=True)
class GridConfig(Config):
    """The cells of the grid, and how they are scored."""

    workdir: str = field(REQUIRED, 'directory of the grid; created', path=True)
    methods: tuple[str, ...] = field(
        (),
        'methods (rows of the table); by default all that fit the dataset',
        names='osgan_jax.gan.methods:names',
    )
    schemes: tuple[str, ...] = field(
        (),
        'schemes to compare in each row; by default one_stage and two_stage',
        choices=SCHEMES,
    )
    variants: tuple[str, ...] = field(
        (),
        'variants to compare instead of --schemes, each as scheme:optimizer, such as '
        'one_stage:optimistic_adam; the baseline is the first variant of two_stage, or else the '
        'first; none by default',
        choices=tuple(f'{scheme}:{optimizer}' for scheme in SCHEMES for optimizer in OPTIMIZERS),
    )
    seeds: tuple[int, ...] = field(
        (0, 1, 2),
        'seeds of the runs of each method and scheme',
        at_least=0,
        at_most=MAX_SEED,
    )
    rates: tuple[str, ...] = field(
        (),
        'pairs of learning rates, each as G:D, such as 1e-4:2e-4,2e-4:2e-4, to choose from for '
        'every method and variant; needs --variants; none by default',
    )
    rates_seed: int = field(
        1_000, 'seed of the runs that rates are chosen by', at_least=0, at_most=MAX_SEED
    )
    budget: float | None = field(
        None, 'seconds of training for each cell, instead of --num_steps', at_least=0
    )
    metrics: tuple[str, ...] = field(
        ('fid', 'kid'),
        'scores to compute for each cell',
        group='evaluation',
        names='osgan_jax.evaluation.metrics.registry:names',
    )
    num_samples: int = field(
        10_000, 'images to draw for the scores of a cell', group='evaluation', at_least=2
    )


@cli.command(GridConfig, _Shared)
def main(grid: GridConfig, common: Config) -> int:
    """Runs the grid; returns 0, or raises ValueError if a cell failed."""
    from experiments.studies import runner
    from experiments.table1 import study
    from osgan_jax.evaluation.metrics import registry
    from osgan_jax.gan import trainer

    unknown = [name for name in grid.metrics if name not in registry.names()]
    if unknown or not grid.metrics:
        raise ValueError(f'metrics={unknown}: expected some of {", ".join(registry.names())}')
    shared = TrainConfig(**dataclasses.asdict(common), max_seconds=grid.budget)
    if not grid.variants:
        shared = fill(shared, {'optimizer': 'adam'})  # the paper's, so that schemes are alike
    if grid.schemes and grid.variants:
        raise ValueError(
            '--schemes and --variants exclude each other: --variants already names the schemes'
        )
    for name in ('optimizer', 'optimizer_g', 'optimizer_d') if grid.variants else ():
        if (value := getattr(shared, name)) is not None:
            raise ValueError(f'{name}={value}: --variants names the optimisers; leave this out')
    pairs = _pairs(grid, shared)
    compared = grid.variants or grid.schemes or _COMPARED
    dataset = trainer.open_dataset(shared)
    cells = study.make_cells(grid.methods, compared, grid.seeds, labelled=dataset.num_classes > 1)
    workdir = pathlib.Path(grid.workdir)
    scored = {'metrics': grid.metrics, 'num_samples': grid.num_samples}
    chosen = {}
    if pairs:
        chosen = study.choose_rates(
            cells, pairs, grid.rates_seed, shared, workdir / 'rates', dataset, **scored
        )
    table = study.Table1(cells, shared, workdir, dataset, **scored, rates=chosen)
    advice = (
        'Remove their directories to try them again, with --learning_rate_d or another '
        '--discriminator_norm in another --workdir'
    )
    runner.conclude(table, runner.run(table), study.FILES, advice)
    return 0


def _pairs(grid: GridConfig, shared: TrainConfig) -> list[Any]:
    """The rates to choose from.

    Raises:
      ValueError: for rates that cannot be searched.
    """
    from experiments.studies import runner
    from experiments.table1 import rates

    pairs = [rates.parse(text) for text in grid.rates]
    if not pairs:
        return []
    runner.check_once('rates', pairs)
    if not grid.variants:
        raise ValueError('--rates chooses rates for --variants: give both')
    if grid.rates_seed in grid.seeds:
        raise ValueError(
            f'rates_seed={grid.rates_seed}: rates are chosen with a seed that is not among --seeds'
        )
    for name in ('learning_rate_g', 'learning_rate_d'):
        if getattr(shared, name) is not None:
            raise ValueError(f'--rates and --{name} exclude each other')
    if shared.num_steps is None and grid.budget is None:
        raise ValueError('--rates trains a third as long: give --num_steps or --budget')
    return pairs


if __name__ == '__main__':
    sys.exit(main())
