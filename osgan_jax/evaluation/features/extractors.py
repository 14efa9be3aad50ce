"""Extractors: functions from images to the features that metrics compare."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Features(NamedTuple):
    """Features of images.

    Attributes:
      pooled: `[N, F]` float32, which Frechet and kernel distances and precision compare.
      logits: `[N, K]` float32, whose softmax the inception score reads; None where there are none.
    """

    pooled: jax.Array
    logits: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A fixed function of images; scores made with different ones are not comparable.

    Attributes:
      name: `inception`, `classifier`, `dinov2`, or `dinov2_` and another size of it.
      convention: how images are resized and scaled on the way in; recorded beside every number.
      fingerprint: hash of the weights and the convention, hexadecimal.
      apply: `uint8 [N, H, W, C]` in [0, 255] to `Features`, any H and W, C 1 or 3.
      has_logits: whether it has logits, which the inception score needs.
      image_size: height and width that it resizes images to; None if it takes them as they are.
    """

    name: str
    convention: str
    fingerprint: str
    apply: Callable[[np.ndarray], Features]
    has_logits: bool = True
    image_size: int | None = None

    @property
    def own_classes(self) -> bool:
        """Whether its logits are of the classes of the images that it was trained on."""
        return self.name != 'inception'

    def describe(self) -> str:
        """Name and convention in words."""
        named = self.convention.startswith(self.name)
        return self.convention if named else f'{self.name}, {self.convention}'

    def facts(self) -> dict[str, str]:
        """What tells its features from others', as records and files have it."""
        return {
            'extractor': self.name,
            'convention': self.convention,
            'fingerprint': self.fingerprint,
        }


def check_images(images: np.ndarray | jax.Array, whose: str) -> None:
    """Raises ValueError unless images are as `Extractor.apply` takes them; `whose` names it."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            f'{whose} takes uint8 images [N, H, W, C] with C 1 or 3, '
            f'got {images.dtype} {list(images.shape)}'
        )
    if not all(images.shape):
        raise ValueError(f'{whose} needs at least one image, got {list(images.shape)}')
