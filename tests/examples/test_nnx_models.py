"""The example with nnx: gradients as by two computations, and statistics that move."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from examples import nnx_models as example
from tests.support import models


def test_gradients_are_those_of_two_computations_and_statistics_move():
    real = example.ring(jax.random.key(0))
    z = jax.random.normal(jax.random.key(1), (example.N, example.LATENT))
    params = example.first_params_g, example.first_params_d

    def logits(params_g, params_d):
        generator = nnx.merge(example.graph_g, params_g, example.first_stats, copy=True)
        discriminator = nnx.merge(example.graph_d, params_d)
        return discriminator(real), discriminator(generator(z))

    def objectives(params_g, params_d):
        return (
            example.loss.generator(*logits(params_g, params_d)),
            example.loss.discriminator(*logits(params_g, params_d)),
        )

    grads, info = jax.jit(example.gradients)(params, example.first_stats, real, z)
    expected_g = jax.jit(jax.grad(lambda g: objectives(g, params[1])[0]))(params[0])
    expected_d = jax.jit(jax.grad(lambda d: objectives(params[0], d)[1]))(params[1])
    assert models.relative_error(grads.generator, expected_g) < 1e-5
    assert models.relative_error(grads.discriminator, expected_d) < 1e-5

    before, after = (s['norm']['mean'][...] for s in (example.first_stats, info.aux_generator))
    hidden = nnx.merge(example.graph_g, params[0], example.first_stats).first(z)
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6)
    drawn = example.draw(params[0], info.aux_generator)
    assert drawn.shape == (example.N, 2)
    assert jnp.isfinite(drawn).all()
