"""Networks of one's own as specifications, and an error of its own for each thing that is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from osgan_jax import networks
from osgan_jax.networks import NetworkOptions, Networks
from tests.support import own_nets

SIZE = 16
OPTIONS = NetworkOptions(SIZE, 1, latent_dim=5)


class Generator(nn.Module):
    """As much as is needed."""

    @nn.compact
    def __call__(self, z):
        return nn.tanh(nn.Dense(SIZE * SIZE)(z)).reshape(-1, SIZE, SIZE, 1)


class Discriminator(nn.Module):
    """As much as is needed."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(1)(images.reshape(len(images), -1))


def module(function):
    """A linen module whose `__call__` is a function; kept here, for they are many."""
    return type('Odd', (nn.Module,), {'__call__': nn.compact(function)})()


def pair_of(generator=None, discriminator=None, options=OPTIONS, **declared):
    given = Networks(generator or Generator(), discriminator or Discriminator(), **declared)
    return networks.build(networks.named(given), options)


def test_modules_of_one_argument_are_enough():
    pair = pair_of()
    z = jnp.ones((3, 5))
    variables = pair.generator.init(jax.random.key(0), z, None, train=False)
    images = pair.generator.apply(variables, z, None, train=False)
    np.testing.assert_array_equal(images, Generator().apply(variables, z))
    variables = pair.discriminator.init(jax.random.key(0), images, None, train=False)
    logits, state = pair.discriminator.apply(
        variables, images, None, train=True, mutable=['batch_stats']
    )
    assert (logits.shape, logits.dtype, state) == ((3,), jnp.float32, {})
    assert not pair.discriminator.draws


def test_images_may_have_any_size_and_shape():
    options = NetworkOptions('10x14', 1, latent_dim=5)

    def generate(self, z):
        return nn.Dense(10 * 14)(z).reshape(-1, 10, 14, 1)

    pair = pair_of(module(generate), options=options)
    variables = pair.generator.init(jax.random.key(0), jnp.ones((3, 5)), None, train=False)
    images = pair.generator.apply(variables, jnp.ones((3, 5)), None, train=False)
    assert images.shape == (3, 10, 14, 1)
    with pytest.raises(ValueError, match=r'must return images \[N, 10, 14, 1\]'):
        pair_of(options=options)


def test_a_module_is_told_what_its_signature_asks_for():
    seen = {}

    def call(self, images, y=None, deterministic=None, scale=1.0):
        seen.update(y=y, deterministic=deterministic)
        return nn.Dense(1)(images.reshape(len(images), -1))

    options = NetworkOptions(SIZE, 1, latent_dim=5, num_classes=4)

    def generate(self, z, c, train):
        return Generator()(z) * (1 + 0 * c[:, None, None, None])

    pair = pair_of(module(generate), module(call), options)
    labels, images = jnp.arange(2), jnp.ones((2, SIZE, SIZE, 1))
    variables = pair.discriminator.init(jax.random.key(0), images, labels, train=False)
    pair.discriminator.apply(variables, images, labels, train=True)
    assert seen['deterministic'] is False
    assert seen['y'] is labels
    pair.discriminator.apply(variables, images, labels, train=False)
    assert seen['deterministic'] is True


def test_state_and_random_numbers_are_handled():
    pair = pair_of(own_nets.Generator(), own_nets.Critic())
    assert (pair.generator.draws, pair.discriminator.draws) == (False, True)
    images = jax.random.normal(jax.random.key(1), (6, SIZE, SIZE, 1))
    variables = pair.discriminator.init(jax.random.key(0), images, None, train=False)

    def logits(key, train=True):
        rngs = {} if key is None else {'noise': jax.random.key(key)}
        return pair.discriminator.apply(
            variables, images, None, train=train, mutable=['batch_stats'], rngs=rngs
        )

    first, state = logits(0)
    np.testing.assert_array_equal(first, logits(0)[0])
    assert not np.array_equal(first, logits(1)[0])
    assert jax.tree.structure(state) == jax.tree.structure(
        {'batch_stats': variables['batch_stats']}
    )
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), state['batch_stats'], variables['batch_stats']
    )
    assert any(jax.tree.leaves(moved))
    np.testing.assert_array_equal(logits(0, train=False)[0], logits(1, train=False)[0])


def test_dtype_and_axis_reach_modules_that_have_them():
    class Typed(nn.Module):
        dtype: object = jnp.float32
        axis_name: str | None = None

        @nn.compact
        def __call__(self, z, train=True):
            norm = nn.BatchNorm(not train, axis_name=self.axis_name, dtype=self.dtype)
            return norm(nn.Dense(SIZE * SIZE, dtype=self.dtype)(z)).reshape(-1, SIZE, SIZE, 1)

    options = NetworkOptions(SIZE, 1, latent_dim=5, dtype=jnp.bfloat16, axis_name='devices')
    pair = pair_of(Typed(), options=options)
    assert (pair.generator.module.dtype, pair.generator.axis_name) == (jnp.bfloat16, 'devices')
    single = pair.generator.clone(axis_name=None, dtype=jnp.float32)
    assert (single.module.dtype, single.axis_name) == (jnp.float32, None)
    z = jnp.ones((2, 5))
    variables = single.init(jax.random.key(0), z, None, train=False)
    both = jax.pmap(
        lambda z: pair.generator.apply(variables, z, train=True, mutable=['batch_stats'])[0],
        axis_name='devices',
    )
    assert both(z[None]).dtype == jnp.float32


def test_nnx_modules_come_by_flaxs_bridge():
    class Critic(nnx.Module):
        def __init__(self, width, *, rngs):
            self.first = nnx.Linear(SIZE * SIZE, width, rngs=rngs)
            self.norm = nnx.BatchNorm(width, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(width, 1, rngs=rngs)

        def __call__(self, images, train):
            x = self.first(images.reshape(len(images), -1))
            x = self.norm(x, use_running_average=not train)
            return self.last(self.dropout(nnx.relu(x), deterministic=not train))

    pair = pair_of(discriminator=nnx.bridge.to_linen(Critic, 3))
    assert pair.discriminator.draws
    images = jnp.ones((2, SIZE, SIZE, 1))
    variables = pair.discriminator.init(jax.random.key(0), images, None, train=False)
    logits, state = pair.discriminator.apply(
        variables, images, None, train=True, mutable=['batch_stats']
    )
    assert (logits.shape, set(state)) == ((2,), {'batch_stats'})
    with pytest.raises(ValueError, match=r'the flax.nnx module Critic: give flax.nnx.bridge.to_'):
        pair_of(discriminator=Critic(3, rngs=nnx.Rngs(0)))


def images_as(change):
    def call(self, z):
        return change(Generator()(z))

    return module(call)


def logits_as(change):
    def call(self, images):
        return change(nn.Dense(1)(images.reshape(len(images), -1)))

    return module(call)


def _raises(self, z):
    raise KeyError('no such layer')


def _needs_more(self, z, temperature):
    return Generator()(z) * temperature


def _needs_labels(self, images, labels):
    return Discriminator()(images)


def _no_input(self, *, z):
    return Generator()(z)


def _integers(self, z):
    self.param('table', lambda key: jnp.zeros(3, jnp.int32))
    return Generator()(z)


def _grows(self, z):
    seen = self.variable('seen', 'all', jnp.zeros, (0, 5))
    if not self.is_initializing():
        seen.value = jnp.concatenate([seen.value, z])
    return Generator()(z)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'generator': Generator}, 'got the class Generator: make an instance, Generator'),
        ({'generator': lambda z: z}, 'must be a flax linen module, got a value of type function'),
        ({'discriminator': [Discriminator()] * 2}, 'got 2 of them: the trainer takes one; osgan_'),
        (
            {'generator': module(_raises)},
            r'Odd \(given z \[2, 5\]\) raised KeyError: .* \(test_own',
        ),
        ({'generator': module(_needs_more)}, 'the trainer does not know temperature'),
        ({'generator': module(_no_input)}, 'its first argument must be z'),
        ({'discriminator': module(_needs_labels)}, 'needs labels, but the run has no labels'),
        ({'generator': images_as(lambda x: x[:, :8])}, r'returns \[3, 8, 16, 1\], but must return'),
        ({'generator': images_as(lambda x: x.transpose(0, 3, 1, 2))}, 'channels come last here'),
        ({'generator': images_as(lambda x: x.reshape(len(x), -1))}, r'x.reshape\(-1, 16, 16, 1\)'),
        ({'generator': images_as(lambda x: x[:2])}, 'is a batch size written in it'),
        ({'generator': images_as(lambda x: (x, x))}, 'returns 2 values: return images'),
        (
            {'generator': images_as(lambda x: x.astype(int))},
            'returns int32, but must return floats',
        ),
        (
            {'generator': module(lambda self, z: z[:, :1, None, None] + jnp.zeros((16, 16, 1)))},
            'has no parameters: there is nothing to train',
        ),
        ({'generator': module(_integers)}, 'the parameter table is int32'),
        ({'generator': module(_grows)}, 'variable seen/all changes its shape'),
        ({'discriminator': logits_as(lambda x: x[None])}, r'returns \[1, 3, 1\] for 3 images'),
        ({'discriminator': logits_as(lambda x: x.mean())}, r'returns \[\] for 3 images'),
        (
            {'discriminator': logits_as(lambda x: jnp.tile(x, 4))},
            r'returns \[3, 4\] .*shared_forward',
        ),
        (
            {'discriminator': logits_as(lambda x: {'a': x})},
            'a value of type dict: return the logits',
        ),
        (
            {'discriminator': logits_as(lambda x: x > 0)},
            'returns bool, but must return float logits',
        ),
        ({'latent_dim': 0}, 'latent_dim=0: expected a whole number of at least 1'),
        ({'has_styles': True}, 'declares has_styles, but has no mapping, no styles'),
        ({'generator_blocks': ['Dense_1']}, 'has no submodule Dense_1; it has Dense_0'),
        ({'generator_blocks': 'Dense_0'}, "expected the submodules' names, in order"),
    ],
)
def test_what_is_wrong_is_said(given, message):
    with pytest.raises(ValueError, match=message):
        pair_of(**given)


def test_conditional_runs_need_modules_that_take_labels():
    options = NetworkOptions(SIZE, 1, latent_dim=5, num_classes=4)
    with pytest.raises(ValueError, match=r'Generator takes .* but no labels, and the run is cond'):
        pair_of(options=options)


def test_z_is_drawn_as_declared():
    name = networks.named(Networks(Generator(), Discriminator(), 7, latents='uniform'))
    spec = networks.get(name).settle(NetworkOptions(SIZE, 1))
    z = spec.latents(jax.random.key(0), (1000, 7))
    assert spec.latent_dim(SIZE) == 7
    assert -1 <= z.min() < -0.99
    assert 0.99 < z.max() <= 1
    for latents, message in {
        'cauchy': "latents='cauchy': expected one of normal, uniform, or a function",
        (lambda key, shape: jnp.zeros(shape[0])): r'returned float32 \[3\]: expected floats',
        (lambda key: key): r'latents\(key, \(3, 5\)\) raised TypeError',
    }.items():
        name = networks.named(Networks(Generator(), Discriminator(), latents=latents))
        with pytest.raises(ValueError, match=message):
            networks.get(name).settle(NetworkOptions(SIZE, 1))
    name = networks.named(Networks(Generator(), Discriminator(), latent_dim=7))
    with pytest.raises(ValueError, match=r'latent_dim=5: .* declares latent_dim=7; leave it out'):
        networks.get(name).settle(OPTIONS)


def test_flags_that_modules_cannot_follow_are_refused():
    name = networks.named((Generator(), Discriminator()))
    assert name == 'own(Generator, Discriminator)'
    for options, message in [
        (NetworkOptions(SIZE, 1, width=8), 'width=8: .* are modules that are made already'),
        (
            NetworkOptions(SIZE, 1, channel_multiplier=0.5),
            'channel_multiplier=0.5: .* made already',
        ),
        (
            NetworkOptions(SIZE, 1, discriminator_norm='spectral'),
            "'spectral': own.* supports 'own'",
        ),
        (NetworkOptions(SIZE, 1, mapping_layers=2), 'has no mapping_layers'),
    ]:
        with pytest.raises(ValueError, match=message):
            networks.get(name).settle(options)


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """Writes a file of networks and returns a reference to one of its names."""
    monkeypatch.chdir(tmp_path)

    def write(text, name='build'):
        (tmp_path / 'nets.py').write_text(f'from osgan_jax.gan import Networks\n{text}\n')
        return f'nets.py:{name}'

    return write


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('def build(facts): return None', 'build returned: expected .*, got None'),
        ('def build(facts): return 1, 2, 3', 'got 3 modules, but the trainer takes one generator'),
        (
            'def build(facts): return facts.sigh',
            r'raised AttributeError: .*sigh.* \(nets.py, line 2',
        ),
        (
            'def build(a, b): return a',
            r'build takes \(a, b\), but must take one argument: the facts',
        ),
        ('build = 3', 'build is a value of type int: expected a function of the facts'),
    ],
)
def test_functions_that_give_no_networks_are_refused(reference, text, message):
    with pytest.raises(ValueError, match=message):
        networks.build(reference(text), OPTIONS)


def test_a_function_gets_the_facts(reference):
    name = reference(
        'from tests.support import own_nets\n'
        'def build(facts):\n'
        '    assert (facts.image_size, facts.channels, facts.latent_dim) == (16, 1, 5)\n'
        '    return own_nets.Generator(facts.width), own_nets.Critic()\n'
    )
    assert networks.build(name, OPTIONS).generator.module.width == 64
    wide = NetworkOptions(SIZE, 1, width=3, latent_dim=5)
    assert networks.build(name, wide).generator.module.width == 3
    name = reference(
        'from tests.support import own_nets\n'
        'def build(): return own_nets.Generator(), own_nets.Critic()\n'
        'MADE = Networks(*build())\n',
        'MADE',
    )
    assert networks.build(name, OPTIONS).generator.module.width == 4
    networks.build('nets.py:build', OPTIONS)


def test_networks_of_a_program_are_lost_without_it():
    with pytest.raises(ValueError, match=r'were given by a program.*: give them again'):
        networks.get('own(Generator, Discriminator)')
    with pytest.raises(
        ValueError, match=r'expected osgan_jax.gan.Networks.*got a value of type int'
    ):
        networks.named(3)
    with pytest.raises(ValueError, match='did you mean stylegan2'):
        networks.get('stylegan')
