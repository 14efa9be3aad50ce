"""The networks that a GAN can be made of, one entry each.

A network of one's own is one more `register(NetworkSpec(...))`; `--network=NAME` is valid from then
on. Without a name of its own it is a reference, `--network=module:function`, or `Networks` that a
program gives (`osgan_jax.networks.own`). This module imports neither jax nor flax, for `--help`
lists the names: a network that comes with the library is imported when it is first used.
"""

import dataclasses
import fractions
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.io import own_code

# Each is a module beside this one, with a `SPEC`.
_BUILT_IN = ('dcgan', 'resnet_gan', 'biggan', 'stylegan2', 'r3gan')


class Pair(NamedTuple):
    """A generator and a discriminator, two linen modules."""

    generator: Any
    discriminator: Any


class Blocks(NamedTuple):
    """The blocks of both networks in the order in which they are computed, G's from z.

    A block is a tuple of paths of its parameters, or of the modules that hold them, with '/'
    between names; `*` and `?` stand for any characters of a name. Embeddings of labels belong to
    none.
    """

    generator: tuple[tuple[str, ...], ...]
    discriminator: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What a pair of networks is built from; None stands for the network's own default.

    A field of `osgan_jax.gan.TrainConfig` with the same name has the same meaning.

    Attributes:
      image_size: Height and width of the images in pixels: 64, or '64x128' where they differ.
      channels: Channels of the images, 1 or 3.
      width: Unit of the numbers of channels.
      channel_multiplier: Share of the channels that is kept, in (0, 1].
      latent_dim: Size of `z`.
      num_classes: Number of labels of class-conditional networks, 0 for unconditional ones.
      discriminator_norm: Normalisation in D, one of the network's `norms`.
      minibatch_deviation: Samples in a group of D's minibatch standard deviation, 0 for none.
      style_mixing: Share of samples that take the styles of two `z`, in [0, 1].
      mapping_layers: Layers of G's mapping network.
      discriminator_skips: Whether D's blocks have residual connections.
      hierarchical_z: Whether parts of `z` enter G's blocks, rather than all of it the first layer.
      init: How weights are drawn, 'orthogonal' or 'normal' (of deviation 0.02).
      blocks: Residual blocks a stage.
      group_channels: Channels a group of grouped convolutions.
      full_width: Grid in pixels up to which stages have the full width.
      remat: Whether blocks are computed again in the backward pass rather than kept.
      dtype: Dtype of the computation; parameters, images and logits are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics; None for each device's own.
      config: The whole configuration, for networks of one's own; None where there is none.
    """

    image_size: ImageSize
    channels: int
    width: int | None = None
    channel_multiplier: fractions.Fraction | float = 1
    latent_dim: int | None = None
    num_classes: int = 0
    discriminator_norm: str | None = None
    minibatch_deviation: int | None = None
    style_mixing: float | None = None
    mapping_layers: int | None = None
    discriminator_skips: bool | None = None
    hierarchical_z: bool | None = None
    init: str | None = None
    blocks: int | None = None
    group_channels: int | None = None
    full_width: int | None = None
    remat: bool = False
    dtype: Any = np.float32
    axis_name: str | None = None
    config: Any = None

    def shared(self) -> dict[str, Any]:
        """The fields that both modules of most networks take, as keyword arguments."""
        names = ('image_size', 'channels', 'num_classes', 'dtype', 'axis_name')
        return {name: getattr(self, name) for name in names}

    def multiplied_width(self) -> int:
        """The width times the channel multiplier.

        Raises:
          ValueError: if that is not a whole number.
        """
        exact = self.width * self.channel_multiplier
        width = round(exact)
        if width < 1 or abs(width - exact) > 1e-6:
            raise ValueError(
                f'channel_multiplier={self.channel_multiplier}: a width of {self.width} would '
                f'become {float(exact):g}; choose a multiplier that gives a whole number'
            )
        return width


# Options that few networks take, with the values that ask for nothing.
OPTIONS = {
    'minibatch_deviation': None,
    'style_mixing': None,
    'mapping_layers': None,
    'discriminator_skips': None,
    'hierarchical_z': None,
    'init': None,
    'blocks': None,
    'group_channels': None,
    'full_width': None,
    'remat': False,
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NetworkSpec:
    """A network: how it is built, and what it declares of itself.

    Its generator maps `(z [N, latent_dim], labels [N] or None, train)` to images `[N, H, W, C]` in
    [-1, 1] (clipped where they are drawn, for one without tanh leaves it), its discriminator
    `(images, labels, train)` to logits `[N]`; both float32 whatever the dtype. With `train=True`
    the collection `batch_stats` is mutable. Both modules have an attribute `axis_name`, and a
    generator whose path length is measured has `dtype`.

    Attributes:
      name: its name in `--network`.
      build: makes the two modules. Of the options, only those that the network does not take are
        None.
      image_sizes: sides of the squares that it is defined for, pixels; none for any size.
      width: its default width.
      norms: normalisations that D may have; the first is the default where a method's is not among
        them.
      oblong: whether it is defined for oblongs too, those of `core.image_sizes`: all of its first
        grid, whose shorter side has 4 pixels.
      latent_dim: the default size of `z`, a function of the image size.
      latents: how `z` is drawn, `(key, shape) -> z` with independent rows; None for standard
        normal.
      options: those of `OPTIONS` that it takes, with their defaults, which are what the network was
        before it had the option. A D with minibatch deviation mixes samples, which one-stage
        training with an asymmetric loss excludes; G has an attribute `style_mixing` if it takes
        that.
      samplewise: whether D treats samples one by one, but for the norm 'batch' and minibatch
        deviation. Without this, D is checked by gradients where a scheme needs it. A D that
        declares it wrongly trains with wrong gradients.
      has_styles: whether G has a latent space w: methods `mapping`, `styles`, `draw_styles` and
        `synthesis`, the property `num_styles` and the variable `w_average` in `batch_stats`, as
        `stylegan2.Generator` documents them.
      has_blocks: whether the features of both networks can be compared by grid: submodules
        `block_0`, `block_1` and so on return feature maps `[N, h, w, C]`, alone or first.
      has_groups: whether convolutions are grouped. On CPU they are computed in a loop, whose body
        the compiler counts once; on TPUs groups are merged, and it counts the zeros between them.
        FLOPs are unknown on both.
      blocks: the blocks of the networks that complete options make, which may be frozen one by one;
        None where they have no such parts.
      macs: counts the multiply-accumulates of G for one image, `(options, convention) -> int`, see
        `stylegan2.macs`; None for no count.
    """

    name: str
    build: Callable[[NetworkOptions], Pair]
    image_sizes: Sequence[int]
    width: int
    norms: Sequence[str]
    oblong: bool = False
    latent_dim: Callable[[ImageSize], int] = lambda image_size: 100
    latents: Callable[..., Any] | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samplewise: bool = False
    has_styles: bool = False
    has_blocks: bool = False
    has_groups: bool = False
    blocks: Callable[[NetworkOptions], Blocks] | None = None
    macs: Callable[[NetworkOptions, str], int] | None = None

    def settle(self, options: NetworkOptions) -> 'NetworkSpec':
        """What it declares of itself for these options, some of which may be open."""
        del options
        return self

    def is_samplewise(self, options: NetworkOptions) -> bool:
        """Whether the D of complete options is known to treat samples one by one."""
        mixes = options.discriminator_norm == 'batch' or options.minibatch_deviation
        return self.samplewise and not mixes

    def check_size(self, image_size: ImageSize) -> None:
        """Raises ValueError, with the nearest that there is, for a size that it does not have."""
        if not self.image_sizes and (self.oblong or image_sizes.is_square(image_size)):
            return
        sizes = (
            f'one of {", ".join(map(str, self.image_sizes))}' if self.image_sizes else 'a square'
        )
        squares = self.image_sizes or (image_sizes.short(image_size),)
        nearest = image_sizes.nearest(image_size, squares, self.oblong)
        if nearest == image_size:
            return
        if image_sizes.is_square(image_size):
            raise ValueError(f'{self.name} has no {image_size}-pixel networks: use {sizes}')
        if not self.oblong:
            raise ValueError(
                f'{self.name} has networks of square images alone, and none of {image_size}: use '
                f'{sizes}, such as --image_size={nearest}'
            )
        raise ValueError(
            f'{self.name} has no {image_size} networks: the shorter side must be {sizes}, '
            'and the longer a multiple of a quarter of it, up to four times it; the nearest is '
            f'--image_size={nearest}'
        )

    def complete(self, options: NetworkOptions) -> NetworkOptions:
        """The options with this network's defaults in the place of None.

        Raises:
          ValueError: for an image size or normalisation that the network is not defined for, an
            option that it does not take, or a number out of range.
        """
        self.check_size(options.image_size)
        for name, absent in OPTIONS.items():
            if getattr(options, name) != absent and name not in self.options:
                having = [each for each in names() if name in get(each).options]
                raise ValueError(
                    f'{self.name} has no {name}: leave it out, or use {" or ".join(having)}'
                )
        defaults = {
            'width': self.width,
            'latent_dim': self.latent_dim(options.image_size),
            'discriminator_norm': self.norms[0],
            **self.options,
        }
        unset = {name: value for name, value in defaults.items() if getattr(options, name) is None}
        options = dataclasses.replace(options, **unset)
        if options.discriminator_norm not in self.norms:
            raise ValueError(
                f'discriminator_norm={options.discriminator_norm!r}: {self.name} supports '
                f'{", ".join(map(repr, self.norms))}'
            )
        if not 0 < options.channel_multiplier <= 1:
            raise ValueError(
                f'channel_multiplier={options.channel_multiplier}: expected a number in (0, 1]'
            )
        for name, least in {'width': 1, 'channels': 1, 'latent_dim': 1, 'num_classes': 0}.items():
            if getattr(options, name) < least:
                raise ValueError(
                    f'expected {name} of {least} or more, got {getattr(options, name)}'
                )
        return options


_REGISTERED: dict[str, NetworkSpec] = {}


def register(spec: NetworkSpec) -> None:
    """Adds a network.

    Raises:
      ValueError: if its name is taken, or it takes an unknown option.
    """
    if spec.name in names():
        raise ValueError(f'a network named {spec.name!r} already exists: choose another name')
    if unknown := set(spec.options) - set(OPTIONS):
        raise ValueError(
            f'network {spec.name!r} takes {sorted(unknown)}: expected some of {sorted(OPTIONS)}'
        )
    _REGISTERED[spec.name] = spec


def names() -> tuple[str, ...]:
    """The names of all networks."""
    return (*_BUILT_IN, *_REGISTERED)


def get(name: str) -> NetworkSpec:
    """The network of a name, a reference, or `Networks` as a configuration holds them.

    Raises:
      ValueError: for an unknown name, or a reference that cannot be loaded.
    """
    if own_code.is_own(name):
        return importlib.import_module('osgan_jax.networks.own').spec_of(name)
    if name in _BUILT_IN:
        return importlib.import_module(f'osgan_jax.networks.{name}').SPEC
    if name not in _REGISTERED:
        raise ValueError(own_code.unknown('network', name, names()))
    return _REGISTERED[name]


def build(name: str, options: NetworkOptions) -> Pair:
    """Builds a generator and a discriminator that fit each other, of a name as for `get`.

    Raises:
      ValueError: for an unknown name, and as `NetworkSpec.complete`.
    """
    spec = get(name)
    return spec.build(spec.complete(options))
