"""Differentiable augmentation of the real and fake images that D takes.

DiffAugment (Zhao et al. 2020, https://arxiv.org/abs/2006.10738), with the ranges and the rounding
of its authors' code. Images are in the authors' range of [-1, 1] and are not clipped afterwards;
borders that a shift opens and squares that are cut out are 0, grey.

Every sample is transformed by random numbers of its own and depends on no other sample. D of
augmented images is therefore as samplewise as D alone, and one-stage gradients stay exact. Both
networks' gradients of a step need the same augmentation: one key a step. Real and fake images have
keys of their own.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core.collectives import ONE_DEVICE, Collectives

Array = jax.Array
Draws = dict[str, Array]

POLICIES = ('color', 'translation', 'cutout')

# Ranges of brightness (added), saturation and contrast (factors).
_COLOR_MIN = (-0.5, 0.0, 0.5)
_COLOR_MAX = (0.5, 2.0, 1.5)


def check(policies: Sequence[str]) -> None:
    """Raises ValueError unless each name is one of `POLICIES` and given once."""
    for name in policies:
        if name not in POLICIES:
            raise ValueError(f'augment={name!r}: expected any of {", ".join(POLICIES)}')
        if policies.count(name) > 1:
            raise ValueError(
                f'augment names {name!r} more than once: name each of {", ".join(POLICIES)} at '
                'most once'
            )


def augment(
    key: Array,
    images: Array,
    policies: Sequence[str],
    *,
    collectives: Collectives = ONE_DEVICE,
) -> Array:
    """Transforms each image at random, by the policies in their order.

    Args:
      key: random key, the same on all devices.
      images: this device's `[n, H, W, C]` in [-1, 1], of a floating-point dtype.
      policies: names from `POLICIES`; none leaves the images as they are.
      collectives: collectives of the devices; their number does not change an image's result.

    Returns:
      An array like `images`; 'color' may leave [-1, 1].

    Raises:
      ValueError: for an unknown or repeated policy, or images of another shape or dtype.
    """
    return transform(draw(key, images.shape, policies, collectives=collectives), images, policies)


def draw(
    key: Array,
    shape: Sequence[int],
    policies: Sequence[str],
    *,
    collectives: Collectives = ONE_DEVICE,
) -> Draws:
    """The random numbers of `augment`, for batches that are then augmented in parts.

    Args:
      key: random key, the same on all devices.
      shape: shape of this device's images, `[n, H, W, C]`.
      policies: names from `POLICIES`; the numbers of one do not depend on the others.
      collectives: collectives of the devices.

    Returns:
      This device's rows, an array for each policy: 'color' `[n, 3]` float32, brightness in
      [-0.5, 0.5), saturation in [0, 2) and contrast in [0.5, 1.5); 'translation' `[n, 2]` int32,
      pixels down and right; 'cutout' `[n, 2]` int32, first row and column of the square, which may
      lie outside.

    Raises:
      ValueError: for an unknown or repeated policy, or another number of axes.
    """
    check(policies)
    if len(shape) != 4:
        raise ValueError(f'expected images [n, H, W, C] to augment, got shape {tuple(shape)}')
    rows = shape[0] * collectives.size
    sizes = np.array(shape[1:3])
    draws = {}
    for name in policies:
        policy_key = jax.random.fold_in(key, POLICIES.index(name))
        if name == 'color':
            minimum, maximum = np.float32(_COLOR_MIN), np.float32(_COLOR_MAX)
            whole = jax.random.uniform(policy_key, (rows, 3), minval=minimum, maxval=maximum)
        elif name == 'translation':
            reach = _share(sizes, 8)
            whole = jax.random.randint(policy_key, (rows, 2), -reach, reach + 1)
        else:
            # Any pixel may be the middle of an odd square; an even one has its middle between
            # pixels, the border included.
            side = _share(sizes, 2)
            middles = jax.random.randint(policy_key, (rows, 2), 0, sizes + 1 - side % 2)
            whole = middles - side // 2
        draws[name] = collectives.own_part(whole)
    return draws


def transform(draws: Draws, images: Array, policies: Sequence[str]) -> Array:
    """Transforms images by given random numbers.

    Args:
      draws: result of `draw`, with as many rows as images.
      images: `[n, H, W, C]` in [-1, 1], of a floating-point dtype.
      policies: names from `POLICIES`, in the order of application.

    Returns:
      An array like `images`.

    Raises:
      ValueError: for images of another dtype.
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f'expected floating-point images in [-1, 1] to augment, got {images.dtype}'
        )
    for name in policies:
        images = _TRANSFORMS[name](images, draws[name])
    return images


def _share(size, parts: int):
    """One of `parts` equal parts of a size in pixels, rounded, halves up."""
    return (2 * size + parts) // (2 * parts)


def _color(images: Array, factors: Array) -> Array:
    x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    brightness = factors[:, 0, None, None, None]
    return (_saturate_and_contrast(x, factors[:, 1:]) + brightness).astype(images.dtype)


@jax.custom_vjp
def _saturate_and_contrast(x: Array, factors: Array) -> Array:
    # Saturation does not change an image's mean, so both means are of x and the two are one
    # expression. A sum of slices: XLA:CPU is slow at reducing an axis of three, 2 to 4 times.
    saturation, contrast = (factors[:, i, None, None, None] for i in range(2))
    channels = x.shape[3]
    grey = sum(x[..., i : i + 1] for i in range(channels)) / channels
    mean = jnp.mean(grey, axis=(1, 2, 3), keepdims=True)
    return mean + contrast * (grey - mean + saturation * (x - grey))


def _saturate_and_contrast_forward(x, factors):
    return _saturate_and_contrast(x, factors), factors


def _saturate_and_contrast_backward(factors, cotangent):
    # A weighted sum of three orthogonal projections: its own adjoint.
    return _saturate_and_contrast(cotangent, factors), None


_saturate_and_contrast.defvjp(_saturate_and_contrast_forward, _saturate_and_contrast_backward)


@jax.custom_vjp
def _translate(images: Array, offsets: Array) -> Array:
    # The gradient of 64 images of 64x64x3 on two CPU cores: 0.5 ms, no more than copying takes; by
    # XLA's own adjoint of the same slices 1.8, of a gather 2.8; by one-hot matrix products 4.0.
    height, width = images.shape[1:3]
    reach = _share(np.array([height, width]), 8)
    padded = jnp.pad(images, ((0, 0), *((r, r) for r in reach), (0, 0)))

    def window(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(window)(padded, reach - offsets)


def _translate_forward(images, offsets):
    return _translate(images, offsets), offsets


def _translate_backward(offsets, cotangent):
    # The adjoint of a shift that lets zeros in is the shift back.
    return _translate(cotangent, -offsets), None


_translate.defvjp(_translate_forward, _translate_backward)


def _cut_out(images: Array, corners: Array) -> Array:
    sizes = images.shape[1:3]
    inside = []
    for axis, size in enumerate(sizes):
        place = np.arange(size) - corners[:, axis, None]
        inside.append((place >= 0) & (place < _share(size, 2)))
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(square, 0, images)


_TRANSFORMS = {'color': _color, 'translation': _translate, 'cutout': _cut_out}
