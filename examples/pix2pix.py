"""Image to image with paired digits: 4x4 pixels to 8x8, against a discriminator of pairs.

    python -m examples.pix2pix

Isola et al. 2017 (https://arxiv.org/abs/1611.07004): D sees input and output together and judges
patches; G's loss also contains the L1 distance to the true output, times 100. There are several
logits per sample, one per patch, so `shared_forward_grads` is the exact scheme. It takes a minute
on two CPU cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import osgan_jax
from osgan_jax.data import digits

N, STEPS, L1 = 32, 500, 100.0  # pairs a step, steps, weight of the distance
optimizer = optax.adam(1e-3, b1=0.5)
loss = osgan_jax.losses.get('non_saturating')


def enlarged(x: jax.Array) -> jax.Array:
    """Images `[N, H, W, C]` enlarged to twice their size, by bilinear interpolation."""
    return jax.image.resize(x, (len(x), 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), 'bilinear')


class Generator(nn.Module):
    """Inputs `[N, 4, 4, 1]` to outputs `[N, 8, 8, 1]`: a small U-Net, whose noise is dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Generates; without a key there is no dropout."""
        fine = nn.leaky_relu(nn.Conv(32, (3, 3))(x))
        coarse = nn.leaky_relu(nn.GroupNorm(8)(nn.Conv(32, (3, 3), 2)(fine)))
        coarse = nn.Dropout(0.5, deterministic=key is None)(coarse, rng=key)
        both = jnp.concatenate([enlarged(coarse), fine], axis=-1)
        both = nn.relu(nn.GroupNorm(8)(nn.Conv(32, (3, 3))(both)))
        return enlarged(x) + nn.Conv(1, (3, 3))(nn.relu(nn.Conv(32, (3, 3))(enlarged(both))))


generator = Generator()
discriminator = nn.Sequential(  # one logit for each of 4x4 patches
    [
        *(nn.Conv(32, (4, 4), 2), nn.leaky_relu, nn.Conv(32, (3, 3)), nn.GroupNorm(8)),
        *(nn.leaky_relu, nn.Conv(1, (1, 1)), lambda x: x[..., 0]),
    ]
)
first_params = (
    generator.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), None),
    discriminator.init(jax.random.key(1), jnp.zeros((1, 8, 8, 2))),
)


def pairs(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `[M, 4, 4, 1]` and outputs `[M, 8, 8, 1]` in [-1, 1]."""
    fine = digits.arrays(split)[0] / np.float32(127.5) - 1
    return fine.reshape(-1, 4, 2, 4, 2, 1).mean((2, 4)), fine


def gradients(params: tuple, given: jax.Array, real: jax.Array, key: jax.Array):
    """Gradients of both networks; `info.auxiliary` is the distance."""

    def discriminate(params, fake):
        seen = (jnp.concatenate([enlarged(given), x], axis=-1) for x in (real, fake))
        return tuple(discriminator.apply(params, x) for x in seen), None

    return osgan_jax.shared_forward_grads(
        loss,
        lambda params: (generator.apply(params, given, key), None),
        discriminate,
        *params,
        auxiliary=lambda fake: L1 * jnp.mean(jnp.abs(fake - real)),
    )


@jax.jit
def update(params: tuple, state: tuple, batch: tuple, key: jax.Array) -> tuple:
    """One step of both networks."""
    grads, _ = gradients(params, *batch, key)
    updates, state = optimizer.update(tuple(grads), state)
    return optax.apply_updates(params, updates), state


if __name__ == '__main__':
    (given, real), (small, large) = pairs('train'), pairs('test')
    params, state, rng = first_params, optimizer.init(first_params), np.random.default_rng(0)
    for step in range(STEPS):
        rows = rng.integers(0, len(real), N)
        params, state = update(params, state, (given[rows], real[rows]), jax.random.key(step))
    for name, image in (
        ('bilinear', enlarged(small)),
        ('pix2pix', generator.apply(params[0], small, None)),
    ):
        print(f'{name}: mean error {np.mean(np.abs(image - large)):.3f} of the test digits')
