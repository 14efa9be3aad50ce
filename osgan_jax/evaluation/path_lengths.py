"""The perceptual path length of a generator as an evaluation; it needs no real images."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.evaluation import label_policies
from osgan_jax.evaluation.features import lpips
from osgan_jax.evaluation.metrics import path_length
from osgan_jax.networks.inference import Generative

PATH_LENGTHS = ('w_end', 'w_full', 'z_end', 'z_full')
_EPSILON = 1e-4  # the step of published path lengths


def distance_for(weights: Sequence[str | os.PathLike[str]]) -> lpips.Distance:
    """The distance that path lengths are made of: LPIPS on VGG16.

    Args:
      weights: their files, see `features.lpips.distance`.

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


class PathLength:
    """Measures the path length of generators of one shape, see `metrics.path_length`.

    Attributes:
      about: the facts in which comparable numbers agree: distance, fingerprint, num_pairs, space,
        sampling, epsilon, crop, seed, and of conditional generators label_policy and, where labels
        follow the data, dataset, split and content.
      names: of the score a call returns.
    """

    def __init__(
        self,
        gan: Generative,
        distance: lpips.Distance,
        which: str = 'w_end',
        *,
        crop: bool = False,
        num_pairs: int = 50_000,
        seed: int = 0,
        label_policy: str = 'data',
        dataset: data.Dataset | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """Prepares to measure.

        Args:
          gan: whose generator counts.
          distance: between images, see `distance_for`.
          which: one of `PATH_LENGTHS`: the space in which a step is taken, and where on the way
            from latent to latent. StyleGAN2's published numbers are of w_end.
          crop: whether the middle of aligned faces is compared alone.
          num_pairs: pairs of images.
          seed: of all that is drawn, the same for every generator.
          label_policy: which labels a conditional generator is given, one of
            `label_policies.POLICIES`: as often as the data have them, or all as often.
          dataset: the data; only a conditional generator whose labels follow it needs any.
          progress: called with pairs done and in all.

        Raises:
          ValueError: for an unknown path length, w of a generator without w, too few pairs,
            images too small to compare, or data without the generator's classes.
        """
        if which not in PATH_LENGTHS:
            raise ValueError(
                f'path_length: expected some of {", ".join(PATH_LENGTHS)}, got {which!r}'
            )
        if num_pairs < 1:
            raise ValueError(f'num_pairs={num_pairs}: expected at least 1')
        space, place = which.split('_')
        if space == 'w' and not gan.network.has_styles:
            raise ValueError(
                f'path_length={which}: this generator has no w; ask for z_end or z_full'
            )

        def compare(images: jax.Array) -> jax.Array:
            images = path_length.prepare(images, crop=crop)
            return distance.apply(images, images)

        try:
            # Fail before the scores that come first have been computed.
            jax.eval_shape(compare, jax.ShapeDtypeStruct((1, *gan.image_shape), jnp.float32))
        except ValueError as error:
            what = f'path_length={which}' + (' of a crop' if crop else '')
            raise ValueError(f'{what}: {error}') from None
        self._gan, self._distance, self._progress = gan, distance, progress
        follows = gan.num_classes and label_policy == 'data' and dataset is not None
        self._frequencies = label_policies.frequencies(
            label_policy, gan.num_classes, dataset.class_counts() if follows else ()
        )
        self._options = {
            'num_pairs': num_pairs,
            'space': space,
            'sampling': place,
            'epsilon': _EPSILON,
            'crop': crop,
            'seed': seed,
        }
        measure = {'distance': distance.name, 'fingerprint': distance.fingerprint}
        self.about: dict[str, Any] = {**measure, **self._options}
        if gan.num_classes:
            self.about['label_policy'] = label_policy
        if follows:
            known = identity.identify(dataset)
            self.about |= {name: known[name] for name in ('dataset', 'split', 'content')}
        self.names = (f'ppl_{which}' + ('_crop' if crop else ''),)

    def entry(self, step: int, seconds: float | None, values: dict[str, float]) -> dict[str, Any]:
        """The line of `score_log` for a checkpoint's path length, as `Evaluator.entry`."""
        return {'step': step, 'seconds': seconds, **values, **self.about}

    def __call__(self, variables: Any) -> dict[str, float]:
        """Draws pairs of images and compares them.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.

        Returns:
          The path length by its name, as `ppl_w_end`, or `ppl_w_end_crop` with crop.

        Raises:
          ValueError: for images that are not finite.
        """
        parts = path_length.parts_of(self._gan, variables, self._frequencies)
        distances = path_length.pair_distances(
            parts, self._distance.apply, **self._options, progress=self._progress
        )
        return {self.names[0]: float(path_length.reject_outliers(distances).mean())}
