"""Formulations for TPUs, against XLA's own convolutions on this machine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import backend, convolutions, plain, tpu
from tests.support import derivatives


@pytest.mark.parametrize(
    ('groups', 'channels', 'features', 'size'),
    [
        (16, 16, 16, 3),  # of R3GAN: eight groups in one
        (6, 8, 4, 3),  # two in one: 6 has no other power of two
        (4, 64, 64, 1),  # two in one
        (3, 100, 2, 3),  # none: two would be too many channels
        (8, 1, 2, 4),  # depthwise
    ],
)
@pytest.mark.parametrize('stride', [1, 2])
def test_merged_groups_equal_groups_in_value_and_all_gradients(
    groups, channels, features, size, stride
):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 6, 5, groups * channels)), jnp.float32)
    kernel = rng.normal(size=(size, size, channels, groups * features)) / (size * channels**0.5)
    kernel = jnp.asarray(kernel, jnp.float32)
    padding = ((1, 1), (0, 1))

    found, expected = (
        derivatives.all_orders(lambda x, k, f=function: f(x, k, stride, padding, groups))(x, kernel)
        for function in (tpu.grouped_down, plain.down)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert derivatives.relative(a, b) < 1e-5


@pytest.mark.parametrize(('platform', 'groups'), [('tpu', 2), ('gpu', 16)])
def test_groups_are_merged_for_tpus_alone(platform, groups):
    x, kernel = jnp.ones((1, 4, 4, 256)), jnp.ones((3, 3, 16, 256))
    with backend.tracing_for(platform):
        traced = str(jax.make_jaxpr(lambda x, k: convolutions.conv(x, k, groups=16))(x, kernel))
    assert f'feature_group_count={groups}' in traced


def test_flops_of_groups_are_counted_where_they_are_computed_as_such():
    for platform, counted in (('cpu', False), ('tpu', False), ('gpu', True)):
        with backend.tracing_for(platform):
            assert convolutions.counts_groups() == counted
            with convolutions.implementation('plain'):
                assert convolutions.counts_groups()
