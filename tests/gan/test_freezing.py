"""Frozen blocks: they stay to the bit, all else moves as it would, and no work is done for them."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.gan import freezing, model, updates
from tests.support import small

FROZEN = ('discriminator:0', 'generator:0-1')
NAMES = {
    name: networks.get(name) for name in ('dcgan', 'resnet_gan', 'biggan', 'stylegan2', 'r3gan')
}


def options(name, size, **fields):
    width = {'r3gan': 32, 'biggan': 16}.get(name, 8)
    asked = networks.NetworkOptions(image_size=size, channels=3, width=width, **fields)
    return NAMES[name].complete(asked)


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('dcgan', {'discriminator_norm': 'group', 'num_classes': 4}),
        ('dcgan', {'discriminator_norm': 'instance'}),
        ('resnet_gan', {'discriminator_norm': 'layer', 'num_classes': 4}),
        ('biggan', {'num_classes': 4}),
        ('stylegan2', {'num_classes': 4}),
        ('r3gan', {'num_classes': 4, 'full_width': 8}),
    ],
)
def test_blocks_are_all_parameters_but_embeddings_of_labels_each_once(name, fields):
    size = 64 if name == 'biggan' else 32
    complete = options(name, size, **fields)
    pair, blocks = NAMES[name].build(complete), NAMES[name].blocks(complete)
    labels = np.zeros(4, int) if complete.num_classes else None
    inputs = {
        'generator': np.zeros((4, complete.latent_dim), np.float32),
        'discriminator': np.zeros((4, size, size, 3), np.float32),
    }
    for whose, given in inputs.items():
        module = getattr(pair, whose)
        make = lambda module=module, given=given: module.init(  # noqa: E731
            jax.random.key(0), given, labels, train=False
        )
        params = jax.eval_shape(make)['params']
        leaves = {
            jax.tree_util.keystr(path, simple=True, separator='/'): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
        in_block = {}
        for index, block in enumerate(getattr(blocks, whose)):
            frozen = freezing.Frozen(**{whose: block})
            marked = frozen.map(whose, lambda leaf: None, params)
            left = {
                jax.tree_util.keystr(path, simple=True, separator='/')
                for path, _ in jax.tree_util.tree_leaves_with_path(marked)
            }
            own = set(leaves) - left
            assert own, (whose, index)
            assert not own & set(in_block), (whose, index)
            in_block |= dict.fromkeys(own, index)
        free = set(leaves) - set(in_block)
        assert {path.split('/')[0] for path in free} <= {
            *('Embed_0', 'embedding', 'label', 'mapping_network')
        }
        assert all('mbed' in path or path.startswith('label') for path in free)


@pytest.mark.parametrize(
    ('asked', 'words'),
    [
        ('discriminator', 'expected discriminator or generator with the numbers'),
        ('d:0', 'such as discriminator:0-2'),
        ('discriminator:0-9', 'the discriminator of dcgan has 4 blocks at this size, 0 to 3'),
        ('discriminator:2-1', 'has 4 blocks'),
        ('discriminator:0-3', 'that is all of the discriminator; leave at least one of its 4'),
    ],
)
def test_ranges_that_are_not_there_are_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        freezing.build([asked], NAMES['dcgan'], options('dcgan', 32))


def test_a_network_without_blocks_is_refused():
    spec = dataclasses.replace(NAMES['dcgan'], name='own', blocks=None)
    with pytest.raises(ValueError, match='own does not declare its blocks'):
        freezing.build(['generator:0'], spec, options('dcgan', 32))


def parts(frozen, params, whose):
    """The frozen and the other leaves of a network."""
    held, free = [], []
    marked = frozen.map(whose, lambda leaf: None, params)
    others = {jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(marked)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        (free if jax.tree_util.keystr(path) in others else held).append(np.asarray(leaf))
    return held, free


# Whatever may move a weight beside the gradient of the loss.
EVERYTHING = {
    **{'weight_clip': 1e-3, 'lookahead': 2, 'lookahead_alpha': 0.3, 'ema_decay': 0.9, 'd_steps': 2},
    **{'orthogonal': 1e-3, 'path_length': 1.0, 'path_length_every': 2},
}
LAZY = {'r1': 1.0, 'penalty_every': 2, 'optimizer': 'optimistic_adam', 'ema_decay': 0.9}


@pytest.mark.parametrize(
    ('scheme', 'fields'),
    [
        pytest.param('one_stage', {'optimizer': 'sgd'}, marks=pytest.mark.slow),
        ('one_stage', LAZY),
        pytest.param('shared_forward', {'optimizer': 'sgd', 'r1': 0.5}, marks=pytest.mark.slow),
        ('two_stage', {'optimizer': 'sgd', **EVERYTHING}),
    ],
)
def test_frozen_blocks_stay_to_the_bit_and_others_move_as_they_would(scheme, fields):
    gan, state, update, _ = small.build(scheme=scheme, freeze=FROZEN, **fields)
    del update
    step = jax.jit(updates.make_update(gan, scheme, state_of(state)))
    first = state_of(state)
    moved, _ = step(first, small_batch(gan, 0))
    again = step(moved, small_batch(gan, 1))[0]
    for after in (moved, again):
        for name, whose in (('params_g', 'generator'), ('params_d', 'discriminator')):
            held, free = parts(gan.frozen, getattr(after, name), whose)
            before, was = parts(gan.frozen, getattr(first, name), whose)
            chex.assert_trees_all_equal(held, before)
            assert any((a != b).any() for a, b in zip(free, was, strict=True))
            opt = after.opt_g if name == 'params_g' else after.opt_d
            for slot in ('mu', 'nu', 'trace'):
                for moment in [x for x in [tree_get(opt, slot)] if x is not None]:
                    assert not any(x.any() for x in parts(gan.frozen, moment, whose)[0])
        if after.ema_g is not None:
            held = parts(gan.frozen, after.ema_g['params'], 'generator')[0]
            chex.assert_trees_all_equal(held, parts(gan.frozen, first.params_g, 'generator')[0])
        if after.slow is not None:
            held = parts(gan.frozen, after.slow['params_d'], 'discriminator')[0]
            chex.assert_trees_all_equal(held, parts(gan.frozen, first.params_d, 'discriminator')[0])
    if scheme == 'two_stage':  # G meets a D whose other blocks moved too
        return
    free_gan = dataclasses.replace(gan, frozen=freezing.Frozen())
    other, _ = jax.jit(updates.make_update(free_gan, scheme, first))(first, small_batch(gan, 0))
    compared = {'params_g': 'generator', 'params_d': 'discriminator'}
    if gan.penalties.is_lazy:  # taken at the D that the step has moved
        del compared['params_d']
    for name, whose in compared.items():
        chex.assert_trees_all_close(
            parts(gan.frozen, getattr(moved, name), whose)[1],
            parts(gan.frozen, getattr(other, name), whose)[1],
            rtol=1e-5,
            atol=1e-7,
        )


def tree_get(opt, name):
    import optax

    return optax.tree.get(opt, name)


def state_of(state):
    return jax.tree.map(lambda x: x, state)


def small_batch(gan, index):
    found = small.step_batch(gan, index)
    return jax.tree.map(lambda *x: np.stack(x), *found) if isinstance(found, list) else found


@pytest.mark.parametrize(
    'scheme',
    [
        'one_stage',
        *(pytest.param(each, marks=pytest.mark.slow) for each in ('two_stage', 'shared_forward')),
    ],
)
def test_no_weight_gradients_of_frozen_blocks_are_computed(scheme):
    """FLOPs as compiled fall by those gradients: as many as a forward pass of the frozen layer."""

    def flops(**fields):
        resolved = small.resolve(small.make_config(scheme=scheme, width=16, **fields))
        gan = model.build(resolved, num_classes=small.CLASSES, steps_per_epoch=5)
        state = small.create(gan, resolved)
        update = jax.jit(updates.make_update(gan, scheme, state))
        return update.lower(state, small.batch()).compile().cost_analysis()['flops']

    # D's second convolution, 16 to 32 channels from a grid of 8 to one of 4. Along each axis its
    # four windows of four pixels have two in the padding, which is not counted.
    layer = 2 * small.BATCH * 16 * 32 * (4 * 4 - 2) ** 2
    saved = flops() - flops(freeze=('discriminator:1',))
    # Real and fake images; optimisers and normalisation save a little more.
    assert 2 * layer < saved < 2 * layer * 1.1
