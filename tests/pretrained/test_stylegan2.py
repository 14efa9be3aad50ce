"""StyleGAN2's published weights, against its layers written plainly in the published layouts."""

import functools
import json
import math
import re
import struct

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.io import weights
from osgan_jax.networks import stylegan2
from osgan_jax.pretrained import stylegan2 as published

SIZE = 16
TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
# Widths 12, 10 and 5 by grid: none like another.
WIDTHS = {'base_channels': 40, 'max_channels': 12}
GENERATOR = stylegan2.Generator(SIZE, latent_dim=6, w_dim=7, mapping_layers=3, **WIDTHS)
DISCRIMINATOR = stylegan2.Discriminator(SIZE, stddev_group=2, **WIDTHS)
LABELLED = stylegan2.Generator(8, latent_dim=6, w_dim=7, mapping_layers=2, num_classes=3, **WIDTHS)
JUDGE = stylegan2.Discriminator(8, num_classes=3, **WIDTHS)
NETWORKS = {'generator': GENERATOR, 'discriminator': DISCRIMINATOR}
# Tensors by PyTorch's names and by TensorFlow's.
TENSORFLOW = (
    (r'mapping\.w_avg', r'dlatent_avg'),
    (r'mapping\.fc(\d+)\.(\w+)', r'G_mapping/Dense\1/\2'),
    (r'synthesis\.b4\.const', r'G_synthesis/4x4/Const/const'),
    (r'synthesis\.b4\.conv1\.noise_const', r'G_synthesis/noise0'),
    (r'synthesis\.b8\.conv0\.noise_const', r'G_synthesis/noise1'),
    (r'synthesis\.b8\.conv1\.noise_const', r'G_synthesis/noise2'),
    (r'synthesis\.b16\.conv0\.noise_const', r'G_synthesis/noise3'),
    (r'synthesis\.b16\.conv1\.noise_const', r'G_synthesis/noise4'),
    (r'synthesis\.b4\.conv1\.affine\.(\w+)', r'G_synthesis/4x4/Conv/mod_\1'),
    (r'synthesis\.b4\.conv1\.(\w+)', r'G_synthesis/4x4/Conv/\1'),
    (r'synthesis\.b(\d+)\.conv0\.affine\.(\w+)', r'G_synthesis/\1x\1/Conv0_up/mod_\2'),
    (r'synthesis\.b(\d+)\.conv0\.(\w+)', r'G_synthesis/\1x\1/Conv0_up/\2'),
    (r'synthesis\.b(\d+)\.conv1\.affine\.(\w+)', r'G_synthesis/\1x\1/Conv1/mod_\2'),
    (r'synthesis\.b(\d+)\.conv1\.(\w+)', r'G_synthesis/\1x\1/Conv1/\2'),
    (r'synthesis\.b(\d+)\.torgb\.affine\.(\w+)', r'G_synthesis/\1x\1/ToRGB/mod_\2'),
    (r'synthesis\.b(\d+)\.torgb\.(\w+)', r'G_synthesis/\1x\1/ToRGB/\2'),
    (r'b(\d+)\.fromrgb\.(\w+)', r'\1x\1/FromRGB/\2'),
    (r'b(\d+)\.conv0\.(\w+)', r'\1x\1/Conv0/\2'),
    (r'b(\d+)\.conv1\.(\w+)', r'\1x\1/Conv1_down/\2'),
    (r'b(\d+)\.skip\.(\w+)', r'\1x\1/Skip/\2'),
    (r'b4\.conv\.(\w+)', r'4x4/Conv/\1'),
    (r'b4\.fc\.(\w+)', r'4x4/Dense0/\1'),
    (r'b4\.out\.(\w+)', r'Output/\1'),
)
CONVERT = {
    'generator': published.generator_variables,
    'discriminator': published.discriminator_variables,
}


@functools.cache
def draw(network):
    """Tensors of PyTorch's form, with the buffers that are published beside them."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in published.tensor_shapes(network).items():
        tensors[name] = rng.normal(size=shape)
        if name.startswith('mapping.fc'):
            tensors[name] *= 100
        if name.endswith('affine.bias'):
            tensors[name] += 1
    for name in list(tensors):
        if name.endswith('.noise_strength'):
            layer, grid = name.removesuffix('.noise_strength'), int(name.split('.')[1][1:])
            tensors[f'{layer}.noise_const'] = rng.normal(size=(grid, grid))
            tensors[f'{layer}.resample_filter'] = TAPS
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def translate(name):
    pattern, found = next(pair for pair in TENSORFLOW if re.fullmatch(pair[0], name))
    return re.sub(pattern, found, name)


def to_tensorflow(tensors):
    """The same network as the TensorFlow release has it, with its count of grown grids."""
    found = {'lod': np.zeros((), np.float32)}
    for name, array in tensors.items():
        if name.endswith('resample_filter'):
            continue
        if name.endswith('affine.bias'):
            array = array - 1
        elif array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
            if name.startswith('synthesis') and '.conv0.' in name:
                array = array[::-1, ::-1]
        elif name.endswith('noise_const'):
            array = array[None, None]
        else:
            array = array[None] if name.endswith('.const') else array.T
        found[translate(name)] = array
    return found


def draw_both(network):
    tensors = draw(network)
    return {'pytorch': tensors, 'tensorflow': to_tensorflow(tensors)}


# Plainly: images [N, C, H, W], float64.


def activate(x):
    return np.sqrt(2) * np.where(x > 0, x, 0.2 * x)


def unit(x):
    return x / np.sqrt(np.mean(x * x, 1, keepdims=True) + 1e-8)


def correlate(x, kernels, padding, stride=1):
    """With kernels [O, I, kh, kw], or one such for each sample."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernels.shape[-2:], (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    spec = 'niyxab,noiab->noyx' if kernels.ndim == 5 else 'niyxab,oiab->noyx'
    return np.einsum(spec, windows, kernels, optimize=True)


def blur(x, before, after, gain=1.0):
    channels = x.shape[1]
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    kernel = np.eye(channels)[:, :, None, None] * TAPS * gain
    return correlate(x, kernel, 0)


def spread(x):
    """Zeros between pixels."""
    n, c, h, w = x.shape
    out = np.zeros((n, c, 2 * h - 1, 2 * w - 1))
    out[:, :, ::2, ::2] = x
    return out


class Pytorch:
    """Tensors of the PyTorch release by their names."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(array, np.float64) for name, array in tensors.items()}

    def __call__(self, name):
        return self.tensors[name]

    def style(self, layer, w):
        weight, bias = self(f'{layer}.affine.weight'), self(f'{layer}.affine.bias')
        return w @ weight.T / np.sqrt(w.shape[1]) + bias

    @staticmethod
    def double(x, kernels):
        """A transposed convolution: pixel i times tap a at 2i + a."""
        n, _, h, w = x.shape
        out = np.zeros((n, kernels.shape[1], 2 * h + 1, 2 * w + 1))
        for a in range(3):
            for b in range(3):
                part = np.einsum('nihw,noi->nohw', x, kernels[:, :, :, a, b])
                out[:, :, a : a + 2 * h : 2, b : b + 2 * w : 2] += part
        return blur(out, 1, 1, gain=4)


class Tensorflow(Pytorch):
    """Those of the TensorFlow release, axes in the other's order."""

    def __call__(self, name):
        array = self.tensors[translate(name)]
        if name.endswith(('noise_const', '.const')):
            return array.reshape(array.shape[-2:] if 'noise' in name else array.shape[1:])
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T

    def style(self, layer, w):
        return super().style(layer, w) + 1

    @staticmethod
    def double(x, kernels):
        """Zeros between pixels, then a convolution as of the layers that keep the grid."""
        return blur(correlate(spread(x), kernels, 2), 1, 1, gain=4)


FORMS = {'pytorch': Pytorch, 'tensorflow': Tensorflow}


def modulated(at, layer, x, w, *, demodulate=True):
    kernel = at(f'{layer}.weight')
    kernels = kernel / np.sqrt(kernel[0].size) * at.style(layer, w)[:, None, :, None, None]
    if demodulate:
        kernels /= np.sqrt(np.sum(kernels * kernels, (2, 3, 4), keepdims=True) + 1e-8)
    if layer.endswith('conv0'):
        return at.double(x, kernels)
    return correlate(x, kernels, kernel.shape[-1] // 2)


def dense(at, layer, x, multiplier=1.0):
    matrix = at(f'{layer}.weight')
    return multiplier * (x @ matrix.T / np.sqrt(matrix.shape[1]) + at(f'{layer}.bias'))


def map_latents(at, z, layers, labels=None):
    parts = [] if z is None else [unit(np.asarray(z, np.float64))]
    if labels is not None:
        parts.append(unit(dense(at, 'mapping.embed', np.eye(3)[labels])))
    x = np.concatenate(parts, 1)
    for index in range(layers):
        x = activate(dense(at, f'mapping.fc{index}', x, 0.01))
    return x


def synthesise(at, w, size):
    x, image, grid = np.repeat(at('synthesis.b4.const')[None], len(w), 0), 0, 4
    while grid <= size:
        for conv in ('conv1',) if grid == 4 else ('conv0', 'conv1'):
            layer = f'synthesis.b{grid}.{conv}'
            x = modulated(at, layer, x, w)
            x = x + at(f'{layer}.noise_const') * at(f'{layer}.noise_strength')
            x = activate(x + at(f'{layer}.bias')[:, None, None])
        layer = f'synthesis.b{grid}.torgb'
        if grid > 4:
            image = blur(np.pad(spread(image), ((0, 0), (0, 0), (0, 1), (0, 1))), 2, 1, gain=4)
        image = image + modulated(at, layer, x, w, demodulate=False)
        image, grid = image + at(f'{layer}.bias')[:, None, None], 2 * grid
    return image.transpose(0, 2, 3, 1)


def judge(at, x, group):
    x, grid = x.transpose(0, 3, 1, 2), x.shape[1]

    def conv(layer, x, padding=0, stride=1):
        kernel = at(f'{layer}.weight')
        x = correlate(x, kernel / np.sqrt(kernel[0].size), padding, stride)
        if layer.endswith('skip'):
            return x
        return activate(x + at(f'{layer}.bias')[:, None, None])

    x = conv(f'b{grid}.fromrgb', x)
    while grid > 4:
        # All of it, then every second pixel.
        shortcut = conv(f'b{grid}.skip', blur(x, 1, 1))[:, :, ::2, ::2]
        x = conv(f'b{grid}.conv1', blur(conv(f'b{grid}.conv0', x, 1), 2, 2), stride=2)
        x, grid = (x + shortcut) / np.sqrt(2), grid // 2
    n, groups = len(x), len(x) // group
    added = np.zeros((n, 1, 4, 4))
    for first in range(groups):
        added[first::groups] = np.sqrt(np.var(x[first::groups], 0) + 1e-8).mean()
    x = conv('b4.conv', np.concatenate([x, added], 1), 1)
    x = activate(dense(at, 'b4.fc', x.reshape(n, -1)))
    return dense(at, 'b4.out', x)


def same(found, expected, tolerance=1e-4):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


LATENTS = np.random.default_rng(8).normal(size=(3, 6)).astype(np.float32)
IMAGES = np.random.default_rng(9).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def generate(generator, variables, noise, labels, truncation):
    def run(module):
        ws = module.styles(module.mapping(LATENTS, labels), truncation)
        return module.synthesis(ws, noise=noise)

    return generator.apply(variables, method=run)


@functools.partial(jax.jit, static_argnums=0)
def verdicts(discriminator, variables, images, labels=None):
    return discriminator.apply(variables, images, labels, train=False)


# Outputs.


@pytest.mark.parametrize('truncation', [1.0, 0.6])
def test_generator(truncation):
    found = {}
    for form, tensors in draw_both(GENERATOR).items():
        variables = published.generator_variables(tensors, GENERATOR)
        noise = published.fixed_noise(tensors, SIZE)
        found[form] = generate(GENERATOR, variables, noise, None, truncation)
        at = FORMS[form](tensors)
        w, average = map_latents(at, LATENTS, 3), at('mapping.w_avg')
        same(found[form], synthesise(at, average + truncation * (w - average), SIZE))
    # Up to the rounding of 1 taken from biases and added again.
    same(found['pytorch'], found['tensorflow'], 1e-5)


def test_discriminator():
    found = {}
    for form, tensors in draw_both(DISCRIMINATOR).items():
        variables = published.discriminator_variables(tensors, DISCRIMINATOR)
        found[form] = verdicts(DISCRIMINATOR, variables, IMAGES)
        same(found[form], judge(FORMS[form](tensors), IMAGES, 2)[:, 0])
    np.testing.assert_array_equal(found['pytorch'], found['tensorflow'])


def test_networks_with_labels():
    """PyTorch's alone, which embed labels; a second network of the size tells sizes apart."""
    labels = np.array([2, 0, 1])
    tensors = draw(LABELLED)
    at = Pytorch(tensors)
    noise = published.fixed_noise(tensors, 8)
    variables = published.generator_variables(tensors, LABELLED)
    found = generate(LABELLED, variables, noise, labels, 1.0)
    same(found, synthesise(at, map_latents(at, LATENTS, 2, labels), 8))
    tensors = draw(JUDGE)
    at, images = Pytorch(tensors), IMAGES[:3, :8, :8]
    variables = published.discriminator_variables(tensors, JUDGE)
    target = map_latents(at, None, 8, labels)
    expected = (judge(at, images, 3) * target).sum(1) / np.sqrt(target.shape[1])
    same(verdicts(JUDGE, variables, images, labels), expected)


def test_doubling_against_torch():
    """The reference's own, with kernels that are not symmetric."""
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 4, 5, 5)), rng.normal(size=(3, 4, 3, 3))
    weight, taps = torch.tensor(kernel).swapaxes(0, 1), torch.tensor(TAPS * 4)
    grown = torch.nn.functional.conv_transpose2d(torch.tensor(x), weight, stride=2)
    taps = taps.expand(3, 1, 4, 4)
    expected = torch.nn.functional.conv2d(grown, taps, padding=1, groups=3)
    kernels = np.stack([kernel, kernel])
    np.testing.assert_allclose(Pytorch.double(x, kernels), expected, atol=1e-12)
    mirrored = kernels[..., ::-1, ::-1]
    np.testing.assert_allclose(Tensorflow.double(x, mirrored), expected, atol=1e-12)


# Names and shapes.


def test_variables_are_the_networks_own():
    variables = published.generator_variables(draw(GENERATOR), GENERATOR)
    shapes = jax.eval_shape(
        lambda: GENERATOR.init(jax.random.key(0), jnp.zeros((1, 6)), train=False)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, shapes)
    variables = published.discriminator_variables(draw(DISCRIMINATOR), DISCRIMINATOR)
    shapes = jax.eval_shape(lambda: DISCRIMINATOR.init(jax.random.key(0), IMAGES, train=False))
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, shapes)


@pytest.mark.parametrize('form', published.FORMS)
def test_counts_of_the_published_networks(form):
    """FACTS of the published networks at 1024 pixels; the average of w is no parameter."""
    shapes = published.tensor_shapes(stylegan2.Generator(1024), form)
    assert sum(map(math.prod, shapes.values())) - 512 == 30_370_060
    shapes = published.tensor_shapes(stylegan2.Discriminator(1024), form)
    assert sum(map(math.prod, shapes.values())) == 29_012_513


def test_names_and_shapes_of_the_published_networks():
    """Some of every kind, as the authors' code defines them."""
    generator, discriminator = stylegan2.Generator(1024), stylegan2.Discriminator(1024)
    expected = {
        (generator, 'pytorch'): {
            'mapping.fc7.weight': (512, 512),
            'mapping.w_avg': (512,),
            'synthesis.b4.const': (512, 4, 4),
            'synthesis.b4.conv1.noise_strength': (),
            'synthesis.b128.conv0.weight': (256, 512, 3, 3),
            'synthesis.b128.conv0.affine.weight': (512, 512),
            'synthesis.b1024.conv1.bias': (32,),
            'synthesis.b1024.torgb.weight': (3, 32, 1, 1),
            'synthesis.b1024.torgb.affine.bias': (32,),
        },
        (generator, 'tensorflow'): {
            'G_mapping/Dense0/bias': (512,),
            'dlatent_avg': (512,),
            'G_synthesis/4x4/Const/const': (1, 512, 4, 4),
            'G_synthesis/4x4/Conv/mod_weight': (512, 512),
            'G_synthesis/128x128/Conv0_up/weight': (3, 3, 512, 256),
            'G_synthesis/1024x1024/Conv0_up/mod_bias': (64,),
            'G_synthesis/1024x1024/Conv1/noise_strength': (),
            'G_synthesis/1024x1024/ToRGB/weight': (1, 1, 32, 3),
        },
        (discriminator, 'pytorch'): {
            'b1024.fromrgb.weight': (32, 3, 1, 1),
            'b1024.conv1.weight': (64, 32, 3, 3),
            'b64.skip.weight': (512, 512, 1, 1),
            'b4.conv.weight': (512, 513, 3, 3),
            'b4.fc.weight': (512, 8192),
            'b4.out.bias': (1,),
        },
        (discriminator, 'tensorflow'): {
            '1024x1024/FromRGB/bias': (32,),
            '1024x1024/Conv0/weight': (3, 3, 32, 32),
            '1024x1024/Conv1_down/weight': (3, 3, 32, 64),
            '8x8/Skip/weight': (1, 1, 512, 512),
            '4x4/Conv/weight': (3, 3, 513, 512),
            '4x4/Dense0/weight': (8192, 512),
            'Output/weight': (512, 1),
        },
    }
    for (network, form), some in expected.items():
        assert some.items() <= published.tensor_shapes(network, form).items()


@pytest.mark.parametrize('form', published.FORMS)
def test_fixed_noise(form):
    tensors = draw_both(GENERATOR)
    found = published.fixed_noise(tensors[form], SIZE)
    names = ['b4.conv1', 'b8.conv0', 'b8.conv1', 'b16.conv0', 'b16.conv1']
    for array, name in zip(found, names, strict=True):
        expected = tensors['pytorch'][f'synthesis.{name}.noise_const']
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(ValueError, match=r'32-pixel StyleGAN2 generator.*2 missing: '):
        published.fixed_noise(tensors[form], 32)
    with pytest.raises(ValueError, match='no 12-pixel networks'):
        published.fixed_noise(tensors[form], 12)


# Files.


@pytest.mark.parametrize('form', published.FORMS)
@pytest.mark.parametrize('suffix', ['npz', 'safetensors'])
def test_files(tmp_path, form, suffix):
    tensors, path = draw_both(GENERATOR)[form], tmp_path / f'weights.{suffix}'
    if suffix == 'npz':
        np.savez(path, **tensors)
    else:
        save_safetensors(path, tensors)
    read = weights.read(path)
    chex.assert_trees_all_equal(
        published.generator_variables(read, GENERATOR),
        published.generator_variables(tensors, GENERATOR),
    )
    chex.assert_trees_all_equal(
        published.fixed_noise(read, SIZE), published.fixed_noise(tensors, SIZE)
    )


def save_safetensors(path, tensors):
    header, data = {}, b''
    for name, array in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


# What is refused.


def refused(tensors, message, network=GENERATOR, convert=published.generator_variables):
    with pytest.raises(ValueError, match=message) as caught:
        convert(tensors, network)
    text = str(caught.value)
    assert '\n' not in text
    assert '. ' not in text.replace("'. ", '')
    assert len(text) < 900


@pytest.mark.parametrize('form', published.FORMS)
@pytest.mark.parametrize('role', NETWORKS)
def test_what_is_no_weights(form, role):
    network, convert = NETWORKS[role], CONVERT[role]
    tensors = draw_both(network)[form]
    name = next(name for name in tensors if name.endswith('weight'))
    array, quoted = tensors[name], re.escape(repr(name))
    start = f'^these are not the {form} weights of a 16-pixel StyleGAN2 {role}, .*: '
    unfit = f'{start}1 of another type, or not finite: {quoted}'
    missing = {other: tensors[other] for other in tensors if other != name}
    holed = np.where(array == array.max(), np.nan, array)
    for changed, message in (
        (missing, f'{start}1 missing: {quoted}$'),
        ({**tensors, 'more\n': array}, rf"{start}1 unknown: 'more\\n'$"),
        ({**tensors, name: array[:1]}, rf'{start}1 of another shape: {quoted} \[1, .*\] for \['),
        ({**tensors, name: array.astype(int)}, f'{unfit} int64$'),
        ({**tensors, name: holed}, f'{unfit}$'),
        ({**tensors, name: array * np.float64(1e60)}, f'{unfit}$'),
    ):
        refused(changed, message, network, convert)
    # A file of something else has the names of neither form.
    refused({'a': array}, r"pytorch.*missing: .* and \d+ more; 1 unknown: 'a'$", network, convert)


def test_networks_that_do_not_fit():
    tensors = draw_both(GENERATOR)
    wider = GENERATOR.clone(base_channels=48)
    refused(tensors['pytorch'], r"of another shape: 'synthesis.b16.conv0", wider)
    smaller = GENERATOR.clone(image_size=8)
    refused(tensors['tensorflow'], "unknown: 'G_synthesis/16x16", smaller)
    labelled = GENERATOR.clone(num_classes=3)
    refused(tensors['pytorch'], "missing: 'mapping.embed", labelled)
    refused(tensors['tensorflow'], 'TensorFlow weights of StyleGAN2 with labels', labelled)
    samplewise = DISCRIMINATOR.clone(stddev_group=0)
    refused(draw(DISCRIMINATOR), "'b4.conv.weight'", samplewise, published.discriminator_variables)
    with pytest.raises(ValueError, match="unknown form 'torch' of weights: use one of pytorch"):
        published.tensor_shapes(GENERATOR, 'torch')


def test_another_blur():
    name = 'synthesis.b8.conv0.resample_filter'
    for taps in (np.full((4, 4), 1 / 16), np.ones(4)):
        refused({**draw(GENERATOR), name: taps}, f"'{name}' is not the filter")


def test_half_precision_and_parts_of_batches():
    """Arrays of 16 bits become 32; a discriminator whose batches have parts is converted too."""
    tensors = {name: array.astype(np.float16) for name, array in draw(DISCRIMINATOR).items()}
    split = DISCRIMINATOR.clone(stddev_splits=2)
    variables = published.discriminator_variables(tensors, split)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    kernel = variables['params']['dense']['kernel']
    # Row 5 of 12 channels at pixel (1, 2), by hand: (1 * 4 + 2) * 12 + 5 here, 5 * 16 + 6 there.
    np.testing.assert_array_equal(kernel[77], tensors['b4.fc.weight'][:, 86])
