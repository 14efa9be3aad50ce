"""Losses of one's own in the trainer: from Python and by a reference."""

import jax.numpy as jnp
import pytest

import osgan_jax
from osgan_jax.engine import runs
from osgan_jax.gan import Config, objectives, trainer
from osgan_jax.gan.sampling import Sampler
from tests.support import small

FILE = """
import jax.numpy as jnp

import osgan_jax


def soft(margin=1.0):
    def discriminator(s_real, s_fake, state=None):
        return jnp.mean(jnp.logaddexp(0, margin - s_real) + jnp.logaddexp(0, margin + s_fake))

    return osgan_jax.AdversarialLoss('soft', discriminator, lambda r, f, state=None: -jnp.mean(f))


def bare(s_real, s_fake):
    return jnp.mean(s_real - s_fake)


def fails(margin=1.0):
    raise KeyError('margin')


def number():
    return 3.0


def wrong():
    loss = soft()
    return osgan_jax.AdversarialLoss('wrong', loss.discriminator, loss.generator, symmetric=True)


def breaks():
    return osgan_jax.AdversarialLoss('breaks', lambda r, f, state=None: r['x'], soft().generator)


MADE = soft(0.5)
VALUE = 3.0
"""


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp('losses') / 'my_losses.py'
    path.write_text(FILE)
    return path


def test_losses_are_given_named_and_loaded(file):
    given = osgan_jax.losses.get('geometric', slope=0.5)
    config = Config(loss=given)
    assert config.loss == 'own(geometric)'
    assert objectives.base(config) is given
    assert '"loss": "own(geometric)"' in config.to_json()
    config = Config(loss=f'{file}:soft', loss_options=('margin=2',))
    logits = jnp.zeros(4)
    assert objectives.base(config).discriminator(logits, logits) == pytest.approx(2 * 2.126928)
    assert objectives.base(Config(loss=f'{file}:MADE')).name == 'soft'


@pytest.mark.parametrize(
    ('loss', 'options', 'message'),
    [
        ('bare', (), r'takes \(s_real, s_fake\): expected a function that returns'),
        ('fails', (), r"loss=.*:fails raised KeyError: 'margin' \(my_losses.py, line 19\)"),
        ('number', (), 'returned float: expected an osgan_jax.AdversarialLoss'),
        ('VALUE', (), 'is a value of type float: expected an osgan_jax.AdversarialLoss'),
        ('wrong', (), "the loss 'wrong' is declared symmetric"),
        ('breaks', (), 'loss=.*:breaks: the loss raised'),
        ('soft', ('slope=1',), r'unknown hyperparameter slope \(it takes: margin\)'),
        ('soft', ('margin=true',), 'margin=True: expected a number'),
        ('soft', ('margin=1', 'margin=2'), 'margin is given twice'),
        ('MADE', ('margin=1',), 'loss_options: .* is made already; leave them out'),
        ('sofd', (), 'my_losses.py has no sofd; it has soft'),
    ],
)
def test_what_is_not_a_loss_is_refused(file, loss, options, message):
    with pytest.raises(ValueError, match=message):
        objectives.base(Config(loss=f'{file}:{loss}', loss_options=options))


def test_values_that_are_not_losses_are_refused():
    with pytest.raises(
        ValueError, match=r'loss: expected a name, .*, got a value of type function'
    ):
        Config(loss=lambda s_real, s_fake: 0)
    with pytest.raises(ValueError, match=r"unknown loss 'hing': did you mean hinge\? Use one of"):
        objectives.base(Config(loss='hing'))
    with pytest.raises(ValueError, match=r'this loss was given by a program.*: give it again'):
        objectives.base(Config(loss='own(soft)'))


def test_a_run_goes_on_with_the_same_loss_alone(file, tmp_path):
    dataset, made = small.dataset(), objectives.base(Config(loss=f'{file}:soft'))

    def train(steps, loss):
        config = small.make_config(num_steps=steps, loss=loss, width=1)
        return trainer.train(config, tmp_path, dataset=dataset)

    train(1, made)
    run = runs.read(tmp_path, Config)
    assert run.config.loss == 'own(soft)'
    assert set(run.own['values']) == {'L_D', 'L_G'}
    # What draws images has no use for the loss.
    assert Sampler(tmp_path).step == 1
    with pytest.raises(ValueError, match='this loss was given by a program'):
        train(1, None)
    with pytest.raises(ValueError, match='the loss is another: its L_D at the same logits is'):
        train(1, f'{file}:MADE')
    with pytest.raises(ValueError, match=r"loss is 'own\(soft\)' there and 'hinge' now"):
        train(1, 'hinge')
    assert int(train(1, f'{file}:soft').state.step) == 1
    assert runs.read(tmp_path, Config).config.loss == f'{file}:soft'
