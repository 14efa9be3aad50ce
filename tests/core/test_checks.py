"""What is not as it must be is refused in a sentence, before jax fails in its own words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax import networks
from osgan_jax.core import losses
from tests.support.marks import slow_but

N = 6
REAL = jnp.linspace(-1, 1, 2 * N).reshape(N, 2)
PARAMS_G, PARAMS_D = {'w': jnp.ones((2, 2))}, {'v': jnp.array([0.3, -0.2])}
HINGE = losses.get('hinge')


def generate(params):
    return REAL @ params['w'], None


def discriminate(params, fake):
    return (REAL @ params['v'], fake @ params['v']), None


def _of_both(function):
    """A `discriminate` with `function` of real and fake logits, `[N]` each."""
    return lambda params, fake: function(*discriminate(params, fake)[0])


PENALISED = {
    'discriminate': lambda p, fake, real: ((real @ p['v'], fake @ p['v']), None),
    'penalties': osgan_jax.Penalties(gradient_penalty=1.0),
    'real': REAL,
    'mixture': jnp.full(N, 0.5),
}
RETURNS = {
    'generate without aux': (
        {'generate': lambda p: generate(p)[0]},
        r'generate must return \(fake, aux\), but returned an array \[6, 2\] of float32',
    ),
    'generate with two further values': (
        {'generate': lambda p: (*generate(p), None)},
        r'generate must return \(fake, aux\), but returned a tuple',
    ),
    'generate without an array': (
        {'generate': lambda p: (None, None)},
        'with fake a batch .* but fake is None',
    ),
    'a generated scalar': (
        {'generate': lambda p: (jnp.sum(generate(p)[0]), None)},
        r'with fake a batch .* but fake is an array \[\]',
    ),
    'generated integers': (
        {'generate': lambda p: (generate(p)[0].astype(int), None)},
        'generate must return fake as floating-point numbers.*int32',
    ),
    'logits without aux': (
        {'discriminate': _of_both(lambda r, f: (r, f))},
        r'discriminate must return \(\(s_real, s_fake\), aux\), but returned a tuple \(an array '
        r'\[6\] of float32, an array \[6\] of float32\): end it with `return \(s_real, s_fake\), ',
    ),
    'logits of one batch': (
        {'discriminate': _of_both(lambda r, f: jnp.concatenate([r, f]))},
        r'but returned an array \[12\] of float32: split the logits',
    ),
    'logits of one batch, with aux': (
        {'discriminate': _of_both(lambda r, f: (jnp.concatenate([r, f]), None))},
        r'but returned a tuple \(an array \[12\] of float32, None\)',
    ),
    'no logits': (
        {'discriminate': _of_both(lambda r, f: ((r, None), None))},
        'logits as arrays, but s_fake is None',
    ),
    'logits of integers': (
        {'discriminate': _of_both(lambda r, f: ((r, (f > 0).astype(int)), None))},
        'discriminate must return s_fake as floating-point numbers.*int32',
    ),
    'a mean logit': (
        {'discriminate': _of_both(lambda r, f: ((jnp.mean(r), jnp.mean(f)), None))},
        r'whose first axis is the batch, `\[6, ...\]`, got shape \(\) \(do not average over the',
    ),
    'a mean real logit': (
        {'discriminate': _of_both(lambda r, f: ((jnp.mean(r), f), None))},
        r'of one kind, got shapes \(\) and \(6,\)',
    ),
    'a column beside a vector': (
        {'discriminate': _of_both(lambda r, f: ((r[:, None], f), None))},
        r'of one kind, got shapes \(6, 1\) and \(6,\)',
    ),
    'fewer fake logits': (
        {'discriminate': _of_both(lambda r, f: ((r, f[1:]), None))},
        r'whose first axis is the batch, `\[6, ...\]`, got shape \(5,\)',
    ),
    'fewer real logits in pairs': (
        {
            'loss': dataclasses.replace(HINGE, discriminator=lambda r, f, state: jnp.mean(r - f)),
            'discriminate': _of_both(lambda r, f: ((r[1:], f), None)),
        },
        r"discriminator of the loss 'hinge' does not take .* \(5,\) and \(6,\): give equal",
    ),
    "a loss's name": ({'loss': 'hinge'}, "an osgan_jax.AdversarialLoss, but is 'hinge': .*get"),
    'no loss': ({'loss': None}, 'an osgan_jax.AdversarialLoss, but is None'),
    'a weight for penalties': (
        {'penalties': 1.0, 'real': REAL, 'discriminate': lambda p, fake, real: None},
        r'penalties must be osgan_jax.Penalties\(.*, but is a value of type float',
    ),
    'penalties as a dict': ({'penalties': {'r1': 1.0}}, "but is a dict of 'r1'"),
    'generate with z': (
        {'generate': lambda p, z: generate(p)},
        r'generate must be a function of \(params_g\), but takes \(p, z\)',
    ),
    'no function': ({'generate': REAL}, r'of \(params_g\), but is an array \[6, 2\]'),
    'a third argument without real': (
        {'discriminate': lambda p, fake, real: discriminate(p, fake)},
        r'without real=, discriminate must be a function of \(params_d, fake\), but takes',
    ),
    'no third argument with real': (
        {'real': REAL},
        r'with real= given, discriminate must be .* \(params_d, fake, real\), but takes',
    ),
    'no share of mixtures for each': (
        {**PENALISED, 'mixture': jnp.ones(4)},
        r'a share for each sample, `\[6\]`, but is an array \[4\]',
    ),
    'one share of mixtures': ({**PENALISED, 'mixture': 0.5}, r'`\[6\]`, but is a value of type'),
    'mixtures of unlike batches': (
        {**PENALISED, 'real': REAL[:4]},
        r'the same shapes, but real has \[\(4, 2\)\] and fake \[\(6, 2\)\]',
    ),
    'no parameters of G': ({'params_g': {}}, 'params_g holds no arrays .* that generate takes'),
    'no parameters of D': ({'params_d': None}, r'params_d holds no arrays \(None\)'),
    'a loss of two arguments': (
        {'loss': dataclasses.replace(HINGE, generator=lambda s_real, s_fake: -jnp.mean(s_fake))},
        r"generator of the loss 'hinge' takes \(s_real, s_fake\), but must take",
    ),
    'a loss for each sample': (
        {'loss': dataclasses.replace(HINGE, generator=lambda r, f, state: -f)},
        r"generator of the loss 'hinge' must return a scalar, but returned an array \[6\]",
    ),
    'a loss that counts': (
        {'loss': dataclasses.replace(HINGE, generator=lambda r, f, state: jnp.sum(f > 0))},
        r"generator of the loss 'hinge' must return a floating-point number.*int32",
    ),
    'no state': (
        {'loss': losses.get('fisher')},
        r"the loss 'fisher' has a state: pass loss_state=loss.init\(\) at the first step",
    ),
    'a state of another kind': (
        {'loss': losses.get('fisher'), 'loss_state': jnp.zeros(())},
        r"the state of the loss 'fisher' must be a value of type FisherState, but .* an array \[\]",
    ),
}


def _call(scheme, **changed):
    given = {
        'loss': HINGE,
        'generate': generate,
        'discriminate': discriminate,
        'params_g': PARAMS_G,
        'params_d': PARAMS_D,
        **changed,
    }
    # Traced alone: the messages come before there are numbers.
    return jax.eval_shape(
        lambda g, d: scheme(**{**given, 'params_g': g, 'params_d': d})[0],
        given['params_g'],
        given['params_d'],
    )


@pytest.mark.parametrize('scheme', [osgan_jax.one_stage_grads, osgan_jax.shared_forward_grads])
@pytest.mark.parametrize('case', RETURNS)
def test_what_is_returned_is_checked_before_it_fails(case, scheme):
    changed, message = RETURNS[case]
    with pytest.raises(ValueError, match=message):
        _call(scheme, **changed)


def test_batches_of_different_sizes_are_no_fault_of_losses_that_are_means():
    more = _of_both(lambda r, f: ((jnp.tile(r, 2), f), None))
    assert _call(osgan_jax.one_stage_grads, discriminate=more).discriminator['v'].shape == (2,)


def test_checks_leave_nothing_in_the_compiled_step():
    loss = losses.get('wasserstein')
    step = jax.make_jaxpr(
        lambda g, d: osgan_jax.one_stage_grads(loss, generate, discriminate, g, d)[0]
    )
    # The logits that `symmetric` is tried on are sines.
    assert ' sin ' not in str(step(PARAMS_G, PARAMS_D))


def _nearly_symmetric():
    """L_G has the sign of minimax's, and is not its negative."""
    return dataclasses.replace(losses.get('non_saturating'), name='mine', symmetric=True)


@pytest.mark.parametrize('jit', [False, True])
def test_a_loss_that_is_wrongly_called_symmetric_is_refused(jit):
    def gradients(params_g, params_d):
        return osgan_jax.one_stage_grads(
            _nearly_symmetric(), generate, discriminate, params_g, params_d
        )[0]

    with pytest.raises(ValueError, match=r"'mine' is declared symmetric.*symmetric=False"):
        (jax.jit(gradients) if jit else gradients)(PARAMS_G, PARAMS_D)


def test_symmetric_losses_are_what_they_say():
    for name in losses.names():
        # With its published rho, Fisher's L_G is minus that part of L_D to a millionth at first.
        loss = losses.get(name, **({'rho': 0.1} if name == 'fisher' else {}))
        if loss.symmetric:
            _call(osgan_jax.one_stage_grads, loss=loss)
        else:
            wrong = dataclasses.replace(loss, symmetric=True)
            with pytest.raises(ValueError, match=f"'{name}' is declared symmetric"):
                _call(osgan_jax.one_stage_grads, loss=wrong, loss_state=loss.init())


def test_a_symmetric_loss_that_reads_traced_values_is_believed():
    def gradients(params_g, params_d, weight):
        scaled = losses.AdversarialLoss(
            name='scaled',
            discriminator=lambda r, f, state=None: weight * (jnp.mean(f) - jnp.mean(r)),
            generator=lambda r, f, state=None: -weight * jnp.mean(f),
            symmetric=True,
        )
        return osgan_jax.one_stage_grads(scaled, generate, discriminate, params_g, params_d)[0]

    found = jax.jit(gradients)(PARAMS_G, PARAMS_D, 2.0)
    plain = osgan_jax.one_stage_grads(
        losses.get('wasserstein'), generate, discriminate, PARAMS_G, PARAMS_D
    )[0]
    np.testing.assert_allclose(found.generator['w'], 2 * plain.generator['w'], rtol=1e-5)


# Factories of losses that are not what they say, and what is said of them.
REGISTERED = {
    'symmetric': (_nearly_symmetric, 'is declared symmetric'),
    'mean_over_samples': (
        lambda: dataclasses.replace(HINGE, generator=lambda r, f, state=None: -jnp.sum(f)),
        'is declared a mean over samples, but its generator gives .* mean_over_samples=False',
    ),
    'arguments': (
        lambda: dataclasses.replace(HINGE, discriminator=lambda r, f: jnp.mean(f - r)),
        r'discriminator of the loss .* takes \(r, f\), but must take',
    ),
}


@pytest.mark.parametrize('case', REGISTERED)
def test_a_registered_loss_is_given_only_if_it_is_what_it_says(case, monkeypatch):
    monkeypatch.setattr('osgan_jax.core.loss_names.REGISTERED', {})
    factory, message = REGISTERED[case]
    losses.register('mine', factory)
    with pytest.raises(ValueError, match=message):
        losses.get('mine')


def test_the_flags_of_all_losses_hold(monkeypatch):
    monkeypatch.setattr('osgan_jax.core.loss_names.REGISTERED', {})
    for name in losses.names():
        losses.register(f'{name}_again', lambda name=name: losses.get(name))
        assert losses.get(f'{name}_again').name == name
    whole = dataclasses.replace(losses.fisher(rho=0.1), mean_over_samples=True)
    losses.register('mine', lambda: whole)
    with pytest.raises(ValueError, match=r'fisher.*is declared a mean over samples'):
        losses.get('mine')


def test_fishers_update_asks_for_its_state():
    loss = losses.get('fisher')
    with pytest.raises(ValueError, match=r'is loss.init\(\) at the first step'):
        loss.update(None, jnp.zeros(3), jnp.zeros(3))


# --- samples one by one ------------------------------------------------------------------------


def _gated(params, fake):
    """Logits whose sight of the batch is scaled by parameters, of which some are 0."""

    def judge(x):
        h = x @ params['kernel']
        normed = (h - h.mean(0)) / (h.std(0) + 1e-3)
        return (h + normed * params['scale'] @ params['out']).sum(-1)

    return (judge(REAL), judge(fake)), None


GATED = {
    'kernel': jnp.array([[0.5, -1.0], [0.3, 0.8]]),
    'scale': jnp.ones(2),
    'out': jnp.eye(2),
}


@pytest.mark.parametrize('zero', ['scale', 'out', 'both'])
def test_check_finds_mixing_behind_a_zero(zero):
    shut = ('scale', 'out') if zero == 'both' else (zero,)
    params = {**GATED, **{name: jnp.zeros_like(GATED[name]) for name in shut}}
    with pytest.raises(ValueError, match='another fake sample once a parameter that is 0 now'):
        osgan_jax.check_samplewise(_gated, params, REAL + 1)
    with pytest.raises(ValueError, match=r'another fake sample \(gradient'):
        osgan_jax.check_samplewise(_gated, GATED, REAL + 1)


def test_parameters_that_must_stay_positive_do_no_harm():
    # At perturbed parameters the logarithm may be NaN, which shows no mixing.
    def judge(params, x):
        return (x * jnp.log(params['scale'])).sum(-1) / jnp.sqrt(params['variance'])

    params = {'scale': jnp.array([1e-6, 3.0]), 'variance': jnp.array(1e-9), 'count': jnp.array(3)}
    osgan_jax.check_samplewise(
        lambda p, fake: ((judge(p, REAL), judge(p, fake)), None), params, REAL + 1
    )


def _discriminators():
    """Every network with every norm that keeps samples apart, with labels and without."""
    for name in networks.names():
        for norm in networks.get(name).norms:
            if norm != 'batch':
                yield from ((name, norm, classes) for classes in (0, 3))


@pytest.mark.parametrize(
    ('name', 'norm', 'classes'),
    slow_but(_discriminators(), ('dcgan', 'group', 0)),
)
def test_no_discriminator_of_ours_is_refused(name, norm, classes):
    spec = networks.get(name)
    size = min(spec.image_sizes)
    options = {'minibatch_deviation': 0} if 'minibatch_deviation' in spec.options else {}
    pair = networks.build(
        name,
        networks.NetworkOptions(
            size, 1, width=8, num_classes=classes, discriminator_norm=norm, **options
        ),
    )
    images = jax.random.normal(jax.random.key(0), (3, size, size, 1))
    labels = jnp.arange(3) if classes else None
    variables = jax.jit(
        lambda: pair.discriminator.init(jax.random.key(1), images, labels, train=False)
    )()

    def judge(params, x):
        return pair.discriminator.apply(
            {**variables, 'params': params}, x, labels, train=True, mutable=['batch_stats']
        )[0]

    osgan_jax.check_samplewise(
        lambda params, fake: ((judge(params, images), judge(params, fake)), None),
        variables['params'],
        images * 0.5,
    )
