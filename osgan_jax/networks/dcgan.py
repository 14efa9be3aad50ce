"""DCGAN (Radford et al. 2015, https://arxiv.org/abs/1511.06434) as one-stage training uses it.

The generator takes `z` to a 4x4 grid and doubles it by transposed 4x4 convolutions with BatchNorm
and ReLU; the discriminator mirrors it with LeakyReLU, a normalisation that keeps samples apart,
and no sigmoid. Channels double towards the 4x4 grid, up to eight times the width.

Class-conditional networks follow Mirza and Osindero 2014 (https://arxiv.org/abs/1411.1784): the
generator's `z` is joined by an embedding of the label, the discriminator's image by one more plane.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.layers import modules, norms
from osgan_jax.networks import bases
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

IMAGE_SIZES = (16, 32, 64, 128, 256)

LABEL_FEATURES = 32  # of the generator's label embedding


def hidden_channels(image_size: ImageSize, width: int) -> list[int]:
    """Lists the channels of the hidden layers from the largest grid to the 4x4 one.

    Args:
      image_size: Of the image, one of `IMAGE_SIZES` or an oblong of such a shorter side.
      width: Channels of the layer at half the image size.

    Returns:
      As many numbers as there are doublings from 4 to `image_size`.
    """
    layers = (image_sizes.short(image_size) // 4).bit_length() - 1
    return [width * min(2**layer, 8) for layer in range(layers)]


class Generator(bases.Generator):
    """Maps z to images.

    Attributes:
      width: Channels of the last hidden layer.
    """

    width: int = 128

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Generates images, see `bases.Generator`."""
        self.check_inputs(z, labels)
        if self.num_classes:
            embedding = nn.Embed(
                self.num_classes, LABEL_FEATURES, embedding_init=nn.initializers.normal(1.0)
            )(labels)
            z = jnp.concatenate([z, embedding], axis=-1)
        x = z[:, None, None, :]
        for index, features in enumerate(reversed(hidden_channels(self.image_size, self.width))):
            if index == 0:
                grid = image_sizes.grid(self.image_size)
                first = {'kernel_size': grid, 'stride': 1, 'padding': 'valid'}
            else:
                first = {}
            x = modules.ConvTranspose(features, dtype=self.dtype, **first)(x)
            x = nn.relu(self.batch_norm(x, train, scale_init=norms.normal_scale(0.02)))
        x = modules.ConvTranspose(self.channels, dtype=self.dtype)(x)
        return jnp.tanh(jnp.asarray(x, jnp.float32))


class Discriminator(bases.Discriminator):
    """Maps images to logits.

    Attributes:
      width: Channels of the first hidden layer.
      norm: Normalisation between convolutions, one of `norms.NAMES`.
    """

    width: int = 128
    norm: str = 'group'

    @nn.compact
    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Computes the logits of images, see `bases.Discriminator`."""
        self.check_inputs(images, labels)
        x = jnp.asarray(images, self.dtype)
        if self.num_classes:
            height, width = image_sizes.sides(self.image_size)
            plane = nn.Embed(
                self.num_classes, height * width, embedding_init=nn.initializers.normal(1.0)
            )(labels)
            plane = plane.reshape(-1, height, width, 1)
            x = jnp.concatenate([x, jnp.asarray(plane, self.dtype)], axis=-1)
        for index, features in enumerate(hidden_channels(self.image_size, self.width)):
            layer = modules.Conv(features, (4, 4), stride=2, dtype=self.dtype)
            x = norms.wrap_spectral(layer, x, self.norm, train=train)
            if index > 0:
                x = norms.normalise(
                    x,
                    self.norm,
                    train=train,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                    scale_init=norms.normal_scale(0.02),
                )
            x = nn.leaky_relu(x, 0.2)
        layer = modules.Conv(1, image_sizes.grid(self.image_size), padding='valid')
        return norms.wrap_spectral(layer, x, self.norm, train=train)[:, 0, 0, 0]


def _build(options: NetworkOptions) -> Pair:
    width, shared = options.multiplied_width(), options.shared()
    return Pair(
        Generator(latent_dim=options.latent_dim, width=width, **shared),
        Discriminator(norm=options.discriminator_norm, width=width, **shared),
    )


def _blocks(options: NetworkOptions) -> Blocks:
    """Convolutions with the normalisation after them."""
    hidden = range(len(hidden_channels(options.image_size, options.width)))
    return Blocks(
        generator=(
            *((f'ConvTranspose_{index}', f'BatchNorm_{index}') for index in hidden),
            (f'ConvTranspose_{len(hidden)}',),
        ),
        # The first convolution of D has no normalisation.
        discriminator=(
            *((f'Conv_{index}', f'*Norm_{index - 1}') for index in hidden),
            (f'Conv_{len(hidden)}',),
        ),
    )


SPEC = NetworkSpec(
    name='dcgan',
    build=_build,
    image_sizes=IMAGE_SIZES,
    oblong=True,
    width=128,
    norms=norms.NAMES,
    samplewise=True,
    blocks=_blocks,
)
