"""The examples of several logits a sample: gradients as by two computations, and learning."""

import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples import pix2pix, vocoder, vq_autoencoder
from osgan_jax.core import losses
from tests.support import models


def relative_errors(grads, expected):
    return [models.relative_error(*pair) for pair in zip(grads, expected, strict=True)]


def test_pix2pix():
    # Without dropout, whose random bits take long to compile.
    example, key = pix2pix, None
    given, real = (x[:4] for x in example.pairs('train'))

    def objectives(params_g, params_d):
        fake = example.generator.apply(params_g, given, key)
        s = [
            example.discriminator.apply(
                params_d, jnp.concatenate([example.enlarged(given), x], axis=-1)
            )
            for x in (real, fake)
        ]
        distance = 100 * jnp.mean(jnp.abs(fake - real))
        return jnp.mean(jax.nn.softplus(-s[1])) + distance, losses.get(
            'non_saturating'
        ).discriminator(*s)

    @jax.jit
    def compare(params):
        g, d = params
        expected = (
            jax.grad(lambda g: objectives(g, d)[0])(g),
            jax.grad(lambda d: objectives(g, d)[1])(d),
        )
        return example.gradients(params, given, real, key)[0], expected

    assert max(relative_errors(*compare(example.first_params))) < 1e-5


def test_vq_autoencoder():
    example = vq_autoencoder
    real = np.asarray(example.digits.arrays('train')[0][:4] / np.float32(127.5) - 1)

    def terms(params_g, params_d):
        image, codebook, _ = example.autoencoder.apply(params_g, real)
        s_real, s_fake = (example.discriminator.apply(params_d, x) for x in (real, image))
        difference = example.features(image) - example.features(real)
        reconstruction = (
            jnp.mean(jnp.abs(image - real))
            + jnp.mean(jnp.sum(difference**2, -1))
            + jnp.mean(codebook)
        )
        hinge = jnp.mean(jax.nn.relu(1 - s_real)) + jnp.mean(jax.nn.relu(1 + s_fake))
        return -jnp.mean(s_fake), reconstruction, hinge

    @jax.jit
    def compare(params):
        g, d = params
        adversarial, reconstruction = (jax.grad(lambda g, k=k: terms(g, d)[k])(g) for k in range(2))
        # VQGAN's weight, of the last layer's kernel and bias.
        norms = [
            jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree['params']['last'])))
            for tree in (reconstruction, adversarial)
        ]
        weight = 0.8 * norms[0] / (norms[1] + 1e-6)
        expected_g = jax.tree.map(lambda a, b: weight * a + b, adversarial, reconstruction)
        grads, info = example.gradients(params, real)
        expected = expected_g, jax.grad(lambda d: terms(g, d)[2])(d)
        return grads, expected, info.aux_combine / weight

    grads, expected, ratio = compare(example.first_params)
    assert max(relative_errors(grads, expected)) < 2e-5
    np.testing.assert_allclose(ratio, 1, rtol=1e-5)


def test_vocoder():
    example = vocoder
    real = example.sounds(jax.random.key(3), 2)
    balance = example.balancer.init()

    @jax.jit
    def compare(params):
        g, of_d = params
        fake, pull = jax.vjp(lambda g: example.generator.apply(g, example.spectrum(real)), g)

        def judged(of_d, fake):
            pairs = zip(example.discriminators, of_d, strict=True)
            return [(d.apply(p, real), d.apply(p, fake)) for d, p in pairs]

        def adversarial(fake):
            return sum(example.loss_g(*both) for both in judged(of_d, fake))

        def distance(fake):
            return jnp.mean(jnp.abs(example.spectrum(fake) - example.spectrum(real)))

        # EnCodec's first step: each gradient over its norm, with a third and two thirds.
        total = 0
        for share, term in ((1 / 3, adversarial), (2 / 3, distance)):
            gradient = jax.grad(term)(fake)
            total += share * gradient / jnp.mean(jnp.linalg.norm(gradient, axis=1))
        expected_d = jax.grad(
            lambda of_d: sum(example.loss.discriminator(*both) for both in judged(of_d, fake))
        )(of_d)
        return example.gradients(params, balance, real)[0], (pull(total)[0], expected_d)

    assert max(relative_errors(*compare(example.first_params))) < 2e-5


# What they print, and the most of it; on test digits 0.17 and 0.17 were measured (bilinear
# interpolation has 0.35), and a distance of spectra of 0.8 after 7.3 at first.
LEARNT = {
    'pix2pix': (r'pix2pix: mean error ([\d.]+)', 0.22),
    'vq_autoencoder': (r'mean error ([\d.]+)', 0.22),
    'vocoder': (r'steps: ([\d.]+)', 1.6),
}


@pytest.mark.slow
@pytest.mark.parametrize('example', [pix2pix, vq_autoencoder, vocoder])
def test_learns(example, capsys):
    pattern, most = LEARNT[example.__name__.removeprefix('examples.')]
    # By path: runpy warns of a module that is imported already, and warnings are errors.
    runpy.run_path(example.__file__, run_name='__main__')
    assert float(re.search(pattern, capsys.readouterr().out)[1]) < most
