"""Table 1: a GAN of each method, scheme and seed, scored at its end."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies import records, runner
from experiments.studies.records import Cell, Record, Result
from experiments.table1 import figures, rates, report
from experiments.table1.rates import Rates
from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.engine import messages, runs
from osgan_jax.evaluation import evaluators, score_log, score_plot
from osgan_jax.gan import methods, model, trainer
from osgan_jax.gan.config import SCHEMES, TrainConfig
from osgan_jax.reporting import timing

FILES = ('table1.md', 'table1.csv', 'figure4.png', 'samples.png')
_SEED = 0  # of the latents that cells are scored on
# With a budget of seconds, time ends a cell and not the number of its steps.
_NO_END = 10**9


def make_cells(
    names: Sequence[str], schemes: Sequence[str], seeds: Sequence[int], *, labelled: bool = True
) -> list[Cell]:
    """The cells in the order they are run, see `runner.make_cells`.

    Args:
      names: methods; empty means all that the dataset can have.
      schemes: what to compare, see `osgan_jax.gan.config.SCHEMES`; or scheme:optimizer.
      seeds: seeds of the runs.
      labelled: whether the dataset has labels; conditional methods need them.

    Raises:
      ValueError: for an unknown or repeated name, or none at all.
    """
    if not names:
        names = [n for n, method in methods.TABLE1.items() if labelled or not method.conditional]
    for name in names:
        methods.get(name)
    for scheme in schemes:
        if scheme.split(':')[0] not in SCHEMES:
            raise ValueError(f'schemes={scheme!r}: expected some of {", ".join(SCHEMES)}')
    runner.check_once('methods', names)
    runner.check_once('schemes', schemes)
    rows = [(name, *scheme.split(':')) for name in names for scheme in schemes]
    return runner.make_cells(rows, seeds)


def configure(shared: TrainConfig, cell: Cell, rates: Rates | None = None) -> TrainConfig:
    """A cell's configuration: what all share, and its own method, scheme, optimiser and seed.

    Args:
      shared: what all cells share.
      cell: the cell.
      rates: its learning rates; `shared`'s by default.

    Raises:
      ValueError: if `shared` limits both steps and seconds.
    """
    if shared.max_seconds is not None and shared.num_steps is not None:
        raise ValueError('give --budget or --num_steps: cells are equal in seconds or in steps')
    method, scheme, *optimizer = cell.row
    num_steps = shared.num_steps
    if shared.max_seconds is not None:
        num_steps = _NO_END - _NO_END % shared.steps_per_call
    own = {'optimizer': optimizer[0]} if optimizer else {}
    if rates is not None:
        own |= {'learning_rate_g': rates.g, 'learning_rate_d': rates.d}
    return dataclasses.replace(
        shared, method=method, scheme=scheme, seed=cell.seed, num_steps=num_steps, **own
    )


class Table1(runner.Study):
    """The study of methods and schemes."""

    def __init__(
        self,
        cells: Sequence[Cell],
        shared: TrainConfig,
        workdir: pathlib.Path,
        dataset: data.Dataset,
        *,
        metrics: Sequence[str] = ('fid',),
        num_samples: int = 10_000,
        rates: Mapping[tuple[str, ...], Rates] | None = None,
    ):
        """Defines the study.

        Args:
          cells: from `make_cells`.
          shared: what all cells are trained with; `max_seconds` makes them equal in seconds.
          workdir: the study's directory.
          dataset: opened with `shared`'s fields.
          metrics: names in `osgan_jax.evaluation.metrics.registry`.
          num_samples: generated images that a cell is scored on.
          rates: learning rates of each row; `shared`'s by default.
        """
        self.cells, self.workdir = cells, workdir
        self._shared, self._dataset = shared, dataset
        self._rates = dict(rates or {})
        self._warned = False
        self._content = identity.identify(dataset)['content']
        self._metrics, self._num_samples = list(metrics), num_samples
        # All of them before the first is trained: a cell that cannot work should not cost hours.
        self._runs = {cell: self._open(cell) for cell in cells}

    def prepare(self, progress: runner.Progress) -> dict[Cell, TrainConfig]:
        """Prepares the extractor; a classifier may have to be trained first."""
        progress.current = 'preparing the extractor'
        self._extractor = evaluators.extractor_for(
            self._dataset,
            inception_weights=self._shared.inception_weights,
            dinov2_weights=self._shared.dinov2_weights,
            progress=messages.Countdown(
                'Training a classifier to score by, {} steps', progress.check
            ),
            warn=messages.warn,
            convention=self._shared.convention,
            classifier=self._shared.classifier,
        )
        return {cell: run.config for cell, run in self._runs.items()}

    def is_scored(self, record: Record) -> bool:
        """Whether the metrics were measured as asked for."""
        about = record['about']
        asked = {
            'fingerprint': self._extractor.fingerprint,
            'content': self._content,
            'num_samples': self._num_samples,
            'seed': _SEED,
        }
        same = all(about.get(name) == value for name, value in asked.items())
        same &= about.get('label_policy') in (None, self._shared.label_policy)
        return same and set(self._metrics) <= set(record['asked'])

    def train(self, cell: Cell, progress: runner.Progress) -> Record:
        """Trains or resumes a GAN and evaluates it."""
        directory, run = self.workdir / cell.name, self._runs[cell]
        # Refuses what it cannot score, and reads all real images, before hours of training.
        evaluator = evaluators.Evaluator(
            model.build(
                run.config, num_classes=run.num_classes, steps_per_epoch=run.steps_per_epoch
            ),
            self._dataset,
            self._extractor,
            metrics=self._metrics,
            num_samples=self._num_samples,
            seed=_SEED,
            label_policy=self._shared.label_policy,
            warn=messages.warn,
            real_progress=messages.Countdown('Reading {} real images', progress.check),
        )
        if evaluator.few and not self._warned:
            messages.warn(f'{evaluator.few}.')
            self._warned = True
        result = trainer.train(self._configure(cell), directory, dataset=self._dataset)
        step = int(result.state.step)
        seconds = timing.seconds_until(directory, step)
        values = evaluator(result.state.sampling_variables(), progress.check)
        score_log.write(directory, evaluator.entry(step, seconds, values))
        score_plot.draw(directory)
        return records.finished_record(
            step,
            seconds,
            budget=run.config.max_seconds,
            metrics=values,
            about={**evaluator.about, 'halves': evaluator.halves},
            asked=self._metrics,
        )

    def describe(self, record: Record) -> str:
        """The step and the scores."""
        names = [name for name in record['metrics'] if not name.endswith('_std')]
        scores = [f'{name} {record["metrics"][name]:.4g}' for name in names]
        return ', '.join([f'step {record["step"]:,}', *scores])

    def tabulate(self) -> list[Result]:
        """Writes table1.md, table1.csv, figure4.png and samples.png."""
        results = [
            Result(
                **records.load(cell, self.workdir, self.is_scored),
                image_size=self._dataset.image_size,
            )
            for cell in self.cells
        ]
        setting = _setting([run.config for run in self._runs.values()])
        dataset = self._dataset.name
        texts = (report.markdown(results, dataset, setting, self._rates), report.csv_text(results))
        runner.write_texts(self.workdir, dict(zip(FILES, texts, strict=False)))
        figures.save_figure(results, self.workdir / 'figure4.png', dataset)
        figures.save_samples(results, self.workdir / 'samples.png')
        return results

    def _open(self, cell: Cell) -> runs.Run:
        """A cell's run, checked against what its directory holds."""
        directory = self.workdir / cell.name
        run = trainer.GANJob(self._configure(cell), directory, self._dataset).open()
        config = run.config
        if config.max_seconds is not None and config.schedule_steps == config.num_steps:
            raise ValueError(
                f'{cell.name}: --schedule={config.schedule} falls over the number of steps, which '
                '--budget leaves open: give --schedule_steps, --schedule=constant, or --num_steps '
                'instead of --budget'
            )
        runner.check_saved(directory, run)
        return run

    def _configure(self, cell: Cell) -> TrainConfig:
        return configure(self._shared, cell, self._rates.get(cell.row))


def choose_rates(
    cells: Sequence[Cell],
    pairs: Sequence[Rates],
    seed: int,
    shared: TrainConfig,
    workdir: pathlib.Path,
    dataset: data.Dataset,
    **scored: Any,
) -> dict[tuple[str, ...], Rates]:
    """Chooses the rates of each row by runs of a third of the length, all of one seed.

    Args:
      cells: cells of the table.
      pairs: what to choose from.
      seed: seed of these runs.
      shared: what the table's cells are trained with.
      workdir: the directory of these runs, with tables of their own.
      dataset: as for `Table1`.
      **scored: `metrics` and `num_samples`, as for `Table1`.

    Raises:
      ValueError: if every pair of rates failed for a row.
    """
    grid = rates.spread_out(dict.fromkeys(cell.row for cell in cells), pairs)
    if shared.max_seconds is not None:
        third = {'max_seconds': shared.max_seconds / 3}
    else:
        steps = shared.num_steps // 3
        third = {'num_steps': max(steps - steps % shared.steps_per_call, shared.steps_per_call)}
    search = Table1(
        runner.make_cells(list(grid), [seed]),
        dataclasses.replace(shared, eval_every=None, **third),
        workdir,
        dataset,
        rates=grid,
        **scored,
    )
    results = runner.run(search)
    metric = report.headline(results)
    if metric is None:
        raise ValueError(f'no cell of {workdir} has a score to choose rates by')
    chosen = rates.choose(results, grid, metric, lower=report.lower_is_better(metric))
    for row, pair in chosen.items():
        print(
            f'{" ".join(row)}: rates G:D {pair}, the best of {len(pairs)} by {metric}', flush=True
        )
    return chosen


def _setting(resolved: Sequence[TrainConfig]) -> str:
    """How the cells were trained: what all of them share."""
    config = resolved[0]
    budget = config.max_seconds
    length = f'{config.num_steps:,} steps' if budget is None else f'{budget:g} s of training'
    width = '' if config.width is None else f', width {config.width}'
    d_steps = {c.d_steps for c in resolved}
    of_d = ', D steps of each method'
    if len(d_steps) == 1:
        of_d = f', {config.d_steps} D steps' if config.d_steps > 1 else ''
    rates = {(c.learning_rate_g, c.learning_rate_d) for c in resolved}
    text = 'rates of each method and scheme'
    if len(rates) == 1:
        text = f'rates G {config.learning_rate_g:g}, D {config.learning_rate_d:g}'
    return (
        f'Each: {length}, batch {config.batch_size}{of_d}, {config.network} of {config.image_size} '
        f'pixels{width}, {config.precision}, {text}.'
    )
