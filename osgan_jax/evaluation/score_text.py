"""Scores as lines for a person: each with its direction, and what real images score."""

from typing import Any

from osgan_jax.evaluation import score_log
from osgan_jax.evaluation.metrics import registry


def direction(name: str) -> str | None:
    """Which values of a score are better, 'lower' or 'higher'; None where nothing is known."""
    if name.endswith('accuracy'):
        return 'higher'
    if name.startswith('ppl_') or name.endswith('copies'):
        return 'lower'
    metric = registry.of_score(name)
    return metric.direction(name) if metric else None


def describe(entry: dict[str, Any]) -> str:
    """The setting of an entry of `score_log`: how many images, of which labels, against what."""
    parts = [score_log.count(entry)]
    if policy := entry.get('label_policy'):
        parts.append({'data': "labels at the data's frequencies"}.get(policy, f'{policy} labels'))
    text = ', '.join(parts)
    if 'num_real' in entry:
        split = f' ({entry["split"]})' if 'split' in entry else ''
        text += f' against {entry["num_real"]:,} images of {entry["dataset"]}{split}'
    return text


def lines(entry: dict[str, Any]) -> list[str]:
    """A line a score: value, direction, and the value of two halves of the real images."""
    names = score_log.metric_names(entry)
    values = [_value(entry, name) for name in names]
    columns = [max(map(len, texts), default=0) for texts in (names, values)]
    return [
        f'{name:<{columns[0]}}  {value:<{columns[1]}}  {_beside(entry, name)}'.rstrip()
        for name, value in zip(names, values, strict=True)
    ]


def in_one_line(entry: dict[str, Any], name: str) -> str:
    """One score of an entry, in a phrase."""
    beside = _beside(entry, name)
    return f'{name} {_value(entry, name)}' + (f' ({beside})' if beside else '')


def _value(entry: dict[str, Any], name: str) -> str:
    spread = entry.get(f'{name}_std')
    return f'{entry[name]:.4g}' + (f' ± {spread:.2g}' if spread is not None else '')


def _beside(entry: dict[str, Any], name: str) -> str:
    parts = []
    if found := direction(name):
        parts.append(f'{found} is better')
    half = entry.get('halves', {}).get(name)
    if half and half['value'] is not None:
        parts.append(f'two halves of the real images: {half["value"]:.4g} ({half["count"]:,} each)')
    return '; '.join(parts)
