"""The cells of a table: each a training run in a directory of its own, evaluated at its end.

A cell is one method, one scheme and one seed in `workdir/<method>-<scheme>-<seed>`. Whatever
interrupts the grid, the same call goes on: finished cells are passed over, one that was training
resumes at its last checkpoint.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.studies import records, stopping
from experiments.table1 import figures, summary
from experiments.table1.summary import Result
from osgan_jax import data, reporting
from osgan_jax.engine import runs
from osgan_jax.evaluation.features import extractors
from osgan_jax.gan import methods, model, trainer
from osgan_jax.gan.config import SCHEMES, TrainConfig
from osgan_jax.io import atomic

# With a budget of seconds, time is to end a cell and not the number of its steps.
_NO_END = 10**9


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    scheme: str
    seed: int

    @property
    def name(self) -> str:
        """Its directory: lsgan-one_stage-0."""
        return f'{self.method}-{self.scheme}-{self.seed}'


def cells(
    names: Sequence[str], schemes: Sequence[str], seeds: Sequence[int], *, labelled: bool = True
) -> list[Cell]:
    """The grid's cells in the order they are run: a seed of all methods before the next seed.

    So a grid that is interrupted compares all it was to compare, on fewer seeds.

    Args:
      names: methods; empty means all that the dataset can have.
      schemes: see `osgan_jax.gan.config.SCHEMES`.
      seeds: of the runs.
      labelled: whether the dataset has labels; without, all methods are all but conditional ones.

    Raises:
      ValueError: for an unknown or repeated name, or none at all.
    """
    if not names:
        names = [n for n, method in methods.METHODS.items() if labelled or not method.conditional]
    for name in names:
        methods.get(name)
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise ValueError(f'schemes={scheme!r}: expected some of {", ".join(SCHEMES)}')
    for what, values in (('methods', names), ('schemes', schemes), ('seeds', seeds)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f'{what}={list(values)}: expected at least one, and each once')
    return [Cell(m, scheme, seed) for seed in seeds for m in names for scheme in schemes]


def configure(shared: TrainConfig, cell: Cell) -> TrainConfig:
    """A cell's configuration: what all share, and its own method, scheme and seed.

    Raises:
      ValueError: if `shared` limits both steps and seconds.
    """
    if shared.max_seconds is not None and shared.num_steps is not None:
        raise ValueError('give --budget or --num_steps: cells are equal in seconds or in steps')
    own = dataclasses.asdict(cell)
    if shared.max_seconds is not None:
        own['num_steps'] = _NO_END - _NO_END % shared.steps_per_call
    return dataclasses.replace(shared, **own)


def run(
    grid: Sequence[Cell],
    shared: TrainConfig,
    workdir: str | os.PathLike[str],
    scoring: records.Scoring,
    *,
    dataset: data.Dataset,
    say: Callable[[str], None] = print,
) -> list[Result]:
    """Trains and evaluates what is left of a grid; tables are written anew after every cell.

    A cell whose run is no longer finite is recorded as failed, and the others go on.

    Args:
      grid: from `cells`.
      shared: what all cells are trained with; `max_seconds` makes them equal in seconds.
      workdir: the grid's directory.
      scoring: how they are evaluated.
      dataset: opened with `shared`'s fields.
      say: called with a line after every cell.

    Returns:
      What is known of every cell, in the order of `grid`.

    Raises:
      ValueError: for cells that cannot be trained, or that were trained with another configuration.
      osgan_jax.gan.trainer.Stopped: after SIGINT or SIGTERM; calling again goes on.
    """
    workdir = pathlib.Path(workdir)
    # All of them before the first is trained: what cannot work should not cost hours.
    resolved = {cell: _resolve(shared, cell, workdir, dataset) for cell in grid}
    current = 'preparing the extractor'
    done = trained = 0
    with stopping.stoppable(lambda: f'{current}, {done} of {len(grid)} cells done'):
        extractor = _extractor(shared, dataset, say)

        def tabulate() -> list[Result]:
            results = collect(grid, workdir, extractor, scoring)
            write(workdir, results, dataset.name, _setting(list(resolved.values())))
            return results

        waiting = [
            cell
            for cell in grid
            if not records.is_done(workdir / cell.name, resolved[cell], extractor, scoring)
        ]
        if waiting:
            # Refuses what it cannot score, and reads all real images, before hours of training.
            _evaluator(resolved[waiting[0]], dataset, extractor, scoring)
        began = time.monotonic()
        for done, cell in enumerate(grid):
            if cell not in waiting:
                continue
            current = cell.name
            directory = workdir / cell.name
            record = _train(cell, shared, resolved[cell], directory, dataset, extractor, scoring)
            records.write(directory, record)
            trained += 1
            tabulate()
            rest = len(waiting) - trained
            seconds = (time.monotonic() - began) / trained * rest
            say(_line(done + 1, len(grid), cell, record, seconds if rest else None))
        done, current = len(grid), 'writing tables'
        results = tabulate()
    return results


def write(
    workdir: str | os.PathLike[str], results: Sequence[Result], dataset: str, setting: str = ''
) -> str:
    """Writes table1.md, table1.csv, figure4.png and samples.png, each whole.

    Returns:
      The Markdown.
    """
    workdir = pathlib.Path(workdir)
    text = summary.markdown(results, dataset, setting)
    for name, content in (('table1.md', text), ('table1.csv', summary.csv_text(results))):
        with atomic.replacing(workdir / name) as file:
            file.write(content.encode())
    figures.save_figure(results, workdir / 'figure4.png', dataset)
    figures.save_samples(results, workdir / 'samples.png')
    return text


def collect(
    grid: Sequence[Cell],
    workdir: str | os.PathLike[str],
    extractor: extractors.Extractor,
    scoring: records.Scoring,
) -> list[Result]:
    """Reads what is known of every cell; scores made otherwise than asked for count as missing."""
    from osgan_jax.evaluation import score_log

    results = []
    for cell in grid:
        directory = pathlib.Path(workdir) / cell.name
        record, saved = records.read(directory), runs.read(directory)
        known: dict[str, Any] = {}
        if record is not None:
            known = {key: record[key] for key in ('reason', 'step', 'seconds')}
            if record['status'] == 'failed':
                known['status'] = 'failed'
            elif records.is_scored(record, extractor, scoring):
                known |= {'status': 'finished', 'metrics': record['metrics']}
                known['about'] = record['about']
        grids = sorted((directory / 'samples').glob('step_*.png'))
        results.append(
            Result(
                **dataclasses.asdict(cell),
                **known,
                evaluations=score_log.read(directory) if directory.is_dir() else (),
                samples=grids[-1] if grids else None,
                image_size=saved.config.image_size if saved else None,
            )
        )
    return results


def _resolve(
    shared: TrainConfig, cell: Cell, workdir: pathlib.Path, dataset: data.Dataset
) -> TrainConfig:
    """A cell's resolved configuration, checked against what its directory holds."""
    config = methods.resolve(
        configure(shared, cell),
        image_size=dataset.image_size,
        channels=dataset.channels,
        num_classes=dataset.num_classes,
        num_examples=len(dataset),
    )
    directory = workdir / cell.name
    saved = runs.read(directory)
    if saved is not None:
        runs.check_same(directory, saved, _run(config, dataset))
    record = records.read(directory)
    if record is not None and record['status'] == 'finished':
        budget, before = config.max_seconds, record['budget'] or record['seconds'] or 0.0
        longer = config.num_steps < record['step'] if budget is None else budget < before
        if longer:
            raise ValueError(
                f'{directory} was trained for {record["step"]} steps and {before:g} s, longer than '
                'asked for now: give at least that much, or another --workdir'
            )
    return config


def _run(config: TrainConfig, dataset: data.Dataset) -> runs.Run:
    return runs.Run(config, dataset.num_classes, dataset.class_names, len(dataset))


def _train(
    cell: Cell,
    shared: TrainConfig,
    config: TrainConfig,
    directory: pathlib.Path,
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    scoring: records.Scoring,
) -> dict[str, Any]:
    """Trains or resumes a cell and evaluates it; returns its record."""
    from osgan_jax.evaluation import score_log

    empty = {'step': None, 'seconds': None, 'metrics': {}, 'about': {}, 'asked': []}
    try:
        result = trainer.train(configure(shared, cell), directory, dataset=dataset)
    except trainer.NonFiniteError as error:
        # The first sentence says what and when; the rest is advice for a single run.
        reason = str(error).split('. ')[0].rstrip('.')
        return {'status': 'failed', 'reason': reason, 'budget': config.max_seconds, **empty}
    step = int(result.state.step)
    seconds = _seconds(directory, step)
    evaluator = _evaluator(config, dataset, extractor, scoring)
    values = evaluator(result.state.sampling_variables())
    entry = {'step': step, 'seconds': seconds, **values, **evaluator.about}
    score_log.write(directory, entry)
    score_log.plot(directory)
    return {
        'status': 'finished',
        'reason': '',
        'budget': config.max_seconds,
        'step': step,
        'seconds': seconds,
        'metrics': values,
        'about': evaluator.about,
        'asked': list(scoring.metrics),
    }


def _extractor(
    shared: TrainConfig, dataset: data.Dataset, say: Callable[[str], None]
) -> extractors.Extractor:
    from osgan_jax.evaluation import evaluators

    def progress(done: int, total: int) -> None:
        if done == 1:
            say(f'Training the classifier that scores samples of {dataset.name}: {total:,} steps.')

    return evaluators.extractor_for(
        dataset,
        inception_weights=shared.inception_weights,
        progress=progress,
        warn=_warn,
        convention=shared.convention,
    )


def _evaluator(
    config: TrainConfig,
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    scoring: records.Scoring,
):
    from osgan_jax.evaluation import evaluators

    gan = model.build(
        config,
        num_classes=dataset.num_classes,
        steps_per_epoch=_run(config, dataset).steps_per_epoch,
    )
    return evaluators.evaluator(
        gan,
        dataset,
        extractor,
        metrics=scoring.metrics,
        num_samples=scoring.num_samples,
        seed=scoring.seed,
        warn=_warn,
    )


def _seconds(directory: pathlib.Path, step: int) -> float | None:
    """Seconds of training up to a step; the log's last line may be some steps older."""
    columns = reporting.metrics_log.read(directory / 'timing.jsonl')
    if not len(columns['step']):
        return None
    logged, seconds = int(columns['step'][-1]), float(columns['seconds'][-1])
    return round(seconds * step / logged, 3)


def _setting(resolved: Sequence[TrainConfig]) -> str:
    """How the cells were trained: what all of them share."""
    config = resolved[0]
    budget = config.max_seconds
    length = f'{config.num_steps:,} steps' if budget is None else f'{budget:g} s of training'
    width = '' if config.width is None else f', width {config.width}'
    rates = {(c.learning_rate_g, c.learning_rate_d) for c in resolved}
    text = 'rates of each method and scheme'
    if len(rates) == 1:
        text = f'rates G {config.learning_rate_g:g}, D {config.learning_rate_d:g}'
    return (
        f'Each: {length}, batch {config.batch_size}, {config.network} of {config.image_size} '
        f'pixels{width}, {config.precision}, {text}.'
    )


def _line(done: int, total: int, cell: Cell, record: dict[str, Any], left: float | None) -> str:
    text = f'cell {done} of {total}: {cell.name} '
    if record['status'] == 'failed':
        text += f'failed: {record["reason"]}'
    else:
        names = [name for name in record['metrics'] if not name.endswith('_std')]
        scores = [f'{name} {record["metrics"][name]:.4g}' for name in names]
        text += ', '.join([f'step {record["step"]:,}', *scores])
    if left is not None:
        text += f'; about {reporting.progress.duration(left)} left'
    return text


def _warn(message: str) -> None:
    print(f'warning: {message}', flush=True)
