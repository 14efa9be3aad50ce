"""The plot of a run's scores: evaluations.png, a panel a metric."""

import math
import os
import pathlib
from typing import Any

from osgan_jax.evaluation import score_log, score_text
from osgan_jax.reporting import figures

FILE = 'evaluations.png'

Entry = dict[str, Any]
# Facts that tell two series apart, in words.
_WORDS = {
    'dataset': '{}',
    'split': '{}',
    'content': 'images {:.6}',
    'num_real': '{:,} real',
    'extractor': '{}',
    'convention': '{}',
    'learner': '{}',
    'fingerprint': 'features {:.6}',
    'label_policy': 'labels {}',
    'seed': 'seed {}',
}


def draw(workdir: str | os.PathLike[str]) -> pathlib.Path | None:
    """Draws the scores of a run; returns None where there are none.

    Scores of several checkpoints are drawn against the step, those of one as a dot in a row. A
    dashed line is what one half of the real images scores against the other. Scores that are not
    finite are only written.
    """
    entries = score_log.read(workdir)
    names = list(dict.fromkeys(name for e in entries for name in score_log.metric_names(e)))
    if not names:
        return None
    panels = {name: _series([entry for entry in entries if name in entry]) for name in names}
    draw_panels = _rows if len({entry['step'] for entry in entries}) == 1 else _curves
    figure = draw_panels(panels)
    path = pathlib.Path(workdir) / FILE
    figures.save_figure(figure, path)
    return path


def _series(entries: list[Entry]) -> list[tuple[str, list[Entry]]]:
    """Entries that differ in the step alone, with the facts in which these series differ."""
    groups: dict[tuple, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry.get(key) for key in score_log.FACTS), []).append(entry)
    differ = [
        key
        for index, key in enumerate(score_log.FACTS)
        if len({facts[index] for facts in groups}) > 1
    ]
    # One fact may stand for others: another dataset has other images, as many or not.
    if {'dataset', 'split'} & {*differ}:
        differ = [key for key in differ if key not in ('content', 'num_real')]
    if {'extractor', 'convention', 'learner'} & {*differ}:
        differ = [key for key in differ if key != 'fingerprint']
    return [(_label(group[0], differ), group) for group in groups.values()]


def _label(entry: Entry, differ: list[str]) -> str:
    words = [score_log.count(entry)] if {*score_log.COUNTS} & {*differ} else []
    for key in differ:
        if key in _WORDS:
            value = entry.get(key)
            words.append(f'{key} not recorded' if value is None else _WORDS[key].format(value))
    return ', '.join(words) or score_log.count(entry)


def _curves(panels: dict[str, list[tuple[str, list[Entry]]]]) -> Any:
    down = -(-len(panels) // 2)
    figure = figures.new_figure((9, 0.6 + 2.8 * down), dpi=100)
    for index, (name, series) in enumerate(panels.items()):
        axis = figure.add_subplot(down, min(2, len(panels)), index + 1)
        for label, entries in series:
            points = [(entry['step'], entry[name]) for entry in entries]
            (line,) = axis.plot(*zip(*points, strict=True), marker='o', ms=3, label=label)
            if (half := _half(entries, name)) is not None:
                axis.axhline(half, color=line.get_color(), ls='--', lw=1, label='_')
        axis.set_xlabel('step')
        axis.set_ylabel(name)
        axis.set_title(_title(name, series), fontsize=8, loc='left')
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
        if len(series) > 1:
            axis.legend(frameon=False, fontsize=8)
    return figure


def _rows(panels: dict[str, list[tuple[str, list[Entry]]]]) -> Any:
    """Scores of one checkpoint: a row a metric, a dot a series."""
    most = max(len(series) for series in panels.values())
    height = 0.55 + 0.22 * most
    figure = figures.new_figure((9, 0.5 + height * len(panels)), dpi=100)
    step = next(iter(panels.values()))[0][1][0]['step']
    figure.suptitle(f'step {step:,}', fontsize=10)
    for index, (name, series) in enumerate(panels.items()):
        axis = figure.add_subplot(len(panels), 1, index + 1)
        values = []
        for place, (label, entries) in enumerate(series):
            value, spread = entries[-1][name], entries[-1].get(f'{name}_std')
            dots = axis.errorbar(value, -place, xerr=spread, fmt='o', ms=5, capsize=2)
            text = f'{value:.4g}' + (f'  {label}' if len(series) > 1 else '')
            finite = math.isfinite(value)
            axis.annotate(
                text,
                (value if finite else 0.5, -place),
                (0, 5),
                xycoords='data' if finite else ('axes fraction', 'data'),
                textcoords='offset points',
                fontsize=8,
            )
            values += [value] if finite else []
            if (half := _half(entries, name)) is not None:
                colour = dots.lines[0].get_color()
                axis.plot([half, half], [-place - 0.4, -place + 0.4], color=colour, ls='--', lw=1)
                values.append(half)
        low, high = min(values, default=0.0), max(values, default=0.0)
        room = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
        # Room for the numbers at the right.
        axis.set_xlim(low - room, high + 2 * room)
        axis.set_ylim(-most + 0.4, 0.8)
        axis.set_yticks([])
        axis.set_title(f'{name}: {_title(name, series)}', fontsize=9, loc='left')
        axis.grid(alpha=0.3, axis='x')
        axis.tick_params(labelsize=8)
        axis.spines[['top', 'right', 'left']].set_visible(False)
    return figure


def _half(entries: list[Entry], name: str) -> float | None:
    """What one half of the real images scores against the other, of the newest entry, if finite."""
    value = entries[-1].get('halves', {}).get(name, {}).get('value')
    return None if value is None or not math.isfinite(value) else value


def _title(name: str, series: list[tuple[str, list[Entry]]]) -> str:
    parts = []
    if found := score_text.direction(name):
        parts.append(f'{found} is better')
    halves = [half for _, entries in series if (half := _half(entries, name)) is not None]
    if halves:
        numbers = ' and '.join(dict.fromkeys(f'{half:.4g}' for half in halves))
        parts.append(f'dashed: halves of the real images, {numbers}')
    return '; '.join(parts)
