"""Fields of both networks: architecture, sizes and initialisation."""

import dataclasses
import fractions
from typing import Any

from osgan_jax import networks
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import field
from osgan_jax.io import own_code


def _network(help: str, decided_by: str | tuple[str, ...] = 'network', **known: Any) -> Any:
    """An open field of the networks."""
    return field(None, help, group='networks', decided_by=decided_by, carried=True, **known)


def parse_multiplier(text: str) -> fractions.Fraction:
    """Parses a channel multiplier, such as '1/2', '0.5' or '1'.

    Raises:
      ValueError: for a text that is not a number above 0 and up to 1.
    """
    try:
        value = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = fractions.Fraction(0)
    if not 0 < value <= 1:
        raise ValueError(
            f'channel_multiplier={text}: expected a number above 0 and up to 1, as 1/2 or 0.25'
        )
    return value


@dataclasses.dataclass(frozen=True)
class NetworkFields(Config):
    """Which networks G and D are."""

    network: str | None = _network(
        'architecture of G and D, or your own: module:function or FILE.py:function, which returns '
        'osgan_jax.gan.Networks',
        names='osgan_jax.networks:names',
        decided_by='method',
    )
    width: int | None = _network(
        'base number of channels; in stylegan2 and r3gan the largest number of channels of a layer',
        at_least=1,
    )
    channel_multiplier: str = field(
        '1',
        'share of the channels to keep, above 0 and up to 1, such as 1/2 or 0.5; in biggan only '
        "G's channels",
        group='networks',
        carried=True,
    )
    latent_dim: int | None = _network(
        'dimensions of z', decided_by=('method', 'network'), at_least=1
    )
    discriminator_norm: str | None = _network(
        'normalisation in D: group, instance, layer, spectral, batch or none',
        decided_by=('method', 'network'),
    )
    minibatch_deviation: int | None = _network(
        "group size of the minibatch standard deviation in stylegan2's D, 0 for none; 4 by "
        'default, but 0 in one_stage, which needs a D that treats samples independently',
        at_least=0,
        decided_by=('method', 'network', 'scheme'),
    )
    style_mixing: float | None = _network(
        "share of stylegan2's samples that mix the styles of two z; 0.9 by default",
        decided_by=('method', 'network'),
        at_least=0,
        at_most=1,
    )
    mapping_layers: int | None = _network(
        "layers of stylegan2's mapping network; 8 by default",
        decided_by=('method', 'network'),
        at_least=1,
    )
    discriminator_skips: bool | None = _network(
        "residual connections in stylegan2's D; true by default",
        decided_by=('method', 'network'),
    )
    hierarchical_z: bool | None = _network(
        "in biggan, feed a part of z to each of G's blocks, instead of all of z to the first "
        'layer; true by default',
        decided_by=('method', 'network'),
    )
    init: str | None = _network(
        "initialisation of biggan's weights: orthogonal, or normal with standard deviation "
        '0.02; orthogonal by default',
        decided_by=('method', 'network'),
        choices=('orthogonal', 'normal'),
    )
    blocks: int | None = _network(
        'residual blocks per stage of r3gan; 2 by default',
        decided_by=('method', 'network'),
        at_least=1,
    )
    group_channels: int | None = _network(
        "channels per group of r3gan's 3x3 convolutions; 16 by default, 32 in its ImageNet "
        'networks',
        decided_by=('method', 'network'),
        at_least=1,
    )
    full_width: int | None = _network(
        'largest grid, in pixels, at which stages of r3gan have the full width; 32 by default; '
        'each doubling beyond it halves the width',
        decided_by=('method', 'network'),
        at_least=4,
    )
    freeze: tuple[str, ...] = field(
        (),
        'blocks that stay as they are, in the order of the computation: discriminator:0-2 are the '
        'three nearest to the image, generator:0 is the one nearest to z',
        group='networks',
    )
    remat: bool = field(
        False,
        'recompute the blocks of biggan and stylegan2 in the backward pass, which saves memory and '
        'takes time',
        group='networks',
    )
    conditional: bool | None = _network('condition both networks on the label', decided_by='method')

    def __post_init__(self):
        # First, for a field's value is a text from here on.
        if self.network is not None:
            named = own_code.absolute(networks.named(self.network))
            object.__setattr__(self, 'network', named)
        super().__post_init__()
        if self.channel_multiplier is not None:
            parse_multiplier(self.channel_multiplier)

    def network_options(self, num_classes: int, **known: Any) -> networks.NetworkOptions:
        """What the networks are built from.

        Args:
          num_classes: labels of the dataset.
          **known: fields of the options that a configuration does not have.
        """
        fields = dataclasses.fields(networks.NetworkOptions)
        common = {
            each.name: getattr(self, each.name) for each in fields if hasattr(self, each.name)
        }
        own = {
            'channel_multiplier': parse_multiplier(self.channel_multiplier),
            'num_classes': num_classes if self.conditional else 0,
            'config': self,
        }
        return networks.NetworkOptions(**{**common, **own, **known})
