"""A vector-quantised autoencoder with a patch discriminator, like VQGAN, on the embedded digits.

    python -m examples.vq_autoencoder

Esser et al. 2021 (https://arxiv.org/abs/2012.09841). There are several logits per sample, one per
patch, so `shared_forward_grads` is the exact scheme. The codebook's loss also depends on G's
parameters: it is one more array of `fake`, and needs no second pass through the encoder.
`adaptive_weight` measures gradients at the decoder's last layer. It takes a minute on two CPU
cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import osgan_jax
from osgan_jax.data import digits

N, STEPS, BEGIN, CODES = 32, 600, 200, 64  # BEGIN: the step from which D's gradient counts
optimizer = optax.adam(1e-3, b1=0.5, b2=0.9)
loss = osgan_jax.losses.get('hinge')


class Autoencoder(nn.Module):
    """Digits `[N, 8, 8, 1]` to images, codebook losses `[N]` and codes `[N, 16]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple:
        """Encodes, replaces each of the 4x4 features by the nearest code, and decodes."""
        x = nn.silu(nn.Conv(32, (3, 3), 2)(nn.silu(nn.Conv(16, (3, 3))(x))))
        z = nn.Conv(8, (1, 1))(x)
        codebook = self.param('codebook', nn.initializers.normal(0.5), (CODES, 8))
        codes = jnp.argmin(jnp.sum((z[..., None, :] - codebook) ** 2, -1), -1)
        chosen, stop = codebook[codes], jax.lax.stop_gradient
        error = (stop(z) - chosen) ** 2 + 0.25 * (z - stop(chosen)) ** 2
        x = nn.silu(nn.Conv(32, (3, 3))(z + stop(chosen - z)))
        x = nn.silu(nn.Conv(16, (3, 3))(jax.image.resize(x, (len(x), 8, 8, 32), 'nearest')))
        return nn.Conv(1, (3, 3), name='last')(x), jnp.mean(error, (1, 2, 3)), codes


discriminator = nn.Sequential(  # one logit for each of 4x4 overlapping patches
    [nn.Conv(32, (3, 3), 2), nn.leaky_relu, nn.Conv(32, (3, 3)), nn.leaky_relu, nn.Conv(1, (1, 1))]
)
perceptual = nn.Sequential([nn.Conv(16, (3, 3)), nn.relu, nn.Conv(32, (3, 3), 2), nn.relu])
autoencoder, zeros = Autoencoder(), jnp.zeros((1, 8, 8, 1))
first_params = tuple(
    network.init(jax.random.key(k), zeros) for k, network in enumerate((autoencoder, discriminator))
)
perceptual_params = perceptual.init(jax.random.key(2), zeros)


def features(x: jax.Array) -> jax.Array:
    """Features of a fixed random network, of unit length at each pixel, as in LPIPS."""
    x = perceptual.apply(perceptual_params, x)
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-3)


def gradients(params: tuple, real: jax.Array, begun: jax.Array | float = 1.0):
    """Gradients of both networks; `info.auxiliary` are the terms, `info.aux_combine` D's weight."""

    def generate(params):
        image, codebook, codes = autoencoder.apply(params, real)
        return {'image': image, 'codebook': codebook}, codes

    def discriminate(params, fake):
        return tuple(discriminator.apply(params, x) for x in (real, fake['image'])), None

    def perceived(fake):
        return jnp.mean(jnp.sum((features(fake['image']) - features(real)) ** 2, -1))

    last = osgan_jax.adaptive_weight(lambda grads: grads['params']['last'], weight=0.8 * begun)
    terms = {
        'pixels': lambda fake: jnp.mean(jnp.abs(fake['image'] - real)),
        'perceived': perceived,
        'codebook': lambda fake: jnp.mean(fake['codebook']),
    }
    return osgan_jax.shared_forward_grads(
        loss, generate, discriminate, *params, auxiliary=terms, combine=last
    )


@jax.jit
def update(params: tuple, state: tuple, real: jax.Array, begun: jax.Array) -> tuple:
    """One step of both networks."""
    grads, info = gradients(params, real, begun)
    updates, state = optimizer.update(tuple(grads), state)
    return optax.apply_updates(params, updates), state, info.aux_combine


if __name__ == '__main__':
    train, test = (digits.arrays(s)[0] / np.float32(127.5) - 1 for s in ('train', 'test'))
    params, state, rng = first_params, optimizer.init(first_params), np.random.default_rng(0)
    for step in range(STEPS):
        real, begun = train[rng.integers(0, len(train), N)], jnp.float32(step >= BEGIN)
        params, state, weight = update(params, state, real, begun)
    image, _, codes = autoencoder.apply(params[0], test)
    print(f'mean error {jnp.mean(jnp.abs(image - test)):.3f} of the test digits, in [-1, 1]')
    print(f'{len(np.unique(codes))} of {CODES} codes used; weight of D {weight:.2g}')
