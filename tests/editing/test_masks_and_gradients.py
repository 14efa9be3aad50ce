"""Masked kernels are counted; SmoothGrad against discriminators whose gradients are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.editing import gradients, masks


def leaves(generator):
    found = jax.tree_util.tree_leaves_with_path(generator.variables['params'])
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}


def test_a_share_of_every_kernel_is_masked(plain):
    _, generator = plain
    whole = leaves(generator)
    kernels = [name for name, leaf in whole.items() if leaf.ndim == 4]
    assert len(kernels) == 3
    shown = {}
    for share in (0.0, 0.125, 0.5, 1.0):
        shown[share] = leaves(masks.masked(generator, share, seed=1))
        for name, leaf in shown[share].items():
            kept = leaf == whole[name]
            expected = round(share * leaf.size) if name in kernels else 0
            assert np.count_nonzero(~kept) == expected
            assert not leaf[~kept].any()
    for name in kernels:
        # A larger share masks what a smaller one does; another seed, others.
        assert (shown[0.5][name][shown[0.125][name] == 0] == 0).all()
    other = leaves(masks.masked(generator, 0.5, seed=2))
    assert any((other[name] != shown[0.5][name]).any() for name in kernels)
    z = jnp.ones((1, 6))
    with_masks = masks.masked(generator, 0.5, seed=1).images(z)
    assert (with_masks != generator.images(z)).any()


class Quadratic(nn.Module):
    """Logits of which the gradient is weight + curvature * x; they depend on the whole batch."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, labels=None, *, train):
        weight = self.param('weight', nn.initializers.normal(1.0), images.shape[1:])
        curvature = self.param('curvature', nn.initializers.zeros, ())
        own = jnp.sum(weight * images + curvature * images**2 / 2, (1, 2, 3))
        return own * images.shape[0]


def judge(curvature):
    module = Quadratic()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
    params = {**variables['params'], 'curvature': jnp.float32(curvature)}
    return gradients.Judge('D', module, {'params': params}), np.asarray(params['weight'])


def test_gradients_are_averaged_over_noisy_copies():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    linear, weight = judge(0.0)
    found = gradients.smooth_gradients(linear, images, None, samples=3, noise=0.5)
    # By hand: of a linear logit the gradient is the same everywhere.
    np.testing.assert_allclose(found, [weight, weight], atol=1e-5)
    curved, weight = judge(2.0)
    found = gradients.smooth_gradients(curved, images, None, samples=400, noise=0.25)
    # The mean of 400 draws of deviation 0.25 times the range of 2, times the curvature of 2.
    error = found - (weight + 2 * images)
    assert np.abs(error).max() < 5 * 1.0 / np.sqrt(400)
    assert error.std() == pytest.approx(1.0 / np.sqrt(400), rel=0.35)


def test_the_sheet_has_a_map_of_each_channel_and_discriminator():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    judges = [judge(0.0)[0], judge(1.0)[0]]
    cells = gradients.sheet(judges, images, None, samples=2, noise=0.0)
    assert cells.shape == (2, 7, 4, 4, 3)
    weight = judge(0.0)[1]
    levels = (np.clip(weight / (3 * weight.std((0, 1))), -1, 1) + 1) * 127.5
    for channel in range(3):
        shown = cells[0, 1 + channel].astype(float)
        # Grey, with mid grey for 0 and white for three deviations.
        np.testing.assert_allclose(shown, np.repeat(levels[..., [channel]], 3, -1), atol=0.51)
    words = gradients.describe(judges, 3)
    assert words == 'the image; gradients of the logit by red, green and blue of D and D'
