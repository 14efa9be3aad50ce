"""Differentiable augmentation, against plain loops, and inside one-stage training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import osgan_jax
from osgan_jax.core import diffaugment, losses
from osgan_jax.core.collectives import AXIS, ONE_DEVICE, collectives_over
from tests.support import models

ALL = diffaugment.POLICIES
SETS = [('color',), ('translation',), ('cutout',), ALL]


def uniform_images(size, channels, n=6, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, size, size, channels)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=['shape', 'policies'])
def draw(seed, shape, policies=ALL):
    return diffaugment.draw(jax.random.key(seed), shape, policies)


def color(image, factors):
    """One image as the paper words it, step by step."""
    brightness, saturation, contrast = factors
    image = image.astype(np.float64) + brightness
    for pixel in image.reshape(-1, image.shape[-1]):
        pixel[:] = pixel.mean() + saturation * (pixel - pixel.mean())
    return image.mean() + contrast * (image - image.mean())


def translation(image, offset):
    moved = np.zeros_like(image)
    for y, x in np.ndindex(image.shape[:2]):
        from_y, from_x = y - offset[0], x - offset[1]
        if 0 <= from_y < image.shape[0] and 0 <= from_x < image.shape[1]:
            moved[y, x] = image[from_y, from_x]
    return moved


def cutout(image, corner):
    image = image.copy()
    side = (image.shape[0] + 1) // 2
    for y in range(corner[0], corner[0] + side):
        for x in range(corner[1], corner[1] + side):
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                image[y, x] = 0
    return image


REFERENCES = {'color': color, 'translation': translation, 'cutout': cutout}


@pytest.mark.parametrize(('size', 'channels'), [(8, 3), (8, 1), (9, 3)])
def test_equals_plain_loops(size, channels):
    images, orders = uniform_images(size, channels), [*SETS, ALL[::-1]]
    draws = jax.device_get(draw(0, images.shape))

    @jax.jit
    def transform(draws, images):
        return [diffaugment.transform(draws, images, policies) for policies in orders]

    for policies, got in zip(orders, transform(draws, images), strict=True):
        expected = []
        for i, image in enumerate(images):
            for name in policies:
                image = REFERENCES[name](image, draws[name][i])
            expected.append(image)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6, err_msg=policies)


def test_no_policy_changes_nothing():
    images = uniform_images(8, 3)
    np.testing.assert_array_equal(diffaugment.augment(jax.random.key(0), images, ()), images)


def test_height_and_width_may_differ():
    draws = draw(0, (4000, 8, 16, 3))
    np.testing.assert_array_equal(np.max(draws['translation'], axis=0), [1, 2])
    np.testing.assert_array_equal(np.max(draws['cutout'], axis=0), [8 - 2, 16 - 4])
    masks = diffaugment.transform({'cutout': np.ones((2, 2))}, jnp.ones((2, 8, 16, 3)), ('cutout',))
    np.testing.assert_array_equal(np.sum(masks == 0, axis=(1, 2, 3)), 4 * 8 * 3)


def test_saturation_leaves_grey_images():
    factors = jnp.array([[0.0, saturation, 1.0] for saturation in np.linspace(0, 2, 6)])
    saturate = jax.jit(lambda x: diffaugment.transform({'color': factors}, x, ('color',)))
    grey, colored = uniform_images(8, 1), uniform_images(8, 3)
    np.testing.assert_allclose(saturate(grey), grey, atol=1e-6)
    spread = np.ptp(saturate(colored), axis=-1)
    np.testing.assert_allclose(spread[0], 0, atol=1e-6)
    np.testing.assert_allclose(spread[-1], 2 * np.ptp(colored[-1], axis=-1), rtol=1e-5)


@pytest.mark.parametrize(('size', 'reach', 'side'), [(8, 1, 4), (9, 1, 5), (28, 4, 14)])
def test_ranges_of_draws(size, reach, side):
    draws = draw(0, (8000, size, size, 3))
    low, high = np.array([-0.5, 0, 0.5]), np.array([0.5, 2, 1.5])
    factors = (np.asarray(draws['color']) - low) / (high - low)
    assert factors.min() >= 0
    assert factors.max() <= 1
    for column in factors.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        assert counts.min() > 650
        assert counts.max() < 950
    # Squares are centred anywhere in the image; an even one also on the far border.
    first, last = -(side // 2), size - side // 2 - side % 2
    for name, lowest, highest in (('translation', -reach, reach), ('cutout', first, last)):
        for column in np.asarray(draws[name]).T:
            values, counts = np.unique(column, return_counts=True)
            np.testing.assert_array_equal(values, np.arange(lowest, highest + 1))
            mean = 8000 / len(values)
            assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_every_number_is_its_own():
    # At size 8 a translation is one of 3 and a cutout of 9: of the same bits they would correlate.
    shape = (8000, 8, 8, 3)
    draws, other = draw(0, shape), draw(1, shape)
    # Seven numbers a sample, for two keys: as real and fake images have.
    columns = np.concatenate([*draws.values(), *other.values()], axis=1)
    assert np.abs(np.corrcoef(columns.T) - np.eye(14)).max() < 0.06
    assert len(np.unique([draws['color'], other['color']])) > 0.99 * 2 * 3 * 8000
    alone = draw(0, shape, ('cutout',))
    np.testing.assert_array_equal(alone['cutout'], draws['cutout'])


def transform(policies, images):
    draws = draw(0, images.shape)
    return jax.jit(lambda x: diffaugment.transform(draws, x, policies))


@pytest.mark.parametrize(
    'policies',
    [SETS[0], *(pytest.param(policies, marks=pytest.mark.slow) for policies in SETS[1:])],
)
def test_gradients_equal_finite_differences(policies):
    images = jnp.asarray(uniform_images(8, 3))
    function = transform(policies, images)
    # Beyond the first order too: gradient penalties differentiate what comes back.
    check_grads(
        lambda x: jnp.sin(function(x)), (images,), order=2, modes=['rev'], rtol=2e-2, atol=2e-2
    )


@pytest.mark.parametrize('policies', SETS)
def test_gradient_is_the_adjoint(policies):
    x, y = jnp.asarray(uniform_images(9, 3)), jnp.asarray(uniform_images(9, 3, seed=1))
    forward, pull = jax.vjp(transform(policies, x), x)
    # Brightness is added: the rest is linear.
    forward -= transform(policies, x)(jnp.zeros_like(x))
    np.testing.assert_allclose(jnp.sum(forward * y), jnp.sum(x * pull(y)[0]), rtol=1e-5)


def test_gradient_is_zero_where_cut_out_and_one_elsewhere():
    images = jnp.asarray(uniform_images(8, 3))
    got, pull = jax.vjp(transform(('cutout',), images), images)
    np.testing.assert_array_equal(pull(jnp.ones_like(got))[0], np.asarray(got) != 0)
    assert 0 < np.mean(got == 0) < 1


@pytest.mark.parametrize('policies', SETS[:3])
def test_bfloat16_stays(policies):
    images = jnp.asarray(uniform_images(8, 3), jnp.bfloat16)
    function = transform(policies, images)
    got, pull = jax.vjp(function, images)
    assert got.dtype == pull(got)[0].dtype == jnp.bfloat16
    # Rounded once, at the end.
    exact = function(images.astype(jnp.float32))
    np.testing.assert_array_equal(got, exact.astype(jnp.bfloat16))


def test_the_number_of_devices_changes_nothing():
    images, key = uniform_images(8, 3, n=8), jax.random.key(2)

    def value_and_gradient(collectives):
        def total(x):
            got = diffaugment.augment(key, x, ALL, collectives=collectives)
            return jnp.sum(jnp.square(got)), got

        return jax.grad(total, has_aux=True)

    devices = jax.local_devices()[:4]
    mapped = jax.pmap(value_and_gradient(collectives_over(devices)), AXIS, devices=devices)
    apart = mapped(images.reshape(4, 2, *images.shape[1:]))
    together = jax.jit(value_and_gradient(ONE_DEVICE))(images)
    for got, expected in zip(apart, together, strict=True):
        np.testing.assert_allclose(got.reshape(images.shape), expected, atol=1e-6)


def test_parts_of_the_draws_make_up_the_whole():
    images = uniform_images(8, 3)
    draws = draw(0, images.shape)
    apply = jax.jit(lambda draws, x: diffaugment.transform(draws, x, ALL))
    halves = [
        apply({name: x[rows] for name, x in draws.items()}, images[rows])
        for rows in (slice(0, 3), slice(3, 6))
    ]
    whole = jax.jit(lambda x: diffaugment.augment(jax.random.key(0), x, ALL))(images)
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-6)


def networks():
    """A G and a D of two layers, and D's view of augmented real and fake batches."""
    keys = jax.random.split(jax.random.key(1), 6)
    size = models.SIZE**2 * models.CHANNELS
    shapes = [(models.Z, size), (size, 8), (8,)]
    params = [0.3 * jax.random.normal(*arguments) for arguments in zip(keys, shapes, strict=False)]

    def generate(params_g):
        return jnp.tanh(models.latents() @ params_g).reshape(models.real_batch().shape), None

    def discriminate(policies, params_d, fake):
        def judge(key, images):
            images = diffaugment.augment(key, images, policies)
            return jnp.tanh(images.reshape(len(images), -1) @ params_d[0]) @ params_d[1]

        return (judge(keys[4], models.real_batch()), judge(keys[5], fake)), None

    return generate, discriminate, params[0], params[1:]


@pytest.mark.parametrize('policies', SETS)
def test_discriminator_stays_samplewise(policies):
    _, discriminate, _, params_d = networks()
    discriminate = jax.jit(functools.partial(discriminate, policies))
    osgan_jax.check_samplewise(discriminate, params_d, models.real_batch())


@pytest.mark.parametrize('name', ['non_saturating', pytest.param('hinge', marks=pytest.mark.slow)])
@pytest.mark.parametrize('policies', SETS)
def test_one_stage_gradients_are_exact(policies, name):
    loss = losses.get(name)
    generate, discriminate, params_g, params_d = networks()
    discriminate = functools.partial(discriminate, policies)

    def loss_d(params_d, params_g):
        logits, _ = discriminate(params_d, generate(params_g)[0])
        return loss.discriminator(*logits)

    def loss_g(params_g, params_d):
        logits, _ = discriminate(params_d, generate(params_g)[0])
        return loss.generator(*logits)

    @jax.jit
    def both(params_g, params_d):
        one_stage, _ = osgan_jax.one_stage_grads(loss, generate, discriminate, params_g, params_d)
        return one_stage, jax.grad(loss_g)(params_g, params_d), jax.grad(loss_d)(params_d, params_g)

    got, expected_g, expected_d = both(params_g, params_d)
    assert models.relative_error(got.generator, expected_g) < 1e-5
    assert models.relative_error(got.discriminator, expected_d) < 1e-5


def test_wrong_policies_and_images_are_named():
    diffaugment.check(())
    diffaugment.check(['cutout', 'color'])
    with pytest.raises(ValueError, match=r"'blur': expected any of color, translation, cutout$"):
        diffaugment.check(('color', 'blur'))
    with pytest.raises(ValueError, match="'color' more than once"):
        diffaugment.check(('color', 'cutout', 'color'))
    images = uniform_images(8, 3)
    with pytest.raises(ValueError, match="'blur'"):
        diffaugment.augment(jax.random.key(0), images, ('blur',))
    with pytest.raises(ValueError, match=r'\[n, H, W, C\] to augment, got shape \(8, 8, 3\)'):
        diffaugment.augment(jax.random.key(0), images[0], ('color',))
    with pytest.raises(ValueError, match=r'floating-point images .* got uint8'):
        diffaugment.augment(jax.random.key(0), images.astype(np.uint8), ('color',))
