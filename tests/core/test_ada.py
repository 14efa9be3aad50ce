"""ADA's augmentations, against scipy.ndimage and plain formulas, and inside one-stage training."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import osgan_jax
from osgan_jax.core import ada, losses
from osgan_jax.core.collectives import AXIS, collectives_over
from osgan_jax.core.resampling import resample
from tests.support import models
from tests.support.marks import slow_but

ALL = dict.fromkeys(ada.GROUPS, 1.0)


def uniform_images(size=8, channels=3, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, size, size, channels)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=['shape', 'groups'])
def _draw(seed, shape, groups, probability):
    return ada.draw(jax.random.key(seed), shape, dict(groups), probability)


def draw(seed, shape, groups=tuple(ALL), probability=0.7):
    shares = ALL | (dict(groups) if isinstance(groups, dict) else {})
    chosen = tuple((name, shares[name]) for name in ada.GROUPS if name in groups)
    return _draw(seed, tuple(shape), chosen, probability)


transform = jax.jit(ada.transform)


def test_resampling_equals_scipy():
    images, rng = uniform_images(9), np.random.default_rng(1)
    maps = rng.normal(0, 1, (6, 2, 3)) * [[[1, 1, 3]]]
    middle = (9 - 1) / 2
    expected = np.empty_like(images)
    for image, (across, down), result in zip(images, maps, expected, strict=True):
        # Of scipy's (row, column) places.
        matrix = np.array([down[[1, 0]], across[[1, 0]]])
        offset = np.array([down[2], across[2]]) + middle - matrix @ [middle, middle]
        for channel in range(3):
            result[..., channel] = scipy.ndimage.affine_transform(
                image[..., channel].astype(np.float64), matrix, offset, order=1, mode='mirror'
            )
    got = jax.jit(resample)(images, jnp.asarray(maps, jnp.float32))
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize(('width', 'turned'), [(16, {0, 1, 2, 3}), (24, {0, 2})])
def test_blit_moves_whole_pixels_to_the_bit(width, turned):
    # Of 16 pixels a shift is of at most 2, of 24 of 3; oblongs keep their shape.
    images = uniform_images(24, 1, n=200)[:, :16, :width]
    high, wide = 2, width // 8
    maps = draw(0, images.shape, ('blit',), 1.0)['maps']
    got = np.asarray(transform({'maps': maps}, images))
    found = set()
    for image, result, ((a, b, right), (c, d, down)) in zip(images, got, maps, strict=True):
        for turn in (*turned, *(each + 4 for each in turned)):
            moved = np.rot90(image if turn < 4 else image[:, ::-1], turn)
            padded = np.pad(moved, ((high, high), (wide, wide), (0, 0)), mode='reflect')
            for y, x in np.ndindex(2 * high + 1, 2 * wide + 1):
                if np.array_equal(padded[y : y + 16, x : x + width], result):
                    found.add((turn, y - high, x - wide))
                    break
            else:
                continue
            break
        else:
            pytest.fail(f'no pixels of the image: {[[a, b, right], [c, d, down]]}')
    turns, ys, xs = (set(column) for column in zip(*found, strict=True))
    assert turns == turned | {each + 4 for each in turned}
    assert ys == set(range(-high, high + 1))
    assert xs == set(range(-wide, wide + 1))


def decomposed(maps):
    """Angle of the first rotation and both scales of what geom does to images."""
    inverse = np.linalg.inv(np.asarray(maps, np.float64)[:, :, :2])
    u, scales, vh = np.linalg.svd(inverse)
    return scales, np.linalg.det(u) * np.linalg.det(vh)


def test_geometry_has_the_papers_distributions():
    maps = np.asarray(draw(0, (4000, 64, 64, 3), ('geom',), 1.0)['maps'])
    scales, handedness = decomposed(maps)
    np.testing.assert_allclose(handedness, 1, atol=1e-5)
    # The product of both scales is the isotropic one squared, their ratio the other's square.
    deviation = 0.2 * math.log(2)
    for values in (np.log(scales.prod(axis=1)) / 2, np.log(scales[:, 0] / scales[:, 1]) / 2):
        root = np.sqrt(np.mean(np.square(values)))
        np.testing.assert_allclose(root, deviation, rtol=0.04)
    # At p = 1 an angle is uniform; the shift is made last, by 1/8 of 64 pixels.
    angles = np.arctan2(maps[:, 1, 0], maps[:, 0, 0])
    assert scipy.stats.kstest(angles / (2 * np.pi) + 0.5, 'uniform').pvalue > 1e-3
    shifts = np.einsum('nij,nj->ni', np.linalg.inv(maps[:, :, :2]), -maps[:, :, 2])
    np.testing.assert_allclose(shifts.std(axis=0), 8, rtol=0.05)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.06


def test_each_is_applied_with_its_probability():
    # Rotations with 1 - (1 - p)^(1/2) each; a turn by 0 of four, and no flip, change nothing.
    maps = np.asarray(draw(1, (4000, 64, 64, 3), ('geom',), 0.3)['maps'])
    scales, _ = decomposed(maps)
    isotropic = np.abs(np.log(scales.prod(axis=1))) > 1e-5
    stretched = np.abs(np.log(scales[:, 0] / scales[:, 1])) > 1e-5
    shifted = np.any(np.abs(maps[:, :, 2]) > 1e-6, axis=1)
    plain = ~stretched
    rotated = np.abs(maps[plain, 1, 0] / maps[plain, 0, 0]) > 1e-5
    draws = draw(1, (4000, 8, 8, 3), ('noise', 'cutout'), 0.3)
    cut, noisy = draws['cutout'][:, 0] > -1, draws['noise'] > 0
    for share in (isotropic, stretched, shifted, rotated, cut, noisy):
        assert abs(np.mean(share) - 0.3) < 0.03
    for one, other in ((isotropic, stretched), (stretched, shifted), (cut, noisy)):
        assert abs(np.mean(one & other) - 0.09) < 0.02
    halved = draw(1, (4000, 8, 8, 3), {'cutout': 0.5}, 0.3)['cutout'][:, 0] > -1
    assert abs(np.mean(halved) - 0.15) < 0.02


def test_color_equals_the_papers_steps():
    """Each step by its words, on colours drawn beside the matrices from the same keys."""
    matrices = np.asarray(draw(2, (2000, 8, 8, 3), ('color',), 1.0)['color'], np.float64)
    linear, shift = matrices[:, :, :3], matrices[:, :, 3]
    grey = np.ones(3) / math.sqrt(3)
    # Grey stays grey, contrast times flip; chroma is rotated and scaled around it.
    of_grey = linear @ grey @ grey
    np.testing.assert_allclose(linear @ grey, of_grey[:, None] * grey, atol=1e-5)
    np.testing.assert_allclose(grey @ linear, of_grey[:, None] * grey, atol=1e-5)
    contrast = np.abs(of_grey)
    np.testing.assert_allclose(np.log(contrast).std(), 0.5 * math.log(2), rtol=0.05)
    assert abs(np.mean(of_grey < 0) - 0.5) < 0.04
    # Brightness is added before contrast, to all channels.
    brightness = shift / of_grey[:, None]
    np.testing.assert_allclose(brightness, brightness[:, :1] * np.ones(3), atol=1e-4)
    np.testing.assert_allclose(brightness[:, 0].std(), 0.2, rtol=0.05)
    chroma = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    turned = chroma @ linear @ chroma.T / contrast[:, None, None]
    saturation = np.sqrt(np.linalg.det(turned))
    np.testing.assert_allclose(np.log(saturation).std(), math.log(2), rtol=0.05)
    rotation = turned / saturation[:, None, None]
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, 1, 2), [np.eye(2)] * 2000, atol=1e-4
    )
    angles = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    assert scipy.stats.kstest(angles / (2 * np.pi) + 0.5, 'uniform').pvalue > 1e-3


def test_color_multiplies_the_channels():
    images = uniform_images()
    matrices = draw(0, images.shape, ('color',))['color']
    whole = np.concatenate([images, np.ones_like(images[..., :1])], axis=3)
    expected = np.einsum('nyxc,ndc->nyxd', whole, matrices)
    np.testing.assert_allclose(transform({'color': matrices}, images), expected, atol=1e-5)


def test_grey_images_are_the_mean_of_a_grey_colour():
    images = uniform_images(channels=1)
    colored = np.repeat(images, 3, axis=3)
    expected = transform(draw(0, colored.shape, ('color',)), colored).mean(axis=3, keepdims=True)
    got = transform(draw(0, images.shape, ('color',)), images)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_noise_and_cutout():
    images = np.ones((3000, 8, 8, 1), np.float32)
    draws = draw(0, images.shape, ('noise', 'cutout'), 1.0)
    noise = np.asarray(transform({k: v for k, v in draws.items() if k != 'cutout'}, images)) - 1
    sigmas = np.asarray(draws['noise'])
    np.testing.assert_allclose(np.sqrt(np.mean(sigmas**2)), 0.1, rtol=0.05)
    np.testing.assert_allclose((noise / sigmas[:, None, None, None]).std(), 1, rtol=0.02)
    # No sample's noise is another's.
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02
    cut = np.asarray(transform({'cutout': draws['cutout']}, images)) == 0
    y, x = np.ogrid[:8, :8]
    for mask, (down, right) in zip(cut[..., 0], np.asarray(draws['cutout']), strict=True):
        inside = (np.abs((y + 0.5) / 8 - down) < 0.25) & (np.abs((x + 0.5) / 8 - right) < 0.25)
        np.testing.assert_array_equal(mask, inside)


@pytest.mark.parametrize(('channels', 'dtype'), [(1, jnp.bfloat16), (3, jnp.float32)])
def test_at_probability_0_nothing_changes_to_the_bit(channels, dtype):
    images = jnp.asarray(uniform_images(channels=channels), dtype)
    got = transform(draw(0, images.shape, probability=0.0), images)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, images)


def test_bfloat16_is_rounded_once():
    images = jnp.asarray(uniform_images(), jnp.bfloat16)
    draws = draw(0, images.shape)
    exact = transform(draws, images.astype(jnp.float32))
    np.testing.assert_array_equal(transform(draws, images), exact.astype(jnp.bfloat16))


@pytest.mark.parametrize('name', ada.GROUPS)
def test_gradient_is_the_adjoint(name):
    # All are affine in the images: of a cotangent y, <A x, y> = <x, A' y>, also of A' itself.
    x, y = uniform_images(), uniform_images(seed=1)
    draws = draw(0, x.shape, (name,))

    @jax.jit
    def products(draws, x, y):
        forward, pull = jax.vjp(functools.partial(ada.transform, draws), x)
        forward = forward - ada.transform(draws, jnp.zeros_like(x))
        (back,), pull_back = jax.vjp(pull, y)
        (again,) = pull_back((x,))
        return jnp.sum(forward * y), jnp.sum(x * back), jnp.sum(again * y)

    first, *others = products(draws, x, y)
    np.testing.assert_allclose(others, [first, first], rtol=1e-4)


def test_a_sample_depends_on_no_other():
    images = jnp.asarray(uniform_images())
    draws = draw(0, images.shape)
    weights = jnp.asarray(uniform_images(seed=2))

    @jax.jit
    def reach(draws, i):
        return jax.grad(lambda x: jnp.sum((ada.transform(draws, x) * weights)[i]))(images)

    for i in range(6):
        gradient = np.asarray(reach(draws, i))
        assert np.abs(gradient[i]).max() > 0
        np.testing.assert_array_equal(np.delete(gradient, i, axis=0), 0)


def test_the_number_of_devices_and_the_other_groups_change_nothing():
    images, key = uniform_images(n=8), jax.random.key(2)
    devices = jax.local_devices()[:4]
    collectives = collectives_over(devices)

    def augment(images):
        draws = ada.draw(key, images.shape, {'noise': 1.0}, 0.7, collectives=collectives)
        return ada.transform(draws, images)

    apart = jax.pmap(augment, AXIS, devices=devices)(images.reshape(4, 2, *images.shape[1:]))
    draws = draw(2, images.shape)
    noisy = transform({name: draws[name] for name in ('noise', 'noise_key')}, images)
    np.testing.assert_allclose(apart.reshape(images.shape), noisy, atol=1e-6)


@pytest.mark.parametrize('name', slow_but(('non_saturating', 'hinge'), 'non_saturating'))
def test_one_stage_gradients_are_exact(name):
    loss, keys = losses.get(name), jax.random.split(jax.random.key(1), 3)
    real = models.real_batch()
    draws = [draw(seed, real.shape) for seed in range(2)]
    size = real[0].size
    params_g = 0.3 * jax.random.normal(keys[0], (models.Z, size))
    params_d = [0.3 * jax.random.normal(keys[1], (size, 8)), jax.random.normal(keys[2], (8,))]

    def generate(params_g):
        return jnp.tanh(models.latents() @ params_g).reshape(real.shape), None

    def discriminate(params_d, fake):
        def judge(draws, images):
            images = ada.transform(draws, images)
            return jnp.tanh(images.reshape(len(images), -1) @ params_d[0]) @ params_d[1]

        return (judge(draws[0], real), judge(draws[1], fake)), None

    def value(which, params_g, params_d):
        logits, _ = discriminate(params_d, generate(params_g)[0])
        return getattr(loss, which)(*logits)

    @jax.jit
    def both(params_g, params_d):
        got, _ = osgan_jax.one_stage_grads(loss, generate, discriminate, params_g, params_d)
        expected_g = jax.grad(functools.partial(value, 'generator'))(params_g, params_d)
        expected_d = jax.grad(functools.partial(value, 'discriminator'), argnums=1)(
            params_g, params_d
        )
        return got, expected_g, expected_d

    got, expected_g, expected_d = both(params_g, params_d)
    assert models.relative_error(got.generator, expected_g) < 1e-5
    assert models.relative_error(got.discriminator, expected_d) < 1e-5


def test_wrong_groups_and_images_are_named():
    assert ada.parse(('blit', 'color:0.5')) == {'blit': 1.0, 'color': 0.5}
    for groups, message in (
        (('warp',), "'warp': expected any of blit, geom, color, noise, cutout"),
        (('blit', 'blit:0.5'), "'blit' more than once"),
        (('blit:2',), "'blit:2': expected a share"),
        (('blit:x',), "'blit:x': expected a share"),
        (('blit:nan',), 'expected a share'),
        (('blit:0',), 'expected a share'),
    ):
        with pytest.raises(ValueError, match=message):
            ada.parse(groups)
    for shape in ((8, 8, 3), (2, 8, 8, 4), (2, 1, 8, 3)):
        with pytest.raises(ValueError, match=r'expected images \[n, H, W, C\] of at least 2x2'):
            ada.draw(jax.random.key(0), shape, ALL, 0.5)
    with pytest.raises(ValueError, match=r'floating-point images .* got uint8'):
        ada.transform({}, np.zeros((1, 8, 8, 1), np.uint8))
