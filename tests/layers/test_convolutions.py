"""Convolutions against XLA's plain ones: values, gradients, gradients of gradients."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import backend, convolutions, modules, plain
from osgan_jax.layers.cpu import formulations
from tests.support import derivatives

# height, width, kernel, stride, padding
CASES = [
    (8, 8, 4, 2, 'half'),  # DCGAN's
    (7, 9, 4, 2, 'half'),  # a last row and column that no window reaches
    (7, 9, 3, 2, 1),
    (6, 5, 3, 1, 'half'),
    (9, 9, 5, 3, 'half'),  # a kernel that is no multiple of its stride
    (5, 6, 2, 3, 'valid'),  # windows that leave gaps
    (7, 7, 4, 2, ((2, 1), (0, 3))),
    (4, 4, 4, 1, 'valid'),  # DCGAN's last: one window
    (1, 1, 1, 1, 'half'),
]
FUNCTIONS = {'conv': convolutions.conv, 'conv_transpose': convolutions.conv_transpose}


def _arrays(name, case, dtype=jnp.float32, large=3, small=5):
    height, width, size, _, _ = case
    rng = np.random.default_rng(0)
    channels = large if name == 'conv' else small
    x = rng.normal(size=(2, height, width, channels))
    # Outputs near 1: of greater ones the sine below would be as inexact as its argument.
    kernel = rng.normal(size=(size, size, large, small)) / (size * np.sqrt(large))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def test_groups_are_convolutions_of_their_own():
    """Values, gradients and gradients of a penalty, against XLA's grouped convolution."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 12)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 6)) / 6, jnp.float32)

    def everything(implementation):
        return derivatives.all_orders(
            lambda x, k: convolutions.conv(x, k, groups=3, implementation=implementation)
        )(x, kernel)

    found = everything('adjoint')
    for g in range(3):
        part = convolutions.conv(x[..., 4 * g : 4 * g + 4], kernel[..., 2 * g : 2 * g + 2])
        assert derivatives.relative(found[0][..., 2 * g : 2 * g + 2], part) < 1e-6
    for mine, xlas in zip(
        jax.tree.leaves(found), jax.tree.leaves(everything('plain')), strict=True
    ):
        assert derivatives.relative(mine, xlas) < 1e-5
    with pytest.raises(ValueError, match='5 groups do not divide the channels'):
        convolutions.conv(x, kernel, groups=5)
    with pytest.raises(ValueError, match='is 4, for 2 groups'):
        convolutions.conv(x, kernel, groups=2)


def _all_orders(name, case, implementation):
    """Of one of the functions and a case, see `derivatives.all_orders`."""
    return derivatives.all_orders(
        lambda x, k: FUNCTIONS[name](
            x, k, stride=case[3], padding=case[4], implementation=implementation
        )
    )


@pytest.mark.parametrize('name', FUNCTIONS)
@pytest.mark.parametrize('case', CASES, ids=str)
def test_equals_plain_in_value_and_all_gradients(name, case):
    x, kernel = _arrays(name, case)
    actual = _all_orders(name, case, 'adjoint')(x, kernel)
    expected = _all_orders(name, case, 'plain')(x, kernel)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert derivatives.relative(a, e) < 1e-5


@pytest.mark.parametrize('case', [CASES[0], CASES[1], CASES[6]], ids=str)
def test_a_tpus_transposed_convolution_equals_plain(case):
    x, kernel = _arrays('conv_transpose', case)
    with backend.tracing_for('tpu'):
        actual = _all_orders('conv_transpose', case, 'auto')(x, kernel)
    expected = _all_orders('conv_transpose', case, 'plain')(x, kernel)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert derivatives.relative(a, e) < 1e-5


@pytest.mark.parametrize(
    ('height', 'large', 'small'), [(16, 1, 8), (8, 24, 48), (16, 16, 8), (8, 64, 32)], ids=str
)
@pytest.mark.parametrize('name', FUNCTIONS)
def test_equals_plain_over_channels(name, height, large, small):
    case = (height, height, 4, 2, 'half')
    x, kernel = _arrays(name, case, large=large, small=small)
    actual = _all_orders(name, case, 'adjoint')(x, kernel)
    expected = _all_orders(name, case, 'plain')(x, kernel)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert derivatives.relative(a, e) < 1e-5


@pytest.mark.parametrize('case', CASES, ids=str)
def test_every_formulation_equals_plain(case):
    """Whatever shapes the choice between them goes by."""
    stride = case[3]
    x, kernel = _arrays('conv', case)
    padding = convolutions.resolve_padding(case[4], kernel.shape[:2], stride)
    ups = [formulations.product_up, formulations.depth_to_space_up]
    correlates = [formulations.transposed_correlate, formulations.product_correlate]
    if stride == 1:
        ups.append(lambda y, k, _, padding, size: formulations.stride_one_up(y, k, padding))
        correlates.append(formulations.exchanged_correlate)
        if (x.shape[2] + sum(padding[1]) - kernel.shape[1]) % 2:
            correlates.append(formulations.paired_correlate)

    @jax.jit
    def everything(x, kernel):
        y = plain.down(x, kernel, stride, padding)
        up = y, kernel, stride, padding, x.shape[1:3]
        correlate = x, y, stride, padding, kernel.shape[:2]
        return (
            [y, formulations.product_down(x, kernel, stride, padding)],
            [plain.up(*up), *(function(*up) for function in ups)],
            [
                plain.correlate(*correlate),
                *(function(*correlate) for function in correlates),
            ],
        )

    found = everything(x, kernel)
    for first, *others in found:
        for other in others:
            assert derivatives.relative(other, first) < 1e-5
    (y, _), (up, *_), (correlated, *_) = jax.tree.map(np.asarray, found)
    # Adjoint: <up(y), x> = <y, down(x)> = <kernel, correlate(x, y)>.
    product = (y**2).sum()
    assert derivatives.relative((up * x).sum(), product) < 1e-5
    assert derivatives.relative((correlated * kernel).sum(), product) < 1e-5


def test_kernel_gradient_over_slices_of_the_batch():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(32, 16, 16, 6)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(32, 8, 8, 3)), jnp.float32)
    arguments = (x, y, 2, ((1, 1), (1, 1)), (4, 4))
    actual = formulations.cpu_correlate(*arguments)
    assert derivatives.relative(actual, plain.correlate(*arguments)) < 1e-5


@pytest.mark.parametrize('implementation', ['adjoint', 'auto'])
def test_single_pixel_is_a_matrix_product(implementation):
    case = (1, 1, 4, 1, 'valid')
    x, kernel = _arrays('conv_transpose', case)
    actual = _all_orders('conv_transpose', case, implementation)(x, kernel)
    expected = _all_orders('conv_transpose', case, 'plain')(x, kernel)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert derivatives.relative(a, e) < 1e-5
    jaxpr = jax.make_jaxpr(
        lambda x, k: convolutions.conv_transpose(
            x, k, padding='valid', implementation=implementation
        )
    )(x, kernel)
    assert 'conv_general_dilated' not in str(jaxpr)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_bfloat16(name):
    case = CASES[0]
    actual = _all_orders(name, case, 'adjoint')(*_arrays(name, case, jnp.bfloat16))
    expected = _all_orders(name, case, 'plain')(*_arrays(name, case))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.bfloat16
        # Eight bits of mantissa, through as many as three layers of rounding.
        assert derivatives.relative(a.astype(jnp.float32), e) < 0.06


def test_transposed_is_the_adjoint_by_hand():
    # One pixel of value 2 paints the kernel, twice, at stride * i - top.
    x = jnp.zeros((1, 2, 2, 1)).at[0, 1, 0, 0].set(2.0)
    kernel = jnp.arange(16.0).reshape(4, 4, 1, 1)
    out = convolutions.conv_transpose(x, kernel, stride=2, implementation='adjoint')
    expected = np.zeros((4, 4))
    expected[1:4, 0:3] = 2 * np.arange(16.0).reshape(4, 4)[0:3, 1:4]
    np.testing.assert_array_equal(out[0, :, :, 0], expected)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_vmap_over_images_and_kernels(name):
    case = CASES[0]
    x, kernel = _arrays(name, case)
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel + 1])
    function = _all_orders(name, case, 'adjoint')
    batched = jax.vmap(function)(xs, kernels)
    single = [function(xs[i], kernels[i]) for i in range(2)]
    chex.assert_trees_all_close(
        batched, jax.tree.map(lambda *v: jnp.stack(v), *single), rtol=1e-4, atol=1e-4
    )


def test_pmap_on_one_device():
    case = CASES[0]
    x, kernel = _arrays('conv', case)
    function = _all_orders('conv', case, 'adjoint')
    mapped = jax.pmap(function, in_axes=(0, None), devices=jax.devices()[:1])(x[None], kernel)
    chex.assert_trees_all_close(
        jax.tree.map(lambda v: v[0], mapped), function(x, kernel), rtol=1e-5, atol=1e-5
    )


def test_setting_chooses_and_is_restored():
    x, kernel = _arrays('conv', CASES[0])

    def traced():
        return str(jax.make_jaxpr(lambda x, k: convolutions.conv(x, k, stride=2))(x, kernel))

    with convolutions.implementation('plain'):
        assert 'custom_vjp' not in traced()
        with convolutions.implementation('adjoint'):
            assert 'custom_vjp' in traced()
        assert 'custom_vjp' not in traced()
    assert ('custom_vjp' in traced()) == (jax.default_backend() == 'cpu')


def test_errors_name_the_argument():
    x, kernel = _arrays('conv', CASES[0])
    with pytest.raises(ValueError, match='unknown convolution implementation'):
        convolutions.set_implementation('fast')
    with pytest.raises(ValueError, match='unknown convolution implementation'):
        convolutions.conv(x, kernel, implementation='fast')
    with pytest.raises(ValueError, match='unknown padding'):
        convolutions.conv(x, kernel, padding='same')
    with pytest.raises(ValueError, match='zero or more'):
        convolutions.conv(x, kernel, padding=-1)
    with pytest.raises(ValueError, match='channels'):
        convolutions.conv(x[..., :2], kernel)
    with pytest.raises(ValueError, match='stride'):
        convolutions.conv(x, kernel, stride=0)
    with pytest.raises(ValueError, match='smaller'):
        convolutions.conv(x[:, :2], kernel, padding='valid')
    with pytest.raises(ValueError, match='four axes'):
        convolutions.conv(x[0], kernel)
    with pytest.raises(ValueError, match='leaves nothing'):
        convolutions.conv_transpose(jnp.ones((1, 1, 1, 5)), kernel, padding=2)


@pytest.mark.parametrize('module', [modules.Conv, modules.ConvTranspose])
def test_modules_keep_float32_parameters(module):
    layer = module(6, (4, 4), stride=2, dtype=jnp.bfloat16)
    x = jnp.ones((2, 8, 8, 3))
    variables = layer.init(jax.random.key(0), x)
    out = layer.apply(variables, x)
    size = 4 if module is modules.Conv else 16
    chex.assert_shape(out, (2, size, size, 6))
    chex.assert_type(out, jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)
    kernel = (4, 4, 3, 6) if module is modules.Conv else (4, 4, 6, 3)
    assert variables['params']['kernel'].shape == kernel
    assert variables['params']['bias'].shape == (6,)


def test_module_without_bias():
    layer = modules.Conv(6, use_bias=False, kernel_init=nn.initializers.ones)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 3, 3, 2)))
    assert set(variables['params']) == {'kernel'}
    out = layer.apply(variables, jnp.ones((1, 3, 3, 2)))
    assert out[0, 1, 1, 0] == 18  # nine pixels of two channels


def test_wrapped_in_spectral_norm():
    layer = nn.SpectralNorm(modules.Conv(6, (4, 4), stride=2))
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = layer.init(jax.random.key(0), x, update_stats=False)
    out, state = layer.apply(variables, x, update_stats=True, mutable=['batch_stats'])
    chex.assert_shape(out, (2, 4, 4, 6))
    chex.assert_trees_all_equal_shapes(state['batch_stats'], variables['batch_stats'])


@pytest.mark.parametrize('name', FUNCTIONS)
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(('large', 'small'), [(3, 5), (6, 2), (8, 8), (128, 64)])
def test_one_order_of_axes_forward_and_backward(name, stride, large, small):
    # XLA:CPU brings others into it, but not in the bodies of loops: fifty times slower there.
    def loss(x, kernel):
        out = FUNCTIONS[name](x, kernel, stride=stride, implementation='adjoint')
        return (out**2).sum()

    # As many images as one product of many channels is worth compiling for.
    grid, channels = (16, small) if name == 'conv_transpose' else (16 * stride, large)
    x = jax.ShapeDtypeStruct((32, grid, grid, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((4, 4, large, small), jnp.float32)
    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel))
    orders = [line for line in text.splitlines() if 'lhs_spec' in line]
    # Of an image's channels or very many, and stride 2, matrix products alone.
    assert bool(orders) == (4 < large < 128 or stride == 1)
    for line in orders:
        assert 'lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2)' in line
