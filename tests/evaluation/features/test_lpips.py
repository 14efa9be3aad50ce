"""LPIPS on VGG16, against the same layers written plainly in float64 and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.evaluation.features import lpips
from osgan_jax.networks import vgg16

# Torchvision's definition: numbers and channels of the convolutions, a pool after each line.
CONVOLUTIONS = (
    ((0, 3, 64), (2, 64, 64)),
    ((5, 64, 128), (7, 128, 128)),
    ((10, 128, 256), (12, 256, 256), (14, 256, 256)),
    ((17, 256, 512), (19, 512, 512), (21, 512, 512)),
    ((24, 512, 512), (26, 512, 512), (28, 512, 512)),
)


def draw_all(shrink=1):
    """All tensors by PyTorch's names, activations near 1; of a network that much narrower."""
    generator = np.random.default_rng(0)
    tensors = {}
    for index, block in enumerate(CONVOLUTIONS):
        for number, before, after in block:
            before, after = before if before == 3 else before // shrink, after // shrink
            kernel = generator.standard_normal((after, before, 3, 3), np.float32)
            tensors[f'features.{number}.weight'] = kernel * np.float32((2 / 9 / before) ** 0.5)
            tensors[f'features.{number}.bias'] = generator.normal(0, 0.1, after).astype(np.float32)
        channels = block[0][2] // shrink
        lin = generator.uniform(0, 1, (1, channels, 1, 1)).astype(np.float32)
        tensors[f'lin{index}.model.1.weight'] = lin
    return tensors


def narrow_variables(tensors):
    """Variables of a narrow network, put together by hand."""
    params = {'vgg16': {}}
    for name, array in tensors.items():
        if name.startswith('lin'):
            params[name.split('.')[0]] = array[0, :, 0, 0]
            continue
        _, number, leaf = name.split('.')
        module = params['vgg16'].setdefault(f'features_{number}', {})
        if leaf == 'bias':
            module['bias'] = array
        else:
            module['kernel'] = np.einsum('oihw->hwio', array)
    return {'params': params}


def plain_taps(tensors, images):
    """The five taps `[N, C, H, W]` in float64, of scaled images `[N, 3, H, W]`."""
    x, taps = np.asarray(images, np.float64), []
    for block in CONVOLUTIONS:
        if taps:
            h, w = x.shape[2] // 2, x.shape[3] // 2
            corners = [x[:, :, i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)]
            x = np.max(corners, axis=0)
        for number, _, _ in block:
            kernel = tensors[f'features.{number}.weight'].astype(np.float64)
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
            h, w = x.shape[2:]
            x = sum(
                np.einsum('oi,nihw->nohw', kernel[:, :, i, j], padded[:, :, i : i + h, j : j + w])
                for i in range(3)
                for j in range(3)
            )
            x = np.maximum(x + tensors[f'features.{number}.bias'][:, None, None], 0)
        taps.append(x)
    return taps


def plain_distance(tensors, a, b):
    """LPIPS of images `[N, H, W, 3]` in float64."""

    def unit_taps(images):
        images = np.moveaxis(np.asarray(images, np.float64), 3, 1)
        shift, scale = np.array([[-0.03, -0.088, -0.188], [0.458, 0.448, 0.45]])[:, :, None, None]
        taps = plain_taps(tensors, (images - shift) / scale)
        return [x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-10) for x in taps]

    total = np.zeros(len(a))
    for index, (x, y) in enumerate(zip(unit_taps(a), unit_taps(b), strict=True)):
        weights = tensors[f'lin{index}.model.1.weight'].astype(np.float64)
        total += ((x - y) ** 2 * weights).sum(1).mean((1, 2))
    return total


def pictures(shape, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope='module')
def narrow():
    """Tensors of a network of width 4, and the compiled distance."""
    tensors = draw_all(16)
    variables = narrow_variables(tensors)
    return tensors, jax.jit(lambda a, b: lpips.LPIPS(4).apply(variables, a, b))


@pytest.fixture(scope='module')
def tensors():
    return draw_all()


def test_counts():
    x = jnp.zeros((1, 16, 16, 3))
    found = jax.eval_shape(lambda: lpips.LPIPS().init(jax.random.key(0), x, x))['params']
    assert sum(leaf.size for leaf in jax.tree.leaves(found['vgg16'])) == 14_714_688
    assert sum(leaf.size for leaf in jax.tree.leaves(found)) == 14_714_688 + 1_472
    published = lpips.published_tensors()
    assert len(published) == 31
    assert sum(np.prod(tensor.shape) for tensor in published.values()) == 14_714_688 + 1_472


def test_names_and_shapes_are_the_published_ones(tensors):
    found = {name: tensor.shape for name, tensor in lpips.published_tensors().items()}
    assert found == {name: array.shape for name, array in tensors.items()}


def test_taps_of_the_full_network():
    x = jnp.zeros((2, 224, 100, 3))
    module = vgg16.VGG16()
    taps = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x)[0])
    sizes = [(224, 100, 64), (112, 50, 128), (56, 25, 256), (28, 12, 512), (14, 6, 512)]
    assert [tap.shape for tap in taps] == [(2, *size) for size in sizes]


@pytest.mark.parametrize('size', [(16, 16), (37, 32)])
def test_taps_and_distance(narrow, size):
    tensors, distance = narrow
    a, b = pictures((2, *size, 3)), pictures((2, *size, 3), 2)
    variables = {'params': narrow_variables(tensors)['params']['vgg16']}
    found = jax.jit(vgg16.VGG16(4).apply)(variables, a)
    expected = plain_taps(tensors, np.moveaxis(a, 3, 1))
    for tap, plain in zip(found, expected, strict=True):
        plain = np.moveaxis(plain, 1, 3)
        assert (plain > 0).any()
        np.testing.assert_allclose(tap, plain, rtol=0, atol=1e-5 * plain.max())
    np.testing.assert_allclose(distance(a, b), plain_distance(tensors, a, b), rtol=1e-5)


def test_distances_are_torchs(narrow):
    torch = pytest.importorskip('torch')
    tensors, distance = narrow
    weights = {name: torch.tensor(array) for name, array in tensors.items()}
    a, b = pictures((2, 37, 32, 3)), pictures((2, 37, 32, 3), 2)

    def unit_taps(images):
        shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        x = torch.tensor(images).permute(0, 3, 1, 2) - shift
        x, taps = x / torch.tensor([0.458, 0.448, 0.450])[:, None, None], []
        for block in CONVOLUTIONS:
            x = torch.nn.functional.max_pool2d(x, 2) if taps else x
            for number, _, _ in block:
                kernel = weights[f'features.{number}.weight']
                bias = weights[f'features.{number}.bias']
                x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))
            taps.append(x)
        return [torch.nn.functional.normalize(x, dim=1) for x in taps]

    total = 0
    for index, (x, y) in enumerate(zip(unit_taps(a), unit_taps(b), strict=True)):
        lin = weights[f'lin{index}.model.1.weight']
        total += torch.nn.functional.conv2d((x - y) ** 2, lin).mean((1, 2, 3))
    np.testing.assert_allclose(distance(a, b), total.numpy(), rtol=1e-5)


def test_equal_images_and_order(narrow):
    _, distance = narrow
    a, b = pictures((2, 16, 16, 3)), pictures((2, 16, 16, 3), 2)
    np.testing.assert_array_equal(distance(a, a), 0)
    assert (np.asarray(distance(a, b)) > 0.01).all()
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-6)
    # Each pair by itself.
    swapped = distance(a[::-1], b[::-1])
    np.testing.assert_allclose(swapped, distance(a, b)[::-1], rtol=1e-5)


def test_grey_is_repeated(narrow):
    _, distance = narrow
    a, b = pictures((2, 16, 16, 1)), pictures((2, 16, 16, 1), 2)
    coloured = distance(np.repeat(a, 3, 3), np.repeat(b, 3, 3))
    np.testing.assert_allclose(distance(a, b), coloured, rtol=1e-6)


def test_small_differences_keep_their_digits(narrow):
    """Path lengths are made of images 1e-4 apart; bfloat16 products would leave nothing."""
    tensors, distance = narrow
    a = pictures((2, 37, 32, 3))
    b = (a + 1e-4 * pictures(a.shape, 2)).astype(np.float32)
    expected = plain_distance(tensors, a, b)
    assert (expected < 1e-6).all()
    np.testing.assert_allclose(distance(a, b), expected, rtol=5e-3)


@pytest.mark.slow
def test_gradients(narrow):
    tensors, _ = narrow
    a, b = pictures((1, 16, 16, 3)), pictures((1, 16, 16, 3), 2)
    pull = jax.jit(jax.value_and_grad(lambda a, v: lpips.LPIPS(4).apply(v, a, b)[0]))
    _, gradient = pull(a, narrow_variables(tensors))
    # Small, or ReLUs would open and shut on the way.
    step = 1e-6 * np.sign(np.asarray(gradient, np.float64))
    slope = (plain_distance(tensors, a + step, b) - plain_distance(tensors, a - step, b)) / 2e-6
    np.testing.assert_allclose(np.abs(gradient).sum(), slope[0], rtol=1e-3)
    # Where all ReLUs are shut, lengths are 0, and their root has no derivative.
    shut = {
        name: array - 1e3 if name == 'features.0.bias' else 0 * array
        for name, array in tensors.items()
    }
    value, gradient = pull(a, narrow_variables(shut))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_images_of_other_shapes(narrow):
    _, distance = narrow
    with pytest.raises(ValueError, match=r'of one shape, got \[2, 16, 16, 3\] and \[1, 16, 16, 3'):
        distance(np.zeros((2, 16, 16, 3)), np.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match='1 or 3 channels, got 2'):
        distance(np.zeros((2, 16, 16, 2)), np.zeros((2, 16, 16, 2)))
    with pytest.raises(ValueError, match='at least 16 pixels, got'):
        distance(np.zeros((2, 16, 15, 3)), np.zeros((2, 16, 15, 3)))


# Weights from files.


def whole_model(tensors):
    """The same tensors as a file of the whole model by the `lpips` package has them."""
    found = {
        'scaling_layer.shift': np.float32([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1),
        'scaling_layer.scale': np.float32([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1),
    }
    for index, block in enumerate(CONVOLUTIONS):
        for number, _, _ in block:
            for leaf in ('weight', 'bias'):
                name = f'net.slice{index + 1}.{number}.{leaf}'
                found[name] = tensors[f'features.{number}.{leaf}']
        found[f'lin{index}.model.1.weight'] = tensors[f'lin{index}.model.1.weight']
        found[f'lins.{index}.model.1.weight'] = tensors[f'lin{index}.model.1.weight']
    return found


def test_names_of_the_whole_model(tensors):
    expected = jax.tree.leaves_with_path(lpips.load_variables(tensors))
    found = whole_model(tensors)
    assert len(found) == 2 + 31 + 5
    for one in (found, {k: v for k, v in found.items() if not k.startswith('lin0')}):
        for (path, leaf), (name, same) in zip(
            expected, jax.tree.leaves_with_path(lpips.load_variables(one)), strict=True
        ):
            assert path == name
            assert leaf is same or np.array_equal(leaf, same)
    with_dense = {**tensors, 'classifier.0.weight': np.zeros((2, 2), np.float32)}
    assert lpips.load_variables(with_dense).keys() == {'params'}


def test_what_load_variables_refuses(tensors):
    def fails(match, **changes):
        changed = {**tensors, **{name.replace('__', '.'): x for name, x in changes.items()}}
        changed = {name: array for name, array in changed.items() if array is not None}
        with pytest.raises(ValueError, match=f'not the weights of LPIPS on VGG16: {match}'):
            lpips.load_variables(changed)

    bias = tensors['features.0.bias']
    fails('1 missing: .features.0.bias.$', features__0__bias=None)
    fails('1 unknown: .other.$', other=bias)
    # VGG16 with the slice of another block; AlexNet's and SqueezeNet's layers.
    fails('1 unknown: .net.slice1.5.weight.$', net__slice1__5__weight=bias)
    fails('1 unknown: .lin5.model.1.weight.$', lin5__model__1__weight=bias)
    fails(r'1 of another shape: .features.0.bias. \[63\] for \[64\]$', features__0__bias=bias[1:])
    fails(
        '1 of another type, or not finite: .features.0.bias.$',
        features__0__bias=np.append(bias[1:], np.nan),
    )
    fails('1 of another type.*: .features.0.bias. int64$', features__0__bias=bias.astype(np.int64))
    fails('1 at odds with the others: .lins.2.*', lins__2__model__1__weight=bias)
    scale = np.float32([0.458, 0.448, 0.45]).reshape(1, 3, 1, 1)
    fails('1 at odds with the others: .scaling_layer.scale.$', scaling_layer__scale=2 * scale)
    fails('1 at odds with the others: .scaling_layer.shift.$', scaling_layer__shift=bias)
    with pytest.raises(ValueError, match=r'31 missing: .lin0.model.1.weight., .* and 26 more$'):
        lpips.load_variables({})


def test_distance_from_files(tensors, tmp_path):
    features = {name: array for name, array in tensors.items() if name.startswith('features')}
    lins = {name: array for name, array in tensors.items() if name.startswith('lin')}
    np.savez(tmp_path / 'vgg16.npz', **features)
    np.savez(tmp_path / 'vgg.npz', **lins)
    np.savez(tmp_path / 'all.npz', **whole_model(tensors))
    pair = (tmp_path / 'vgg16.npz', tmp_path / 'vgg.npz')
    found = lpips.distance(*pair)
    assert found.name == 'lpips_vgg16'
    a, b = pictures((2, 16, 16, 3)), pictures((2, 16, 16, 3), 2)
    expected = plain_distance(tensors, a, b)
    # Layouts too: the plain layers take PyTorch's tensors as they are. Passed as an argument, so
    # that 59 MB are not built into the program.
    compiled = jax.jit(lambda distance, a, b: distance(a, b))
    np.testing.assert_allclose(compiled(found.apply, a, b), expected, rtol=1e-5)
    assert len(jax.tree.leaves(found.apply)) == 31

    same = {lpips.distance(*paths).fingerprint for paths in (pair[::-1], (tmp_path / 'all.npz',))}
    assert same == {found.fingerprint}
    lins['lin4.model.1.weight'] = lins['lin4.model.1.weight'] + 1
    np.savez(tmp_path / 'other.npz', **lins)
    assert lpips.distance(pair[0], tmp_path / 'other.npz').fingerprint != found.fingerprint

    with pytest.raises(ValueError, match=r'cannot use .*vgg16\.npz: these are not .* 5 missing'):
        lpips.distance(pair[0])
    with pytest.raises(ValueError, match=r'other\.npz: another file of weights holds .lin0.*once$'):
        lpips.distance(*pair, tmp_path / 'other.npz')
    with pytest.raises(ValueError, match=r'cannot use no file: .* 31 missing'):
        lpips.distance()
    with pytest.raises(FileNotFoundError, match='no file of weights'):
        lpips.distance(tmp_path / 'none.pth')
