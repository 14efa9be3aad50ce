"""The networks that have a peer, by the name of ours."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from experiments.benchmark.peers import dcgan, layers, r3gan, resnet_gan, stylegan2
from osgan_jax.networks import NetworkOptions


class PeerNetwork(NamedTuple):
    """A network's modules.

    Attributes:
      generator: makes the generator from complete options.
      discriminator: makes the discriminator.
      norms: normalisations that the discriminator may have.
    """

    generator: Callable[[NetworkOptions], layers.Generator]
    discriminator: Callable[[NetworkOptions], nn.Module]
    norms: Sequence[str] = ('none',)


NETWORKS = {
    'dcgan': PeerNetwork(dcgan.Generator, dcgan.Discriminator, ('group',)),
    'resnet_gan': PeerNetwork(
        resnet_gan.Generator,
        resnet_gan.Discriminator,
        ('group', 'instance', 'layer', 'spectral', 'none'),
    ),
    'stylegan2': PeerNetwork(stylegan2.Generator, stylegan2.Discriminator),
    'r3gan': PeerNetwork(r3gan.Generator, r3gan.Discriminator),
}
