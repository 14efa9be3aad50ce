"""Specifications of networks: they hold, and nothing else asks which network it has."""

import ast
import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.core import samplewise
from osgan_jax.networks import classifier_registry
from tests.support import ROOT

# PyTorch's steps were written of one network; published weights are those of two.
EXCEPTIONS = {'experiments/benchmark/steps.py', 'osgan_jax/pretrained', 'osgan_jax/networks'}


def build(name):
    spec = networks.get(name)
    options = networks.NetworkOptions(image_size=min(spec.image_sizes), channels=1, width=4)
    return spec, spec.complete(options), networks.build(name, options)


@pytest.mark.parametrize('name', networks.names())
def test_networks_have_what_they_declare(name):
    spec, options, pair = build(name)
    assert spec.name == name
    for module in pair:
        assert module.clone(axis_name=None, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    styled = ('mapping', 'styles', 'draw_styles', 'synthesis', 'num_styles')
    assert [hasattr(pair.generator, part) for part in styled] == [spec.has_styles] * len(styled)
    assert hasattr(pair.generator, 'style_mixing') == ('style_mixing' in spec.options)
    shapes = jax.eval_shape(
        lambda z: pair.generator.init(jax.random.key(0), z, train=False),
        jnp.zeros((2, options.latent_dim)),
    )
    assert ('w_average' in shapes.get('batch_stats', {})) == spec.has_styles
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    assert any("['block_" in path for path in paths) == spec.has_blocks
    if spec.macs is not None:
        published = spec.complete(networks.NetworkOptions(image_size=128, channels=3))
        assert 0 < spec.macs(published, 'true') < spec.macs(published, 'paper')


@pytest.mark.parametrize('name', networks.names())
def test_defaults_take_the_place_of_none(name):
    spec, options, _ = build(name)
    assert options.latent_dim == spec.latent_dim(options.image_size)
    assert options.discriminator_norm == spec.norms[0]
    assert {key: getattr(options, key) for key in spec.options} == dict(spec.options)
    assert spec.complete(options) == options


def _cases():
    for name in networks.names():
        spec = networks.get(name)
        for norm in spec.norms:
            yield name, {'discriminator_norm': norm}
        if spec.options.get('minibatch_deviation'):
            yield name, {'minibatch_deviation': 0}


@pytest.mark.parametrize(('name', 'fields'), list(_cases()))
def test_a_discriminator_is_known_to_treat_samples_one_by_one_if_it_does(name, fields):
    spec = networks.get(name)
    options = spec.complete(
        networks.NetworkOptions(
            image_size=min(spec.image_sizes), channels=1, width=16, num_classes=3, **fields
        )
    )
    labels = np.arange(8) % 3
    images = np.random.default_rng(0).normal(size=(8, *[options.image_size] * 2, 1))
    images = images.astype(np.float32)
    module = spec.build(options).discriminator
    variables = module.init(jax.random.key(0), images, labels, train=False)

    def discriminate(params, fake):
        logits, _ = module.apply(
            {**variables, 'params': params},
            jnp.concatenate([images[:4], fake]),
            labels,
            train=True,
            mutable=['batch_stats'],
        )
        return (logits[:4], logits[4:]), None

    known = spec.is_samplewise(options)
    refused = contextlib.nullcontext() if known else pytest.raises(ValueError, match='one by one')
    with refused:
        samplewise.check_samplewise(discriminate, variables['params'], images[4:])


def _asked(path) -> list[str]:
    """Comparisons in a file with the name of a network, or of a kind of them."""
    names = {*networks.names(), *classifier_registry.names(), 'lenet', 'resnet', 'wrn'}
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = node.args if node.func.attr == 'startswith' else []
        constants = {n.value for p in parts for n in ast.walk(p) if isinstance(n, ast.Constant)}
        if constants & names:
            found.append(f'{path.relative_to(ROOT)}:{node.lineno}')
    return found


def test_nothing_else_asks_for_a_networks_name():
    asked = [
        line
        for folder in ('osgan_jax', 'experiments')
        for path in sorted((ROOT / folder).rglob('*.py'))
        for line in _asked(path)
        if not any(line.startswith(each) for each in EXCEPTIONS)
    ]
    assert asked == []
