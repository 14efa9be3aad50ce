"""Scores of one set of images against another, or of statistics computed before: no run is needed.

A set is a folder of images, a zip archive or an .npz of them, or a named dataset, read at the
images' own size; or an .npz of mean and covariance (`features.moments_file` beside this), of which
Frechet distances alone can be computed.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from osgan_jax import data
from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.data import folder, identity, zipped
from osgan_jax.evaluation import halves, per_class
from osgan_jax.evaluation.evaluators import gather
from osgan_jax.evaluation.features import cache, extractors, moments_file
from osgan_jax.evaluation.metrics import registry
from osgan_jax.io import checked_npz, paths
from osgan_jax.io.messages import printable

Set = data.Dataset | moments_file.MomentsFile
Progress = Callable[[int, int], None]

# Whose features a file's are that does not say, by how many there are.
_BY_SIZE = {2048: 'inception', 1024: 'dinov2'}


def open_set(
    path: str | os.PathLike[str],
    *,
    image_size: ImageSize | None = None,
    split: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Set:
    """Opens a set of images, or statistics of one.

    Args:
      path: a folder or zip archive of images, an .npz of images or of statistics, or a dataset's
        name.
      image_size: to read images at; by default their own.
      split: of a named dataset; 'train' by default.
      data_dir: of a named dataset.

    Raises:
      FileNotFoundError: there is no such file, folder or dataset.
      ValueError: it cannot be read, or its images differ in size and `image_size` is not given.
    """
    path = paths.expand(path)
    if is_name(path):
        return data.load(path, split=split or 'train', data_dir=data_dir, image_size=image_size)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f'no file or folder {printable(path)}: expected a folder, zip or .npz of images, an '
            f'.npz of mu and sigma, or a dataset of {", ".join(data.names())}'
        )
    if moments_file.is_one(path):
        return moments_file.read(path)
    kind = 'folder' if os.path.isdir(path) or zipped.is_zip(path) else 'npz'
    if kind == 'folder' and image_size is None:
        image_size = _own_size(path)
    channels = 3 if kind == 'folder' else None
    opened = data.load(kind, data_dir=path, image_size=image_size, channels=channels)
    return dataclasses.replace(opened, name=printable(pathlib.Path(path).resolve().name))


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a dataset's name, and no file or folder."""
    path = paths.expand(path)
    return not os.path.exists(path) and (path in data.names() or path.startswith('tfds:'))


def _own_size(path: str) -> ImageSize:
    """The size of images, which must be of one."""
    sizes = (zipped if zipped.is_zip(path) else folder).scan(path).sizes
    found = np.unique(sizes, axis=0)
    if len(found) > 1:
        low, high = ('{}x{}'.format(*size[::-1]) for size in (found[0], found[-1]))
        raise ValueError(
            f'the images of {printable(path)} have {len(found):,} sizes, from {low} to {high}: '
            f'choose one for the comparison, such as --image_size={sizes.min()}'
        )
    return image_sizes.of(*found[0][::-1])


def describe(side: Set) -> str:
    """A set in a few words: its name, images, their size and classes."""
    if _is_moments(side):
        count = 'an unknown number of' if side.count is None else f'{side.count:,}'
        return f'{side.path}: mean and covariance of the features of {count} images'
    classes = f', {side.num_classes:,} classes' if side.num_classes else ''
    pixels = image_sizes.text(side.image_size)
    return f'{side.name} ({side.split}): {len(side):,} images of {pixels} pixels{classes}'


def describe_sizes(real: Set, fake: Set, extractor: extractors.Extractor | None) -> str | None:
    """A sentence on images of two sizes, which the extractor makes one; None where they agree.

    Raises:
      ValueError: if the extractor takes images as they are.
    """
    sizes = [side.image_size for side in (real, fake) if not _is_moments(side)]
    if len(set(sizes)) < 2:
        return None
    pixels = ' and '.join(map(image_sizes.text, sizes))
    if extractor.image_size is None:
        raise ValueError(
            f'real and fake images have {pixels} pixels, and {extractor.name} does not resize '
            'images: read both at one size, by --image_size'
        )
    return (
        f'Real and fake images are of {pixels} pixels; for their features both are resized to '
        f'{extractor.image_size}x{extractor.image_size}, and scores tell the sizes apart too.'
    )


def choose(
    metrics: Sequence[str],
    real: Set,
    fake: Set,
    extractor: extractors.Extractor | None,
    *,
    by_class: bool = False,
) -> tuple[list[registry.Metric], str | None]:
    """The metrics that two sets define, and a sentence on those that they do not.

    Args:
      metrics: names of `metrics.registry`.
      real: the real set.
      fake: the other.
      extractor: of features; None where both sets are statistics.
      by_class: whether each class is to be scored too.

    Raises:
      ValueError: for an unknown metric, none, or none that the sets define; for scores of classes
        where a set has none.
    """
    for side in (real, fake) if by_class else ():
        if not _has_labels(side):
            found = (
                f'{side.path} holds mean and covariance'
                if _is_moments(side)
                else f'{side.name} has none: put each class in a folder of its own, or labels into '
                'the .npz'
            )
            raise ValueError(f'scores per class need images with labels, and {found}')
    chosen, said = registry.select(
        metrics,
        has_logits=extractor is None or extractor.has_logits,
        own_classes=extractor is None or extractor.own_classes,
        has_labels=_has_labels(real, fake),
        num_real=_count(real),
        num_fake=_count(fake),
    )

    def is_defined(metric: registry.Metric) -> bool:
        if _is_moments(fake):
            return metric.needs <= {'moments'}
        return not _is_moments(real) or metric.needs <= {'moments'} or not metric.reads_real

    lacking = [metric.name for metric in chosen if not is_defined(metric)]
    why = f'{", ".join(lacking)}, for mean and covariance tell nothing of single images'
    if len(lacking) == len(chosen):
        raise ValueError(f'metrics: nothing is left to compute without {why}')
    if lacking:
        said = f'{said} Left out: {why}.' if said else f'Left out: {why}.'
    return [metric for metric in chosen if is_defined(metric)], said


def compare(
    real: Set,
    fake: Set,
    extractor: extractors.Extractor | None,
    *,
    metrics: Sequence[str] = ('fid',),
    seed: int = 0,
    batch_size: int = 256,
    by_class: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    warn: Callable[[str], None] | None = None,
    real_progress: Progress | None = None,
    progress: Progress | None = None,
    class_progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a set against a real one; images go through memory a batch at a time.

    Args:
      real: the real set.
      fake: the other, all of it.
      extractor: of features; None where both sets are statistics.
      metrics: names of `metrics.registry`; what the sets do not define is left out, see `choose`.
      seed: of the order in which the other set's images are taken.
      batch_size: images a call of the extractor.
      by_class: whether to score each class too, see `evaluation.per_class`.
      cache_dir: where the real set's statistics are kept; by default the user's.
      warn: called with sentences about cached files that could not be used, too few images, and
        what files of statistics do not say; by default they go to standard error.
      real_progress: called with real images seen and in all, where their statistics are not known.
      progress: called with the other images seen and in all.
      class_progress: called with classes scored and in all.

    Returns:
      An entry as `evaluators.Evaluator.entry` makes it, without a step: scores by name, 'halves',
      'per_class' where asked for, and the facts in which comparable numbers agree; 'fake' has
      'dataset', 'split' and 'content' of the other set.

    Raises:
      ValueError: for sets, features, classes or metrics that do not go together.
    """
    warn = checked_npz.to_stderr if warn is None else warn
    chosen, _ = choose(metrics, real, fake, extractor, by_class=by_class)
    describe_sizes(real, fake, extractor)
    labelled = by_class or any('labels' in metric.needs for metric in chosen)
    classes = _shared_classes(real, fake, warn) if labelled else None
    features = _features_of((real, fake), extractor, warn)
    name, num_samples = features['extractor'], _count(fake)
    statistics = _statistics(real, extractor, cache_dir, warn, real_progress)
    found: halves.Values = {}
    if not _is_moments(real) and num_samples is not None:
        found = halves.scores(statistics, chosen, name, num_samples, cache_dir, warn=warn)
        few = halves.describe_few(
            chosen,
            name,
            num_features=len(statistics.moments.mean),
            num_samples=num_samples,
            num_real=len(real),
            found=found,
        )
        if few:
            warn(f'{few}.')
    labels: list[np.ndarray] = []
    if _is_moments(fake):
        gathered = registry.FakeStatistics(fake.moments)
    else:
        stream = _extract(
            fake, extractor, cache.drawn(len(fake), seed), batch_size, labels, progress
        )
        gathered = gather(stream, chosen, *(['pooled'] if by_class else []))
    if classes is not None:
        gathered = dataclasses.replace(gathered, labels=classes[np.concatenate(labels)])
    entry = registry.compute(chosen, statistics, gathered, name)
    if by_class:
        entry['per_class'] = per_class.scores(
            statistics.pooled,
            cache.labels_of_pooled(real, statistics),
            gathered.pooled,
            gathered.labels[: len(gathered.pooled)],
            metrics=chosen,
            extractor=name,
            class_names=real.class_names,
            progress=class_progress,
        )
    about = {**features, 'seed': seed, 'num_samples': num_samples, 'label_policy': None}
    about |= {**_identity(real), 'num_real': _count(real), 'fake': _identity(fake)}
    return {**entry, 'halves': found, **about}


def save_statistics(
    path: str | os.PathLike[str],
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes mean and covariance of a set's features, see `moments_file`.

    Args:
      path: the file.
      dataset: the images.
      extractor: of features.
      cache_dir: where the set's statistics are kept; by default the user's.
      warn: called with a sentence about a cached file that could not be used.
      progress: called with images seen and in all, where their statistics are not known.

    Raises:
      OSError: it cannot be written there.
    """
    found = _statistics(dataset, extractor, cache_dir, warn, progress)
    moments_file.write(path, found.moments, found.provenance)


def _is_moments(side: Set) -> bool:
    return isinstance(side, moments_file.MomentsFile)


def _has_labels(*sides: Set) -> bool:
    return not any(_is_moments(side) or not side.num_classes for side in sides)


def _count(side: Set) -> int | None:
    return side.count if _is_moments(side) else len(side)


def _identity(side: Set) -> dict[str, str | None]:
    """'dataset', 'split' and 'content'."""
    known = {'dataset': side.about.get('dataset', side.path)} if _is_moments(side) else {}
    found = known or identity.identify(side)
    return {key: found.get(key) for key in ('dataset', 'split', 'content')}


def _statistics(
    real: Set,
    extractor: extractors.Extractor | None,
    cache_dir: str | os.PathLike[str] | None,
    warn: Callable[[str], None] | None,
    progress: Progress | None,
) -> cache.RealStatistics:
    if _is_moments(real):
        return cache.RealStatistics(real.moments, np.zeros((0, len(real.moments.mean))), {})
    return cache.real_statistics(
        real,
        extractor,
        cache_dir,
        max_features=2 * registry.MAX_FEATURES,
        progress=progress,
        warn=warn,
    )


def _extract(
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    order: np.ndarray,
    batch_size: int,
    labels: list[np.ndarray],
    progress: Progress | None,
) -> Iterator[extractors.Features]:
    """Yields the features of all images in an order, and adds their labels to `labels`."""
    done = 0
    if progress is not None:
        progress(0, len(dataset))
    for images, of_images in cache.batches(dataset, batch_size, order):
        labels.append(of_images)
        yield extractor.apply(images)
        done += len(images)
        if progress is not None:
            progress(done, len(dataset))


def _features_of(
    sides: Sequence[Set],
    extractor: extractors.Extractor | None,
    warn: Callable[[str], None],
) -> dict[str, str | None]:
    """Extractor, convention and fingerprint of both sides, which must be the same."""
    known: dict[str, str | None] = dict.fromkeys(('extractor', 'convention', 'fingerprint'))
    whose, sizes = 'the images', {}
    if extractor is not None:
        known = extractor.facts()
        image = next(side[0]['image'] for side in sides if not _is_moments(side))
        if any(map(_is_moments, sides)):
            sizes[extractor.name] = extractor.apply(image[None]).pooled.shape[1]
    for side in filter(_is_moments, sides):
        sizes[side.path] = len(side.moments.mean)
        said = {key: side.about.get(key) for key in known}
        for key, value in said.items():
            if value is not None and known[key] is not None and value != known[key]:
                shown = 8 if key == 'fingerprint' else None
                raise ValueError(
                    f'{side.path} has features of {key} {value[:shown]} and {whose} of '
                    f'{known[key][:shown]}: they cannot be compared'
                )
        if said['extractor'] is None:
            taken = known['extractor'] or _BY_SIZE.get(sizes[side.path], 'unknown')
            warn(
                f'{side.path} does not say whose features it is of; with {sizes[side.path]:,} of '
                f'them it is taken for {taken}'
                + (f', by convention {known["convention"]}.' if known['convention'] else '.')
            )
            said['extractor'] = taken
        known = {key: known[key] or value for key, value in said.items()}
        whose = side.path
    if len(set(sizes.values())) > 1:
        words = ' and '.join(f'{size:,} features of {name}' for name, size in sizes.items())
        raise ValueError(f'{words} cannot be compared: they come from different networks')
    return known


def _shared_classes(real: Set, fake: Set, warn: Callable[[str], None]) -> np.ndarray:
    """The real set's label of each label of the other, by name; -1 where it has no such class."""
    label = {name: value for value, name in enumerate(real.class_names)}
    found = np.array([label.get(name, -1) for name in fake.class_names])
    if (found < 0).all():
        raise ValueError(
            f'{real.name} has the classes {_few_names(real.class_names)}, and {fake.name} '
            f'{_few_names(fake.class_names)}: scores per class need classes of the same names'
        )
    if others := [name for name, label in zip(fake.class_names, found, strict=True) if label < 0]:
        warn(f'{fake.name} has classes that {real.name} has not: {_few_names(others)}.')
    return found


def _few_names(names: Sequence[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3:,} more' if len(names) > 3 else '')
