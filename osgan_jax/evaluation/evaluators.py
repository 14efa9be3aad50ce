"""Scores of a generator: its samples against the real set, through one extractor; path lengths.

`evaluator` makes what scores samples, `path_length_of` what measures a perceptual path length,
which needs no real images. Both give scores by name for a generator's variables, and say in `about`
what these depend on.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.evaluation import metrics
from osgan_jax.evaluation.features import cache, extractors, lpips
from osgan_jax.evaluation.metrics import moments, path_length
from osgan_jax.gan import sampling
from osgan_jax.gan.model import GAN
from osgan_jax.runtime import settings

METRICS = ('fid', 'kid', 'is', 'pr')
_SCORES = {
    'fid': ('fid',),
    'kid': ('kid', 'kid_std'),
    'is': ('is', 'is_std'),
    'pr': ('precision', 'recall'),
}

PATH_LENGTHS = ('w_end', 'w_full', 'z_end', 'z_full')
_EPSILON = 1e-4  # the step of published path lengths

# Splits the latents of evaluations off the seed, away from those of training and of sample grids.
_STREAM = 0x6576_616C
_MAX_FEATURES = 10_000  # of either set, for kernel distances and neighbourhoods


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores generators of one shape against one real set.

    Attributes:
      headline: the metric that says which of two checkpoints is better (lower is), None if none of
        those that were asked for does.
      about: what a number must agree in to be compared: extractor, convention, fingerprint,
        num_samples, seed, dataset, num_real.
      names: of the scores a call returns.
    """

    headline: str | None
    about: dict[str, Any]
    names: tuple[str, ...]
    _metrics: tuple[str, ...]
    _prefix: str
    _draw: Callable[[Any, int], np.ndarray]
    _extractor: extractors.Extractor
    _real: cache.RealStatistics
    _batch_size: int
    _progress: Callable[[int, int], None] | None

    def __call__(self, variables: Any, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Draws samples and scores them.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.
          check: called before each batch; what it raises ends the evaluation.

        Returns:
          By name: fid; kid and kid_std; is and is_std; precision and recall, for what was asked,
          each beginning with `classifier_` (fd and kd instead of fid and kid) unless made with the
          Inception network.
        """
        count, total = self.about['num_samples'], None
        pooled, logits = [], []
        for start in range(0, count, self._batch_size):
            if check is not None:
                check()
            images = self._draw(variables, start)[: count - start]
            seen = self._extractor.apply(images)
            if 'fid' in self._metrics:
                own = moments.of(seen.pooled)
                total = own if total is None else moments.merge(total, own)
            if {'kid', 'pr'} & set(self._metrics) and start < _MAX_FEATURES:
                pooled.append(np.asarray(seen.pooled))
            if 'is' in self._metrics:
                logits.append(np.asarray(seen.logits))
            if self._progress is not None:
                self._progress(min(start + self._batch_size, count), count)
        features = np.concatenate(pooled)[:_MAX_FEATURES] if pooled else None
        values = {}
        if 'fid' in self._metrics:
            values['fid'] = metrics.frechet_distance(self._real.moments, total)
        if 'kid' in self._metrics:
            values['kid'], values['kid_std'] = metrics.kernel_distance(self._real.pooled, features)
        if 'is' in self._metrics:
            splits = min(10, count)
            values['is'], values['is_std'] = metrics.inception_score(
                np.concatenate(logits), splits=splits
            )
        if 'pr' in self._metrics:
            # As many of either set: precision and recall depend on how densely each is known.
            size = min(len(features), len(self._real.pooled))
            values['precision'], values['recall'] = metrics.precision_recall(
                self._real.pooled[:size], features[:size]
            )
        return {_name(self._prefix, name): value for name, value in values.items()}


@dataclasses.dataclass(frozen=True)
class PathLength:
    """Measures the path length of generators of one shape, see `metrics.path_length`.

    Attributes:
      about: what a number must agree in to be compared: distance, fingerprint, num_pairs, space,
        sampling, epsilon, crop, seed.
      names: of the score a call returns.
    """

    about: dict[str, Any]
    names: tuple[str, ...]
    _gan: GAN
    _distance: lpips.Distance
    _options: dict[str, Any]
    _progress: Callable[[int, int], None] | None

    def __call__(self, variables: Any) -> dict[str, float]:
        """Draws pairs of images and compares them.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.

        Returns:
          The path length by its name, as `ppl_w_end`, or `ppl_w_end_crop` with crop.

        Raises:
          ValueError: for images that are not finite.
        """
        if self._progress is not None:
            self._progress(0, self._options['num_pairs'])
        parts = path_length.parts_of(
            self._gan.generator,
            variables,
            latent_dim=self._gan.latent_dim,
            num_classes=self._gan.num_classes,
        )
        result = path_length.path_length(
            parts, self._distance.apply, **self._options, progress=self._progress
        )
        return {self.names[0]: result.mean}


def extractor_for(
    dataset: data.Dataset,
    *,
    inception_weights: str | os.PathLike[str] | None = None,
    convention: str = 'torch',
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> extractors.Extractor:
    """The Inception network where there are weights, otherwise a classifier of the dataset.

    Args:
      dataset: the real images.
      inception_weights: a file of them; 'fetch' downloads the published ones, once.
      convention: how the Inception network's images are resized and scaled, see
        `osgan_jax.evaluation.features.inception`.
      cache_dir: where a trained classifier or downloaded weights are kept; by default the user's.
      progress: called with steps done and in all while a classifier is trained.
      warn: called with a sentence about a cached file that could not be used.

    Raises:
      ValueError: for weights that are none, or a dataset without labels and no weights.
      OSError: if the weights cannot be read or downloaded.
    """
    if inception_weights is not None:
        from osgan_jax.evaluation.features import inception

        if str(inception_weights) == 'fetch':
            inception_weights = inception.fetch(cache_dir or settings.cache_dir())
        return inception.extractor(inception_weights, convention=convention)
    from osgan_jax.evaluation.features import classifier

    return classifier.for_dataset(dataset, cache_dir, progress=progress, warn=warn)


def evaluator(
    gan: GAN,
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    *,
    metrics: Sequence[str] = ('fid',),
    num_samples: int = 10_000,
    batch_size: int = 256,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    warn: Callable[[str], None] | None = None,
    real_progress: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluator:
    """Prepares to score generators against a dataset; reads or computes its statistics.

    Args:
      gan: whose generator's shapes and labels count.
      dataset: the real images, all of which are compared with.
      extractor: what turns images into features.
      metrics: some of `METRICS`.
      num_samples: images drawn for a score. Distances fall with more: compare equal numbers.
      batch_size: images drawn a call.
      seed: of latents, the same for every generator.
      cache_dir: where the real set's statistics are kept; by default the user's.
      warn: called with a sentence about a cached file that could not be used.
      real_progress: called with real images seen and in all, where none are kept.
      progress: called with images scored and in all.

    Raises:
      ValueError: for an unknown metric or too few samples.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        given = repr(unknown[0]) if unknown else 'none'
        raise ValueError(f'metrics: expected some of {", ".join(METRICS)}, got {given}')
    # A distance needs a covariance, a neighbourhood three neighbours.
    least = 4 if 'pr' in metrics else 2
    if num_samples < least:
        raise ValueError(f'num_samples={num_samples}: expected at least {least}')
    real = cache.real_statistics(
        dataset,
        extractor,
        cache_dir,
        max_features=_MAX_FEATURES,
        progress=real_progress,
        warn=warn,
    )
    prefix = '' if extractor.name == 'inception' else f'{extractor.name}_'
    lower_is_better = [name for name in ('fid', 'kid') if name in metrics]
    about = {
        'extractor': extractor.name,
        'convention': extractor.convention,
        'fingerprint': extractor.fingerprint,
        'num_samples': num_samples,
        'seed': seed,
        'dataset': dataset.name,
        'num_real': len(dataset),
    }
    return Evaluator(
        headline=_name(prefix, lower_is_better[0]) if lower_is_better else None,
        about=about,
        names=tuple(_name(prefix, score) for name in metrics for score in _SCORES[name]),
        _metrics=tuple(metrics),
        _prefix=prefix,
        _draw=_drawer(gan, seed, batch_size),
        _extractor=extractor,
        _real=real,
        _batch_size=batch_size,
        _progress=progress,
    )


def distance_for(weights: Sequence[str | os.PathLike[str]]) -> lpips.Distance:
    """The distance that path lengths are made of: LPIPS on VGG16.

    Args:
      weights: files of them, see `metrics.lpips.distance`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: for no files, or other weights.
    """
    if not weights:
        raise ValueError(
            "a path length needs the weights of LPIPS: give torchvision's VGG16 and the linear "
            "weights 'vgg' of LPIPS v0.1, as .npz, .safetensors or .pth, with "
            '--lpips_weights=FILE,FILE (or one FILE of both)'
        )
    return lpips.distance(*weights)


def path_length_of(
    gan: GAN,
    distance: lpips.Distance,
    which: str = 'w_end',
    *,
    crop: bool = False,
    num_pairs: int = 50_000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PathLength:
    """Prepares to measure path lengths of generators.

    Args:
      gan: whose generator counts.
      distance: between images, see `distance_for`.
      which: one of `PATH_LENGTHS`: the space in which a step is taken, and where on the way from
        latent to latent. StyleGAN2's published numbers are of w_end.
      crop: whether the middle of aligned faces is compared alone.
      num_pairs: pairs of images.
      seed: of all that is drawn, the same for every generator.
      progress: called with pairs done and in all.

    Raises:
      ValueError: for an unknown path length, w of a generator without w, too few pairs, or images
        too small to compare.
    """
    if which not in PATH_LENGTHS:
        raise ValueError(f'path_length: expected some of {", ".join(PATH_LENGTHS)}, got {which!r}')
    if num_pairs < 1:
        raise ValueError(f'num_pairs={num_pairs}: expected at least 1')
    space, place = which.split('_')
    parts = path_length.parts_of(gan.generator, None, latent_dim=gan.latent_dim)
    if space == 'w' and parts.mapping is None:
        raise ValueError(f'path_length={which}: this generator has no w; ask for z_end or z_full')

    def compare(images: jax.Array) -> jax.Array:
        images = path_length.prepare(images, crop=crop)
        return distance.apply(images, images)

    try:
        # What cannot be compared should not cost the scores that are made before.
        jax.eval_shape(compare, jax.ShapeDtypeStruct((1, *gan.image_shape), jnp.float32))
    except ValueError as error:
        what = f'path_length={which}' + (' of a crop' if crop else '')
        raise ValueError(f'{what}: {error}') from None
    options = {
        'num_pairs': num_pairs,
        'space': space,
        'sampling': place,
        'epsilon': _EPSILON,
        'crop': crop,
        'seed': seed,
    }
    return PathLength(
        about={'distance': distance.name, 'fingerprint': distance.fingerprint, **options},
        names=(f'ppl_{which}' + ('_crop' if crop else ''),),
        _gan=gan,
        _distance=distance,
        _options=options,
        _progress=progress,
    )


def _drawer(gan: GAN, seed: int, batch_size: int) -> Callable[[Any, int], np.ndarray]:
    """`(variables, start) -> uint8 images` of one batch of the latents of a seed."""
    generate = sampling.sampler(gan)
    key = jax.random.fold_in(jax.random.key(seed), _STREAM)

    def draw(variables: Any, start: int) -> np.ndarray:
        z = jax.random.normal(jax.random.fold_in(key, start), (batch_size, gan.latent_dim))
        labels = None
        if gan.num_classes:
            labels = jnp.arange(start, start + batch_size) % gan.num_classes
        return reporting.to_uint8(np.asarray(generate(variables, z, labels)))

    return draw


def _name(prefix: str, name: str) -> str:
    """'classifier_fd' for the 'fid' of a classifier's features, which is none."""
    if prefix:
        name = {'fid': 'fd', 'kid': 'kd', 'kid_std': 'kd_std'}.get(name, name)
    return prefix + name
