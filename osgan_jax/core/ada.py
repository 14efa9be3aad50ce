"""The augmentations of ADA, each applied to each sample with a probability.

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data"
(https://arxiv.org/abs/2006.06676, appendix B), with the paper's order and distributions:

* blit: mirroring, turns by multiples of 90 degrees (of 180 where images are not square, for the
  others would not keep their shape), shifts by whole pixels;
* geom: isotropic and anisotropic scaling, rotation, shifts by fractions of a pixel;
* color: brightness, contrast, luma flip, hue and saturation, as one matrix a sample;
* noise: independent normal noise of each pixel and channel;
* cutout: a square of half the size (half of each side) becomes 0, grey.

The paper applies blit, geom and color. Its band-pass filters are not here. Blit and geom are one
bilinear resampling (`osgan_jax.core.resampling`), where the paper resamples at twice the resolution
through a wavelet's filter; images are mirrored beyond their borders, as there.

Images are float in [-1, 1] and are not clipped afterwards. Each sample has random numbers of its
own and depends on no other, as in `osgan_jax.core.diffaugment`: one-stage gradients stay exact.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.core.resampling import compose, matrix, resample

Array = jax.Array
Draws = dict[str, Array]
Shares = Mapping[str, float]

GROUPS = ('blit', 'geom', 'color', 'noise', 'cutout')

# Standard deviations and ranges of the paper's appendix B.
_SHIFT = 0.125  # of the size, for whole pixels and fractions of them
_SCALE = 0.2 * math.log(2)
_BRIGHTNESS = 0.2
_CONTRAST = 0.5 * math.log(2)
_SATURATION = math.log(2)
_NOISE = 0.1
_CUTOUT = 0.5  # of the size
# Middle of a square that lies in no image.
_NOWHERE = -10.0
# The most random numbers of a kind that a group takes for a sample.
_COLUMNS = 8


def parse(groups: Sequence[str]) -> dict[str, float]:
    """Groups by name, with the share of the probability that each has.

    Args:
      groups: names from `GROUPS`, each at most once, with a share in (0, 1] where it is not 1:
        'color:0.5'.

    Raises:
      ValueError: for an unknown or repeated name, or a share that is not a number in (0, 1].
    """
    shares: dict[str, float] = {}
    for text in groups:
        name, colon, share = text.partition(':')
        if name not in GROUPS:
            raise ValueError(f'augment_groups={text!r}: expected any of {", ".join(GROUPS)}')
        if name in shares:
            raise ValueError(f'augment_groups names {name!r} more than once')
        try:
            shares[name] = float(share) if colon else 1.0
        except ValueError:
            shares[name] = math.nan
        if not 0 < shares[name] <= 1:
            raise ValueError(
                f'augment_groups={text!r}: expected a share of the probability above 0 and up to '
                f'1, as {name}:0.5'
            )
    return shares


def draw(
    key: Array,
    shape: Sequence[int],
    groups: Shares,
    probability: Array | float,
    *,
    collectives: Collectives = ONE_DEVICE,
) -> Draws:
    """Random numbers of the augmentations of a batch.

    Args:
      key: random key, the same on all devices.
      shape: shape of this device's images, `[n, H, W, C]`, of 1 or 3 channels and at least 2x2
        pixels.
      groups: names from `GROUPS`, with each one's share of the probability; the numbers of one do
        not depend on the others.
      probability: scalar in [0, 1], with which each augmentation is applied to a sample.
      collectives: collectives of the devices; their number does not change a sample's numbers.

    Returns:
      This device's rows: 'maps' `[n, 2, 3]`, of blit and geom, see `resample`; 'color'
      `[n, C, C + 1]`, which multiplies (channels, 1); 'noise' `[n]`, standard deviations, and
      'noise_key' `[n, ...]` uint32; 'cutout' `[n, 2]`, middle of the square as shares of height and
      width, far outside where there is none. The identity where nothing is applied.

    Raises:
      ValueError: for images of another shape.
    """
    if len(shape) != 4 or min(shape[1:3]) < 2 or shape[3] not in (1, 3):
        raise ValueError(
            'expected images [n, H, W, C] of at least 2x2 pixels and 1 or 3 channels to augment, '
            f'got shape {tuple(shape)}'
        )
    rows, channels = shape[0] * collectives.size, shape[3]
    height, width = shape[1:3]
    draws = {}

    def sampler(name: str) -> '_Sampler':
        share = jnp.asarray(probability, jnp.float32) * groups[name]
        return _Sampler(jax.random.fold_in(key, GROUPS.index(name)), rows, share)

    maps = []
    if 'blit' in groups:
        maps += _blit(sampler('blit'), height, width)
    if 'geom' in groups:
        maps += _geom(sampler('geom'), height, width)
    if maps:
        draws['maps'] = compose(*maps)[:, :2]
    if 'color' in groups:
        draws['color'] = _color_matrices(sampler('color'), channels)
    if 'noise' in groups:
        sample = sampler('noise')
        draws['noise'] = sample(_NOISE * jnp.abs(sample.normal()), 0.0)
        draws['noise_key'] = jax.random.key_data(
            jax.random.split(jax.random.fold_in(sample.key, 3), rows)
        )
    if 'cutout' in groups:
        sample = sampler('cutout')
        middles = jnp.stack([sample.uniform(0, 1) for _ in range(2)], axis=1)
        draws['cutout'] = jnp.where(sample.applied()[:, None], middles, _NOWHERE)
    return {name: collectives.own_part(whole) for name, whole in draws.items()}


def transform(draws: Draws, images: Array) -> Array:
    """Augments images by given random numbers.

    Args:
      draws: result of `draw`, with as many rows as images.
      images: `[n, H, W, C]` in [-1, 1], of a floating-point dtype.

    Returns:
      An array like `images`, rounded once where it is narrower than float32; to the bit the images
      where nothing is applied. 'color' and 'noise' may leave [-1, 1].

    Raises:
      ValueError: for images of another dtype.
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f'expected floating-point images in [-1, 1] to augment, got {images.dtype}'
        )
    x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    if 'maps' in draws:
        x = resample(x, draws['maps'])
    if 'color' in draws:
        x = _recolor(x, draws['color'])
    if 'noise' in draws:
        x = x + draws['noise'][:, None, None, None] * _noise_of_each(draws['noise_key'], x)
    if 'cutout' in draws:
        x = jnp.where(_inside_square(draws['cutout'], x.shape), 0, x)
    return x.astype(images.dtype)


class _Sampler:
    """Random numbers of one group, columns of two arrays in the order of asking.

    Two draws of all columns rather than one of each: each is a hash that is compiled by itself, and
    those of four groups took 3.1 s to compile, not 1.3.
    """

    def __init__(self, key: Array, rows: int, probability: Array):
        self.key, self.rows, self.probability = key, rows, probability
        shape = (_COLUMNS, rows)
        self._uniforms = iter(jax.random.uniform(jax.random.fold_in(key, 1), shape))
        self._normals = iter(jax.random.normal(jax.random.fold_in(key, 2), shape))

    def uniform(self, low: float, high: float) -> Array:
        return low + (high - low) * next(self._uniforms)

    def normal(self) -> Array:
        return next(self._normals)

    def choice(self, count: int) -> Array:
        """One of 0 to count - 1, float32."""
        return jnp.floor(count * next(self._uniforms))

    def applied(self, probability: Array | None = None) -> Array:
        """Whether an augmentation is applied to each sample."""
        probability = self.probability if probability is None else probability
        return self.uniform(0, 1) < probability

    def __call__(self, values: Array, identity: float, probability: Array | None = None) -> Array:
        """The values where an augmentation is applied, and the identity's elsewhere."""
        return jnp.where(self.applied(probability), values, identity)


# Maps from the result's pixels to the image's: inverses of what is done to the image, the first
# thing done being the leftmost factor.


def _blit(sample: _Sampler, height: int, width: int) -> list[Array]:
    mirrored = 1 - 2 * sample(sample.choice(2), 0.0)
    kept = 4 if height == width else 2
    turns = 4 // kept * sample(sample.choice(kept), 0.0)
    # Whole numbers, so that pixels come from pixels.
    cosine = jnp.array([1.0, 0.0, -1.0, 0.0])[turns.astype(jnp.int32)]
    sine = jnp.array([0.0, 1.0, 0.0, -1.0])[turns.astype(jnp.int32)]
    applied = sample.applied()
    right, down = (
        jnp.where(applied, jnp.round(size * sample.uniform(-_SHIFT, _SHIFT)), 0.0)
        for size in (width, height)
    )
    return [
        _scaling(mirrored, 1.0, sample.rows),
        _rotation(cosine, sine, sample.rows),
        _shift(right, down, sample.rows),
    ]


def _geom(sample: _Sampler, height: int, width: int) -> list[Array]:
    rows = sample.rows
    scale = sample(jnp.exp2(_SCALE / math.log(2) * sample.normal()), 1.0)
    # Two rotations, around the anisotropic scaling, of which at least one is applied with the
    # probability of all others.
    of_rotation = 1 - jnp.sqrt(1 - sample.probability)
    before, after = (sample(sample.uniform(-math.pi, math.pi), 0.0, of_rotation) for _ in range(2))
    stretch = sample(jnp.exp2(_SCALE / math.log(2) * sample.normal()), 1.0)
    applied = sample.applied()
    right, down = (
        jnp.where(applied, size * _SHIFT * sample.normal(), 0.0) for size in (width, height)
    )
    return [
        _scaling(1 / scale, 1 / scale, rows),
        _rotation(jnp.cos(before), jnp.sin(before), rows),
        _scaling(1 / stretch, stretch, rows),
        _rotation(jnp.cos(after), jnp.sin(after), rows),
        _shift(right, down, rows),
    ]


def _scaling(x: Array, y: Array | float, rows: int) -> Array:
    return matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]], rows)


def _rotation(cosine: Array, sine: Array, rows: int) -> Array:
    return matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], rows)


def _shift(right: Array, down: Array, rows: int) -> Array:
    return matrix([[1, 0, -right], [0, 1, -down], [0, 0, 1]], rows)


def _color_matrices(sample: _Sampler, channels: int) -> Array:
    """`[n, C, C + 1]`: the product of the matrices of the five augmentations, the first rightmost.

    Grey images are taken as colours of three equal channels, and become the mean of the three.
    """
    rows = sample.rows
    luma = np.full((3, 3), 1 / 3, np.float32)  # projection onto the grey axis
    eye = np.eye(3, dtype=np.float32)
    brightness = sample(_BRIGHTNESS * sample.normal(), 0.0)
    contrast = sample(jnp.exp(_CONTRAST * sample.normal()), 1.0)
    flipped = sample(sample.choice(2), 0.0)
    angle = sample(sample.uniform(-math.pi, math.pi), 0.0)
    saturation = sample(jnp.exp(_SATURATION * sample.normal()), 1.0)
    linear = eye * contrast[:, None, None]
    linear = compose(eye - 2 * luma * flipped[:, None, None], linear)
    # Rodrigues' rotation around the grey axis.
    cross = np.float32([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    sine, cosine = jnp.sin(angle)[:, None, None], jnp.cos(angle)[:, None, None]
    linear = compose(eye + sine * cross + (1 - cosine) * (luma - eye), linear)
    linear = compose(eye + (saturation - 1)[:, None, None] * (eye - luma), linear)
    # Brightness is added first, to all channels alike.
    shift = brightness[:, None, None] * jnp.sum(linear, axis=2, keepdims=True)
    if channels == 1:
        linear = jnp.mean(jnp.sum(linear, axis=2, keepdims=True), axis=1, keepdims=True)
        shift = jnp.mean(shift, axis=1, keepdims=True)
    return jnp.concatenate([linear, jnp.broadcast_to(shift, (rows, channels, 1))], axis=2)


def _recolor(x: Array, matrices: Array) -> Array:
    return _mix_channels(x, matrices[:, :, :-1]) + matrices[:, None, None, :, -1]


@jax.custom_vjp
def _mix_channels(x: Array, matrices: Array) -> Array:
    # A sum of slices: of 64 images of 64x64x3 the gradient takes 0.3 ms on two CPU cores, by XLA's
    # own adjoint of it 44, of a matrix product 8.
    columns = matrices[:, None, None]
    return sum(x[..., i : i + 1] * columns[..., i] for i in range(x.shape[3]))


def _mix_channels_forward(x, matrices):
    return _mix_channels(x, matrices), matrices


def _mix_channels_backward(matrices, cotangent):
    return _mix_channels(cotangent, jnp.swapaxes(matrices, 1, 2)), None


_mix_channels.defvjp(_mix_channels_forward, _mix_channels_backward)


def _noise_of_each(keys: Array, images: Array) -> Array:
    """Normal noise like the images, from a key of each."""

    def noise(key: Array) -> Array:
        return jax.random.normal(jax.random.wrap_key_data(key), images.shape[1:], images.dtype)

    return jax.vmap(noise)(keys)


def _inside_square(middles: Array, shape: Sequence[int]) -> Array:
    """Whether a pixel lies in its sample's square, `[n, H, W, 1]`."""
    inside = [
        jnp.abs((np.arange(size) + 0.5) / size - middles[:, axis, None]) < _CUTOUT / 2
        for axis, size in enumerate(shape[1:3])
    ]
    return inside[0][:, :, None, None] & inside[1][:, None, :, None]
