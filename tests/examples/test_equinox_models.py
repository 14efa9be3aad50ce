"""The example with equinox: gradients as by two computations."""

import jax
import pytest

from tests.support import models

eqx = pytest.importorskip('equinox')


def test_gradients_are_those_of_two_computations():
    from examples import equinox_models as example

    real = example.ring(jax.random.key(0))
    z = jax.random.normal(jax.random.key(1), (example.N, example.LATENT))

    def logits(generator, discriminator):
        return [jax.vmap(discriminator)(x) for x in (real, jax.vmap(generator)(z))]

    @jax.jit
    def compare(params):
        models_of_both = [
            eqx.combine(own, rest)
            for own, rest in zip(params, (example.rest_g, example.rest_d), strict=True)
        ]
        generator, discriminator = models_of_both
        grad_g = eqx.filter_grad(lambda g: example.loss.generator(*logits(g, discriminator)))
        grad_d = eqx.filter_grad(lambda d: example.loss.discriminator(*logits(generator, d)))
        expected = [
            eqx.filter(f(m), eqx.is_array)
            for f, m in ((grad_g, generator), (grad_d, discriminator))
        ]
        return tuple(example.gradients(params, real, z)[0]), expected

    found, expected = compare((example.first_params_g, example.first_params_d))
    for ours, theirs in zip(found, expected, strict=True):
        assert models.relative_error(ours, theirs) < 1e-5
