"""Two neighbours of a row at a time: exact in integers, and chosen where channels are few."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import plain
from osgan_jax.layers.cpu import formulations, pairs

# height, width, kernel's height and width, padding
CASES = [
    (5, 8, 3, 3, ((1, 1), (1, 1))),
    (4, 6, 1, 1, ((0, 0), (0, 0))),
    (6, 5, 2, 4, ((0, 1), (2, 2))),
    (7, 4, 5, 2, ((2, 0), (0, 1))),
    (3, 2, 3, 3, ((2, 2), (2, 2))),
]


@pytest.mark.parametrize('case', CASES, ids=str)
def test_integers_come_out_exactly(case):
    height, width, rows, columns, padding = case
    rng = np.random.default_rng(0)
    grid = [n + sum(p) - k + 1 for n, p, k in zip(case[:2], padding, case[2:4], strict=True)]
    x, kernel, y = (
        jnp.asarray(rng.integers(-9, 10, shape), jnp.float32)
        for shape in ((3, height, width, 5), (rows, columns, 5, 7), (3, *grid, 7))
    )

    @jax.jit
    def everything(x, kernel, y):
        return (
            plain.down(x, kernel, 1, padding),
            pairs.down(x, kernel, padding),
            pairs.blocked_down(x, kernel, padding),
            plain.correlate(x, y, 1, padding, kernel.shape[:2]),
            pairs.correlate(x, y, padding, kernel.shape[:2]),
        )

    down, paired, blocked, correlated, both = everything(x, kernel, y)
    np.testing.assert_array_equal(paired, down)
    np.testing.assert_array_equal(blocked, down)
    np.testing.assert_array_equal(both, correlated)


@pytest.mark.parametrize(
    ('width', 'channels', 'strides'),
    [
        (8, (16, 16), '(1, 2)'),
        (7, (16, 16), '(1, 1)'),  # no pairs
        (8, (16, 32), '(1, 1)'),  # a fast library's
        (8, (3, 16), '(1, 1)'),  # of 6 to 32 channels
        (8, (16, 3), None),  # a matrix product
    ],
)
def test_where_they_are_chosen(width, channels, strides):
    large, small = channels
    x = jax.ShapeDtypeStruct((2, 8, width, large), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, large, small), jnp.float32)
    padding = ((1, 1), (1, 1))
    jaxpr = str(jax.make_jaxpr(lambda x, k: formulations.cpu_down(x, k, 1, padding))(x, kernel))
    assert ('conv_general_dilated[' in jaxpr) == (strides is not None)
    assert strides is None or f'window_strides={strides}' in jaxpr
    blocks = f'f32[2,10,{width // 2 + 1},{2 * large}]' in jaxpr
    assert blocks == (large == 3)
