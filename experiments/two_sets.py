"""Scores of two sets without a run: `experiments.evaluate --real=A --fake=B`."""

import json
from typing import Any

from osgan_jax.engine.config import Config


def run(asked: Config, sources: dict[str, Any]) -> None:
    """Opens the sets, scores them and prints and writes what is asked for.

    Args:
      asked: `experiments.evaluate.EvaluateConfig`.
      sources: the flags of features that `evaluators.extractor_for` takes.
    """
    from osgan_jax import data
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import (
        comparison,
        evaluators,
        per_class,
        protocols,
        score_log,
        score_text,
    )
    from osgan_jax.io import atomic, json_numbers

    paths = [path for path in (asked.real, asked.fake) if path is not None]
    part = {'split': asked.split, 'data_dir': asked.data_dir}
    if any(part.values()) and not any(map(comparison.is_name, paths)):
        raise ValueError('--split and --data_dir need the name of a dataset in --real or --fake')
    sides = []
    for role, path in zip(('Real', 'Fake'), paths, strict=False):
        named = part if comparison.is_name(path) else {}
        with messages.announced(f'Reading {path}'):
            sides.append(comparison.open_set(path, image_size=asked.image_size, **named))
        print(f'{role}: {comparison.describe(sides[-1])}.', flush=True)
        for what, said in getattr(sides[-1], 'remarks', tuple)():
            print(f'  {what}: {said}', flush=True)
    real, fake = (*sides, None)[:2]
    if asked.save_statistics is not None and not isinstance(real, data.Dataset):
        raise ValueError(
            f'{real.path} already holds mean and covariance: --save_statistics needs images'
        )

    extractor = None
    if any(isinstance(side, data.Dataset) for side in (real, fake)):
        if not isinstance(real, data.Dataset) and not _has_weights(sources):
            raise ValueError(
                f'{real.path} holds mean and covariance, not images to train a classifier on: '
                'give the network that produced them, by --inception_weights or '
                '--dinov2_weights'
            )
        extractor = evaluators.extractor_for(
            real,
            **sources,
            cache_dir=asked.cache_dir,
            progress=messages.Countdown('Training a classifier to score by, {} steps'),
        )
        print(f'Features: {extractor.describe()} ({extractor.fingerprint[:8]}).')
    reading = messages.Countdown('Reading {} real images')
    kept = {'cache_dir': asked.cache_dir, 'warn': messages.warn}
    if asked.save_statistics is not None:
        comparison.save_statistics(asked.save_statistics, real, extractor, progress=reading, **kept)
        print(f'Written: {asked.save_statistics}', flush=True)
    if fake is None:
        return
    for said in (
        comparison.describe_sizes(real, fake, extractor),
        comparison.choose(asked.metrics, real, fake, extractor, by_class=asked.per_class)[1],
    ):
        if said:
            print(said, flush=True)
    entry = comparison.compare(
        real,
        fake,
        extractor,
        metrics=asked.metrics,
        seed=asked.seed,
        by_class=asked.per_class,
        real_progress=reading,
        progress=messages.Countdown('Scoring {} images'),
        class_progress=messages.Countdown('Scoring {} classes'),
        **kept,
    )
    names = tuple(score_log.metric_names(entry))
    for line in (
        *protocols.sentences(entry, names),
        *score_text.lines(entry),
        *per_class.lines(entry.get('per_class', {})),
    ):
        print(line, flush=True)
    if asked.out is not None:
        with atomic.replacing(asked.out) as file:
            text = json.dumps(json_numbers.encoded(entry), indent=1, allow_nan=False)
            file.write(text.encode() + b'\n')
        print(f'Written: {asked.out}')


def _has_weights(sources: dict[str, Any]) -> bool:
    return any(value is not None for name, value in sources.items() if name.endswith('_weights'))
