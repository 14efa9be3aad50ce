"""Several discriminators in one step, against two separate `jax.grad` computations."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import collectives, losses
from tests.support import models
from tests.support.marks import slow_but

SCHEMES = [osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads]
N, Z, WIDTH, CLASSES = 8, 4, 6, 3
KEYS = jax.random.split(jax.random.key(0), 12)
PENALTIES = (osgan_jax.Penalties(r1=2.0, r2=1.0), None, osgan_jax.Penalties(gradient_penalty=3.0))
WEIGHTS = (1.0, 0.25, 2.0)


def draw(key, *shape):
    return 0.5 * jax.random.normal(key, shape)


class Batch(NamedTuple):
    """What the functions close over; every array leads with the batch."""

    real: Any
    z: jax.Array
    labels: jax.Array
    mixture: jax.Array


BATCH = Batch(
    {'image': draw(KEYS[0], N, 4, WIDTH), 'sound': draw(KEYS[1], N, WIDTH)},
    draw(KEYS[2], N, Z),
    jnp.arange(N) % CLASSES,
    jnp.linspace(0.1, 0.9, N),
)
PARAMS_G = {'image': draw(KEYS[3], Z, 4 * WIDTH), 'sound': draw(KEYS[4], Z, WIDTH)}
PARAMS_D = (
    {'in': draw(KEYS[5], 4 * WIDTH, 8), 'out': draw(KEYS[6], 8)},
    {'in': draw(KEYS[7], 2 * WIDTH, 8), 'out': draw(KEYS[8], CLASSES, 8)},
    {'in': draw(KEYS[9], 5 * WIDTH, 8), 'out': draw(KEYS[10], 8)},
)


def generate(batch, params):
    image = jnp.tanh(batch.z @ params['image']).reshape(-1, 4, WIDTH)
    return {'image': image, 'sound': jnp.tanh(batch.z @ params['sound'])}


def of_images(params, x, labels):
    return jax.nn.softplus(x['image'].reshape(-1, 4 * WIDTH) @ params['in']) @ params['out']


def of_half_size(params, x, labels):
    half = x['image'].reshape(-1, 2, 2, WIDTH).mean(2).reshape(-1, 2 * WIDTH)
    return jnp.sum(jax.nn.softplus(half @ params['in']) * params['out'][labels], -1)


def of_all(params, x, labels):
    both = jnp.concatenate([x['image'].reshape(-1, 4 * WIDTH), x['sound']], -1)
    return jax.nn.softplus(both @ params['in']) @ params['out']


JUDGES = (of_images, of_half_size, of_all)


def discriminators(batch):
    def discriminate(judge):
        def function(params, fake, real=batch.real):
            logits = judge(params, real, batch.labels), judge(params, fake, batch.labels)
            return logits, judge.__name__

        return function

    return [discriminate(judge) for judge in JUDGES]


def auxiliary(fake):
    return 0.3 * jnp.mean(jnp.square(fake['image'])) + jnp.mean(fake['sound'])


def penalty(judge, params, fake, batch, weights):
    def squares(x):
        gradient = jax.grad(lambda x: jnp.sum(judge(params, x, batch.labels)))(x)
        return sum(jnp.sum(g**2, tuple(range(1, g.ndim))) for g in jax.tree.leaves(gradient))

    def mixed(real, fake):
        share = batch.mixture.reshape((-1,) + (1,) * (real.ndim - 1))
        return share * real + (1 - share) * fake

    slope = jnp.sqrt(squares(jax.tree.map(mixed, batch.real, fake)))
    value = weights.r1 / 2 * squares(batch.real) + weights.r2 / 2 * squares(fake)
    return jnp.mean(value + weights.gradient_penalty * (slope - 1) ** 2)


def separate(loss, params_g, params_d, states, batch=BATCH, penalties=PENALTIES, weights=WEIGHTS):
    """Gradients of both sums of losses, each from passes of its own."""

    def logits(params_g, params_d):
        fake = generate(batch, params_g)
        return fake, [
            (judge(own, batch.real, batch.labels), judge(own, fake, batch.labels))
            for judge, own in zip(JUDGES, params_d, strict=True)
        ]

    def loss_g(params_g):
        fake, found = logits(params_g, params_d)
        values = [o.generator(*s, t) for o, s, t in zip(loss, found, states, strict=True)]
        return sum(w * v for w, v in zip(weights, values, strict=True)) + auxiliary(fake)

    def loss_d(params_d):
        fake, found = logits(params_g, params_d)
        value = sum(o.discriminator(*s, t) for o, s, t in zip(loss, found, states, strict=True))
        for judge, own, given in zip(JUDGES, params_d, penalties, strict=True):
            value += penalty(judge, own, fake, batch, given) if given else 0
        return value

    grad_g = jax.value_and_grad(loss_g)(params_g)
    return grad_g[0], grad_g[1], jax.grad(loss_d)(params_d)


def call(scheme, loss, params_g, params_d, states=None, batch=BATCH, **changed):
    given = {
        'auxiliary': auxiliary,
        'penalties': PENALTIES,
        'weights': WEIGHTS,
        'real': batch.real,
        'mixture': batch.mixture,
        'discriminate': discriminators(batch),
        **changed,
    }
    grads, info = scheme(
        loss,
        lambda params: (generate(batch, params), None),
        params_g=params_g,
        params_d=params_d,
        loss_state=states,
        **given,
    )
    return grads, info._replace(aux_discriminator=None)


MIXED = ('hinge', 'fisher', 'minimax')
ALIKE = [(name,) * 3 for name in losses.names()]


@pytest.mark.parametrize(('first', 'second', 'third'), slow_but([MIXED, *ALIKE], MIXED))
def test_equals_separate_gradients(first, second, third):
    loss = [losses.get(name) for name in (first, second, third)]
    states = tuple(one.init() for one in loss)

    @jax.jit
    def compare(params_g, params_d):
        found = [call(scheme, loss, params_g, params_d, states) for scheme in SCHEMES]
        return found, separate(loss, params_g, params_d, states)

    found, (loss_g, grad_g, grad_d) = compare(PARAMS_G, PARAMS_D)
    for grads, info in found:
        chex.assert_tree_all_finite(grads)
        assert models.relative_error(grads.generator, grad_g) < 1e-5
        for ours, theirs in zip(grads.discriminator, grad_d, strict=True):
            assert models.relative_error(ours, theirs) < 1e-5
        np.testing.assert_allclose(info.loss_g, loss_g, rtol=1e-5)


def test_info_has_an_entry_for_each():
    loss = losses.get('fisher', rho=0.1)

    def step(params_d):
        return call(osgan_jax.one_stage_grads, loss, PARAMS_G, params_d, loss.init())

    grads, info = jax.jit(step)(list(PARAMS_D))
    assert isinstance(grads.discriminator, list)
    chex.assert_trees_all_equal_shapes(grads.discriminator, list(PARAMS_D))
    fake = generate(BATCH, PARAMS_G)
    total = 0
    for k, judge in enumerate(JUDGES):
        s_real, s_fake = (judge(PARAMS_D[k], x, BATCH.labels) for x in (BATCH.real, fake))
        chex.assert_trees_all_close((info.s_real[k], info.s_fake[k]), (s_real, s_fake), rtol=1e-5)
        chex.assert_trees_all_close(
            info.loss_state[k], loss.update(loss.init(), s_real, s_fake), rtol=1e-5
        )
        c_d, c_g = (
            jax.grad(f, argnums=1)(s_real, s_fake, loss.init())
            for f in (loss.discriminator, loss.generator)
        )
        np.testing.assert_allclose(info.gamma[k], c_g / c_d, rtol=1e-4)
        total += loss.discriminator(s_real, s_fake, loss.init())
    np.testing.assert_allclose(info.loss_d, total, rtol=1e-5)
    assert [set(names) for names in info.penalties] == [{'r1', 'r2'}, set(), {'gradient_penalty'}]
    assert set(info.auxiliary) == {'auxiliary'}


def test_aux_of_each_and_what_is_given_once():
    def step(params_d):
        info = osgan_jax.one_stage_grads(
            losses.get('minimax'),
            lambda params: (generate(BATCH, params), None),
            discriminators(BATCH),
            PARAMS_G,
            params_d,
            penalties=osgan_jax.Penalties(r1=1.0),
            real=BATCH.real,
        )[1]
        names.append(info.aux_discriminator)
        return info._replace(aux_discriminator=None)

    names = []
    info = jax.eval_shape(step, PARAMS_D)
    assert names == [('of_images', 'of_half_size', 'of_all')]
    assert [set(found) for found in info.penalties] == [{'r1'}] * 3
    assert info.loss_state == (None,) * 3


def test_no_further_cost():
    # As much as each discriminator alone, but with one pass through G.
    loss = losses.get('hinge')
    plain = {'penalties': None, 'auxiliary': None, 'real': None}

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()['flops']

    def of(judges, weights=None):
        def step(g, d):
            given = {'discriminate': judges, 'weights': weights, **plain}
            return call(osgan_jax.one_stage_grads, loss, g, d, **given)[0]

        return step

    together = flops(of(discriminators(BATCH)), PARAMS_G, PARAMS_D)
    pairs = zip(discriminators(BATCH), PARAMS_D, strict=True)
    alone = sum(flops(of(judge), PARAMS_G, params) for judge, params in pairs)
    fake = generate(BATCH, PARAMS_G)
    of_g = flops(lambda g: jax.vjp(lambda g: generate(BATCH, g), g)[1](fake), PARAMS_G)
    assert together < 1.01 * (alone - 2 * of_g)


def test_four_devices_equal_one():
    loss = [losses.get(name) for name in ('relativistic', 'fisher', 'hinge')]
    states = tuple(one.init() for one in loss)
    devices = jax.devices()[:4]
    over = collectives.collectives_over(devices)

    def step(batch):
        grads, _ = call(
            osgan_jax.one_stage_grads,
            [over.loss(one) for one in loss],
            PARAMS_G,
            PARAMS_D,
            states,
            batch,
            auxiliary=None,
            penalties=[given and given.of_device(over.size) for given in PENALTIES],
        )
        return over.sum(grads)

    parts = jax.tree.map(lambda x: x.reshape(4, N // 4, *x.shape[1:]), BATCH)
    four = jax.tree.map(lambda x: x[0], jax.pmap(step, collectives.AXIS, devices=devices)(parts))
    one = jax.jit(
        lambda: call(osgan_jax.one_stage_grads, loss, PARAMS_G, PARAMS_D, states, auxiliary=None)[0]
    )()
    assert models.relative_error(four, one) < 1e-5


def _mixing(params, fake, real=None):
    centred = fake['image'] - fake['image'].mean(0)
    return (jnp.zeros(N), of_images(params, {'image': centred}, None) ** 3), None


def test_each_is_checked():
    first = discriminators(BATCH)[0]
    params = (PARAMS_D[0], PARAMS_D[0])
    fake = generate(BATCH, PARAMS_G)
    with pytest.raises(ValueError, match=r'discriminate\[1\]: one_stage needs .* another fake'):
        osgan_jax.check_samplewise([first, _mixing], params, fake)
    plain = {'auxiliary': None, 'penalties': None, 'weights': None, 'real': None}
    with pytest.raises(ValueError, match=r'discriminate\[1\]: one_stage needs .* another fake'):
        call(
            osgan_jax.one_stage_grads,
            losses.get('hinge'),
            PARAMS_G,
            params,
            discriminate=(first, _mixing),
            **plain,
        )


HINGE = losses.get('hinge')
WRONG = {
    'fewer parameters': (
        {'params_d': PARAMS_D[:2]},
        r'sequence of 3 functions.* but it is a tuple',
    ),
    'parameters of one': ({'params_d': PARAMS_D[0]}, "of 3 functions.* but it is a dict of 'in'"),
    'fewer losses': ({'loss': [HINGE]}, 'loss is one of 1: give one for each, or one for all'),
    'more states': ({'states': (None,) * 4}, 'loss_state is one of 4'),
    'fewer penalties': ({'penalties': PENALTIES[:2]}, 'penalties is one of 2'),
    'one weight': ({'weights': 2.0}, 'weights is one of 1'),
    'none': ({'discriminate': ()}, 'empty sequence'),
    'not functions': ({'discriminate': (1, 2, 3)}, 'holds a value of type int'),
    'no parameters of one of them': (
        {'params_d': (*PARAMS_D[:2], {})},
        r'params_d\[2\] holds no arrays',
    ),
    'losses of one': ({'discriminate': _mixing, 'loss': [HINGE]}, 'loss is a list .* one function'),
    'penalties of one': ({'discriminate': _mixing}, 'penalties is a tuple .* one function'),
    'weights of one': (
        {'discriminate': _mixing, 'penalties': None},
        'weights= is for several discriminators',
    ),
    'real unlike fake': (
        {
            'real': BATCH.real['image'],
            'penalties': PENALTIES[2],
            'discriminate': [lambda p, fake, real: discriminators(BATCH)[0](p, fake)] * 3,
        },
        "real must be like fake, a dict of 'image', 'sound', but it is an array",
    ),
    'fakes of two sizes': (
        {'batch': BATCH, 'generated': lambda x: {**x, 'sound': x['sound'][1:]}},
        r"whose first axis is the batch.* fake\['image'\] \(8, 4, 6\), fake\['sound'\] \(7, 6\)",
    ),
}


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_refused(case, scheme, monkeypatch):
    changed, match = WRONG[case]
    changed = dict(changed)
    if 'generated' in changed:
        change, original = changed.pop('generated'), generate
        monkeypatch.setitem(globals(), 'generate', lambda *args: change(original(*args)))
    loss, params_d = changed.pop('loss', HINGE), changed.pop('params_d', PARAMS_D)
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(lambda g, d: call(scheme, loss, g, d, **changed)[0], PARAMS_G, params_d)
