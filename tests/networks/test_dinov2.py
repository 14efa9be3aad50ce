"""DINOv2 against the published code written out in numpy, and against transformers."""

import jax
import numpy as np
import pytest

from osgan_jax.networks import dinov2
from tests.support import dinov2_reference as reference
from tests.support import dinov2_weights

DEPTH, WIDTH, HEADS, GRID = 2, 32, 2, 5


def network(**options):
    return dinov2.DINOv2(
        **{'depth': DEPTH, 'width': WIDTH, 'heads': HEADS, 'grid': GRID, **options}
    )


@pytest.fixture(scope='module')
def tensors():
    return reference.draw(DEPTH, WIDTH, GRID)


@pytest.fixture(scope='module')
def variables(tensors):
    return dinov2_weights.variables(network(), tensors)


def pictures(height, width, count=2):
    shape = (count, height, width, 3)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def apply(built, variables, images):
    return np.asarray(jax.jit(built.apply)(variables, images))


# Three patches by four take positions between the trained ones; five by five are those.
@pytest.mark.parametrize('size', [(42, 56), (70, 70)])
def test_features_are_those_of_the_published_code(tensors, variables, size):
    images = pictures(*size)
    found = apply(network(), variables, images)
    assert found.shape == (2, WIDTH)
    assert found.dtype == np.float32
    expected = [reference.class_token(tensors, image, heads=HEADS) for image in images]
    np.testing.assert_allclose(found, expected, atol=1e-4)


# transformers is not among the tests' requirements: it takes too long to install and import.
@pytest.mark.slow
@pytest.mark.parametrize('size', [(42, 42), (70, 70)])
def test_features_are_those_of_transformers(tensors, variables, size):
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    shape = {'hidden_size': WIDTH, 'num_hidden_layers': DEPTH, 'num_attention_heads': HEADS}
    config = transformers.Dinov2Config(**shape, image_size=14 * GRID, patch_size=14)
    model = transformers.Dinov2Model(config).eval()
    theirs = dinov2_weights.as_transformers(tensors, model.state_dict().keys())
    model.load_state_dict({name: torch.tensor(array) for name, array in theirs.items()})
    images = pictures(*size)
    with torch.no_grad():
        expected = model(torch.tensor(images.transpose(0, 3, 1, 2))).pooler_output.numpy()
    # transformers has no offset where it interpolates positions.
    found = apply(network(offset=0.0), variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize('count', [1, 3, 16, 40])
def test_positions_are_interpolated_as_pytorch_does(count):
    torch = pytest.importorskip('torch')
    positions = np.random.default_rng(0).normal(size=(37, 37)).astype(np.float32)
    scale = float(count + dinov2.OFFSET) / 37
    expected = torch.nn.functional.interpolate(
        torch.tensor(positions)[None, None], scale_factor=(scale, scale), mode='bicubic'
    )[0, 0]
    matrix = dinov2.position_matrix(37, count, dinov2.OFFSET)
    np.testing.assert_allclose(matrix @ positions @ matrix.T, expected, atol=2e-5)


def test_positions_of_the_trained_grid_are_kept():
    np.testing.assert_allclose(dinov2.position_matrix(37, 37, 0), np.eye(37), atol=1e-6)
    for count in (1, 16, 37, 50):
        np.testing.assert_allclose(dinov2.position_matrix(37, count, 0.1).sum(1), 1, atol=1e-6)


def test_the_default_is_vit_large():
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    built = dinov2.DINOv2()
    variables = jax.eval_shape(built.init, jax.random.key(0), images)
    # transformers 5.24 counts 304,368,640 in facebook/dinov2-large's configuration, of which the
    # mask token, for training alone, has 1,024.
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 304_368_640 - 1024
    assert jax.eval_shape(built.apply, variables, images).shape == (1, 1024)


def test_what_is_no_whole_number_of_patches_is_refused(variables):
    for shape in ((1, 42, 43, 3), (1, 42, 42, 1), (42, 42, 3), (1, 0, 42, 3)):
        with pytest.raises(
            ValueError, match=r'DINOv2 takes images \[N, H, W, 3\].*multiples of 14'
        ):
            network().apply(variables, np.zeros(shape, np.float32))
