"""BigGAN's published weights, against its layers written plainly in the published layouts."""

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
from osgan_jax.layers import spectral
from osgan_jax.networks import biggan
from osgan_jax.pretrained import biggan as published

CLASSES = 5
GENERATOR = biggan.Generator(32, width=4, latent_dim=12, num_classes=CLASSES, embedding_dim=7)
DISCRIMINATOR = biggan.Discriminator(32, width=4, num_classes=CLASSES)
# With self-attention.
GENERATOR_64 = GENERATOR.clone(image_size=64, width=2, latent_dim=10)
DISCRIMINATOR_64 = DISCRIMINATOR.clone(image_size=64, width=8)
NETWORKS = {'generator': GENERATOR, 'discriminator': DISCRIMINATOR}
CONVERT = {
    'generator': published.generator_variables,
    'discriminator': published.discriminator_variables,
}
LABELS = np.array([4, 0, 2])


@functools.cache
def draw(network):
    """Tensors as they are published, the last singular values beside them."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in published.tensor_shapes(network).items():
        tensors[name] = rng.normal(size=shape)
        if name.endswith('.stored_var'):
            tensors[name] = rng.uniform(0.3, 2, shape)
        if name.endswith('.u0'):
            tensors[name.replace('.u0', '.sv0')] = rng.uniform(1, 2, 1)
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


# Plainly: images [N, C, H, W], float64.


class Plain:
    """Layers of tensors by the authors' names."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(array, np.float64) for name, array in tensors.items()}

    def __contains__(self, layer):
        return f'{layer}.weight' in self.tensors

    def weight(self, layer):
        """Divided by the singular value, after one power iteration on rows of the output."""
        weight, u = self.tensors[f'{layer}.weight'], self.tensors[f'{layer}.u0'][0]
        matrix = weight.reshape(len(weight), -1)
        v = u @ matrix
        v /= np.linalg.norm(v)
        u = v @ matrix.T
        u /= np.linalg.norm(u)
        return weight / (v @ matrix.T @ u)

    def linear(self, layer, x):
        return x @ self.weight(layer).T + self.tensors.get(f'{layer}.bias', 0)

    def conv(self, layer, x):
        kernel = self.weight(layer)
        around = kernel.shape[2] // 2
        x = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))
        x = np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        bias = self.tensors.get(f'{layer}.bias')
        return x if bias is None else x + bias[:, None, None]

    def norm(self, layer, x, gain, bias):
        mean, var = (self.tensors[f'{layer}.stored_{part}'] for part in ('mean', 'var'))
        x = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
        return x * gain[..., None, None] + bias[..., None, None]

    def attention(self, layer, x):
        n, c, h, w = x.shape
        query = self.conv(f'{layer}.theta', x).reshape(n, -1, h * w)
        key = pool(self.conv(f'{layer}.phi', x), np.max).reshape(n, -1, h * w // 4)
        value = pool(self.conv(f'{layer}.g', x), np.max).reshape(n, -1, h * w // 4)
        scores = np.exp(np.einsum('ncp,ncq->npq', query, key))
        scores /= scores.sum(2, keepdims=True)
        seen = np.einsum('npq,ncq->ncp', scores, value).reshape(n, c // 2, h, w)
        return x + self.tensors[f'{layer}.gamma'] * self.conv(f'{layer}.o', seen)


def relu(x):
    return np.maximum(x, 0)


def enlarge(x):
    return x.repeat(2, 2).repeat(2, 3)


def pool(x, how=np.mean):
    n, c, h, w = x.shape
    return how(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=(3, 5))


def generate(tensors, z, labels, blocks):
    layers = Plain(tensors)
    z, *parts = np.split(np.asarray(z, np.float64), blocks + 1, 1)
    shared = layers.tensors['shared.weight'][labels]
    x = layers.linear('linear', z).reshape(len(z), -1, 4, 4)
    for index, part in enumerate(parts):
        at, condition = f'blocks.{index}.0', np.concatenate([shared, part], 1)

        def norm(name, x, at=at, condition=condition):
            gain, bias = (layers.linear(f'{at}.{name}.{leaf}', condition) for leaf in GAIN_BIAS)
            return relu(layers.norm(f'{at}.{name}', x, 1 + gain, bias))

        residual = layers.conv(f'{at}.conv1', enlarge(norm('bn1', x)))
        residual = layers.conv(f'{at}.conv2', norm('bn2', residual))
        x = residual + layers.conv(f'{at}.conv_sc', enlarge(x))
        if f'blocks.{index}.1.theta' in layers:
            x = layers.attention(f'blocks.{index}.1', x)
    gain, bias = (layers.tensors[f'output_layer.0.{leaf}'] for leaf in GAIN_BIAS)
    x = relu(layers.norm('output_layer.0', x, gain, bias))
    return np.tanh(layers.conv('output_layer.2', x)).transpose(0, 2, 3, 1)


GAIN_BIAS = ('gain', 'bias')


def judge(tensors, images, labels, halved):
    layers, x = Plain(tensors), np.asarray(images, np.float64).transpose(0, 3, 1, 2)
    for index, halve in enumerate(halved):
        at = f'blocks.{index}.0'
        residual = layers.conv(f'{at}.conv1', relu(x) if index else x)
        residual = layers.conv(f'{at}.conv2', relu(residual))
        # The first block pools before the shortcut's convolution, the others after it.
        x = pool(x) if index == 0 else x
        x = layers.conv(f'{at}.conv_sc', x) if f'{at}.conv_sc' in layers else x
        x = pool(x) if halve and index else x
        x = x + (pool(residual) if halve else residual)
        if f'blocks.{index}.1.theta' in layers:
            x = layers.attention(f'blocks.{index}.1', x)
    x = relu(x).sum((2, 3))
    return layers.linear('linear', x)[:, 0] + (layers.weight('embed')[labels] * x).sum(1)


def same(found, expected, tolerance=1e-4):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert expected.std() > 0.05 * scale > 0
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


@functools.partial(jax.jit, static_argnums=0)
def run(network, variables, inputs, labels):
    return network.apply(variables, inputs, labels, train=False)


def latents(size):
    return np.random.default_rng(8).normal(size=(3, size)).astype(np.float32)


def images(size):
    return np.random.default_rng(9).uniform(-1, 1, (3, size, size, 3)).astype(np.float32)


# Outputs.


@pytest.mark.parametrize('network', [GENERATOR, GENERATOR_64])
def test_generator(network):
    tensors = draw(network)
    z, blocks = latents(network.latent_dim), int(math.log2(network.image_size)) - 2
    expected = generate(tensors, z, LABELS, blocks)
    variables = published.generator_variables(tensors, network)
    same(run(network, variables, z, LABELS), expected)


@pytest.mark.parametrize(
    ('network', 'halved'),
    [
        (DISCRIMINATOR, (True, True, False, False)),
        pytest.param(
            DISCRIMINATOR_64, (True, True, True, True, False), marks=pytest.mark.slow, id='64'
        ),
    ],
)
def test_discriminator(network, halved):
    tensors, x = draw(network), images(network.image_size)
    variables = published.discriminator_variables(tensors, network)
    same(run(network, variables, x, LABELS), judge(tensors, x, LABELS, halved))


@pytest.mark.parametrize('classes', [3, 16, 40])
def test_embeddings_of_fewer_and_more_labels_than_features(classes):
    network = DISCRIMINATOR.clone(num_classes=classes)
    tensors = draw(network)
    variables = published.discriminator_variables(tensors, network)
    layer = {collection: arrays['Embed_0'] for collection, arrays in variables.items()}
    found = spectral.Embed(classes, 16).apply(layer, np.arange(classes), train=False)
    same(found, Plain(tensors).weight('embed'), 1e-5)


def test_training_goes_on_from_the_vectors():
    """A training step keeps the vector after one iteration, as the authors' does."""
    tensors = draw(GENERATOR)
    variables = published.generator_variables(tensors, GENERATOR)
    layer = {collection: arrays['block_1']['Conv_1'] for collection, arrays in variables.items()}
    _, kept = spectral.Conv(16).apply(
        layer, jnp.zeros((1, 2, 2, 16)), train=True, mutable=['batch_stats']
    )
    weight, u = tensors['blocks.1.0.conv2.weight'], tensors['blocks.1.0.conv2.u0']
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    expected = matrix @ (u[0] @ matrix)
    found = kept['batch_stats']['u']
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


# Names and shapes.


def test_weights_of_parallel_networks():
    for role, network in NETWORKS.items():
        tensors = draw(network)
        parallel = {f'module.{name}': array for name, array in tensors.items()}
        found, expected = (CONVERT[role](some, network) for some in (parallel, tensors))
        chex.assert_trees_all_equal(found, expected)


@pytest.mark.parametrize('network', [GENERATOR_64, DISCRIMINATOR_64])
def test_variables_are_the_networks_own(network):
    generates = isinstance(network, biggan.Generator)
    inputs = jnp.zeros((1, 10)) if generates else jnp.zeros((1, 64, 64, 3))
    convert = CONVERT['generator' if generates else 'discriminator']
    shapes = jax.eval_shape(
        lambda: network.init(jax.random.key(0), inputs, jnp.zeros(1, int), train=False)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(convert(draw(network), network), shapes)


def test_counts_of_the_published_networks():
    """FACTS of the published networks at 128 pixels; vectors and statistics are no parameters."""
    for network, expected in (
        (biggan.Generator(128, num_classes=1000), 70_433_988),
        (biggan.Discriminator(128, num_classes=1000), 87_982_370),
    ):
        shapes = published.tensor_shapes(network)
        buffers = ('u0', 'stored_mean', 'stored_var')
        counts = [math.prod(shape) for name, shape in shapes.items() if not name.endswith(buffers)]
        assert sum(counts) == expected


def test_names_and_shapes_of_the_published_networks():
    """Some of every kind, as the authors' code defines them."""
    expected = {
        biggan.Generator(128, num_classes=1000): {
            'shared.weight': (1000, 128),
            'linear.weight': (24576, 20),
            'linear.u0': (1, 24576),
            'blocks.0.0.conv1.weight': (1536, 1536, 3, 3),
            'blocks.1.0.conv_sc.weight': (768, 1536, 1, 1),
            'blocks.4.0.bn1.gain.weight': (192, 148),
            'blocks.4.0.bn1.gain.u0': (1, 192),
            'blocks.4.0.bn2.bias.weight': (96, 148),
            'blocks.4.0.bn2.stored_var': (96,),
            'blocks.3.1.theta.weight': (24, 192, 1, 1),
            'blocks.3.1.g.u0': (1, 96),
            'blocks.3.1.gamma': (),
            'output_layer.0.gain': (96,),
            'output_layer.0.stored_mean': (96,),
            'output_layer.2.bias': (3,),
        },
        biggan.Discriminator(128, num_classes=1000): {
            'blocks.0.0.conv1.weight': (96, 3, 3, 3),
            'blocks.0.1.o.weight': (96, 48, 1, 1),
            'blocks.4.0.conv_sc.u0': (1, 1536),
            'blocks.5.0.conv2.bias': (1536,),
            'linear.weight': (1, 1536),
            'embed.weight': (1000, 1536),
            'embed.u0': (1, 1000),
        },
        # Attention follows the grid of 64.
        biggan.Generator(256, latent_dim=119, num_classes=10): {
            'blocks.3.1.phi.weight': (48, 384, 1, 1)
        },
        biggan.Discriminator(256, num_classes=10): {'blocks.1.1.phi.weight': (24, 192, 1, 1)},
    }
    for network, some in expected.items():
        assert some.items() <= published.tensor_shapes(network).items()
    names = published.tensor_shapes(biggan.Discriminator(128, num_classes=1000))
    assert not any(name.startswith('blocks.5.0.conv_sc') for name in names)


# Files.


@pytest.mark.parametrize('suffix', ['npz', 'safetensors'])
def test_files(tmp_path, suffix):
    tensors, path = draw(GENERATOR), tmp_path / f'weights.{suffix}'
    if suffix == 'npz':
        np.savez(path, **tensors)
    else:
        header, data = {}, b''
        for name, array in tensors.items():
            offsets = [len(data), len(data) + array.nbytes]
            header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': offsets}
            data += array.tobytes()
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack('<Q', len(text)) + text + data)
    chex.assert_trees_all_equal(
        published.generator_variables(weights.read(path), GENERATOR),
        published.generator_variables(tensors, GENERATOR),
    )


# What is refused.


def refused(tensors, message, network=GENERATOR, convert=published.generator_variables):
    with pytest.raises(ValueError, match=message) as caught:
        convert(tensors, network)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize('role', NETWORKS)
def test_what_is_no_weights(role):
    network, convert = NETWORKS[role], CONVERT[role]
    tensors, name = draw(network), 'blocks.1.0.conv2.weight'
    array, quoted = tensors[name], re.escape(repr(name))
    start = f'^these are not the weights of a 32-pixel BigGAN {role}, .*: '
    unfit = f'{start}1 of another type, or not finite: {quoted}'
    missing = {other: tensors[other] for other in tensors if other != name}
    holed = np.where(array == array.max(), np.inf, array)
    for changed, message in (
        (missing, f'{start}1 missing: {quoted}$'),
        ({**tensors, 'blocks.9.0.sv0': array}, f"{start}1 unknown: 'blocks.9.0.sv0'$"),
        ({**tensors, name: array[:1]}, rf'{start}1 of another shape: {quoted} \[1, 16, 3, 3\] for'),
        ({**tensors, name: array.astype(int)}, f'{unfit} int64$'),
        ({**tensors, name: holed}, f'{unfit}$'),
        ({}, r'missing: .* and \d+ more$'),
    ):
        refused(changed, message, network, convert)


def test_variances_below_zero():
    name = 'blocks.0.0.bn2.stored_var'
    below = draw(GENERATOR)[name] - 1
    refused({**draw(GENERATOR), name: below}, f"1 with variances below zero: '{name}'$")


def test_networks_that_do_not_fit():
    tensors = draw(GENERATOR)
    refused(tensors, "of another shape: 'blocks.0.0.bn1", GENERATOR.clone(width=8))
    refused(tensors, "unknown: 'shared.weight'", GENERATOR.clone(num_classes=0))
    refused(tensors, "missing: .*'blocks.3.0", GENERATOR_64.clone(latent_dim=15))
    refused(draw(DISCRIMINATOR), "unknown: 'embed.u0'", GENERATOR)


def test_networks_without_labels():
    network = GENERATOR.clone(num_classes=0)
    tensors = draw(network)
    kernel = published.generator_variables(tensors, network)['params']['Dense_0']['kernel']
    # Row 5 of 16 channels at pixel (1, 2), by hand: (1 * 4 + 2) * 16 + 5 here, 5 * 16 + 6 there.
    np.testing.assert_array_equal(kernel[:, 101], tensors['linear.weight'][86])
