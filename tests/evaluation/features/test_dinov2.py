"""DINOv2 as an extractor: files of weights, input conventions, names."""

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from osgan_jax.evaluation.features import DINOV2_CONVENTIONS, dinov2
from tests.support import dinov2_reference as reference
from tests.support import dinov2_weights

SLOW = [pytest.param(size, marks=pytest.mark.slow) for size in ((8, 8), (224, 224), (1, 2))]
SIZES = [(32, 45), (300, 260), *SLOW]


def pictures(shape, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return np.where(x > 127, 255, 0).astype(np.uint8) if seed == 1 else x  # overshoots


def scaled(x):
    return (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize('size', SIZES)
def test_pil_is_pillows(size):
    for seed in (0, 1):
        x = pictures((1, *size, 3), seed)
        # Columns first, as every Pillow up to 12 does by itself.
        columns = Image.fromarray(x[0]).resize((224, size[0]), Image.Resampling.BICUBIC)
        expected = columns.resize((224, 224), Image.Resampling.BICUBIC)
        found = np.asarray(dinov2.preprocess(x, 'pil'))[0]
        np.testing.assert_allclose(found, scaled(np.asarray(expected)), atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
def test_torch_is_torchs(size):
    torch = pytest.importorskip('torch')
    x = pictures((2, *size, 3), 1)
    expected = torch.nn.functional.interpolate(
        torch.tensor(x).permute(0, 3, 1, 2).float(), (224, 224), mode='bicubic', antialias=True
    )
    found = np.asarray(dinov2.preprocess(x, 'torch'))
    # PyTorch finds its place among 300 pixels in float32.
    np.testing.assert_allclose(found, scaled(expected.permute(0, 2, 3, 1).numpy()), atol=3e-4)


def test_torch_is_pillows_but_for_rounding_and_clipping():
    x = pictures((1, 32, 32, 3))
    found, rounded = (np.asarray(dinov2.preprocess(x, name))[0] for name in ('torch', 'pil'))
    planes = [
        Image.fromarray(x[0, :, :, channel].astype(np.float32)).resize(
            (224, 224), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    assert expected.max() > 255
    np.testing.assert_allclose(found, scaled(expected), atol=1e-4)
    assert np.abs(found - rounded).max() > 0.01


@pytest.mark.parametrize('convention', DINOV2_CONVENTIONS)
def test_grey_is_repeated(convention):
    x = pictures((2, 20, 30, 1))
    found = dinov2.preprocess(x, convention)
    assert found.shape == (2, 224, 224, 3)
    coloured = dinov2.preprocess(np.repeat(x, 3, 3), convention)
    np.testing.assert_allclose(found, coloured, atol=1e-6)


@pytest.fixture(scope='module')
def tensors():
    return reference.draw(depth=2, width=64, grid=3)


@pytest.fixture(scope='module')
def weights_path(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp('dinov2') / 'dinov2.npz'
    np.savez(path, **tensors)
    return path


def test_features_are_those_of_the_published_code(weights_path, tensors):
    extractor = dinov2.extractor(weights_path, batch_size=4)
    # Another network's distances are not called FD-DINOv2.
    assert (extractor.name, extractor.convention) == ('dinov2_2x64', 'torch')
    assert not extractor.has_logits
    x = pictures((3, 12, 12, 1))
    found = extractor.apply(x)
    assert found.logits is None
    assert found.pooled.shape == (3, 64)
    ready = np.asarray(dinov2.preprocess(x[:1], 'torch'))[0]
    expected = reference.class_token(tensors, ready, heads=1)
    np.testing.assert_allclose(found.pooled[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match='DINOv2 takes uint8 images'):
        extractor.apply(x / 255)


@pytest.mark.parametrize('ending', ['npz', 'safetensors', 'q_proj.safetensors', 'pth'])
def test_every_kind_of_file_has_the_same_weights(tensors, tmp_path, ending):
    path = tmp_path / f'weights.{ending}'
    if ending == 'npz':
        np.savez(path, **tensors)
    elif ending == 'pth':
        torch = pytest.importorskip('torch')
        torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    else:
        names = ['.q_proj.'] if 'q_proj' in ending else []
        safetensors.numpy.save_file(dinov2_weights.as_transformers(tensors, names), path)
    expected = dinov2_weights.variables(dinov2.load_network(tensors)[0], tensors)
    network, found = dinov2.load_network(dinov2.weights.read(path))
    assert (network.depth, network.width, network.heads, network.grid) == (2, 64, 1, 3)
    np.testing.assert_equal(found, expected)


def test_sizes_have_names():
    for depth, width, name in ((24, 1024, 'dinov2'), (12, 384, 'dinov2_vits14')):
        assert dinov2.name_of(dinov2.dinov2.DINOv2(depth=depth, width=width)) == name


def test_fingerprints(weights_path, tensors, tmp_path):
    changed = {**tensors, 'norm.bias': tensors['norm.bias'] + 1}
    np.savez(tmp_path / 'changed.npz', **changed)
    found = {
        dinov2.extractor(path, convention=convention, num_devices=1).fingerprint
        for path in (weights_path, tmp_path / 'changed.npz')
        for convention in DINOV2_CONVENTIONS
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'register_tokens': np.zeros((1, 4, 64), np.float32)}, '1 unknown: .register_tokens'),
        ({'blocks.1.ls2.gamma': None}, r'1 missing: .blocks\.1\.ls2\.gamma'),
        ({'norm.bias': np.full(64, np.nan, np.float32)}, 'not finite: .norm.bias'),
        ({'pos_embed': np.zeros((1, 10, 63), np.float32)}, '63 channels do not make heads of 64'),
        ({'pos_embed': np.zeros((1, 9, 64), np.float32)}, 'another shape'),
        ({'pos_embed': None}, 'missing'),
    ],
)
def test_other_weights_are_refused(tensors, tmp_path, change, message):
    changed = {**tensors, **change}
    path = tmp_path / 'other.npz'
    np.savez(path, **{name: array for name, array in changed.items() if array is not None})
    with pytest.raises(ValueError, match=rf'cannot use .*other\.npz: these are not .*{message}'):
        dinov2.extractor(path)


def test_other_conventions_are_refused(weights_path):
    with pytest.raises(ValueError, match=r"unknown convention 'tf1' for DINOv2: .* torch, pil"):
        dinov2.extractor(weights_path, convention='tf1')
