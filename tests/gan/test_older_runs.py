"""Runs of older versions: they go on as they began, whatever presets and fields came since."""

import dataclasses
import json

import pytest

from osgan_jax.engine import adoption
from osgan_jax.gan import methods, trainer
from osgan_jax.gan.config import SCHEDULED, TrainConfig
from tests.support import small

# Fields that came after the first runs that people have.
LATER = (
    *('d_steps', 'ema_ramp', 'root_epsilon', 'optimizer_g', 'optimizer_d'),
    *('mapping_layers', 'discriminator_skips', 'hierarchical_z', 'init'),
    *('blocks', 'group_channels', 'full_width'),
    *('lecam', 'lecam_decay', 'label_smoothing', 'top_k', 'top_k_decay'),
    *('augment_groups', 'augment_probability', 'ada_target', 'ada_images'),
    *('schedule', 'schedule_steps', 'warmup_steps', 'lookahead', 'lookahead_alpha'),
    *('beta1_g', 'beta1_d', 'beta2_g', 'beta2_d', *(f'{name}_final' for name in SCHEDULED)),
)


def test_a_run_goes_on_with_the_values_it_began_with(tmp_path, capsys):
    asked = small.make_config(method='dcgan', num_steps=1, optimizer='rmsprop')
    trainer.train(asked, tmp_path, dataset=small.dataset())
    path = tmp_path / 'config.json'
    run = json.loads(path.read_text())
    for name in LATER:
        del run['config'][name]
    # That version had other rates.
    began = {'learning_rate_d': 0.0, 'beta2': 0.999}
    run['config'] |= began
    path.write_text(json.dumps(run))
    asked = dataclasses.replace(asked, num_steps=2)
    result = trainer.train(asked, tmp_path, dataset=small.dataset())
    assert int(result.state.step) == 2
    found = json.loads(path.read_text())['config']
    assert {name: found[name] for name in began} == began
    assert (found['root_epsilon'], found['ema_ramp'], found['mapping_layers']) == (True, 0.0, None)
    assert (found['optimizer_g'], found['optimizer_d']) == ('rmsprop', 'rmsprop')
    assert (found['beta2_g'], found['schedule'], found['r1_final']) == (0.999, 'constant', None)
    assert 'rmsprop (decay 0.999), G 0.0002, D 0, constant' in capsys.readouterr().out


def test_another_command_is_still_refused_by_name(tmp_path):
    trainer.train(small.make_config(num_steps=1), tmp_path, dataset=small.dataset())
    for fields in ({'method': 'wgan'}, {'learning_rate_d': 1e-3}):
        (name,) = fields
        with pytest.raises(ValueError, match=f'{name} is .* there and .* now'):
            trainer.train(
                small.make_config(num_steps=2, **fields), tmp_path, dataset=small.dataset()
            )


def test_adopted_are_open_fields_that_presets_decide():
    saved = small.resolve(small.make_config(method='wgan', scheme='two_stage'))
    saved = dataclasses.replace(saved, learning_rate_g=1e-5, latent_dim=6, max_seconds=5.0)
    asked = small.make_config(method='wgan', scheme='two_stage')
    adopted = adoption.adopt(asked, saved)
    assert (adopted.learning_rate_g, adopted.weight_clip) == (1e-5, 0.01)
    # Nobody asked for another limit; None is one.
    assert adopted.max_seconds == 5.0
    assert adoption.adopt(dataclasses.replace(asked, max_seconds=None), saved).max_seconds is None
    other = dataclasses.replace(asked, learning_rate_g=1e-4)
    assert adoption.adopt(other, saved) is None


def test_a_saved_stylegan2_is_the_one_it_was():
    resolved = methods.resolve(
        TrainConfig(method='stylegan2', dataset='cifar10', scheme='two_stage'),
        image_size=32,
        channels=3,
        num_classes=10,
        num_examples=50_000,
    )
    values = {n: v for n, v in json.loads(resolved.to_json()).items() if n not in LATER}
    # Its recipe had no augmentation then.
    values['augment'] = []
    saved = TrainConfig.from_json(json.dumps(values)).complete()
    adopted = adoption.adopt(
        TrainConfig(method='stylegan2', dataset='cifar10', scheme='two_stage'), saved
    )
    assert (adopted.mapping_layers, adopted.discriminator_skips) == (8, True)
    assert adopted.augment == ()
