"""The example of gradient reversal: its gradients, and that it adapts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples import domain_adaptation as example


def by_a_reversal_layer(params, source, labels, target, weight):
    """The usual way: one loss, and a layer that turns the gradient round on its way back."""

    @jax.custom_vjp
    def turn(x):
        return x

    turn.defvjp(lambda x: (x, None), lambda _, g: (-weight * g,))

    def loss(params):
        both = example.features.apply(params['features'], jnp.concatenate([source, target]))
        digits = example.cross_entropy(
            example.classifier.apply(params['classifier'], both[: len(source)]), labels
        )
        s = example.discriminator.apply(params['discriminator'], turn(both))
        is_source = jnp.arange(len(s)) < len(source)
        probability = jax.nn.sigmoid(s)
        domain = -jnp.log(jnp.where(is_source, probability, 1 - probability))
        return digits.mean() + domain.mean()

    return jax.grad(loss)(params)


def test_gradients_are_those_of_a_reversal_layer():
    data, params = example.domains(), example.initialise(0)
    batch = (data['source'][0][: example.N], data['source'][1][: example.N])
    batch += (data['target'][0][: example.N],)
    expected = jax.jit(by_a_reversal_layer)(params, *batch, 0.7)
    found = jax.jit(example.gradients)(params, *batch, 0.7)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)
    # Both parts are there.
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found['discriminator'])) > 1e-4


def test_no_image_is_in_two_domains():
    data = example.domains()
    assert [len(images) for images, _ in data.values()] == [750, 750, 297]
    for images, labels in data.values():
        assert images.shape[1:] == (8, 8, 1)
        assert images.min() >= 0
        assert images.max() <= 1
        assert np.unique(labels).size == 10
    assert not np.array_equal(data['source'][1], data['target'][1])


@pytest.mark.slow
def test_the_domains_are_bridged():
    alone = np.mean([example.accuracy(0.0, seed) for seed in range(3)])
    adapted = np.mean([example.accuracy(example.WEIGHT, seed) for seed in range(3)])
    # 70% and 89% were measured.
    assert adapted > alone + 0.08
