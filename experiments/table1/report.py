"""Table 1 from the results of cells: means over seeds, as Markdown and CSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.studies import tables
from experiments.studies.records import Result, by_row, finished
from experiments.studies.tables import Spread
from experiments.table1 import published
from experiments.table1.comparison import Comparison
from experiments.table1.rates import Rates
from osgan_jax.evaluation.metrics import registry
from osgan_jax.gan import methods

_BASE = 'two_stage'  # what the other schemes are compared with, as in the paper
_PAPERS = 'adam'  # the optimiser of its figures


def base(results: Iterable[Result]) -> tuple[str, ...]:
    """The variant that others are compared with: the first of two_stage.

    Without one it is the first of all, where optimisers are compared, else two_stage all the same.
    """
    compared = [result.cell.row[1:] for result in results]
    of_both = [variant for variant in compared if variant[0] == _BASE]
    with_optimizers = [variant for variant in compared if len(variant) > 1]
    return next(iter(of_both or with_optimizers), (_BASE,))


def lower_is_better(score: str) -> bool:
    """Whether a score falls as images improve."""
    metric = registry.of_score(score)
    return metric is not None and metric.direction(score) == 'lower'


def metric_names(results: Iterable[Result]) -> list[str]:
    """Metrics with a column of their own, headline first; what ends in _std has none."""
    names = dict.fromkeys(
        name for result in results for name in result.metrics if not name.endswith('_std')
    )
    return sorted(names, key=lambda name: not name.endswith(('fid', '_fd')))


def headline(results: Sequence[Result]) -> str | None:
    """The metric to draw: the first distance, else the first one; None where there is none."""
    names = metric_names(results)
    return next(filter(lower_is_better, names), names[0] if names else None)


def arrow(value: float | None, base: float | None) -> str:
    """↓ or ↑, the paper's marks for a mean below or above two-stage training's; '' for neither."""
    if value is None or base is None or value == base:
        return ''
    return '↓' if value < base else '↑'


def markdown(
    results: Sequence[Result],
    dataset: str,
    setting: str = '',
    rates: Mapping[tuple[str, ...], Rates] | None = None,
) -> str:
    """The table as Markdown, a line for each method and variant.

    Args:
      results: results of all cells, also those that are missing.
      dataset: its name; the paper's figures are put beside ours where it is one of the paper's.
      setting: a sentence about how the cells were trained.
      rates: the learning rates of each row, where they were chosen for it.
    """
    names, paper = metric_names(results), published.PAPER_TABLE1.get(dataset)
    columns = _columns(results)
    head = [*columns, *names, *(['rates G:D'] if rates else [])]
    head += ['seeds', 'steps', 'seconds']
    head += ['paper FID', 'paper KID'] if paper else []
    lines = [f'# Table 1 on {dataset}', '', *tables.paragraphs(_notes(results, dataset, setting))]
    lines += tables.head(head, len(columns))
    groups, usual = by_row(results), base(results)
    for (method, *variant), group in groups.items():
        rival = groups.get((method, *usual), []) if tuple(variant) != usual else []
        row = [methods.get(method).title, *variant]
        row += [_compared(_over_seeds(group, n), _over_seeds(rival, n), n) for n in names]
        row += [str(rates.get((method, *variant), '-'))] if rates else []
        row += [tables.seeds(group), tables.extent(r.step for r in finished(group))]
        row += [tables.extent(r.seconds for r in finished(group))]
        row += _printed(paper, method, *variant) if paper else []
        lines.append(tables.row(row))
    lines += _real_row(results, names, columns, len(head))
    lines += tables.failures(results)
    if (metric := headline(results)) is not None:
        comparison = Comparison(columns, usual, metric, lower_is_better(metric))
        lines += comparison.markdown(results)
    return '\n'.join(lines) + '\n'


def _columns(results: Sequence[Result]) -> list[str]:
    """Heads of the columns that tell rows apart."""
    names = ['method', 'scheme', 'optimizer', 'rates']
    return names[: max((len(r.cell.row) for r in results), default=2)]


def csv_text(results: Sequence[Result]) -> str:
    """The results as CSV, a line a cell."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    about = ('extractor', 'convention', 'fingerprint', 'num_samples', 'label_policy', 'content')
    return tables.csv_text(
        [*_columns(results), 'seed', 'status', 'step', 'seconds', *names, *about, 'reason'],
        [
            [
                *(*r.cell.row, r.cell.seed, r.status, r.step, r.seconds),
                *(*map(r.metrics.get, names), *map(r.about.get, about), r.reason),
            ]
            for r in results
        ],
    )


def _notes(results: Sequence[Result], dataset: str, setting: str) -> list[str]:
    """Sentences over the table, each a paragraph."""
    notes = [
        tables.cells_note(results, setting),
        'Mean ± sample standard deviation over seeds. As in the paper, ↓ stands where the mean is '
        f'below that of {" ".join(base(results))} and ↑ where it is above; bold is the better '
        'side. The arrow says nothing of chance: compare the difference with the deviations.',
    ]
    about = next((r.about for r in results if r.about), None)
    if about:
        notes.append(
            f'Measured on {about["num_samples"]:,} samples of the last checkpoint against '
            f'{about["num_real"]:,} real images, with the extractor {about["extractor"]} '
            f'({about["convention"]}; {about["fingerprint"][:12]}).{_labels(results)}'
        )
    if about and about.get('halves'):
        notes.append(
            'The last line is what one half of the real images scores against the other: judge a '
            "generator's score by its distance from this line."
        )
    if about and about['extractor'].endswith('classifier'):
        notes.append(
            f'The names that begin with `{about["extractor"]}_` belong to a classifier trained on '
            f'{dataset} itself: they compare these cells with each other, and are neither FID nor '
            'KID.'
        )
    if dataset in published.PAPER_TABLE1:
        notes.append(
            f"The paper's figures are those of its Table 1 for {published.DATASETS[dataset]}: "
            'five runs, 64 pixels, batch 128. Its authors published rates and norms of DCGAN and '
            'WGAN alone (docs/recipes.md).'
        )
    return notes


def _labels(results: Sequence[Result]) -> str:
    """Which labels conditional generators were given, as the end of a paragraph."""
    policies = {r.about['label_policy'] for r in results if r.about.get('label_policy')}
    words = {'data': "with the data's frequencies", 'uniform': 'uniformly'}
    if not policies:
        return ''
    return f' Conditional generators draw labels {" or ".join(map(words.get, sorted(policies)))}.'


def _real_row(
    results: Sequence[Result], names: Sequence[str], columns: Sequence[str], width: int
) -> list[str]:
    """What one half of the real images scores against the other, where it was recorded."""
    halves = next((r.about['halves'] for r in results if r.about.get('halves')), None)
    if halves is None:
        return []
    found = [halves.get(name) for name in names]
    values = ['-' if half is None else f'{half["value"]:.3f}' for half in found]
    counts = {half['count'] for half in found if half is not None}
    row = ['real images', f'halves of {tables.extent(counts)}', *['-'] * (len(columns) - 2)]
    row += values
    return [tables.row(row + ['-'] * (width - len(row)))]


def _over_seeds(group: Iterable[Result], metric: str) -> Spread | None:
    return tables.spread(r.metrics[metric] for r in finished(group) if metric in r.metrics)


def _compared(value: Spread | None, base: Spread | None, metric: str) -> str:
    """A score, in bold where it is better than two-stage training's, with its arrow."""
    if value is None:
        return '-'
    mark = arrow(value.mean, base.mean if base else None)
    if not mark:
        return str(value)
    better = (mark == '↓') == lower_is_better(metric)
    return f'**{value}** ({mark})' if better else f'{value} ({mark})'


def _printed(
    paper: Mapping[str, Any], method: str, scheme: str, optimizer: str = _PAPERS, *_: str
) -> list[str]:
    """The paper's FID and KID as it prints them."""
    scores = paper.get(method, {}).get(scheme)
    if scores is None or optimizer != _PAPERS:
        return ['-', '-']
    rival, texts = paper[method][_BASE], []
    for score, other, digits in zip(scores, rival, (2, 3), strict=True):
        text = f'{score.mean:.{digits}f}±{score.std:.{digits}f}'
        if scheme != _BASE:
            # Means that are printed alike have ↓ in the paper, which knows more digits.
            text += f' ({arrow(score.mean, other.mean) or "↓"})'
        texts.append(text)
    return texts
