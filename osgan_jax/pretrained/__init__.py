"""Weights of others in, ours out, and the trained models that are part of this package.

`names()` lists these models, `load(name)` returns a `osgan_jax.gan.sampling.Sampler` of one, and
`card(name)` what is known of it: data and their licence, command, scores, limits.
"""

from typing import TYPE_CHECKING, Any

from osgan_jax.io import packaged

if TYPE_CHECKING:
    from osgan_jax.gan.sampling import Sampler

__all__ = ['card', 'load', 'names']


def names() -> tuple[str, ...]:
    """The names of the models."""
    return packaged.names()


def load(name: str) -> 'Sampler':
    """The generator of a model, which draws images; takes about a second.

    Args:
      name: one of `names()`.

    Raises:
      ValueError: there is no such model.
    """
    packaged.folder(name)
    from osgan_jax.compression.config import KINDS  # imports jax, which a list does without
    from osgan_jax.gan import sampling

    return sampling.Sampler(f'{packaged.PREFIX}{name}', kinds=KINDS)


def card(name: str) -> dict[str, Any]:
    """The card of a model; `osgan_jax.pretrained.cards` describes its fields.

    Args:
      name: one of `names()`.

    Raises:
      ValueError: there is no such model.
    """
    from osgan_jax.pretrained import cards

    return cards.read(packaged.folder(name))
