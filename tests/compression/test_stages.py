"""Steps of both stages, each objective against its terms written out."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax.compression import config as configs
from osgan_jax.compression import objectives, stages, teachers
from osgan_jax.core import samplewise
from osgan_jax.core.collectives import collectives_over
from osgan_jax.engine import runs
from osgan_jax.gan import methods, model, reading, step_context
from osgan_jax.runtime import parallel, shards
from tests.support import models, small
from tests.support.marks import slow_but

# High, so that what a step changes is far above the rounding of StyleGAN2's large kernels.
RATE = 2.0
STYLE = {
    'method': 'stylegan2',
    'width': 8,
    'latent_dim': 8,
    'path_length': 0.0,
    'r1': 0.0,
    'ema_decay': 0.0,
}


def make_teacher(**fields):
    config = small.resolve(small.make_config(**fields))
    gan = model.build(config, num_classes=small.CLASSES, steps_per_epoch=5)
    state = model.create(gan, 7)
    run = runs.Run(config, small.CLASSES, (), small.EXAMPLES)
    return teachers.of(*reading.of_state(run, gan, 3, state))


def build(teacher, *, num_devices=1, rate=RATE, **fields):
    """Returns configuration, student, state, compiled update and devices."""
    values = {
        'batch_size': small.BATCH,
        'stage_one_kimg': 0.0,
        'stage_two_kimg': 0.1,
        'num_devices': num_devices,
        'path_length': 0.0,
        'r1': 0.0,
        'ema_decay': 0.0,
        'optimizer': 'sgd',
        'learning_rate_g': rate,
        'learning_rate_d': rate,
        'beta1': 0.0,
        **fields,
    }
    asked = configs.CompressConfig(**values)
    config = configs.resolve(asked, teacher.run.config, 'none')
    config = small.resolve(configs.count_steps(config), asked)
    devices = jax.local_devices()[:num_devices]
    collectives = collectives_over(devices)
    gan = model.build(
        config,
        num_classes=small.CLASSES,
        steps_per_epoch=5,
        axis_name=collectives.axis_name,
    )
    state = stages.create(config, gan, teacher)
    update = stages.make_update(config, gan, teacher, state, collectives)
    divided = model.divided(config, devices, state)
    placed = parallel.place(state, devices, divided)
    compiled = parallel.compile_update(update, devices, state=placed, num_constants=1)

    def step(state, index=0, batch=None, variables=teacher.variables):
        batch = parallel.put_batch(batch or small.step_batch(gan, index), devices)
        constants = parallel.replicate(variables, devices)
        new, metrics = compiled(parallel.place(state, devices, divided), batch, constants)
        return parallel.collect(new, devices), metrics

    return config, gan, state, step


def copy(tree):
    return jax.tree.map(jnp.copy, tree)


def drawn(gan, state, stage=0):
    """A step's images: real, labels, z, and its key, as every scheme draws them."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), stage)
    batch = small.batch()
    labels = jnp.asarray(batch['label']) if gan.num_classes else None
    z = jax.random.normal(key, (small.BATCH, gan.latent_dim))
    return jnp.asarray(batch['image']), labels, z, jax.random.fold_in(key, 1)


class Written:
    """A student's networks applied by hand, to write objectives out with."""

    def __init__(self, gan, state, teacher, stage=0):
        self.gan, self.state, self.teacher = gan, copy(state), teacher
        self.real, self.labels, self.z, self.style = drawn(gan, state, stage)

    def generate(self, params):
        return self.gan.generator.apply(
            {'params': params, **self.state.stats_g},
            self.z,
            self.labels,
            train=True,
            mutable=['batch_stats'],
            rngs={'style': self.style},
        )[0]

    def judge(self, params, images):
        return self.gan.discriminator.apply(
            {'params': params, **self.state.stats_d},
            images,
            self.labels,
            train=True,
            mutable=['batch_stats'],
        )[0]

    def judged_by_teacher(self, images):
        variables = self.teacher.variables['discriminator']
        return self.teacher.gan.discriminator.apply(variables, images, self.labels, train=False)

    def loss_d(self, params, fake):
        return self.gan.loss.discriminator(self.judge(params, self.real), self.judge(params, fake))

    def loss_g(self, params_d, fake):
        return self.gan.loss.generator(self.judge(params_d, self.real), self.judge(params_d, fake))

    def guidance(self, fake):
        return self.gan.loss.generator(
            self.judged_by_teacher(self.real), self.judged_by_teacher(fake)
        )


def same_move(new, expected, start):
    """Whether two steps from the same parameters went the same way."""
    moves = [optax.tree.sub(tree, start) for tree in (new, expected)]
    assert optax.tree.norm(moves[1]) > 0
    return models.relative_error(*moves) < 1e-4


def descend(params, gradient):
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient)


@pytest.fixture(scope='module')
def style_teacher():
    return make_teacher(**STYLE, minibatch_deviation=4)


@pytest.fixture(scope='module')
def plain_teacher():
    return make_teacher(method='dcgan', conditional=True, width=8)


@pytest.mark.parametrize(
    ('name', 'scheme'),
    [
        ('plain_teacher', 'one_stage'),
        pytest.param('plain_teacher', 'two_stage', marks=pytest.mark.slow),
        pytest.param('plain_teacher', 'shared_forward', marks=pytest.mark.slow),
        # With all that StyleGAN2 has at random.
        pytest.param('style_teacher', 'one_stage', marks=pytest.mark.slow),
    ],
)
def test_a_step_under_the_teacher_equals_separate_gradients(name, scheme, request):
    teacher = request.getfixturevalue(name)
    _, gan, state, step = build(teacher, scheme=scheme, weight=0.3)
    written = Written(gan, state, teacher)
    start = copy((state.params_g, state.params_d))
    new, metrics = step(state)

    @jax.jit
    def reference(params_g, params_d):
        fake = written.generate(params_g)
        new_d = descend(params_d, jax.grad(written.loss_d)(params_d, fake))
        judge, drawing = params_d, written
        if scheme == 'two_stage':
            judge, drawing = new_d, Written(gan, written.state, teacher, stage=1)

        def loss_g(params):
            fake = drawing.generate(params)
            return drawing.loss_g(judge, fake) + 0.3 * drawing.guidance(fake)

        value, gradient = jax.value_and_grad(loss_g)(params_g)
        return descend(params_g, gradient), new_d, value

    params_g, params_d, loss_g = reference(*start)
    assert same_move(new.params_g, params_g, start[0])
    assert same_move(new.params_d, params_d, start[1])
    np.testing.assert_allclose(metrics['loss_g'], loss_g, rtol=1e-5)
    assert metrics['stage'] == 2


@pytest.mark.slow
def test_penalties_and_the_teacher_in_one_pass(plain_teacher):
    _, gan, state, step = build(plain_teacher, weight=0.3, r1=2.0, r2=1.0)
    written = Written(gan, state, plain_teacher)
    start = copy((state.params_g, state.params_d))
    new, metrics = step(state)

    @jax.jit
    def reference(params_g, params_d):
        fake = written.generate(params_g)

        def penalty(params):
            total = 0.0
            for images, gamma in ((written.real, 2.0), (fake, 1.0)):
                slope = jax.grad(lambda x: written.judge(params, x).sum())(images)
                total += gamma / 2 * jnp.mean(jnp.sum(slope**2, axis=(1, 2, 3)))
            return total

        def loss_g(params):
            fake = written.generate(params)
            return written.loss_g(params_d, fake) + 0.3 * written.guidance(fake)

        value, of_penalty = jax.value_and_grad(penalty)(params_d)
        of_d = optax.tree.add(jax.grad(written.loss_d)(params_d, fake), of_penalty)
        return descend(params_g, jax.grad(loss_g)(params_g)), descend(params_d, of_d), value

    params_g, params_d, value = reference(*start)
    assert same_move(new.params_g, params_g, start[0])
    assert same_move(new.params_d, params_d, start[1])
    np.testing.assert_allclose(metrics['penalty_d'], value, rtol=1e-4)


def features(module, variables, *args, **options):
    """Of the two blocks of a 16-pixel network, by grid, without the room's own code."""
    _, kept = module.apply(
        variables,
        *args,
        capture_intermediates=True,
        mutable=['batch_stats', 'intermediates'],
        **options,
    )
    kept = kept['intermediates']
    kept = kept.get('synthesis_network', kept)
    found = {}
    for name in ('block_8', 'block_16'):
        leaf = kept[name]['__call__'][0]
        leaf = leaf[0] if isinstance(leaf, tuple) else leaf
        found[str(leaf.shape[1])] = leaf
    return found


def far(own, theirs, adapters):
    total = 0.0
    for grid, kernel in adapters.items():
        adapted = jnp.einsum('nhwc,cd->nhwd', own[grid], kernel)
        total += jnp.abs(adapted - theirs[grid]).mean()
    return total


def terms_of_d(written, objective, params_d, adapters, fake):
    teacher = written.teacher
    if objective == 'd_out':
        total = 0.0
        for images in (written.real, fake):
            own, theirs = written.judge(params_d, images), written.judged_by_teacher(images)
            share = jax.nn.sigmoid(theirs)
            total += jnp.mean(share * jax.nn.softplus(-own) + (1 - share) * jax.nn.softplus(own))
        return total
    if objective == 'd_inter':
        total = 0.0
        for images in (written.real, fake):
            variables = {'params': params_d, **written.state.stats_d}
            own = features(written.gan.discriminator, variables, images, train=True)
            variables = teacher.variables['discriminator']
            theirs = features(teacher.gan.discriminator, variables, images, train=False)
            total += far(own, theirs, adapters)
        return total
    key = jax.random.fold_in(jax.random.fold_in(written.state.key, written.state.step), 0)
    images = teacher.gan.generator.apply(
        teacher.variables['generator'], written.z, written.labels, train=False, rngs={'style': key}
    )
    # The share of L_D that fake logits have: softplus(f) of the non-saturating loss.
    return jnp.mean(jax.nn.softplus(written.judge(params_d, images)))


@pytest.mark.parametrize('scheme', ['one_stage', pytest.param('two_stage', marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    'objective',
    slow_but(['d_inter', 'ggl', 'd_out', 'gdgl'], 'gdgl'),
)
def test_what_teaches_the_discriminator(objective, scheme, request):
    name = 'style_teacher' if objective == 'd_inter' else 'plain_teacher'
    teacher = request.getfixturevalue(name)
    _, gan, state, step = build(teacher, objective=objective, scheme=scheme, weight=0.7)
    written = Written(gan, state, teacher)
    params_d, adapters = copy(state.params_d), copy(state.adapters)
    assert set(adapters) == ({'4', '8'} if objective == 'd_inter' else set())
    start = copy((params_d, adapters))
    new, _ = step(state)

    @jax.jit
    def reference(params_d, adapters):
        fake = written.generate(written.state.params_g)

        def loss(params, adapters):
            term = terms_of_d(written, objective, params, adapters, fake)
            return written.loss_d(params, fake) + 0.7 * term

        gradients = jax.grad(loss, argnums=(0, 1))(params_d, adapters)
        return tuple(map(descend, (params_d, adapters), gradients))

    params_d, adapters = reference(params_d, adapters)
    assert same_move(new.params_d, params_d, start[0])
    if objective == 'd_inter':
        assert same_move(new.adapters, adapters, start[1])


@pytest.mark.slow
@pytest.mark.parametrize('imitated', [('16', 'out'), ()])
def test_what_a_generator_imitates(style_teacher, imitated):
    _, gan, state, step = build(style_teacher, objective='g_inter', imitated=imitated)
    written = Written(gan, state, style_teacher)
    start = copy((state.params_g, state.adapters))
    assert set(start[1]) == ({'16'} if imitated else {'8', '16'})
    new, _ = step(state)
    key = jax.random.fold_in(jax.random.fold_in(written.state.key, written.state.step), 0)

    @jax.jit
    def reference(params_g, adapters):
        generator = gan.generator.clone(style_mixing=0.0)
        options = {'rngs': {'style': key}}

        def loss(params, adapters):
            fake = written.generate(params)
            variables = {'params': params, **written.state.stats_g}
            own = features(generator, variables, written.z, train=True, **options)
            theirs = features(
                style_teacher.gan.generator,
                style_teacher.variables['generator'],
                written.z,
                train=False,
                **options,
            )
            total = far(own, theirs, adapters)
            if imitated:
                images = generator.apply(
                    variables, written.z, train=True, mutable=['batch_stats'], **options
                )[0]
                target = style_teacher.gan.generator.apply(
                    style_teacher.variables['generator'], written.z, train=False, **options
                )
                total += jnp.abs(images - target).mean()
            return written.loss_g(written.state.params_d, fake) + 0.2 * total

        gradients = jax.grad(loss, argnums=(0, 1))(params_g, adapters)
        return tuple(map(descend, (params_g, adapters), gradients))

    params_g, adapters = reference(*start)
    assert same_move(new.params_g, params_g, start[0])
    assert same_move(new.adapters, adapters, start[1])


def test_stage_two_begins_when_it_should(plain_teacher):
    kimg = 2 * small.BATCH / 1000
    _, _, state, step = build(plain_teacher, rate=0.02, stage_one_kimg=kimg)
    _, _, baseline, step_baseline = build(
        plain_teacher, rate=0.02, objective='baseline', stage_one_kimg=kimg, stage_two_kimg=kimg
    )
    for index, stage in enumerate([1, 1, 2, 2]):
        state, metrics = step(state, index)
        baseline, metrics_baseline = step_baseline(baseline, index)
        assert (metrics['stage'], metrics_baseline['stage']) == (stage, 1)
        apart = models.relative_error(state.params_g, baseline.params_g)
        assert apart < 1e-7 if stage == 1 else apart > 1e-6


def test_stage_two_of_a_fork_begins_as_its_flags_say():
    config = configs.CompressConfig(stage_one_steps=4)
    state = stages.CompressState(*[None] * len(dataclasses.fields(stages.CompressState)))

    def forked(step, source_at, **fields):
        at = state.replace(step=jnp.asarray(step), stage_two_at=jnp.asarray(source_at))
        return int(stages.fork(dataclasses.replace(config, **fields), at).stage_two_at)

    never = 2**31 - 1  # a baseline's
    assert forked(2, never) == 4
    assert forked(6, never) == 6
    assert forked(2, 9) == 4
    assert forked(6, 3) == 3
    assert forked(6, 3, objective='baseline') == never


def test_stage_two_begins_by_itself(plain_teacher, monkeypatch):
    monkeypatch.setattr(stages, 'SCORE_EVERY', 2)
    monkeypatch.setattr(stages, '_FEWEST_SCORES', 2)
    judge = plain_teacher.variables['discriminator']['params']
    judge = {**judge, 'Embed_0': jax.tree.map(jnp.zeros_like, judge['Embed_0'])}

    def scaled(factor):
        last = jax.tree.map(lambda x: factor * x, judge['Conv_2'])
        params = {**judge, 'Conv_2': last}
        return {**plain_teacher.variables, 'discriminator': {'params': params}}

    fields = {'stage_one_kimg': 4 * small.BATCH / 1000, 'auto_stage_two': True, 'rate': 0.05}
    _, _, fresh, step = build(plain_teacher, **fields)

    def train(factor):
        """The stage of each of five steps under a scaled teacher, and the last one's metrics."""
        state, seen = copy(fresh), []
        for index in range(5):
            state, metrics = step(state, index, variables=scaled(factor))
            seen.append(int(metrics['stage']))
        return seen, metrics

    # One that hardly sees a difference is caught up with as soon as there were looks enough.
    seen, metrics = train(1e-3)
    assert metrics['margin'] > metrics['teacher_margin'] > 0
    assert seen == [1, 1, 2, 2, 2]
    # One whose margin is out of reach is not, and one that is fooled does not teach, before T.
    for factor in (1e3, -1e3):
        seen, metrics = train(factor)
        assert seen == [1, 1, 1, 1, 2]
        assert metrics['teacher_margin'] * factor > 0


@pytest.mark.slow
def test_scores_are_those_of_the_same_images(plain_teacher):
    _, gan, state, step = build(plain_teacher)
    written = Written(gan, state, plain_teacher, stage=step_context.STAGE_SCORES)
    fake = written.generate(state.params_g)
    params_d = copy(state.params_d)
    _, metrics = step(state)
    real_by_teacher = written.judged_by_teacher(written.real).mean()
    fake_by_teacher = written.judged_by_teacher(fake).mean()
    np.testing.assert_allclose(metrics['teacher_real'], real_by_teacher, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics['teacher_fake'], fake_by_teacher, rtol=1e-4, atol=1e-6)
    margin = written.judge(params_d, written.real).mean() - written.judge(params_d, fake).mean()
    np.testing.assert_allclose(metrics['margin'], margin, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(('objective', 'checks'), [('dgl', 1), ('single_updated', 2)])
def test_each_unknown_discriminator_is_checked_once(monkeypatch, objective, checks):
    teacher = make_teacher(discriminator_norm='batch', scheme='two_stage')
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    check = mock.Mock(wraps=samplewise.check_samplewise)
    monkeypatch.setattr(samplewise, 'check_samplewise', check)
    build(teacher, scheme='two_stage', objective=objective)
    assert check.call_count == checks


@pytest.mark.slow
def test_single_fixed_trains_the_generator_alone(plain_teacher):
    _, gan, state, step = build(plain_teacher, objective='single_fixed')
    written = Written(gan, state, plain_teacher)
    start_g, start_d = copy(state.params_g), copy(state.params_d)
    new, metrics = step(state)
    loss = lambda params: written.guidance(written.generate(params))  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(start_g)
    assert same_move(new.params_g, descend(start_g, gradient), start_g)
    assert models.relative_error(new.params_d, start_d) == 0
    np.testing.assert_allclose(metrics['loss_g'], value, rtol=1e-5)


@pytest.mark.slow
def test_single_updated_trains_the_teachers_discriminator(plain_teacher):
    _, gan, state, step = build(plain_teacher, objective='single_updated')
    written = Written(gan, state, plain_teacher)
    start_g, start_d = copy(state.params_g), copy(state.params_d)
    theirs = plain_teacher.variables['discriminator']
    guide = dict(theirs)
    params = copy(guide.pop('params'))
    new, _ = step(state)

    def judge(params, images):
        discriminator = plain_teacher.gan.discriminator
        return discriminator.apply({'params': params}, images, written.labels, train=True)

    assert not guide  # this discriminator keeps no statistics
    fake = written.generate(start_g)
    loss_d = lambda p: gan.loss.discriminator(judge(p, written.real), judge(p, fake))  # noqa: E731
    loss_g = lambda p: gan.loss.generator(None, judge(params, written.generate(p)))  # noqa: E731
    expected_d = descend(params, jax.grad(loss_d)(params))
    assert same_move(new.guide['params'], expected_d, params)
    expected_g = descend(start_g, jax.grad(loss_g)(start_g))
    assert same_move(new.params_g, expected_g, start_g)
    assert models.relative_error(new.params_d, start_d) == 0


@pytest.mark.slow
def test_single_updated_looks_ahead_with_the_teachers_discriminator(plain_teacher):
    _, _, state, step = build(plain_teacher, objective='single_updated', lookahead=2)
    start = copy(state)
    one, _ = step(state)
    assert models.relative_error(one.guide['slow'], start.guide['params']) == 0
    assert models.relative_error(one.guide['params'], start.guide['params']) > 0
    fast = copy(one)
    two, _ = step(one, 1)
    assert models.relative_error(two.guide['slow'], two.guide['params']) == 0
    assert models.relative_error(two.slow['params_g'], two.params_g) == 0
    assert models.relative_error(two.guide['params'], fast.guide['params']) > 0
    # The student's own D takes no part.
    own = two.slow['params_d'], two.params_d
    assert models.relative_error(own, (start.params_d, start.params_d)) == 0


def test_single_updated_in_one_stage_needs_a_samplewise_teacher():
    mixing = make_teacher(method='dcgan', scheme='two_stage', discriminator_norm='batch')
    fields = {'objective': 'single_updated', 'discriminator_norm': 'group'}
    with pytest.raises(ValueError, match='treats samples one by one'):
        build(mixing, scheme='one_stage', channel_multiplier='1', **fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    'objective',
    ['gdgl', *(pytest.param(name, marks=pytest.mark.slow) for name in ('dgl', 'd_out'))],
)
def test_four_devices_equal_one(plain_teacher, objective):
    states_ = []
    for num_devices in (1, 4):
        _, _, state, step = build(
            plain_teacher, rate=0.02, objective=objective, num_devices=num_devices
        )
        for index in range(2):
            state, metrics = step(state, index)
        states_.append((state.params_g, state.params_d, dict(metrics)))
    assert models.relative_error(states_[1], states_[0]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('objective', ['gdgl', 'single_fixed', 'single_updated'])
def test_a_divided_state_takes_the_steps_of_a_whole_one(plain_teacher, objective, monkeypatch):
    monkeypatch.setattr(shards, 'LEAST_SIZE', 64)
    results = []
    for shard_state in (False, True):
        _, _, state, step = build(
            plain_teacher,
            rate=0.02,
            objective=objective,
            num_devices=4,
            shard_state=shard_state,
            ema_decay=0.9,
            lookahead=2,
            channel_multiplier='1',
        )
        for index in range(2):
            state, metrics = step(state, index)
        guide = getattr(state, 'guide', None)
        kept = (state.params_g, state.params_d, state.ema_g, state.slow, guide)
        results.append((kept, dict(metrics)))
    assert models.relative_error(results[1], results[0]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('objective', ['g_inter', 'd_inter', 'ggl'])
def test_four_devices_equal_one_for_features(objective):
    teacher = make_teacher(**STYLE, scheme='one_stage')
    states_ = []
    for num_devices in (1, 4):
        _, _, state, step = build(teacher, rate=0.02, objective=objective, num_devices=num_devices)
        for index in range(2):
            state, metrics = step(state, index)
        states_.append((state.params_g, state.params_d, state.adapters, dict(metrics)))
    assert models.relative_error(states_[1], states_[0]) < 1e-5


@pytest.mark.slow
def test_augmented_images_are_what_the_teacher_sees(plain_teacher):
    _, _, state, step = build(plain_teacher, augment=('translation', 'color'), weight=0.0)
    _, _, without, step_without = build(
        plain_teacher, augment=('translation', 'color'), objective='baseline'
    )
    # With a weight of nothing the teacher changes nothing, whatever it sees.
    new, metrics = step(state)
    other, _ = step_without(without)
    assert models.relative_error(new.params_g, other.params_g) < 1e-7
    assert np.isfinite(metrics['teacher_real'])


def test_methods_resolve_students(plain_teacher):
    config, gan, _, _ = build(plain_teacher)
    assert config.channel_multiplier == '1/2'
    assert gan.generator.width == 4
    assert config.width == plain_teacher.run.config.width == 8
    assert methods.get(config.method).title == 'DCGAN (asym)'


def test_objectives_without_a_teacher_have_no_terms(plain_teacher):
    config, *_ = build(plain_teacher, objective='d_out')
    terms = objectives.terms(config, plain_teacher, None)
    assert (terms.images, terms.generator) == (None, None)
    assert terms.discriminator is not None


@pytest.mark.slow
@pytest.mark.parametrize('objective', ['dgl', 'd_out', 'gdgl', 'single_updated', 'single_fixed'])
def test_the_teachers_term_is_in_every_d_step(plain_teacher, objective):
    fields = {'objective': objective, 'rate': 0.02}
    _, _, state, step = build(plain_teacher, d_steps=2, **fields)
    expected, (first, last) = copy(state), (small.batch(0), small.batch(1))
    new, _ = step(state)
    if objective != 'single_fixed':
        # D's half of a step of two_stage, under the key of the first step of D alone.
        key, of_d = expected.key, ('params_d', 'stats_d', 'opt_d', 'guide')
        alone = jax.random.fold_in(jax.random.fold_in(key, 0), 5)
        *_, alternate = build(plain_teacher, scheme='two_stage', **fields)
        after, _ = alternate(copy(expected).replace(key=alone), batch=first)
        expected = expected.replace(**{name: getattr(after, name) for name in of_d})
    *_, joint = build(plain_teacher, **fields)
    expected, _ = joint(expected, batch=last)
    for name in ('params_g', 'params_d', 'guide'):
        ours, theirs = getattr(new, name), getattr(expected, name)
        assert theirs is None or models.relative_error(ours, theirs) < 1e-5
