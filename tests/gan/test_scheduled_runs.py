"""Runs whose rates, betas, gammas and averages follow a schedule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax.compression import config as compression
from osgan_jax.engine import adoption
from osgan_jax.gan import model, summary, updates
from osgan_jax.gan.config import SCHEDULED
from osgan_jax.runtime import parallel
from tests.support import models, small

GRADIENTS = (0.3, -0.2, 0.05, 0.05, -0.4, 0.1)
COSINE = {'schedule': 'cosine', 'schedule_steps': 4}


def resolve(**fields):
    return small.resolve(small.make_config(**{'optimizer': 'adam', **fields}))


def build(**fields):
    return model.build(resolve(**fields), num_classes=0, steps_per_epoch=2)


def cosine(start, end, step, length=4):
    return end + (start - end) * (1 + np.cos(np.pi * min(step / length, 1))) / 2


def moves(optimizer, steps):
    """The changes of a scalar by each gradient, in the training step given for it."""
    params = {'w': jnp.zeros(())}
    state, taken = optimizer.init(params), []
    update = jax.jit(optax.with_extra_args_support(optimizer).update)
    for gradient, step in zip(GRADIENTS, steps, strict=True):
        grads = {'w': jnp.float32(gradient)}
        change, state = update(grads, state, params, step=jnp.int32(step))
        taken.append(float(change['w']))
    return taken


def adams(gradients, rates, beta2s, beta1=0.5, epsilon=1e-8):
    """Kingma and Ba 2015, Algorithm 1, whose numbers are those of the moment, as in PyTorch."""
    m, v, taken = 0.0, 0.0, []
    for t, (gradient, rate, beta2) in enumerate(zip(gradients, rates, beta2s, strict=True), 1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        taken.append(-rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon))
    return np.array(taken)


@pytest.mark.parametrize('name', ['adam', 'optimistic_adam'])
def test_rate_and_beta2_of_a_step_are_the_closed_form(name):
    optimizer = build(
        **{'optimizer': name, 'learning_rate_d': 2e-4, 'learning_rate_d_final': 5e-5},
        **{'beta2': 0.9, 'beta2_final': 0.99, 'warmup_steps': 2, **COSINE},
    ).optimizer_d
    rates = [1e-4, 2e-4, 2e-4, *(cosine(2e-4, 5e-5, step, 2) for step in (1, 2, 3))]
    betas = [cosine(0.9, 0.99, step) for step in range(6)]
    expected = adams(GRADIENTS, np.ones(6), betas)
    if name == 'optimistic_adam':
        expected = 2 * expected - np.array([expected[0], *expected[:-1]])
    np.testing.assert_allclose(moves(optimizer, range(6)), rates * expected, rtol=2e-4)


def test_a_lazy_penaltys_step_has_the_numbers_of_its_training_step():
    # 2 / 3 of the rate, and decays to the power of 2 / 3: a penalty of every second step.
    fields = {'r1': 1.0, 'penalty_every': 2, 'learning_rate_d': 2e-4, **COSINE}
    optimizer = build(**fields, beta2_final=0.9).optimizer_d
    steps = (0, 0, 1, 2, 2, 3)
    rates = [2 / 3 * cosine(2e-4, 0.0, step) for step in steps]
    betas = [cosine(0.999, 0.9, step) ** (2 / 3) for step in steps]
    expected = adams(GRADIENTS, rates, betas, beta1=0.5 ** (2 / 3))
    np.testing.assert_allclose(moves(optimizer, steps), expected, rtol=1e-3)


@pytest.mark.parametrize('every', [1, 2])
def test_steps_are_what_they_were_by_the_optimisers_count_to_the_bit(every):
    # Earlier versions counted the penalty's steps in, and moved the boundary as many.
    fields = {'optimizer_d': 'rmsprop', 'decay_epochs': (1, 2), 'decay_factor': 0.1}
    optimizer = build(**fields, r1=1.0, penalty_every=every).optimizer_d
    share = every / (every + 1) if every > 1 else 1.0
    counts = {2: 0.1, 4: 0.1} if every == 1 else {3: 0.1, 6: 0.1}
    before = optax.rmsprop(
        optax.piecewise_constant_schedule(1e-4 * share, counts),
        **{'decay': 0.999**share, 'eps': 1e-8, 'eps_in_sqrt': False},
    )
    steps = range(6) if every == 1 else (0, 0, 1, 2, 2, 3)
    assert moves(optimizer, steps) == moves(before, steps)
    params = {'w': jnp.zeros(3)}
    assert jax.tree.structure(optimizer.init(params)) == jax.tree.structure(before.init(params))


def test_what_is_constant_is_a_number_and_adams_state_stays_as_it_is():
    states = [
        build(**fields).optimizer_g.init({'w': jnp.zeros(3)})
        for fields in ({}, {'warmup_steps': 2, **COSINE})
    ]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    gan = build(r1=1.0, ema_decay=0.9)
    assert gan.penalties_at(jnp.int32(3)) == gan.penalties
    assert (gan.penalty_schedules, gan.ema_half_life) == ({}, None)


def test_each_network_has_its_betas():
    gan = build(beta1=0.9, beta1_d=0.0, beta2_g=0.5, learning_rate_g=1.0, learning_rate_d=1.0)
    ones = np.ones(6)
    expected = adams(GRADIENTS, ones, 0.5 * ones, beta1=0.9)
    np.testing.assert_allclose(moves(gan.optimizer_g, range(6)), expected, rtol=1e-4)
    expected = adams(GRADIENTS, ones, 0.999 * ones, beta1=0.0)
    np.testing.assert_allclose(moves(gan.optimizer_d, range(6)), expected, rtol=1e-3)
    # A schedule leads both to one value.
    found = resolve(beta2_g=0.5, beta2_final=0.9, **COSINE)
    assert [found.span(f'beta2_{whose}') for whose in 'gd'] == [(0.5, 0.9), (0.999, 0.9)]
    found = resolve(beta2_g=0.5, **COSINE)
    assert [found.span(f'beta2_{whose}') for whose in 'gd'] == [(0.5, 0.5), (0.999, 0.999)]


def test_gamma_and_the_averages_half_life_are_those_of_the_step():
    # At rates of 0 D's gradients at the real images stay, and so does G.
    _, state, update, devices = small.build(
        **{'learning_rate_g': 0.0, 'learning_rate_d': 0.0, 'r1': 2.0, 'r1_final': 0.5},
        **{'ema_decay_final': 0.5, **COSINE},
    )
    batch = parallel.put_batch(small.batch(), devices)
    expected = models.relative_error
    penalties, zeros = [], jax.tree.map(jnp.zeros_like, state.ema_g)
    for step in range(6):
        params = jax.tree.map(jnp.copy, state.params_g)
        state = state.replace(ema_g=jax.tree.map(jnp.copy, zeros))
        state, metrics = update(state, batch)
        penalties.append(float(metrics['penalty_d']))
        # A decay of 0.5 is a half-life of one step, one of 0 that of none.
        decay = 0.5 ** (1 / cosine(1e-8, 1.0, step))
        averaged = jax.tree.map(lambda now, decay=decay: (1 - decay) * now, params)
        assert expected(state.ema_g['params'], averaged) < 1e-5
    gammas = [cosine(2.0, 0.5, step) for step in range(6)]
    np.testing.assert_allclose(np.array(penalties) / penalties[0], np.array(gammas) / 2, rtol=1e-5)


def test_steps_of_gammas_and_averages_and_the_warm_up_of_penalties():
    steps = {'decay_epochs': (1, 2), 'r1': 2.0, 'r1_final': 0.5, 'ema_decay': 0.5}
    gan = build(**steps, ema_decay_final=0.5**0.25, beta2=0.9, beta2_final=0.8)
    # Epochs of two steps; half-lives of one step and of four.
    taken = [float(gan.penalties_at(jnp.int32(step)).r1) for step in range(6)]
    np.testing.assert_allclose(taken, [2, 2, 1.25, 1.25, 0.5, 0.5], rtol=1e-6)
    halves = [float(gan.ema_half_life(jnp.int32(step))) for step in range(6)]
    np.testing.assert_allclose(halves, [1, 1, 2.5, 2.5, 4, 4], rtol=1e-6)
    changes = moves(gan.optimizer_d, range(6))
    rates = [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5]
    beta2s = [0.9, 0.9, 0.85, 0.85, 0.8, 0.8]
    np.testing.assert_allclose(changes, adams(GRADIENTS, rates, beta2s), rtol=1e-5)
    gan = build(r1=2.0, gradient_penalty=1.0, penalty_warmup_steps=4)
    taken = [gan.penalties_at(jnp.int32(step)) for step in range(6)]
    np.testing.assert_allclose([each.r1 for each in taken], [0.5, 1, 1.5, 2, 2, 2], rtol=1e-6)
    assert float(taken[1].gradient_penalty) == 0.5
    lines = dict(summary.lines(resolve(**steps, penalty_warmup_steps=2), 40))
    assert lines['penalties'] == 'R1 2 to 0.5'
    assert lines['schedule'] == (
        'in equal parts after epoch 1 and 2; penalties rise over the first 2 steps'
    )


def test_the_probability_of_augmentation_rises():
    fields = {'augment': ('ada',), 'augment_probability_final': 0.4, **COSINE}
    found = resolve(**fields)
    assert found.span('augment_probability') == (0.0, 0.4)
    augmentation = build(**fields).augmentation
    assert augmentation.init() is None
    taken = [float(augmentation.probability_at(None, jnp.int32(step))) for step in range(6)]
    np.testing.assert_allclose(taken, [cosine(0.0, 0.4, step) for step in range(6)], atol=1e-7)
    # Without a final value it is adapted, or stays.
    assert resolve(augment=('ada',), **COSINE).augment_probability is None
    assert (
        build(augment=('ada',), augment_probability=0.2, **COSINE).augmentation.probability == 0.2
    )


def test_a_gamma_that_begins_with_nothing_is_there():
    gan = build(r1_final=1.0, method='wgan', **COSINE)
    assert (gan.penalties.discriminator_every, gan.weight_clip) == (1, 0.0)
    assert float(gan.penalties_at(jnp.int32(2)).r1) == pytest.approx(0.5)


EVERYTHING = {
    **{'optimizer_d': 'optimistic_adam', 'adam_epsilon': 1.0, 'lookahead': 2, **COSINE},
    **{'learning_rate_g': 0.1, 'learning_rate_d': 0.1, 'beta2_final': 0.9, 'warmup_steps': 1},
    **{'r1': 1.0, 'r1_final': 0.1, 'penalty_every': 2, 'ema_decay_final': 0.9},
}


@pytest.mark.slow  # as every step: a schedule's values are of the state's step
def test_on_several_devices():
    one, _ = small.run_steps(3, **EVERYTHING)
    two, _ = small.run_steps(3, num_devices=2, **EVERYTHING)
    trained = lambda state: (state.params_g, state.params_d, state.slow, state.ema_g)  # noqa: E731
    assert models.relative_error(trained(two), trained(one)) < 1e-5


@pytest.mark.slow
def test_schedules_cost_no_flops():
    def flops(**fields):
        gan = build(r1=1.0, **fields)
        state = jax.eval_shape(lambda: model.create(gan, 0))
        update = updates.make_update(gan, 'two_stage', None)
        return jax.jit(update).lower(state, small.batch()).cost_analysis()['flops']

    constant = flops()
    scheduled = flops(**COSINE, beta2_final=0.9, r1_final=0.1, warmup_steps=2)
    assert scheduled == pytest.approx(constant, rel=1e-3)


def test_a_run_goes_on_with_the_schedule_that_it_began_with():
    asked = small.make_config(schedule='linear', num_steps=4)
    saved = small.resolve(asked)
    assert (saved.schedule_steps, saved.learning_rate_g_final) == (4, 0.0)
    longer = adoption.adopt(dataclasses.replace(asked, num_steps=8), saved)
    found = small.resolve(longer)
    assert (found.num_steps, found.schedule_steps) == (8, 4)
    assert dict(summary.lines(found, 40))['schedule'].endswith('(32 images), then constant')
    # A method that has a schedule since has none in the runs that began without.
    asked = small.make_config(method='r3gan', image_size=16, width=16, group_channels=16)
    old = dataclasses.replace(small.resolve(asked), schedule=None, schedule_steps=None)
    old = dataclasses.replace(old, **{f'{name}_final': None for name in SCHEDULED}).complete()
    found = small.resolve(adoption.adopt(asked, old))
    assert (found.schedule, found.span('r1'), found.beta2_final) == ('constant', (0.05, 0.05), None)


def test_resolved_twice_is_the_same():
    for fields in ({'method': 'r3gan', 'width': 16}, {'decay_epochs': (2,)}, {**EVERYTHING}):
        found = resolve(**fields)
        assert small.resolve(found) == found


def test_a_student_has_its_teachers_schedule_beside_its_first_values():
    teacher = resolve(
        beta2=0.9, beta2_final=0.99, r1=2.0, r1_final=0.2, ema_decay_final=0.5, **COSINE
    )

    def student(**fields):
        asked = compression.CompressConfig(batch_size=16, **fields)
        found = compression.resolve(asked, teacher, 'f00d')
        return small.resolve(dataclasses.replace(found, num_steps=100), asked=asked)

    found = student()
    assert (found.schedule, found.schedule_steps) == ('cosine', 100)
    assert [found.span(name) for name in ('beta2_d', 'r1')] == [(0.9, 0.99), (2.0, 0.2)]
    assert found.span('ema_decay') == (0.0, 0.25)  # 16 images a step instead of 8
    found = student(r1=1.0, beta2=0.5)
    assert [found.span(name) for name in ('beta2_d', 'r1')] == [(0.5, 0.5), (1.0, 1.0)]
    # Without a schedule: what the average's decay rises to.
    found = student(schedule='constant')
    assert (found.span('r1'), found.span('ema_decay')) == ((2.0, 2.0), (0.25, 0.25))


def test_the_summary_shows_schedule_betas_and_warm_up():
    found = resolve(method='wgan_gp', schedule='linear', schedule_steps=400, warmup_steps=10)
    lines = dict(summary.lines(found, 40))
    assert lines['rates'] == 'adam (0, 0.9), G 0.0001 to 0, D 0.0001 to 0'
    assert lines['schedule'] == (
        "linear over 400 steps (16,000 images); the run's 4 are 1% of it, and --schedule_steps=4 "
        'fits it to the run; rates rise over the first 10 steps'
    )
    assert 'schedule linear instead of constant, warmup_steps' not in summary.whose(found, 40)
    lines = dict(summary.lines(resolve(beta1_d=0.0, warmup_steps=2), 40))
    assert lines['rates'] == ('G adam (0.5, 0.999) 0.0002, D adam (0, 0.999) 0.0001, constant')
    assert lines['schedule'] == 'rates rise over the first 2 steps'
    assert dict(summary.lines(resolve(), 40))['schedule'] is None
    lines = dict(summary.lines(resolve(warmup_steps=9), 40))
    assert lines['schedule'] == 'rates rise over the first 9 steps, of which the run has 4'
