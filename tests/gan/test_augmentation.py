"""The probability of ADA's augmentations: what it follows, on devices, across a resumption."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core import losses
from osgan_jax.gan import augmentation, config, summary, trainer
from osgan_jax.gan.augmentation import Augmentation
from osgan_jax.runtime import parallel
from tests.support import models, small
from tests.support.marks import slow_but

SGD = {'optimizer': 'sgd', 'learning_rate_g': 0.02, 'learning_rate_d': 0.02, 'beta1': 0.0}
# 8 images a step, so that the probability moves by 1/4 after each 4 steps.
ADA = {'augment': ('ada',), 'augment_groups': ('blit', 'color'), 'ada_images': 128.0}


def follow(adapted: Augmentation, signs):
    """Probability and r_t after each step."""
    state, found = adapted.init(), []
    adapt = jax.jit(adapted.adapt)
    for step, sign in enumerate(signs):
        state = adapt(state, jnp.asarray(step), jnp.asarray(sign))
        found.append((float(state['probability']), float(state['overfitting'])))
    return found


def test_probability_follows_the_mean_sign_of_four_steps():
    adapted = Augmentation(groups=(('blit', 1.0),), target=0.6, rise=0.25)
    # Means of 1, 0.5 and 0.7; then five times 1, which ends at 1, and -1.
    signs = [1.0] * 4 + [1.0, 1.0, 0.0, 0.0] + [0.7] * 4 + [1.0] * 20 + [-1.0] * 4
    expected = [(0.0, 0.0)] * 3 + [(0.25, 1.0)] * 4 + [(0.0, 0.5)] * 4 + [(0.25, 0.7)] * 4
    found = follow(adapted, signs)
    np.testing.assert_allclose(found[:15], expected, atol=1e-6)
    assert found[-5] == (1.0, 1.0)
    assert found[-1] == (0.75, -1.0)


def test_probability_does_not_fall_below_0():
    adapted = Augmentation(groups=(('blit', 1.0),), rise=0.25)
    assert follow(adapted, [-1.0] * 8)[-1] == (0.0, -1.0)


@pytest.mark.parametrize('scheme', slow_but(config.SCHEMES, 'two_stage'))
def test_a_step_adapts_by_its_real_logits_and_on_four_devices_alike(scheme):
    fields = {'method': 'lsgan', 'scheme': scheme, **SGD, **ADA, 'ada_target': -0.9}
    fields['augment_groups'] = ('color',)  # of one, which compiles in a third of the time
    gan, state, update, devices = small.build(**fields)
    judge = jax.jit(lambda params, x: gan.discriminator.apply({'params': params}, x, train=True))
    signs = []
    for index in range(5):
        batch = small.batch(index)
        # The probability is 0 until it moves. The boundary of the least-squares loss is 1/2.
        signs.append(np.mean(np.sign(np.asarray(judge(state.params_d, batch['image'])) - 0.5)))
        state, metrics = update(state, parallel.put_batch(batch, devices))
    np.testing.assert_allclose(metrics['overfitting'], np.mean(signs[:4]))
    assert -0.9 < np.mean(signs[:4]) < 1
    assert metrics['augment_probability'] == 0.25
    # The fifth step augments.
    four, metrics_four = small.run_steps(5, num_devices=4, **fields)
    assert models.relative_error(four.params_d, state.params_d) < 1e-5
    assert models.relative_error(four.params_g, state.params_g) < 1e-5
    chex.assert_trees_all_close(jax.device_get(metrics_four), jax.device_get(metrics), rtol=1e-4)


def test_boundaries_of_the_losses():
    none = {n for n in losses.names() if losses.get(n).boundary is None}
    assert none == {'wasserstein', 'fisher', 'relativistic', 'relativistic_pairing'}
    assert losses.get('least_squares').boundary == 0.5
    # D is undecided where both halves of L_D pull as strongly.
    for name in set(losses.names()) - none:
        loss = losses.get(name)
        at = jnp.full(1, loss.boundary)
        r, c_d = jax.grad(loss.discriminator, argnums=(0, 1))(at, at)
        np.testing.assert_allclose(r, -c_d, atol=1e-6)


def test_a_constant_probability_and_one_that_follows_the_steps():
    groups = (('blit', 1.0),)
    fixed = Augmentation(groups=groups, probability=0.3)
    assert fixed.init() is None
    np.testing.assert_allclose(fixed.metrics(None, jnp.asarray(5))['augment_probability'], 0.3)
    rising = Augmentation(groups=groups, probability=lambda step: 0.1 * step)
    np.testing.assert_allclose(rising.probability_at(None, jnp.asarray(5)), 0.5)
    assert Augmentation().metrics(None, jnp.asarray(5)) == {}


@pytest.mark.slow
def test_probability_0_is_no_augmentation_and_1_is_one():
    plain, _ = small.run_steps(**SGD)
    given = {**SGD, 'augment': ('ada',), 'augment_groups': ('blit',)}
    none, metrics = small.run_steps(**given, augment_probability=0.0)
    assert models.relative_error(none.params_d, plain.params_d) < 1e-6
    assert set(metrics) >= {'augment_probability'}
    assert 'overfitting' not in metrics
    some, _ = small.run_steps(**given, augment_probability=1.0)
    assert models.relative_error(some.params_d, plain.params_d) > 1e-3


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_its_probability(tmp_path, capsys):
    fields = {**ADA, 'ada_images': 320.0, 'ada_target': -0.99, 'method': 'dcgan', 'log_every': 1}
    asked = small.make_config(num_steps=6, **fields)
    whole = trainer.train(asked, tmp_path / 'whole', dataset=small.dataset()).state
    for steps in (5, 6):
        asked = small.make_config(num_steps=steps, **fields)
        parts = trainer.train(asked, tmp_path / 'parts', dataset=small.dataset()).state
    for name, value in whole.augmentation.items():
        np.testing.assert_array_equal(parts.augmentation[name], value)
    assert float(whole.augmentation['probability']) == pytest.approx(0.1)
    logs = [(tmp_path / run / 'metrics.jsonl').read_text() for run in ('whole', 'parts')]
    assert logs[0] == logs[1]
    assert 'overfitting' in logs[0]
    assert (
        'images with blit, color of ADA, each with a probability adapted to a mean sign of -0.99'
        in ' '.join(capsys.readouterr().out.split())
    )


def test_what_is_wrong_is_named():
    def build(**fields):
        resolved = small.resolve(small.make_config(**fields))
        return augmentation.build(resolved, losses.get(resolved.loss), 1.0)

    ada = {'augment': ('ada',)}
    for fields, message in (
        ({'augment': ('ada', 'color')}, 'give it alone'),
        ({'augment': ('colour',)}, "'colour': expected any of color, translation, cutout, ada"),
        ({**ADA, 'augment_groups': ()}, 'names nothing to augment by'),
        ({**ada, 'method': 'wgan'}, 'the wasserstein loss only compares logits'),
        ({'augment_probability': 0.5}, r'augment_probability=0.5: there is no --augment=ada'),
        ({'augment_groups': ('blit',)}, r'augment_groups=blit: there is no --augment=ada'),
        ({'ada_target': 0.5}, r'ada_target=0.5: there is no --augment=ada'),
        ({**ada, 'augment_probability': 0.5, 'ada_images': 9.0}, 'no probability that adapts'),
    ):
        with pytest.raises(ValueError, match=message):
            build(**fields)
    assert build(**ada, method='wgan', augment_probability=0.2).probability == 0.2


def test_summary_says_the_probability():
    def told(**fields):
        resolved = small.resolve(small.make_config(**fields))
        return dict(summary.lines(resolved, small.EXAMPLES))['D sees']

    assert told() is None
    assert told(augment=('ada',)) == (
        'images with blit, geom, color of ADA, each with a probability adapted to a mean sign of '
        "0.6 of D's real logits, by 1 in 500,000 images"
    )
    fixed = told(augment=('ada',), augment_groups=('blit', 'color:0.5'), augment_probability=0.3)
    assert fixed == 'images with blit, color:0.5 of ADA, each with probability 0.3'
