"""The platform that functions are traced for."""

import jax
import jax.numpy as jnp
import pytest

from osgan_jax.layers import backend, convolutions


def test_it_is_jax_own_unless_another_is_asked_for():
    assert backend.platform() == jax.default_backend()
    with backend.tracing_for('tpu'):
        assert backend.platform() == 'tpu'
        with backend.tracing_for('cpu'):
            assert backend.platform() == 'cpu'
        assert backend.platform() == 'tpu'
    assert backend.platform() == jax.default_backend()
    with pytest.raises(RuntimeError), backend.tracing_for('tpu'):
        raise RuntimeError
    assert backend.platform() == jax.default_backend()


@pytest.mark.parametrize(
    ('platform', 'explicit'),
    [('cpu', ('conv', 'conv_transpose')), ('tpu', ('conv_transpose',)), ('gpu', ())],
)
def test_derivatives_of_convolutions_are_those_of_the_platform(platform, explicit):
    x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((4, 4, 2, 2))
    for name in ('conv', 'conv_transpose'):
        function = getattr(convolutions, name)
        with backend.tracing_for(platform):
            traced = str(jax.make_jaxpr(lambda x, k, f=function: f(x, k, stride=2))(x, kernel))
        assert ('custom_vjp' in traced) == (name in explicit), name
