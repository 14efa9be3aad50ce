"""Several D steps a G step: against slow references, in every scheme, and what counts them."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core import collectives
from osgan_jax.engine import adoption, checkpoints, nonfinite
from osgan_jax.gan import config, methods, model, summary, trainer, updates
from osgan_jax.runtime import parallel
from tests.support import dense, models, small
from tests.support.marks import slow_but

BATCH, COUNT, LATENT = 8, 3, 4
RATE = 0.1
SGD = {'optimizer': 'sgd', 'beta1': 0.0, 'learning_rate_g': RATE, 'learning_rate_d': RATE}


def build(scheme='one_stage', d_steps=COUNT, num_devices=1, **fields):
    """Returns a GAN of dense networks, a state, the update, and its devices."""
    fields = {'method': 'lsgan', **SGD, **fields}
    resolved = methods.resolve(
        config.TrainConfig(
            batch_size=BATCH,
            num_steps=1,
            latent_dim=LATENT,
            conditional=True,
            width=2,
            d_steps=d_steps,
            scheme='two_stage' if scheme == 'two_stage_eager' else scheme,
            **fields,
        ),
        image_size=16,
        channels=1,
        num_classes=dense.CLASSES,
        num_examples=BATCH,
    )
    devices = jax.local_devices()[:num_devices]
    over = collectives.collectives_over(devices)
    gan = model.build(resolved, num_classes=dense.CLASSES, steps_per_epoch=5)
    gan = dataclasses.replace(gan, **dense.MODULES)
    state = model.create(gan, 0)
    update = updates.make_update(gan, scheme, state, over, accumulate=resolved.accumulate)
    return gan, state, update, devices


def make_batches(count=COUNT, start=0):
    """The batches of a step, as the loop hands them to the devices."""
    found = []
    for index in range(start, start + count):
        rng = np.random.default_rng(index)
        images = rng.uniform(-1, 1, (BATCH, *dense.SHAPE)).astype(np.float32)
        labels = (np.arange(BATCH) + index) % dense.CLASSES
        found.append({'image': images, 'label': labels.astype(np.int32)})
    return found if count > 1 else found[0]


def run(update, state, devices, *batches):
    compiled = parallel.compile_update(update, devices)
    state = parallel.replicate(jax.tree.map(jnp.copy, state), devices)
    for batch in batches:
        state, metrics = compiled(state, parallel.put_batch(batch, devices))
    return jax.device_get(state.replace(key=0)), jax.device_get(metrics)


WEIGHTS = {'r1': 0.4, 'gradient_penalty': 0.3}


def reference(gan, state, batches, scheme):
    """The step written out, every gradient by `jax.grad`: D alone on all batches but the last."""
    step_key = jax.random.fold_in(state.key, 0)

    def key(stage, alone):
        # Stage 5 has the keys of the steps of D alone.
        own = step_key
        if alone is not None:
            own = jax.random.fold_in(jax.random.fold_in(step_key, 5), alone)
        return jax.random.fold_in(own, stage)

    def generate(params, batch, stage, alone=None):
        z = jax.random.normal(key(stage, alone), (BATCH, LATENT))
        noise = {'style': jax.random.fold_in(key(stage, alone), 1)}
        return gan.generator.apply({'params': params}, z, batch['label'], train=True, rngs=noise)

    def judge(params, images, batch):
        return gan.discriminator.apply({'params': params}, images, batch['label'], train=True)

    def squares(params, images, batch):
        at = jax.grad(lambda images: jnp.sum(judge(params, images, batch)))(images)
        return jnp.sum(jnp.square(at), axis=(1, 2, 3))

    def loss_d(params, fake, batch, alone):
        real = batch['image']
        loss = gan.loss.discriminator(judge(params, real, batch), judge(params, fake, batch))
        share = jax.random.uniform(jax.random.fold_in(key(2, alone), 0), (BATCH,))
        share = share[:, None, None, None]
        slope = jnp.sqrt(squares(params, share * real + (1 - share) * fake, batch))
        loss += WEIGHTS['gradient_penalty'] * jnp.mean((slope - 1) ** 2)
        return loss + WEIGHTS['r1'] / 2 * jnp.mean(squares(params, real, batch))

    def loss_g(params, params_d, batch, stage):
        fake = generate(params, batch, stage)
        return gan.loss.generator(
            judge(params_d, batch['image'], batch), judge(params_d, fake, batch)
        )

    descend = lambda p, g: jax.tree.map(lambda a, b: a - RATE * b, p, g)  # noqa: E731
    params_g, params_d = state.params_g, state.params_d
    *before, last = batches
    for index, batch in enumerate(before):
        fake = generate(params_g, batch, 0, index)
        params_d = descend(params_d, jax.grad(loss_d)(params_d, fake, batch, index))
    new_d = jax.grad(loss_d)(params_d, generate(params_g, last, 0), last, None)
    new_d = descend(params_d, new_d)
    if scheme.startswith('two_stage'):
        return descend(params_g, jax.grad(loss_g)(params_g, new_d, last, 1)), new_d
    return descend(params_g, jax.grad(loss_g)(params_g, params_d, last, 0)), new_d


@pytest.mark.parametrize('scheme', slow_but(updates.STEPS, 'one_stage'))
def test_a_step_equals_separate_gradients(scheme):
    gan, state, update, devices = build(scheme, **WEIGHTS)
    batches = make_batches()
    expected = jax.jit(lambda s, b: reference(gan, s, b, scheme))(state, batches)
    traced_once = chex.assert_max_traces(nonfinite.skipping(update), n=1)
    compiled = parallel.compile_update(traced_once, devices)
    new, metrics = compiled(jax.tree.map(jnp.copy, state), parallel.put_batch(batches, devices))
    assert models.relative_error(new.params_g, expected[0]) < 1e-5
    assert models.relative_error(new.params_d, expected[1]) < 1e-5
    assert (int(new.step), int(metrics['skipped'])) == (1, 0)
    # One bad batch of D's alone, and the whole step is left out.
    batches[0]['image'] = np.full_like(batches[0]['image'], np.nan)
    before = jax.device_get((new.params_g, new.params_d))
    new, metrics = compiled(new, parallel.put_batch(batches, devices))
    chex.assert_trees_all_equal(jax.device_get((new.params_g, new.params_d)), before)
    assert (int(new.step), int(metrics['skipped'])) == (2, 1)
    chex.clear_trace_counter()
    with pytest.raises(ValueError, match=r'expected the batches of 3 D steps, .* has 8'):
        jax.eval_shape(update, state, make_batches(1))


KINDS = {
    'optimistic adam, fisher': {
        'method': 'fishergan',
        'loss_options': ('rho=0.1',),
        'optimizer': 'optimistic_adam',
        'learning_rate_d': 1e-2,
        'weight_clip': 0.3,
    },
    'lazy penalties': {'optimizer': 'adam', 'r1': 3.0, 'penalty_every': 2},
    'augmented': {'augment': ('color', 'translation'), 'ema_decay': 0.5},
}


@pytest.mark.parametrize('name', slow_but(KINDS, 'optimistic adam, fisher'))
@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'two_stage'))
def test_d_alone_makes_two_stages_first_half(name, scheme):
    """The optimiser, the objective's state, the clip and penalties are those of a step of D."""
    _, state, update, devices = build(scheme, **KINDS[name])
    batches = make_batches()
    new, _ = run(update, state, devices, batches)
    # Steps of two_stage, whose new G is thrown away, under the keys of steps of D alone.
    _, _, alternate, _ = build('two_stage', d_steps=1, **KINDS[name])
    key, expected = state.key, state
    alone = jax.random.fold_in(jax.random.fold_in(key, 0), 5)
    for index, batch in enumerate(batches[:-1]):
        before = expected.replace(key=alone, step=jnp.asarray(index))
        after, _ = jax.jit(alternate)(before, batch)
        of_d = ('params_d', 'stats_d', 'opt_d', 'loss_state', 'penalties')
        expected = expected.replace(**{name: getattr(after, name) for name in of_d})
    if name == 'lazy penalties':
        # This step's own number is even, but D has made two: the third has a penalty.
        assert int(expected.opt_d[0].count) == 3
        assert int(new.opt_d[0].count) == 5
    _, _, joint, _ = build(scheme, d_steps=1, **KINDS[name])
    expected, _ = jax.jit(joint)(expected, batches[-1])
    for name in ('params_g', 'params_d', 'opt_d', 'loss_state', 'penalties', 'ema_g'):
        found = [x for x in jax.tree.leaves(getattr(new, name)) if x.dtype == np.float32]
        wanted = [x for x in jax.tree.leaves(getattr(expected, name)) if x.dtype == np.float32]
        assert not wanted or models.relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'two_stage'))
def test_two_devices_and_parts_equal_one(scheme):
    fields = {'scheme': scheme, 'r1': 0.4, 'augment': ('translation',)}
    found = []
    for others in ({}, {'num_devices': 2, 'accumulate': 2}):
        _, state, update, devices = build(**fields, **others)
        found.append(run(update, state, devices, make_batches(), make_batches(start=COUNT)))
    (one, metrics), (two, metrics_of_two) = found
    trained = lambda state: (state.params_g, state.params_d)  # noqa: E731
    assert models.relative_error(trained(two), trained(one)) < 1e-5
    chex.assert_trees_all_close(metrics_of_two, metrics, rtol=1e-4, atol=1e-6)


# --- what a step is counted as ----------------------------------------------------------------


def test_the_length_the_average_and_the_rates_follow_images():
    fields = {'method': 'lsgan', 'decay_epochs': (1, 2), 'decay_factor': 0.1, **SGD}
    found = small.resolve(small.make_config(num_steps=None, d_steps=2, **fields))
    # 30 epochs of 5 batches are 75 steps; small datasets have at least 2,000.
    assert (found.num_steps, found.images_per_step) == (2000, 2 * small.BATCH)
    large = {'image_size': 64, 'channels': 3, 'num_classes': 0, 'num_examples': 50_000}
    for d_steps in (1, 4):
        asked = config.TrainConfig(method='stylegan2', d_steps=d_steps, width=8)
        cifar = methods.resolve(asked, dataset='cifar10', **{**large, 'image_size': 32})
        assert cifar.num_steps == 100_000_000 // (64 * d_steps)
        half_life = np.log(0.5) / np.log(cifar.ema_decay) * cifar.images_per_step
        np.testing.assert_allclose(half_life, 500_000, rtol=1e-3)
    other = methods.resolve(config.TrainConfig(d_steps=3, batch_size=100), **large)
    assert other.num_steps == 30 * 500 / 3
    # 2.5 steps an epoch: rates fall before the fourth step and the sixth.
    gan = model.build(found, num_classes=0, steps_per_epoch=2.5)
    params = {'w': jnp.zeros(())}
    for optimizer, updates_a_step in ((gan.optimizer_g, 1), (gan.optimizer_d, 2)):
        state, taken = optimizer.init(params), []
        for count in range(6 * updates_a_step):
            step = jnp.int32(count // updates_a_step)
            change, state = optimizer.update({'w': jnp.ones(())}, state, params, step=step)
            taken.append(float(change['w']) / -RATE)
        by_step = np.repeat([1.0] * 3 + [0.1] * 2 + [0.01], updates_a_step)
        np.testing.assert_allclose(taken, by_step, rtol=1e-6)


def traced(function, *args):
    """FLOPs as the compiler counts them, a loop's body once, before it optimises."""
    return jax.jit(function).lower(*args).cost_analysis()['flops']


def count(gan, scheme, batch):
    """FLOPs of a step, and the state's shapes."""
    state, device = jax.eval_shape(lambda: model.create(gan, 0)), jax.local_devices()[:1]
    update = updates.make_update(gan, scheme, state)
    several = jax.tree.map(lambda x: np.stack([x] * gan.d_steps), batch)
    counted = traced(update, state, several if gan.d_steps > 1 else batch)
    # One part of several is not told.
    assert updates.count_flops(gan, counted, state, batch, device, accumulate=2) is None
    return updates.count_flops(gan, counted, state, batch, device), state


def test_all_steps_of_d_alone_are_counted():
    gan, *_ = build()
    one, two, five = (
        count(dataclasses.replace(gan, d_steps=d_steps), 'one_stage', make_batches(1))[0]
        for d_steps in (1, 2, 5)
    )
    np.testing.assert_allclose(five - one, 4 * (two - one), rtol=0.02)


@pytest.mark.slow
def test_two_stage_over_one_stage_is_near_its_formula():
    found = {}
    for scheme in ('one_stage', 'two_stage'):
        for d_steps in (1, 5):
            # One optimiser: by default schemes have different ones.
            fields = {'d_steps': d_steps, 'width': 8, 'optimizer': 'adam'}
            resolved = small.resolve(small.make_config(scheme=scheme, **fields))
            gan = model.build(resolved, num_classes=0, steps_per_epoch=5)
            found[scheme, d_steps], state = count(gan, scheme, small.batch())
    # The same steps of D alone in both schemes.
    alone = found['one_stage', 5] - found['one_stage', 1]
    np.testing.assert_allclose(found['two_stage', 5] - found['two_stage', 1], alone, rtol=1e-6)
    z, images = jnp.zeros((small.BATCH, gan.latent_dim)), small.batch()['image']
    t_g, t_d = (
        traced(lambda p, s, x, m=m: m.apply({'params': p, **s}, x, train=False), p, s, x)
        for m, p, s, x in (
            (gan.generator, state.params_g, state.stats_g, z),
            (gan.discriminator, state.params_d, state.stats_d, images),
        )
    )
    np.testing.assert_allclose(alone / (4 * (t_g + 6 * t_d)), 1, rtol=0.1)
    alone = 4 * (t_g + 6 * t_d)
    formula = (4 * t_g + 8 * t_d + alone) / (3 * t_g + 6 * t_d + alone)
    ratio = found['two_stage', 5] / found['one_stage', 5]
    np.testing.assert_allclose(ratio, formula, rtol=0.01)


# --- recipes, older runs and whole runs ---------------------------------------------------------


def test_who_takes_several():
    for method in methods.TABLE1:
        for scheme in config.SCHEMES:
            assert small.resolve(small.make_config(method=method, scheme=scheme)).d_steps == 1
    for fields, d_steps in (
        ({'method': 'wgan', 'optimizer': 'rmsprop'}, 5),
        ({'method': 'wgan_gp'}, 5),
        ({'method': 'wgan_gp', 'd_steps': 1}, 1),
        ({'method': 'lsgan', 'd_steps': 4}, 4),
    ):
        assert small.resolve(small.make_config(**fields)).d_steps == d_steps


def test_the_summary_says_what_is_left_of_the_speedup():
    told = lambda **fields: dict(summary.lines(small.resolve(small.make_config(**fields)), 40))  # noqa: E731
    assert told()['D steps'] is None
    # Where Tg = Td: (4 * 7 + 12) / (4 * 7 + 9).
    line = told(method='wgan', optimizer='rmsprop')['D steps']
    assert line.startswith('5 a step, all but the last of D alone; where passes of G and D cost')
    assert '40/37 = 1.08 of the arithmetic of one_stage, at one D step 12/9 = 1.33' in line
    # Of D's pass with a gradient penalty: Tg + 12 Td; 4 Tg + 14 Td over 3 Tg + 12 Td.
    assert '70/67 = 1.04 of the' in told(method='wgan_gp')['D steps']
    assert 'at one D step 18/15 = 1.20' in told(method='wgan_gp')['D steps']
    assert '40/37' in told(d_steps=5, r1=1.0, penalty_every=16)['D steps']


def test_a_run_from_before_goes_on_with_one():
    saved = small.resolve(small.make_config(method='wgan_gp', d_steps=1))
    values = json.loads(saved.to_json())
    del values['d_steps']
    older = config.TrainConfig.from_json(json.dumps(values)).complete()
    assert older.d_steps == 1
    adopted = adoption.adopt(small.make_config(method='wgan_gp'), older)
    assert adopted.d_steps == 1
    assert 'd_steps 1 instead of 5' in summary.whose(small.resolve(adopted), 40)
    assert adoption.adopt(small.make_config(method='wgan_gp', d_steps=5), older) is None


def test_a_run_says_what_a_step_is_and_goes_on_with_the_next_images(tmp_path, capsys):
    """`test_resuming_is_bit_identical` resumes one."""
    config = small.make_config(
        **{'num_steps': 2, 'd_steps': 2, 'steps_per_call': 2, 'log_every': 2},
        **dict.fromkeys(('sample_every', 'save_every'), 2),
    )
    result = trainer.train(config, tmp_path, dataset=small.dataset())
    said = capsys.readouterr().out
    assert '2 batches of 8 real and as many fake images' in said
    assert '2 (0.8 epochs)' in said
    # 16 of 40 images a step.
    (line,) = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(line)['epoch'] == 0.8
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        _, batches, step = saved.restore(result.state)
    assert (step, json.loads(batches)['step']) == (2, 4)
