"""An alarm that is heard once."""

import types

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.gan import collapse, sampling, trainer
from osgan_jax.reporting import metrics_log
from tests.support import small
from tests.support.marks import slow_but


def _real(count: int = 8) -> np.ndarray:
    dataset = small.dataset()
    return np.stack([dataset[i]['image'] for i in range(count)]) / 127.5 - 1


def test_collapse_is_said_once_and_after_a_while():
    alarm = collapse.Alarm(small.dataset(), patience=3)
    collapsed = np.repeat(_real(1), 8, axis=0)
    assert alarm(10, collapsed) is None
    assert alarm(20, collapsed) is None
    message = alarm(30, collapsed)
    assert message.startswith('samples have been far more alike than real images since step 10')
    assert '(their diversity is' in message
    assert '--learning_rate_g' in message
    assert alarm(40, collapsed) is None
    assert alarm.is_low
    assert alarm(50, _real()) is None
    assert not alarm.is_low


def test_varied_samples_are_no_reason():
    alarm = collapse.Alarm(small.dataset(), patience=2)
    collapsed = np.repeat(_real(1), 8, axis=0)
    for step in range(0, 50, 10):
        assert alarm(step, _real()) is None
        assert alarm(step + 5, collapsed) is None  # a moment is not long


def test_a_set_without_variety_raises_no_alarm():
    grey = data.from_arrays(np.full((6, 8, 8, 1), 90, np.uint8), name='grey')
    alarm = collapse.Alarm(grey, patience=1)
    assert alarm.reference.diversity == pytest.approx(0, abs=1e-12)
    assert alarm(10, np.zeros((4, 8, 8, 1))) is None


def test_a_few_images_in_turn_raise_the_alarm():
    alarm = collapse.Alarm(small.dataset(), patience=1)
    assert '100% of them have a double' in alarm(10, np.resize(_real(3), (12, 16, 16, 1)))
    assert alarm.values['doubles'] == 1
    assert alarm.values['diversity'] == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize('alarm', slow_but([True, False], True))
def test_a_run_says_that_its_generator_collapsed(tmp_path, capsys, alarm):
    """A generator that hardly learns draws grey squares; the real ones differ."""
    config = small.make_config(
        learning_rate_g=1e-12, num_steps=7, sample_every=1, log_every=1, collapse_alarm=alarm
    )
    trainer.train(config, tmp_path, dataset=small.dataset())
    assert capsys.readouterr().out.count('far more alike than real images') == alarm
    log = tmp_path / 'diversity.jsonl'
    assert log.exists() == alarm
    if alarm:
        columns = metrics_log.read(log)
        assert columns['step'].tolist() == list(range(1, 8))
        assert (columns['diversity'] < 0.01).all()


@pytest.mark.parametrize(('classes', 'count'), [(0, 8), (2, 8), (3, 8), (100, 64), (100, 3)])
def test_the_alarm_sees_four_images_of_a_class(classes, count):
    network = types.SimpleNamespace(latents=None)
    gan = types.SimpleNamespace(network=network, num_classes=classes, latent_dim=5)
    z, labels = sampling.grid_inputs(gan, 0, count)
    judged, of = sampling.alarm_inputs(gan, 0, z, labels)
    assert judged.shape == z.shape
    if classes in (0, 2) or count == 3:
        assert judged is z
        assert of is labels
        return
    assert len(np.unique(judged, axis=0)) == count
    assert not set(np.ravel(judged).tolist()) & set(np.ravel(z).tolist())
    each = np.unique(of, return_counts=True)[1]
    assert (each == 4).all()
    assert len(each) == count // 4
