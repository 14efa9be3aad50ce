"""The FID Inception network and its weights, against the same layers written plainly."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from osgan_jax.evaluation.features import inception as extracting
from osgan_jax.networks import inception
from tests.support import inception_reference as reference


@pytest.fixture(scope='module')
def tensors():
    return reference.draw_all()


@pytest.fixture(scope='module')
def variables(tensors):
    return extracting.load_variables(tensors)


def run(module, x, seed=0):
    """Runs a layer with random weights; returns them by PyTorch's names too."""
    generator = np.random.default_rng(seed)
    shapes = flax.traverse_util.flatten_dict(
        jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    )
    tensors, flat = {}, {}
    for path, leaf in shapes.items():
        name = '.'.join((*path[1:-1], reference.LEAVES.get(path[-1], 'weight')))
        if path[-1] == 'kernel':
            height, width, inputs, outputs = leaf.shape
            tensors[name] = reference.draw(generator, name, (outputs, inputs, height, width))
            flat[path] = np.moveaxis(tensors[name], (0, 1), (3, 2))
        else:
            flat[path] = tensors[name] = reference.draw(generator, name, leaf.shape)
    out = jax.jit(module.apply)(flax.traverse_util.unflatten_dict(flat), x)
    return np.asarray(out), tensors


def images(shape, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_counts():
    """FACTS of the published weights; with `num_batches_tracked` there would be 94 tensors more."""
    found = jax.eval_shape(
        lambda: inception.Inception().init(jax.random.key(0), jnp.zeros((1, 299, 299, 3)))
    )
    shapes = reference.shapes()
    params = sum(leaf.size for leaf in jax.tree.leaves(found['params']))
    stats = sum(leaf.size for leaf in jax.tree.leaves(found['batch_stats']))
    assert len(shapes) == 472 == 5 * 94 + 2
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 23_885_392
    assert params + stats == 23_885_392
    assert params == 23_850_960
    assert params - 2048 * 1008 - 1008 == 21_785_568
    assert not any('num_batches_tracked' in name for name in shapes)


def test_names_and_shapes_are_torchvisions():
    """Some of every block, from torchvision's definition, with 1008 classes."""
    shapes = reference.shapes()
    for name, shape in {
        'Conv2d_1a_3x3.conv.weight': (32, 3, 3, 3),
        'Conv2d_1a_3x3.bn.running_mean': (32,),
        'Conv2d_4a_3x3.bn.bias': (192,),
        'Mixed_5b.branch_pool.conv.weight': (32, 192, 1, 1),
        'Mixed_5d.branch5x5_2.conv.weight': (64, 48, 5, 5),
        'Mixed_6a.branch3x3dbl_3.bn.weight': (96,),
        'Mixed_6b.branch7x7_2.conv.weight': (128, 128, 1, 7),
        'Mixed_6c.branch7x7_3.conv.weight': (192, 160, 7, 1),
        'Mixed_6e.branch7x7dbl_5.conv.weight': (192, 192, 1, 7),
        'Mixed_7a.branch7x7x3_4.conv.weight': (192, 192, 3, 3),
        'Mixed_7b.branch3x3_2a.conv.weight': (384, 384, 1, 3),
        'Mixed_7c.branch3x3dbl_3b.conv.weight': (384, 384, 3, 1),
        'Mixed_7c.branch_pool.bn.running_var': (192,),
        'fc.weight': (1008, 2048),
        'fc.bias': (1008,),
    }.items():
        assert shapes[name] == shape


def test_grid_and_channels_of_every_stage():
    module, batch = inception.Inception(), jnp.zeros((2, 299, 299, 3))

    def stages():
        variables = module.init(jax.random.key(0), batch)
        return module.apply(variables, batch, capture_intermediates=True)

    outputs, captured = jax.eval_shape(stages)
    assert [leaf.shape for leaf in outputs] == [(2, 2048), (2, 1008), (2, 1008)]
    found = captured['intermediates']
    expected = {
        'Conv2d_1a_3x3': (149, 32),
        'Conv2d_2a_3x3': (147, 32),
        'Conv2d_2b_3x3': (147, 64),
        'maxpool1': (73, 64),
        'Conv2d_3b_1x1': (73, 80),
        'Conv2d_4a_3x3': (71, 192),
        'maxpool2': (35, 192),
        'Mixed_5b': (35, 256),
        **dict.fromkeys(('Mixed_5c', 'Mixed_5d'), (35, 288)),
        **dict.fromkeys(('Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e'), (17, 768)),
        'Mixed_7a': (8, 1280),
        **dict.fromkeys(('Mixed_7b', 'Mixed_7c'), (8, 2048)),
    }
    for name, (size, channels) in expected.items():
        leaf = found[name] if name.startswith('maxpool') else found[name]['__call__']
        assert [one.shape for one in leaf] == [(2, size, size, channels)], name


def test_images_of_other_shapes():
    for shape in [(1, 299, 299, 1), (299, 299, 3), (1, 299, 74, 3)]:
        with pytest.raises(ValueError, match='at least 75 pixels, got'):
            inception.Inception().init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    ('kernel', 'stride', 'padding'),
    [((1, 1), 1, 0), ((3, 3), 2, 0), ((3, 3), 1, 0), ((5, 5), 1, 2), ((1, 7), 1, (0, 3))],
)
@pytest.mark.parametrize('channels', [3, 6])
def test_convolution_block(kernel, stride, padding, channels):
    """Against scipy's correlation, channel by channel, so that the reference is tested too."""
    half = padding != 0
    module = inception.ConvBlock(4, kernel, stride, 'half' if half else 'valid')
    x = images((2, 9, 8, channels))
    found, tensors = run(module, x)
    kernels = tensors['conv.weight'].astype(np.float64)
    mode = 'same' if half else 'valid'
    sums = [
        [
            sum(scipy.signal.correlate2d(image[:, :, i], one[i], mode) for i in range(channels))
            for one in kernels
        ]
        for image in x.astype(np.float64)
    ]
    sums = np.array(sums)[:, :, ::stride, ::stride]
    norm = (tensors[f'bn.{leaf}'][:, None, None] for leaf in reference.LEAVES.values())
    scale, bias, mean, var = norm
    reference.same(found, np.maximum(scale * (sums - mean) / np.sqrt(var + 1e-3) + bias, 0))
    padding = (padding, padding) if isinstance(padding, int) else padding
    tensors = {f'layer.{name}': array for name, array in tensors.items()}
    plain = reference.Plain(tensors)
    reference.same(found, plain.conv(plain.inputs(x), 'layer', stride, padding))
    assert (found == 0).any()
    assert (found > 0).any()


def test_pools_do_not_count_padding():
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    found = np.asarray(inception.average_pool(x))[0, :, :, 0]
    # By hand: the mean of 0, 1, 4, 5; of 0, 1, 2, 4, 5, 6; of all nine.
    np.testing.assert_allclose([found[0, 0], found[0, 1], found[1, 1]], [2.5, 3, 5])
    plain = reference.Plain({})
    reference.same(np.asarray(inception.average_pool(x)), plain.average(plain.inputs(x)))
    # A maximum with zeros of padding would be 0.
    np.testing.assert_array_equal(inception.max_pool(-x - 1)[0, :, :, 0][0, :2], [-1, -1])
    reference.same(np.asarray(inception.max_pool(-x)), plain.max(plain.inputs(-x), 1))


BLOCKS = {
    'A': (inception.Mixed(inception.mixed_a(10)), reference.block_a),
    'B': (inception.Mixed(inception.mixed_b), reference.block_b),
    'C': (inception.Mixed(inception.mixed_c(12)), reference.block_c),
    'D': (inception.Mixed(inception.mixed_d), reference.block_d),
    'E average': (
        inception.Mixed(inception.mixed_e(inception.average_pool)),
        lambda ops, x, at: reference.block_e(ops, x, at, ops.average),
    ),
    'E max': (
        inception.Mixed(inception.mixed_e(inception.max_pool)),
        lambda ops, x, at: reference.block_e(ops, x, at, lambda x: ops.max(x, 1)),
    ),
}


@pytest.mark.parametrize('name', BLOCKS)
def test_block(name):
    module, plainly = BLOCKS[name]
    x = images((2, 6, 9, 5))
    found, tensors = run(module, x)
    reference.same(found, plainly(reference.Plain(tensors), reference.Plain.inputs(x), ''))


def test_whole_network_of_small_images(tensors, variables):
    x = images((2, 75, 91, 3))
    found = jax.jit(inception.Inception().apply)(variables, x)
    pooled, logits = reference.whole(reference.Plain(tensors), x)
    assert pooled.std() > 0.1
    reference.same(np.asarray(found.pooled), pooled, 1e-4)
    reference.same(np.asarray(found.logits), logits, 1e-4)
    reference.same(np.asarray(found.biased_logits), logits + tensors['fc.bias'], 1e-4)


@pytest.mark.slow  # plainly, in numpy, it is among the fast ones
def test_whole_network_against_torch(tensors, variables):
    x = images((1, 299, 299, 3))
    found = jax.jit(inception.Inception().apply)(variables, x)
    pooled, logits = reference.whole(reference.torch_layers(tensors), x)
    reference.same(np.asarray(found.pooled), pooled, 1e-4)
    reference.same(np.asarray(found.logits), logits, 1e-4)


def test_bfloat16_gives_float32_outputs():
    shapes = jax.eval_shape(
        lambda: inception.Inception(jnp.bfloat16).init_with_output(
            jax.random.key(0), jnp.zeros((1, 75, 75, 3))
        )
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}


def test_layouts(tensors, variables):
    conv = variables['params']['Mixed_6b']['branch7x7_2']['conv']['kernel']
    assert conv.shape == (1, 7, 128, 128)
    assert conv[0, 2, 3, 5] == tensors['Mixed_6b.branch7x7_2.conv.weight'][5, 3, 0, 2]
    assert variables['params']['fc']['kernel'][7, 1] == tensors['fc.weight'][1, 7]
    norm = variables['batch_stats']['Conv2d_1a_3x3']['bn']
    np.testing.assert_array_equal(norm['var'], tensors['Conv2d_1a_3x3.bn.running_var'])


def test_what_is_quietly_ignored(tensors, variables):
    more = {
        **tensors,
        'Mixed_5b.branch1x1.bn.num_batches_tracked': np.array(0),
        'AuxLogits.fc.weight': np.zeros((1000, 768), np.float32),
        'fc.bias': tensors['fc.bias'].astype(np.float64),
    }
    for found, expected in zip(
        jax.tree.leaves(extracting.load_variables(more)), jax.tree.leaves(variables), strict=True
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_faults_are_named(tensors):
    wrong = dict(tensors)
    for name in list(tensors)[:7]:
        del wrong[name]
    wrong['other\n.weight'] = np.zeros(3, np.float32)
    wrong['fc.bias'] = np.zeros(1000, np.float32)
    wrong['fc.weight'] = tensors['fc.weight'].T
    wrong['Mixed_7c.branch1x1.bn.weight'] = np.zeros(320, np.int64)
    wrong['Mixed_7c.branch1x1.bn.bias'] = np.full(320, np.nan, np.float32)
    wrong['Mixed_7c.branch1x1.bn.running_var'] = np.full(320, -1, np.float32)
    with pytest.raises(ValueError, match='not the weights of the FID Inception') as caught:
        extracting.load_variables(wrong)
    text = str(caught.value)
    assert f'7 missing: {", ".join(map(repr, list(tensors)[:5]))} and 2 more; ' in text
    assert r"1 unknown: 'other\n.weight'; " in text
    assert (
        "2 of another shape: 'fc.bias' [1000] for [1008], "
        "'fc.weight' [2048, 1008] for [1008, 2048]; "
    ) in text
    norm = 'Mixed_7c.branch1x1.bn'
    assert f"2 of another type, or not finite: '{norm}.bias', '{norm}.weight' int64; " in text
    assert f"1 with variances below zero: '{norm}.running_var'" in text
    with pytest.raises(ValueError, match=r'472 missing: .* and 467 more$'):
        extracting.load_variables({})
