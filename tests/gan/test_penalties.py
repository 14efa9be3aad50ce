"""Steps with penalties, at once or lazily, against training written out by separate gradients."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from osgan_jax.core import collectives, losses
from osgan_jax.gan import contradictions, model, updates
from osgan_jax.runtime import parallel
from tests.support import models, small

RATE = 0.05
SGD = {'optimizer': 'sgd', 'learning_rate_g': RATE, 'learning_rate_d': RATE, 'beta1': 0.0}
SHAPE = (4, 4, 1)
OF_DISCRIMINATOR = ('r1', 'r2', 'gradient_penalty')
WEIGHTS = dict.fromkeys((*OF_DISCRIMINATOR, 'path_length', 'orthogonal'), 0.0)


class Painter(nn.Module):
    """A generator whose samples do not see each other."""

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        x = jnp.tanh(nn.Dense(8)(z))
        return jnp.tanh(nn.Dense(16)(x)).reshape(-1, *SHAPE)


class Judge(nn.Module):
    """A discriminator with a second derivative everywhere."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, labels=None, *, train):
        x = nn.softplus(nn.Dense(8)(images.reshape(images.shape[0], -1)))
        return nn.Dense(1)(x)[:, 0]


def make_gan(**fields):
    resolved = small.resolve(small.make_config(**{'method': 'dcgan', **SGD, **fields}))
    gan = model.build(resolved, num_classes=small.CLASSES, steps_per_epoch=5)
    return dataclasses.replace(
        gan, generator=Painter(), discriminator=Judge(), image_shape=SHAPE
    ), resolved


def make_batch(index):
    return {key: x[:, :4, :4] if key == 'image' else x for key, x in small.batch(index).items()}


def run(count, num_devices=1, **fields):
    """Yields the GAN and the first state, then `(state, metrics)` after each update."""
    gan, resolved = make_gan(**fields)
    devices = jax.local_devices()[:num_devices]
    state = model.create(gan, 0)
    update = updates.make_update(
        gan,
        resolved.scheme,
        state,
        collectives.collectives_over(devices),
        accumulate=resolved.accumulate,
    )
    compiled = parallel.compile_update(update, devices)
    yield gan, jax.tree.map(jnp.copy, state)
    state = parallel.replicate(state, devices)
    for index in range(count):
        state, metrics = compiled(state, parallel.put_batch(make_batch(index), devices))
        yield jax.device_get((state.replace(key=None), metrics))


class Descent:
    """Plain gradient descent."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, params, grads):
        return jax.tree.map(lambda p, g: p - self.rate * g, params, grads)

    penalise = __call__


class Adam:
    """Kingma and Ba's algorithm 1, by hand."""

    def __init__(self, rate, beta1, beta2, epsilon):
        self.rate, self.betas, self.epsilon = rate, (beta1, beta2), epsilon
        self.time, self.moments = 0, None

    def __call__(self, params, grads):
        return jax.tree.map(np.add, params, self.change(grads))

    penalise = __call__

    def change(self, grads):
        if self.moments is None:
            self.moments = [jax.tree.map(np.zeros_like, grads) for _ in range(2)]
        self.time += 1
        for order, beta in enumerate(self.betas):
            self.moments[order] = jax.tree.map(
                lambda m, g, b=beta, o=order: b * m + (1 - b) * np.asarray(g) ** (o + 1),
                self.moments[order],
                grads,
            )
        first, second = (
            jax.tree.map(lambda m, b=beta: m / (1 - b**self.time), moment)
            for beta, moment in zip(self.betas, self.moments, strict=True)
        )
        return jax.tree.map(
            lambda m, v: -self.rate * m / (np.sqrt(v) + self.epsilon), first, second
        )


class OptimisticAdam(Adam):
    """Daskalakis et al. 2018, Algorithm 1, by hand; a lazy penalty's step is Adam's."""

    before = None

    def __call__(self, params, grads):
        change = self.change(grads)
        before, self.before = self.before or change, change
        return jax.tree.map(lambda p, c, b: p + 2 * c - b, params, change, before)


def generate(params, z):
    return Painter().apply({'params': params}, z, train=True)


def judge(params, images):
    return Judge().apply({'params': params}, images, train=True)


def loss_d(params_d, params_g, images, z):
    fake = generate(params_g, z)
    return losses.get('non_saturating').discriminator(
        judge(params_d, images), judge(params_d, fake)
    )


def loss_g(params_g, params_d, images, z, weights):
    """With BigGAN's orthogonal regularisation, Eq. 3."""
    loss = losses.get('non_saturating').generator(
        judge(params_d, images), judge(params_d, generate(params_g, z))
    )
    for layer in params_g.values():
        products = layer['kernel'].T @ layer['kernel']
        different = products * (1 - jnp.eye(len(products)))
        loss += weights['orthogonal'] * jnp.sum(different**2)
    return loss


def of_gradients(params_d, params_g, images, z, key, weights):
    """R1, R2 and WGAN-GP's penalty, of gradients taken image by image."""
    fake = generate(params_g, z)
    share = jax.random.uniform(jax.random.fold_in(key, 0), (len(images),))[:, None, None, None]

    def squares(images):
        one = jax.grad(lambda image: judge(params_d, image[None])[0])
        return jnp.sum(jax.vmap(one)(images) ** 2, (1, 2, 3))

    norm = jnp.sqrt(squares(share * images + (1 - share) * fake))
    return (
        weights['r1'] / 2 * jnp.mean(squares(images))
        + weights['r2'] / 2 * jnp.mean(squares(fake))
        + weights['gradient_penalty'] * jnp.mean((norm - 1) ** 2)
    )


def of_paths(params_g, z, key, mean, weights):
    """The path length penalty in z, and the new running mean."""
    y = jax.random.normal(jax.random.fold_in(key, 0), (len(z), *SHAPE)) / SHAPE[0]

    def moved(z, y):
        return jnp.sum(generate(params_g, z[None])[0] * y)

    lengths = jnp.linalg.norm(jax.vmap(jax.grad(moved))(z, y), axis=1)
    mean = 0.99 * mean + 0.01 * jnp.mean(lengths)
    return weights['path_length'] * jnp.mean((lengths - mean) ** 2), mean


# Compiled once for all tests.
GRADIENTS = {
    function: jax.jit(jax.value_and_grad(function, has_aux=function is of_paths))
    for function in (loss_d, loss_g, of_gradients, of_paths)
}


class Reference:
    """The training of `run`, every gradient taken by itself and each optimiser step by hand."""

    def __init__(self, state, scheme, weights, every_d, every_g, descend_d, descend_g, devices=1):
        self.scheme, self.weights, self.devices = scheme, {**WEIGHTS, **weights}, devices
        self.params_g, self.params_d = state.params_g, state.params_d
        self.key, self.step = state.key, 0
        self.every_d, self.every_g = every_d, every_g
        self.descend_d, self.descend_g = descend_d, descend_g
        self.penalty_d = self.penalty_g = self.path_length = 0.0

    def stage(self, number):
        return jax.random.fold_in(jax.random.fold_in(self.key, self.step), number)

    def latents(self, number):
        return jax.random.normal(self.stage(number), (small.BATCH, 6))

    def penalise_d(self, images, z):
        self.penalty_d, grads = GRADIENTS[of_gradients](
            self.params_d, self.params_g, images, z, self.stage(2), self.weights
        )
        return grads

    def penalise_g(self, z):
        # Half of every device's part of the batch.
        rows = np.arange(len(z)).reshape(self.devices, -1)
        z = z[rows[:, ::2][:, : rows.shape[1] // 2].ravel()]
        (self.penalty_g, self.path_length), grads = GRADIENTS[of_paths](
            self.params_g, z, self.stage(3), self.path_length, self.weights
        )
        return grads

    def descend(self, which, grads, every, penalise, *arguments):
        """One step with the penalty's gradient added, or two steps, where it is due."""
        name, optimiser = f'params_{which}', getattr(self, f'descend_{which}')
        due = every and self.step % every == 0
        if due and every == 1:
            grads = jax.tree.map(jnp.add, grads, penalise(*arguments))
        setattr(self, name, optimiser(getattr(self, name), grads))
        if due and every > 1:
            extra = jax.tree.map(lambda g: every * g, penalise(*arguments))
            setattr(self, name, optimiser.penalise(getattr(self, name), extra))

    def update(self, images):
        z = self.latents(0)
        _, grads_d = GRADIENTS[loss_d](self.params_d, self.params_g, images, z)
        params_d = self.params_d
        self.descend('d', grads_d, self.every_d, self.penalise_d, images, z)
        if self.scheme == 'two_stage':
            # The new D and a fresh z.
            params_d, z = self.params_d, self.latents(1)
        _, grads_g = GRADIENTS[loss_g](self.params_g, params_d, images, z, self.weights)
        self.descend('g', grads_g, self.every_g, self.penalise_g, z)
        self.step += 1


def check(count, num_devices=1, optimiser=None, tolerance=1e-5, **fields):
    """Trains and compares with the reference after every step; returns the metrics of all steps."""
    weights = {name: fields[name] for name in WEIGHTS if name in fields}
    steps = run(count, num_devices, **fields)
    gan, state = next(steps)
    every_d = fields.get('penalty_every', 1) if set(weights) & set(OF_DISCRIMINATOR) else 0
    every_g = fields.get('path_length_every', 1) if 'path_length' in weights else 0
    make = optimiser or (lambda share: Descent(RATE * share))
    slowed = [every / (every + 1) if every > 1 else 1.0 for every in (every_d, every_g)]
    scheme = fields.get('scheme', 'one_stage')
    reference = Reference(
        state, scheme, weights, every_d, every_g, *map(make, slowed), devices=num_devices
    )
    reported = []
    for index, (state, metrics) in enumerate(steps):
        reference.update(make_batch(index)['image'])
        assert models.relative_error(state.params_d, reference.params_d) < tolerance
        assert models.relative_error(state.params_g, reference.params_g) < tolerance
        for name in gan.penalties.names:
            assert float(metrics[name]) > 1e-3
            np.testing.assert_allclose(metrics[name], getattr(reference, name), rtol=1e-3)
        assert {'penalty_d', 'penalty_g', 'path_length'} & set(metrics) == set(gan.penalties.names)
        reported.append(metrics)
    return reported


@pytest.mark.parametrize(
    ('scheme', 'weights'),
    [
        ('one_stage', {'r1': 2.0, 'path_length': 3.0}),
        ('two_stage', {'r2': 2.0, 'orthogonal': 0.2}),
        ('shared_forward', {'gradient_penalty': 3.0, 'path_length': 3.0, 'orthogonal': 0.2}),
    ],
)
def test_penalties_of_every_step_join_the_objective(scheme, weights):
    check(2, scheme=scheme, **weights)


@pytest.mark.parametrize('scheme', [pytest.param('one_stage', marks=pytest.mark.slow), 'two_stage'])
def test_lazy_penalties_are_steps_of_their_own(scheme):
    fields = {'r1': 2.0, 'penalty_every': 2, 'path_length': 3.0, 'path_length_every': 3}
    metrics = check(5, scheme=scheme, **fields)
    values = [float(m['penalty_d']) for m in metrics]
    assert values[0] == values[1] != values[2] == values[3] != values[4]
    values = [float(m['path_length']) for m in metrics]
    assert values[0] == values[1] == values[2] != values[3] == values[4]


@pytest.mark.parametrize(('name', 'by_hand'), [('adam', Adam), ('optimistic_adam', OptimisticAdam)])
def test_lazy_penalties_under_adam_slowed_as_stylegan2_does(name, by_hand):
    # Adam's first step is the rate times a sign, whatever the gradient: of several steps the
    # decays show.
    def optimiser(share):
        return by_hand(RATE * share, 0.5**share, 0.9**share, 1e-8)

    fields = {'optimizer': name, 'beta1': 0.5, 'beta2': 0.9, 'r1': 2.0, 'path_length': 3.0}
    check(3, optimiser=optimiser, tolerance=1e-4, penalty_every=2, path_length_every=2, **fields)


def test_optimiser_without_a_lazy_penalty_is_not_slowed(monkeypatch):
    # Nobody may ask for them, but a student has those of its teacher.
    monkeypatch.setattr(contradictions, 'check_effects', lambda *configs: None)

    def optimiser(share):
        assert share == 1.0
        return Adam(RATE, 0.5, 0.9, 1e-3)

    fields = {'optimizer': 'adam', 'beta1': 0.5, 'beta2': 0.9, 'adam_epsilon': 1e-3}
    # Steps between penalties that there are none of.
    check(2, optimiser=optimiser, penalty_every=16, path_length_every=4, **fields)


def test_rates_fall_by_epochs_whatever_the_steps_for_penalties():
    resolved = small.resolve(
        small.make_config(**{**SGD, 'r1': 1.0, 'penalty_every': 2, 'decay_epochs': (2,)})
    )
    gan = model.build(resolved, num_classes=0, steps_per_epoch=4)
    optimiser = gan.optimizer_d
    params = {'w': jnp.zeros(())}
    opt_state = optimiser.init(params)
    taken = []
    for step in range(12):
        for _ in range(2 if step % 2 == 0 else 1):
            change, opt_state = optimiser.update(
                {'w': jnp.ones(())}, opt_state, params, step=jnp.int32(step)
            )
        taken.append(float(change['w']))
    rate = RATE * 2 / 3
    np.testing.assert_allclose(taken, [-rate] * 8 + [-rate / 2] * 4, rtol=1e-6)


def test_four_devices_equal_the_same_reference():
    check(3, num_devices=4, r1=2.0, r2=1.0, gradient_penalty=1.0, penalty_every=2)


def test_path_lengths_of_four_devices_have_one_mean():
    check(2, num_devices=4, path_length=3.0)


@pytest.mark.parametrize('num_devices', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_accumulated_penalties_are_those_of_the_whole_batch(num_devices):
    check(3, num_devices, accumulate=2, r1=2.0, r2=1.0, penalty_every=2)


@pytest.mark.slow
def test_r1_of_dcgan_on_four_devices():
    fields = {'method': 'dcgan', 'r1': 1.0, **SGD}
    one, metrics = small.run_steps(2, **fields)
    four, metrics_four = small.run_steps(2, 4, **fields)
    trained = lambda s: (s.params_g, s.params_d, s.stats_g)  # noqa: E731
    assert models.relative_error(trained(four), trained(one)) < 1e-5
    chex.assert_trees_all_close(metrics_four, metrics, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_accumulated_path_lengths_are_of_half_of_each_part():
    state, metrics = list(run(2, path_length=3.0, accumulate=4))[-1]
    chex.assert_tree_all_finite((state.params_g, metrics))
    assert float(metrics['path_length']) > 1e-3


def test_r2_of_every_step_needs_samples_apart_in_one_stage_whatever_the_loss():
    fields = {'method': 'dcgan_sym', 'discriminator_norm': 'batch', **SGD}
    small.build(**fields, r2=1.0, penalty_every=2)
    small.build(**fields, r2=1.0, scheme='shared_forward')
    with pytest.raises(ValueError, match=r'mixes the batch.*shared_forward.*without R2'):
        small.build(**fields, r2=1.0)


def test_r1_is_of_images_before_augmentation():
    first, (_, metrics) = run(1, r1=2.0, augment=('cutout',))
    reference = Reference(first[1], 'one_stage', {'r1': 2.0}, 1, 0, Descent(RATE), Descent(RATE))
    reference.update(make_batch(0)['image'])
    # What is cut out moves no logit.
    assert 1e-3 < float(metrics['penalty_d']) < float(reference.penalty_d)


def test_average_is_the_generator_itself_until_its_start():
    steps = run(4, ema_decay=0.75, ema_start=2)
    next(steps)
    expected = None
    for index, (state, _) in enumerate(steps):
        now = {'params': state.params_g}
        if index < 2:
            expected = now
            chex.assert_trees_all_equal(state.ema_g, now)
        else:
            expected = jax.tree.map(lambda e, n: 0.75 * e + 0.25 * n, expected, now)
            assert models.relative_error(now, expected) > 1e-4
            chex.assert_trees_all_close(state.ema_g, expected, rtol=1e-5, atol=1e-7)
