"""Every algorithm's round against the same round written out with separate gradients."""

import copy

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from osgan_jax.core import classifier_inputs
from osgan_jax.core.collectives import ONE_DEVICE, collectives_over
from osgan_jax.distillation import learners, objectives, rounds
from osgan_jax.runtime import parallel
from tests.support import tiny
from tests.support.marks import slow_but

MEASURES = {'l1': objectives.l1, 'kl': objectives.kl, 'mean_kl': objectives.mean_kl}


def make(config, num_devices=1):
    devices = jax.local_devices()[:num_devices]
    collectives = collectives_over(devices)
    student, generator, teacher, variables = tiny.make_learners(config, collectives.axis_name)
    # Started on one device's terms: initialisation knows no axis.
    alone = tiny.make_learners(config)[:2]
    state = learners.create(config, *alone)
    update = rounds.make_round(config, student, generator, teacher, collectives)
    compiled = parallel.compile_update(update, devices, num_constants=1)
    constants = parallel.replicate(variables, devices)

    def call(state, batch):
        return compiled(state, parallel.put_batch(batch, devices), constants)

    return call, parallel.replicate(state, devices), (student, generator, teacher, variables)


class ByHand:
    """The same networks, every gradient taken for itself."""

    def __init__(self, config, parts, state):
        self.config = config
        self.student, self.generator, self.teacher, self.variables = parts
        # Copies: the round donates its state.
        self.s, self.g = jax.tree.map(jnp.copy, (state.student, state.generator))
        self.key, self.step = jax.random.clone(state.key), 0

    def z(self, index):
        key = jax.random.fold_in(jax.random.fold_in(self.key, self.step), index)
        return jax.random.normal(key, (tiny.BATCH, self.config.latent_dim))

    def images(self, params, z):
        images, mutated = self.generator.module.apply(
            {'params': params, **self.g.stats}, z, train=True, mutable=['batch_stats']
        )
        return images, mutated

    def losses(self, params, images):
        """Student's loss, disagreement, new statistics."""
        outputs, stats = self.student.module.apply(
            {'params': params, **self.s.stats}, images, train=True, mutable=['batch_stats']
        )
        targets = self.teacher.apply(self.variables, images, train=False)
        disagreement = jnp.mean(MEASURES[self.config.disagreement](targets.logits, outputs.logits))
        own = disagreement
        if self.config.attention:
            transfer = objectives.attention(targets.activations, outputs.activations)
            own += self.config.attention * jnp.mean(transfer)
        return own, disagreement, stats

    def student_gradient(self, images):
        return jax.grad(lambda p: self.losses(p, images)[0])(self.s.params)

    def generator_gradient(self, z):
        def loss(params):
            images, _ = self.images(params, z)
            return -self.losses(self.s.params, images)[1]

        return jax.grad(loss)(self.g.params)

    def apply(self, learner, state, gradient, stats):
        updates, opt = learner.optimizer.update(gradient, state.opt, state.params)
        return learners.LearnerState(optax.apply_updates(state.params, updates), stats, opt)

    def step_student(self, images):
        stats = self.losses(self.s.params, images)[2]
        self.s = self.apply(self.student, self.s, self.student_gradient(images), stats)

    def step_generator(self, z):
        images, stats_g = self.images(self.g.params, z)
        stats_s = self.losses(self.s.params, images)[2]
        gradient = self.generator_gradient(z)
        self.g = self.apply(self.generator, self.g, gradient, stats_g)
        self.s = self.s.replace(stats=stats_s)


def compiled(hand, by_hand):
    """`(student, generator, step) -> (student, generator)`: a round by hand, as one program."""

    @jax.jit
    def call(student, generator, step):
        own = copy.copy(hand)
        own.s, own.g, own.step = student, generator, step
        by_hand(own)
        return own.s, own.g

    return call


def one_stage(hand):
    z = hand.z(0)
    images, stats_g = hand.images(hand.g.params, z)
    gradient_s, gradient_g = hand.student_gradient(images), hand.generator_gradient(z)
    stats_s = hand.losses(hand.s.params, images)[2]
    hand.s = hand.apply(hand.student, hand.s, gradient_s, stats_s)
    hand.g = hand.apply(hand.generator, hand.g, gradient_g, stats_g)


def dfad(hand):
    for index in range(hand.config.student_steps):
        images, stats_g = hand.images(hand.g.params, hand.z(index))
        hand.g = hand.g.replace(stats=stats_g)
        hand.step_student(images)
    hand.step_generator(hand.z(hand.config.student_steps))


def zskt(hand):
    z = hand.z(0)
    hand.step_generator(z)
    images, stats_g = hand.images(hand.g.params, z)
    hand.g = hand.g.replace(stats=stats_g)
    for _ in range(hand.config.student_steps):
        hand.step_student(images)


@pytest.mark.parametrize(
    ('by_hand', 'fields'),
    [
        (one_stage, {'algorithm': 'one_stage'}),
        (one_stage, {'algorithm': 'one_stage', 'disagreement': 'kl'}),
        (dfad, {'algorithm': 'dfad', 'student_steps': 3}),
        (zskt, {'algorithm': 'zskt', 'student_steps': 3, 'optimizer': 'sgd'}),
    ],
    ids=['one_stage', 'one_stage_kl', 'dfad', 'zskt'],
)
def test_rounds_equal_separate_gradients(by_hand, fields):
    config = tiny.resolve(**fields)
    call, state, parts = make(config)
    hand = ByHand(config, parts, state)
    once = compiled(hand, by_hand)
    student, generator = hand.s, hand.g
    before = jax.tree.map(np.array, parts[3])
    for step in range(2):
        state, metrics = call(state, tiny.batch(config.algorithm))
        student, generator = once(student, generator, step)
    chex.assert_trees_all_close(state.student, student, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(state.generator, generator, rtol=1e-5, atol=1e-5)
    # The teacher is read and nothing else.
    chex.assert_trees_all_equal(before, jax.device_get(parts[3]))
    assert set(metrics) == {'loss_student', 'loss_generator', 'agreement'}
    assert 0 <= metrics['agreement'] <= 1


def test_one_stage_gradients_equal_separate_ones():
    # Through optimisers that change nothing: the gradients themselves.
    config = tiny.resolve(algorithm='one_stage', weight_decay=0.0, momentum=0.0, learning_rate=1.0)
    call, state, parts = make(config)
    hand = ByHand(config, parts, state)
    before = jax.device_get(state.student.params)
    z = hand.z(0)
    images, _ = jax.jit(hand.images)(hand.g.params, z)
    after, metrics = call(state, tiny.batch('one_stage'))
    gradient = jax.tree.map(lambda a, b: a - b, before, jax.device_get(after.student.params))
    expected = jax.jit(hand.student_gradient)(images)
    chex.assert_trees_all_close(gradient, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(metrics['loss_generator'], -metrics['loss_student'], rtol=1e-6)


def test_kd_learns_from_augmented_images_and_labels():
    config = tiny.resolve(algorithm='kd', flip=True, crop=1)
    call, state, (student, _, teacher, variables) = make(config)
    before, key = jax.tree.map(jnp.copy, state.student), jax.random.clone(state.key)
    batch = tiny.batch('kd')
    state, metrics = call(state, batch)
    images = classifier_inputs.shift_and_flip(
        jax.random.fold_in(key, 0), batch['image'], reach=1, flip=True
    )
    images = classifier_inputs.standardise(images, config.mean, config.std)

    def loss(params):
        targets = teacher.apply(variables, images, train=False).logits
        outputs, stats = student.module.apply(
            {'params': params, **before.stats}, images, train=True, mutable=['batch_stats']
        )
        each = objectives.hinton(
            targets, outputs.logits, batch['label'], temperature=4.0, hard_weight=0.1
        )
        return each.mean(), stats

    (value, stats), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(before.params)
    updates, _ = student.optimizer.update(gradient, before.opt, before.params)
    expected = optax.apply_updates(before.params, updates)
    chex.assert_trees_all_close(state.student.params, expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(state.student.stats, stats, rtol=1e-5)
    np.testing.assert_allclose(metrics['loss_student'], value, rtol=1e-5)


@pytest.mark.parametrize('algorithm', slow_but(['one_stage', 'dfad', 'zskt', 'kd'], 'one_stage'))
def test_several_devices_make_the_same_round(algorithm):
    fields = {'student_steps': 2} if algorithm in ('dfad', 'zskt') else {}
    config = tiny.resolve(algorithm=algorithm, optimizer='sgd', **fields)
    results = []
    for num_devices in (1, 4):
        call, state, _ = make(config, num_devices)
        for _ in range(2):
            state, metrics = call(state, tiny.batch(algorithm))
        results.append(jax.device_get((state.student, state.generator, metrics)))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)


def test_a_supervised_step_is_softmax_regression_on_its_features():
    config = tiny.configs.resolve_teacher(
        tiny.configs.TeacherConfig(batch_size=tiny.BATCH, num_steps=10, crop=0, weight_decay=0.0),
        image_size=tiny.SIZE,
        channels=1,
        num_examples=40,
        statistics=lambda: ((0.5,), (0.25,)),
    )
    student = learners.Learner(tiny.Tiny(), optax.sgd(0.1))
    state = learners.create(config, student, None)
    batch = tiny.batch('kd')
    images = classifier_inputs.standardise(batch['image'], config.mean, config.std)
    outputs, _ = jax.jit(
        lambda variables: student.module.apply(
            variables, images, train=True, mutable=['batch_stats']
        )
    )(state.student.variables)
    update = rounds.make_supervised(config, student, ONE_DEVICE)
    after, metrics = jax.jit(update)(state, batch)
    # d loss / d bias of a softmax: probabilities minus labels, averaged.
    residual = jax.nn.softmax(outputs.logits) - jax.nn.one_hot(batch['label'], tiny.CLASSES)
    moved = state.student.params['Dense_0']['bias'] - after.student.params['Dense_0']['bias']
    np.testing.assert_allclose(moved, 0.1 * residual.mean(0), rtol=1e-4, atol=1e-7)
    right = (outputs.logits.argmax(-1) == batch['label']).mean()
    np.testing.assert_allclose(metrics['accuracy'], right)


def test_steps_per_call_changes_nothing():
    config = tiny.resolve(algorithm='one_stage')
    call, state, (student, generator, teacher, variables) = make(config)
    for _ in range(3):
        state, _ = call(state, tiny.batch('one_stage'))
    update = rounds.make_round(config, student, generator, teacher)
    devices = jax.local_devices()[:1]
    compiled = parallel.compile_update(update, devices, steps_per_call=3, num_constants=1)
    fresh = learners.create(config, student, generator)
    batches = parallel.put_batch([tiny.batch('one_stage')] * 3, devices)
    together, metrics = compiled(fresh, batches, variables)
    assert metrics['loss_student'].shape == (3,)
    chex.assert_trees_all_close(together.student, state.student, rtol=1e-5, atol=1e-6)
