"""How G's gradients are joined, against closed forms, and pytrees of logits and features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import collectives, losses
from tests.support import models

N, Z, SIZE = 4, 3, 6
KEYS = jax.random.split(jax.random.key(0), 6)
REAL = jax.random.normal(KEYS[0], (N, SIZE))
Z_BATCH = jax.random.normal(KEYS[1], (N, Z))
PARAMS_G = {
    'first': jax.random.normal(KEYS[2], (Z, 5)),
    'last': jax.random.normal(KEYS[3], (5, SIZE)),
}
PARAMS_D = {'in': jax.random.normal(KEYS[4], (SIZE, 4)), 'out': jax.random.normal(KEYS[5], (4,))}
SCHEMES = [osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads]
HINGE = losses.get('hinge')


def generate(params):
    return jnp.tanh(Z_BATCH @ params['first']) @ params['last'], None


def judge(params, x):
    features = jax.nn.softplus(x @ params['in'])
    return features @ params['out'], features


def discriminate(params, fake):
    return (judge(params, REAL)[0], judge(params, fake)[0]), None


def squares(fake):
    return jnp.sum(fake**2)


def reconstruction(fake):
    return 3.0 * jnp.mean(jnp.abs(fake - REAL))


def adversarial(params_g):
    return HINGE.generator(*discriminate(PARAMS_D, generate(params_g)[0])[0])


def call(scheme, **given):
    def step(params_g, params_d):
        return scheme(HINGE, generate, discriminate, params_g, params_d, **given)

    return jax.jit(step)(PARAMS_G, PARAMS_D)


def length(tree):
    return float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))))


GRAD_ADVERSARIAL = jax.grad(adversarial)(PARAMS_G)
GRAD_AUXILIARY = jax.grad(lambda params: reconstruction(generate(params)[0]))(PARAMS_G)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_adaptive_weight_is_vqgans(scheme):
    rule = osgan_jax.adaptive_weight(lambda grads: grads['last'], weight=0.8)
    grads, info = call(scheme, auxiliary=reconstruction, combine=rule)
    # Esser et al. 2021, Eq. 7, from gradients of the last layer computed apart.
    weight = 0.8 * length(GRAD_AUXILIARY['last']) / (length(GRAD_ADVERSARIAL['last']) + 1e-6)
    np.testing.assert_allclose(info.aux_combine, weight, rtol=1e-5)
    expected = jax.tree.map(lambda a, b: weight * a + b, GRAD_ADVERSARIAL, GRAD_AUXILIARY)
    assert models.relative_error(grads.generator, expected) < 1e-5


def test_adaptive_weight_at_the_images_has_a_largest_value():
    rule = osgan_jax.adaptive_weight(delta=0.0, most=50.0)
    ones = jnp.ones((2, 3))
    # By hand: |(2, ...)| / |(1, ...)| = 2, and 1000 is more than the most.
    gradient, weight = rule(ones, 2 * ones, None)
    np.testing.assert_allclose((weight, gradient[0, 0]), (2, 4), rtol=1e-6)
    assert rule(1e-3 * ones, ones, None)[1] == 50
    both = osgan_jax.adaptive_weight()({'a': ones}, {'l1': {'a': ones}, 'p': {'a': 3 * ones}}, None)
    np.testing.assert_allclose(both[1], 4, rtol=1e-5)


def test_last_layers_gradients_cost_no_pass_through_the_generator():
    def flops(rule):
        def step(g, d):
            grads, info = osgan_jax.one_stage_grads(
                HINGE, generate, discriminate, g, d, auxiliary=reconstruction, combine=rule
            )
            return grads, info.aux_combine

        lowered = jax.jit(step).lower(PARAMS_G, PARAMS_D)
        return lowered.compile().cost_analysis()['flops']

    images, last, every = (
        flops(osgan_jax.adaptive_weight(take))
        for take in (None, lambda grads: grads['last'], lambda grads: grads)
    )
    of_last = 2 * 2 * N * 5 * SIZE  # its kernel's gradient, of each of the two losses
    assert last - images < 1.5 * of_last
    assert every - last > 2 * 2 * N * Z * 5


def test_balancer_by_hand():
    balancer = osgan_jax.Balancer({'adversarial': 3.0, 'l1': 1.0}, decay=0.5, total=2.0)
    a, b, c = jnp.ones((2, 4)), jnp.full((2, 4), 0.25), jnp.full((2, 4), 7.0)
    gradient, state = balancer.combine(balancer.init())(a, {'l1': b, 'commitment': c})
    # Norms 2 and 0.5 at first: unit gradients times 2 * 3/4 and 2 * 1/4; the third as it is.
    np.testing.assert_allclose(gradient, np.full((2, 4), 1.5 / 2 + 0.5 / 2 + 7), rtol=1e-6)
    gradient, state = balancer.combine(state)(2 * a, {'l1': b})
    # <|a|> = (0.5 * 2 + 4) / 1.5, after the correction of the start.
    np.testing.assert_allclose(gradient, np.full((2, 4), 1.5 * 2 / (5 / 1.5) + 0.25), rtol=1e-6)
    np.testing.assert_allclose(state.count, 1.5)
    with pytest.raises(
        ValueError, match=r"weight of 'l1', but the terms .* adversarial, auxiliary"
    ):
        balancer.combine(state)(a, b)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_terms_have_names_and_a_rule_may_keep_a_state(scheme):
    balancer = osgan_jax.Balancer({'adversarial': 1.0, 'l1': 4.0})
    terms = {'l1': reconstruction, 'squares': squares}
    grads, info = call(scheme, auxiliary=terms, combine=balancer.combine(balancer.init()))
    fake, pull = jax.vjp(lambda p: generate(p)[0], PARAMS_G)
    by_name = {
        'adversarial': jax.grad(lambda x: HINGE.generator(*discriminate(PARAMS_D, x)[0]))(fake),
        'l1': jax.grad(reconstruction)(fake),
    }
    norms = {name: np.linalg.norm(g, axis=1).mean() for name, g in by_name.items()}
    total = jax.grad(squares)(fake)
    total += 0.2 * by_name['adversarial'] / norms['adversarial'] + 0.8 * by_name['l1'] / norms['l1']
    assert models.relative_error(grads.generator, pull(total)[0]) < 1e-5
    np.testing.assert_allclose(
        [info.aux_combine.norms[name] for name in norms], list(norms.values()), rtol=1e-5
    )
    values = {name: term(fake) for name, term in terms.items()}
    assert set(info.auxiliary) == set(values)
    np.testing.assert_allclose(info.loss_g, adversarial(PARAMS_G) + sum(values.values()), rtol=1e-5)


def test_rules_over_four_devices_equal_one():
    devices = jax.devices()[:4]
    over = collectives.collectives_over(devices)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 3)).astype(np.float32)
    latents = rng.normal(size=(8, 2)).astype(np.float32)

    def joined(a, b, latents, given):
        def pull(tree):
            return {'last': latents.T @ tree}

        at_last = osgan_jax.adaptive_weight(lambda grads: grads['last'], collectives=given)
        at_images = osgan_jax.adaptive_weight(collectives=given)
        balancer = osgan_jax.Balancer({'adversarial': 1.0, 'auxiliary': 2.0}, collectives=given)
        return (
            at_last(a, b, pull)[1],
            at_images(a, b, pull)[1],
            balancer.combine(balancer.init())(a, b)[1].norms,
        )

    parts = [x.reshape(4, 2, -1) for x in (a, b, latents)]
    four = jax.pmap(lambda *x: joined(*x, over), collectives.AXIS, devices=devices)(*parts)
    one = joined(a, b, latents, collectives.ONE_DEVICE)
    for ours, theirs in zip(jax.tree.leaves(four), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, np.full(4, theirs), rtol=1e-5)


RULES = {
    'a scalar': (lambda a, b: jnp.sum(a), r'like fake, .*\[4, 6\].* returned an array \[\]'),
    'another shape': (lambda a, b: a[:1], r'returned an array \[1, 6\]'),
    'two values of another kind': (lambda a, b: (None, a), r'returned a tuple \(None, an array'),
    'no function': ('sum', r'combine must be a function of \(adversarial, auxiliary\), but is'),
    'one argument': (lambda a: a, r'of \(adversarial, auxiliary\), but takes \(a\)'),
    'nothing to weigh': (osgan_jax.adaptive_weight(), 'weighs .* against auxiliary=: give it'),
}


def test_two_terms_of_one_name_are_refused():
    balancer = osgan_jax.Balancer({'adversarial': 1.0})
    with pytest.raises(ValueError, match=r"'adversarial': give that term .* another name"):
        balancer.combine(balancer.init())(jnp.ones((2, 3)), {'adversarial': jnp.ones((2, 3))})


@pytest.mark.parametrize(
    ('weights', 'decay', 'match'),
    [
        ({'adversarial': 0.0}, 0.9, 'not all 0'),
        ({'adversarial': 2.0, 'mel': -1.0}, 0.9, 'at least 0'),
        (['adversarial'], 0.9, 'by the names of terms'),
        ({'adversarial': 1.0}, 1.0, r'a decay in \[0, 1\), got 1.0'),
        ({'adversarial': float('nan')}, 0.9, 'finite weights'),
        ({'adversarial': 1.0, 'mel': float('inf')}, 0.9, 'finite weights'),
    ],
)
def test_numbers_of_a_balancer_are_checked(weights, decay, match):
    with pytest.raises(ValueError, match=match):
        osgan_jax.Balancer(weights, decay=decay)
    with pytest.raises(ValueError, match='a positive finite total, got -1'):
        osgan_jax.Balancer({'adversarial': 1.0}, total=-1)


def test_no_terms_are_nothing_to_weigh():
    with pytest.raises(ValueError, match=r'weighs .* against auxiliary=: give it'):
        osgan_jax.adaptive_weight()(jnp.ones((2, 3)), {}, None)


@pytest.mark.parametrize('case', RULES)
def test_what_a_rule_returns_is_checked(case):
    rule, match = RULES[case]
    auxiliary = None if case == 'nothing to weigh' else squares
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(
            lambda g: osgan_jax.one_stage_grads(
                HINGE, generate, discriminate, g, PARAMS_D, auxiliary=auxiliary, combine=rule
            )[0],
            PARAMS_G,
        )


TERMS = {
    'one for each sample': (lambda x: jnp.mean(x, axis=1), r'returned an array \[4\] .*: take the'),
    'a count': ({'many': lambda x: jnp.sum(x > 0)}, r"auxiliary\['many'\] must .* of int32"),
    'a number': (3.0, r'auxiliary must be a function of \(fake\), but is a value of type float'),
    'a list': ([squares], r'of \(fake\), but is a list'),
    'two arguments': ({'far': lambda x, y: x}, r"auxiliary\['far'\] must be .* takes \(x, y\)"),
}


@pytest.mark.parametrize('case', TERMS)
def test_what_a_term_returns_is_checked(case):
    term, match = TERMS[case]
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(
            lambda g: osgan_jax.one_stage_grads(
                HINGE, generate, discriminate, g, PARAMS_D, auxiliary=term
            )[0],
            PARAMS_G,
        )


# --- pytrees of logits and features -----------------------------------------------------------


def of_trees(params, fake):
    """Two heads and the features below, in bfloat16."""

    def outputs(x):
        logits, features = judge(params, x)
        tree = {'heads': (logits, features[:, :2] ** 2), 'features': features}
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)

    return (outputs(REAL), outputs(fake)), None


def _dtypes(tree):
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree))
    return tree


def loss_d(s_real, s_fake, state=None):
    pairs = zip(s_real['heads'], _dtypes(s_fake)['heads'], strict=True)
    return sum(jnp.mean((r - 1) ** 2) + jnp.mean(f**2) for r, f in pairs)


def loss_g(s_real, s_fake, state=None):
    matching = jnp.mean(jnp.abs(s_real['features'] - s_fake['features']))
    return sum(jnp.mean((f - 1) ** 2) for f in s_fake['heads']) + 2 * matching


MATCHING = losses.AdversarialLoss('matching', loss_d, loss_g)
SUM = losses.AdversarialLoss(
    'sum',
    lambda r, f, state=None: jnp.mean(f['heads'][0]) - jnp.mean(r['heads'][0]),
    lambda r, f, state=None: -jnp.mean(f['heads'][0]),
    symmetric=True,
)


def _trees(scheme, loss, discriminate=of_trees):
    def step(g, d):
        return scheme(loss, generate, discriminate, g, d)

    return step


@pytest.mark.parametrize(
    ('scheme', 'loss'), [(SCHEMES[1], MATCHING), (SCHEMES[0], SUM)], ids=['matching', 'symmetric']
)
def test_trees_of_logits_equal_separate_gradients(scheme, loss):
    def both(params_g, params_d):
        trees = of_trees(params_d, generate(params_g)[0])[0]
        return jax.tree.map(lambda x: x.astype(jnp.float32), trees)

    def value_g(params_g):
        s_real, s_fake = both(params_g, PARAMS_D)
        return loss.generator(jax.lax.stop_gradient(s_real), s_fake)

    @jax.jit
    def compare(g, d):
        expected = jax.grad(value_g)(g), jax.grad(lambda d: loss.discriminator(*both(g, d)))(d)
        return _trees(scheme, loss)(g, d), expected

    (grads, info), expected = compare(PARAMS_G, PARAMS_D)
    for ours, theirs in zip(grads, expected, strict=True):
        assert models.relative_error(ours, theirs) < 1e-5
    assert info.s_fake['heads'][1].shape == (N, 2)
    assert info.s_real['features'].dtype == jnp.float32
    assert (info.gamma is None) == (scheme is SCHEMES[1])


def _changed(function):
    def changed(params, fake):
        (s_real, s_fake), aux = of_trees(params, fake)
        return function(s_real, s_fake), aux

    return changed


TREES = {
    'of one stage': (
        SCHEMES[0],
        MATCHING,
        of_trees,
        r"gives a dict of 'features', 'heads' \(several scales.*shared_forward_grads",
    ),
    'for a loss of arrays': (SCHEMES[1], HINGE, of_trees, "'hinge' does not take a dict of"),
    'of two structures': (
        SCHEMES[1],
        MATCHING,
        _changed(lambda r, f: (r, {**f, 'more': f['features']})),
        "of one kind, got a dict of 'features', 'heads' and a dict of 'features', 'heads', 'more'",
    ),
    'with a mean': (
        SCHEMES[1],
        MATCHING,
        _changed(lambda r, f: (r, {**f, 'features': f['features'].mean()})),
        r"got shape \(\) of s_fake\['features'\] \(do not average",
    ),
    'of two shapes': (
        SCHEMES[1],
        MATCHING,
        _changed(lambda r, f: ({**r, 'features': r['features'][:, :1]}, f)),
        r"got shapes \(4, 1\) and \(4, 4\) of s_fake\['features'\]",
    ),
    'with a number': (
        SCHEMES[1],
        MATCHING,
        _changed(lambda r, f: (r, {**f, 'features': 0.0})),
        r"s_fake\['features'\] is a value of type float",
    ),
    'that is wrongly symmetric': (
        SCHEMES[0],
        dataclasses.replace(SUM, generator=loss_g),
        of_trees,
        "'sum' is declared symmetric",
    ),
}


@pytest.mark.parametrize('case', TREES)
def test_trees_that_do_not_fit_are_refused(case):
    scheme, loss, function, match = TREES[case]
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(lambda g, d: _trees(scheme, loss, function)(g, d)[0], PARAMS_G, PARAMS_D)


def test_penalties_of_trees_are_refused():
    with pytest.raises(
        ValueError, match=r"penalties differentiate .* a dict of 'features', 'heads'"
    ):
        jax.eval_shape(
            lambda g: SCHEMES[1](
                MATCHING,
                generate,
                of_trees,
                g,
                PARAMS_D,
                penalties=osgan_jax.Penalties(r2=1.0),
            )[0],
            PARAMS_G,
        )


# --- a frozen backbone ------------------------------------------------------------------------

WIDE = 64
BACKBONE = [jax.random.normal(key, (WIDE, WIDE)) / 8 for key in KEYS[:4]]
WIDE_REAL = jax.random.normal(KEYS[4], (N, WIDE))
HEADS = [jax.random.normal(key, (WIDE,)) for key in KEYS[:3]]


def backbone(x):
    for kernel in BACKBONE:
        x = jax.nn.softplus(x @ kernel)
    return x


def _flops_of_frozen(scheme, several, in_generator):
    """FLOPs of a step whose heads judge features of a frozen backbone."""

    def generate(params):
        fake = jnp.tanh(Z_BATCH @ params)
        return (backbone(fake) if in_generator else fake), None

    def discriminate(params, fake):
        features = fake if in_generator else backbone(fake)
        return (backbone(WIDE_REAL) @ params, features @ params), None

    judges = [discriminate] * len(HEADS) if several else discriminate

    def step(params_g, params_d):
        return scheme(HINGE, generate, judges, params_g, params_d)[0]

    params = jnp.ones((Z, WIDE)), HEADS if several else HEADS[0]
    return jax.jit(step).lower(*params).compile().cost_analysis()['flops']


def test_shared_forward_costs_what_one_stage_does_before_a_frozen_backbone():
    kernel = 2 * N * WIDE * WIDE  # FLOPs of one pass through a layer
    one, shared = (_flops_of_frozen(scheme, False, False) for scheme in SCHEMES)
    assert shared < 1.02 * one
    # The backbone: forward of both batches (the real one is constant here, so it may be folded),
    # the fakes' input gradients, and no gradients of weights.
    assert one < 1.15 * 3 * len(BACKBONE) * kernel
    # Several heads, with the backbone in `generate`: one pass through it for all of them.
    several = [_flops_of_frozen(scheme, True, True) for scheme in SCHEMES]
    assert several[1] < 1.02 * several[0]
    assert several[0] < 1.1 * one
