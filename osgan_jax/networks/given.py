"""Networks of one's own as a program gives them, and what they may declare of themselves."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from osgan_jax.io.own_code import Given

LATENTS = ('normal', 'uniform')
"""Distributions of z by name: standard normal, and uniform in [-1, 1]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """A generator and a discriminator of one's own, two flax linen modules.

    `generator(z [N, Z])` returns images `[N, H, W, C]` in [-1, 1], `discriminator(images)` returns
    one logit per sample, `[N]` or `[N, 1]`. Each may also take `labels` `[N]`, integers, and one of
    `train`, `training`, `is_training`, `deterministic` and `use_running_average`. What else
    `osgan_jax.gan.train` asks of them is checked before a run begins.

    Attributes:
      generator: The generator.
      discriminator: The discriminator.
      latent_dim: Size of z, Z; by default that of the configuration, or else 100.
      latents: Distribution of z, one of `LATENTS`, or a function `(key, shape) -> z` with
        independent rows.
      has_styles: Whether the generator has a latent space w, as
        `osgan_jax.networks.NetworkSpec.has_styles` describes it.
      generator_blocks: Names of the generator's submodules that make it up, from z to the image;
        each returns feature maps `[N, h, w, C]`, alone or first.
      discriminator_blocks: Those of the discriminator, from the image to the logit.
    """

    generator: Any
    discriminator: Any
    latent_dim: int | None = None
    latents: str | Callable[..., Any] = 'normal'
    has_styles: bool = False
    generator_blocks: Sequence[str] = ()
    discriminator_blocks: Sequence[str] = ()


def named(networks: Any) -> str:
    """The name of networks in a configuration: a text as it is, `Networks` with what they are.

    Raises:
      ValueError: if it is neither.
    """
    if isinstance(networks, str):
        return networks
    networks = as_networks('networks', networks)
    classes = [type(each).__name__ for each in (networks.generator, networks.discriminator)]
    return Given(', '.join(classes), networks)


def as_networks(what: str, value: Any) -> Networks:
    """`Networks` as they are; of a pair, the generator and the discriminator.

    Args:
      what: where the value comes from, for messages.
      value: the value.

    Raises:
      ValueError: if it is neither.
    """
    if isinstance(value, Networks):
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        return Networks(*value)
    if isinstance(value, tuple | list) and len(value) > 2:
        raise ValueError(
            f'{what}: got {len(value)} modules, but the trainer takes one generator and one '
            'discriminator; osgan_jax.one_stage_grads takes several (docs/guides/models.md)'
        )
    found = 'None' if value is None else f'a value of type {type(value).__name__}'
    raise ValueError(
        f'{what}: expected osgan_jax.gan.Networks(generator, discriminator), got {found}'
    )
