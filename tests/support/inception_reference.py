"""The Inception network written plainly: in numpy, and in PyTorch where there is one.

Images are `[N, C, H, W]` in here, and tensors go by PyTorch's names.
"""

import types

import numpy as np
import pytest

from osgan_jax.evaluation.features import inception

# BatchNorm's arrays here, and there.
LEAVES = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


class Plain:
    """Layers in numpy, float64."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(array, np.float64) for name, array in tensors.items()}

    def conv(self, x, name, stride=1, padding=(0, 0)):
        kernel, *norm = (
            self.tensors[f'{name}.{part}']
            for part in ('conv.weight', *(f'bn.{leaf}' for leaf in LEAVES.values()))
        )
        scale, bias, mean, var = (array[:, None, None] for array in norm)
        x = np.pad(x, ((0, 0), (0, 0), *((amount, amount) for amount in padding)))
        windows = self.windows(x, kernel.shape[2:], stride)
        x = np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        return np.maximum((x - mean) / np.sqrt(var + 0.001) * scale + bias, 0)

    @staticmethod
    def windows(x, size, stride):
        windows = np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))
        return windows[:, :, ::stride, ::stride]

    def average(self, x):
        around = ((0, 0), (0, 0), (1, 1), (1, 1))
        count = self.windows(np.pad(np.ones_like(x), around), (3, 3), 1).sum((4, 5))
        return self.windows(np.pad(x, around), (3, 3), 1).sum((4, 5)) / count

    def max(self, x, stride=2):
        if stride == 1:
            around = ((0, 0), (0, 0), (1, 1), (1, 1))
            x = np.pad(x, around, constant_values=-np.inf)
        return self.windows(x, (3, 3), stride).max((4, 5))

    def join(self, *parts):
        return np.concatenate(parts, 1)

    def linear(self, x):
        return x @ self.tensors['fc.weight'].T

    @staticmethod
    def inputs(x):
        return np.asarray(x, np.float64).transpose(0, 3, 1, 2)


def torch_layers(tensors):
    """The same layers in PyTorch, float64."""
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    tensors = {name: torch.tensor(array, dtype=torch.float64) for name, array in tensors.items()}

    def conv(x, name, stride=1, padding=(0, 0)):
        x = functional.conv2d(x, tensors[f'{name}.conv.weight'], None, stride, padding)
        order = ('running_mean', 'running_var', 'weight', 'bias')
        norm = (tensors[f'{name}.bn.{part}'] for part in order)
        return functional.relu(functional.batch_norm(x, *norm, eps=0.001))

    return types.SimpleNamespace(
        conv=conv,
        average=lambda x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        max=lambda x, stride=2: functional.max_pool2d(x, 3, stride, 1 if stride == 1 else 0),
        join=lambda *parts: torch.cat(parts, 1),
        linear=lambda x: functional.linear(x, tensors['fc.weight']),
        inputs=lambda x: torch.tensor(np.asarray(x, np.float64)).permute(0, 3, 1, 2),
    )


def block_a(ops, x, at):
    double = ops.conv(ops.conv(x, f'{at}branch3x3dbl_1'), f'{at}branch3x3dbl_2', 1, (1, 1))
    return ops.join(
        ops.conv(x, f'{at}branch1x1'),
        ops.conv(ops.conv(x, f'{at}branch5x5_1'), f'{at}branch5x5_2', 1, (2, 2)),
        ops.conv(double, f'{at}branch3x3dbl_3', 1, (1, 1)),
        ops.conv(ops.average(x), f'{at}branch_pool'),
    )


def block_b(ops, x, at):
    double = ops.conv(ops.conv(x, f'{at}branch3x3dbl_1'), f'{at}branch3x3dbl_2', 1, (1, 1))
    return ops.join(
        ops.conv(x, f'{at}branch3x3', 2), ops.conv(double, f'{at}branch3x3dbl_3', 2), ops.max(x)
    )


def block_c(ops, x, at):
    single = ops.conv(ops.conv(x, f'{at}branch7x7_1'), f'{at}branch7x7_2', 1, (0, 3))
    double = ops.conv(x, f'{at}branch7x7dbl_1')
    for index, padding in enumerate([(3, 0), (0, 3), (3, 0), (0, 3)], start=2):
        double = ops.conv(double, f'{at}branch7x7dbl_{index}', 1, padding)
    return ops.join(
        ops.conv(x, f'{at}branch1x1'),
        ops.conv(single, f'{at}branch7x7_3', 1, (3, 0)),
        double,
        ops.conv(ops.average(x), f'{at}branch_pool'),
    )


def block_d(ops, x, at):
    large = ops.conv(ops.conv(x, f'{at}branch7x7x3_1'), f'{at}branch7x7x3_2', 1, (0, 3))
    large = ops.conv(large, f'{at}branch7x7x3_3', 1, (3, 0))
    return ops.join(
        ops.conv(ops.conv(x, f'{at}branch3x3_1'), f'{at}branch3x3_2', 2),
        ops.conv(large, f'{at}branch7x7x3_4', 2),
        ops.max(x),
    )


def block_e(ops, x, at, pool):
    single = ops.conv(x, f'{at}branch3x3_1')
    double = ops.conv(ops.conv(x, f'{at}branch3x3dbl_1'), f'{at}branch3x3dbl_2', 1, (1, 1))
    return ops.join(
        ops.conv(x, f'{at}branch1x1'),
        ops.conv(single, f'{at}branch3x3_2a', 1, (0, 1)),
        ops.conv(single, f'{at}branch3x3_2b', 1, (1, 0)),
        ops.conv(double, f'{at}branch3x3dbl_3a', 1, (0, 1)),
        ops.conv(double, f'{at}branch3x3dbl_3b', 1, (1, 0)),
        ops.conv(pool(x), f'{at}branch_pool'),
    )


def whole(ops, images):
    x = ops.inputs(images)
    x = ops.conv(x, 'Conv2d_1a_3x3', 2)
    x = ops.conv(x, 'Conv2d_2a_3x3')
    x = ops.max(ops.conv(x, 'Conv2d_2b_3x3', 1, (1, 1)))
    x = ops.conv(x, 'Conv2d_3b_1x1')
    x = ops.max(ops.conv(x, 'Conv2d_4a_3x3'))
    for name in ('5b', '5c', '5d'):
        x = block_a(ops, x, f'Mixed_{name}.')
    x = block_b(ops, x, 'Mixed_6a.')
    for name in ('6b', '6c', '6d', '6e'):
        x = block_c(ops, x, f'Mixed_{name}.')
    x = block_d(ops, x, 'Mixed_7a.')
    x = block_e(ops, x, 'Mixed_7b.', ops.average)
    x = block_e(ops, x, 'Mixed_7c.', lambda x: ops.max(x, 1))
    pooled = x.mean((2, 3))
    return pooled, ops.linear(pooled)


def draw(generator, name, shape):
    """A random tensor that keeps activations near 1."""
    if name.endswith('running_var') or (len(shape) == 1 and name.endswith('weight')):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
    return generator.standard_normal(shape, np.float32) * np.float32(scale)


def shapes():
    """The shapes of all tensors of the network, by PyTorch's names."""
    return {name: tensor.shape for name, tensor in inception.published_tensors().items()}


def draw_all():
    """All tensors of the network, by PyTorch's names."""
    generator = np.random.default_rng(0)
    return {name: draw(generator, name, shape) for name, shape in shapes().items()}


def same(found, expected, tolerance=1e-5):
    """Compares `[N, H, W, C]` with `[N, C, H, W]`, relative to the largest number."""
    expected = np.asarray(expected)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)
