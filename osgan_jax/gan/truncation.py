"""Truncation: images nearer to the average, at the price of variety.

A generator with styles is truncated in w (Karras et al. 2019, https://arxiv.org/abs/1812.04948,
appendix B), by `styles` of the generator; every other one in z, here (Brock et al. 2019,
https://arxiv.org/abs/1809.11096, section 3.1).
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def truncate(z: Array, threshold: float) -> Array:
    """Latents of a truncated normal.

    Their distribution is that of BigGAN's, which draws numbers beyond the threshold again: a normal
    one cut off there. But each is a monotonic function of the number it comes from, so an image
    changes steadily with the threshold, and an infinite one leaves it alone.

    Args:
      z: normal, of any shape.
      threshold: positive, or `inf`.

    Returns:
      An array like `z`, no number further from 0 than the threshold.

    Raises:
      ValueError: for a threshold that is not positive.
    """
    if not threshold > 0:
        raise ValueError(f'truncation={threshold:g}: a threshold of z must be positive')
    z = jnp.asarray(z)
    root = jnp.sqrt(2.0)
    # The share of a normal distribution within |z| becomes the share of the truncated one.
    share = jax.lax.erf(jnp.abs(z) / root) * jax.lax.erf(threshold / root)
    near = jnp.minimum(root * jax.lax.erf_inv(share), jnp.minimum(threshold, jnp.abs(z)))
    return jnp.where(threshold == jnp.inf, z, jnp.sign(z) * near)
