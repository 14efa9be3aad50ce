"""Configurations: ranges, JSON, contradictions, and the presets of Table 1."""

import dataclasses
import pathlib

import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.core import losses
from osgan_jax.engine import adoption, runs
from osgan_jax.engine.declarations import declarations
from osgan_jax.gan import methods
from osgan_jax.gan.config import TrainConfig
from tests.support import small


def resolve(**fields):
    unresolved = TrainConfig(**fields)
    return methods.resolve(
        unresolved, image_size=64, channels=3, num_classes=2, num_examples=202_599
    )


def test_json_gives_the_configuration_back():
    original = small.make_config(decay_epochs=(3, 5), loss_options=('rho=1',), ema_decay=0.9)
    assert TrainConfig.from_json(original.to_json()) == original


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'not valid JSON'),
        ('[]', 'not a JSON object'),
        ('{"wdth": 3}', 'unknown fields: wdth'),
        ('{"batch_size": 0}', 'batch_size=0'),
    ],
)
def test_damaged_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_json(text)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'scheme': 'three_stage'}, "scheme='three_stage': expected one of one_stage, two_stage"),
        ({'precision': 'float16'}, "precision='float16'"),
        ({'optimizer': 'lion'}, "optimizer='lion'"),
        ({'batch_size': 1}, 'batch_size=1: expected a number of at least 2'),
        ({'num_steps': 0}, 'num_steps=0'),
        ({'learning_rate_g': -1.0}, 'learning_rate_g=-1.0'),
        ({'learning_rate_d': float('nan')}, 'learning_rate_d=nan'),
        ({'learning_rate_d': float('inf')}, 'learning_rate_d=inf'),
        ({'beta1': 1.0}, r'beta1=1.0: expected a number in \[0, 1\)'),
        ({'ema_decay': 1.0}, 'ema_decay=1.0'),
        ({'channels': 2}, 'channels=2: expected 1 or 3'),
        ({'seed': 2**32}, 'seed=4294967296'),
        ({'seed': -1}, 'seed=-1'),
        ({'learning_rate_g': 1e308}, 'expected a finite number, of float32'),
        ({'style_mixing': 1.5}, r'style_mixing=1.5: expected a number in \[0, 1\]'),
        ({'decay_epochs': (5, 3)}, r'decay_epochs=\[5, 3\]'),
        ({'decay_epochs': (0,)}, 'decay_epochs=0: expected a number of at least 1'),
        ({'steps_per_call': 3, 'log_every': 10}, 'log_every=10: expected a multiple'),
        # What a program may give, and a flag cannot.
        ({'num_steps': 100.5}, 'num_steps=100.5: expected a whole number'),
        ({'batch_size': '64'}, "batch_size='64': expected a whole number"),
        ({'penalty_every': True}, 'penalty_every=True: expected a whole number'),
        ({'conditional': 'false'}, "conditional='false': expected True or False"),
        ({'flip': 1}, 'flip=1: expected True or False'),
        ({'top_k': '0.5'}, "top_k='0.5': expected a number"),
        ({'r1': True}, 'r1=True: expected a number'),
        ({'scheme': 3}, 'scheme=3: expected a text'),
        ({'channel_multiplier': 0.5}, 'channel_multiplier=0.5: expected a text'),
        ({'augment': 'ada'}, "augment='ada': expected several values"),
        ({'decay_epochs': 3}, 'decay_epochs=3: expected several values'),
        ({'decay_epochs': (3, 4.5)}, 'decay_epochs=4.5: expected a whole number'),
        ({'image_size': True}, 'image_size=True: expected pixels'),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)


def test_numbers_and_paths_of_a_program_are_kept_as_those_of_flags():
    given = TrainConfig(
        num_steps=1e3,
        seed=np.int64(3),
        r1=np.float32(0.5),
        augment=['ada'],
        data_dir=pathlib.Path('images'),
    )
    flags = TrainConfig(num_steps=1000, seed=3, r1=0.5, augment=('ada',), data_dir='images')
    assert given == flags
    assert TrainConfig.from_json(given.to_json()) == flags


def test_contradictions_name_fields_and_forgive_what_may_change():
    saved = small.make_config(beta1=0.5)
    assert adoption.contradictions(saved, saved) == []
    moved = dataclasses.replace(saved, num_steps=99, keep=1, num_devices=4, data_dir='elsewhere')
    assert adoption.contradictions(saved, moved) == []
    other = dataclasses.replace(saved, seed=3, beta1=0.0)
    assert adoption.contradictions(saved, other) == [
        'seed is 0 there and 3 now',
        'beta1 is 0.5 there and 0.0 now',
    ]


def test_every_field_has_help():
    for name, declaration in declarations(TrainConfig).items():
        assert declaration.help, name


def test_table_1_has_ten_methods_with_losses_and_networks_that_exist():
    assert len(methods.TABLE1) == 10
    for method in methods.TABLE1.values():
        assert method.loss in losses.names()
        assert method.network in networks.names()
        # Table 1 writes (sym) or (asym) behind each name.
        assert ('(sym)' in method.title) == losses.get(method.loss).symmetric


def test_every_preset_field_can_be_overridden():
    asked = {
        'loss': 'hinge',
        'network': 'resnet_gan',
        'discriminator_norm': 'spectral',
        'learning_rate_g': 1e-3,
        'learning_rate_d': 2e-3,
        'decay_epochs': (2,),
        'decay_factor': 0.3,
        'weight_clip': 0.0,
        'conditional': True,
        'num_steps': 7,
        'width': 5,
    }
    resolved = resolve(method='wgan', **asked)
    assert {name: getattr(resolved, name) for name in asked} == asked


def test_resolving_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="method='gan': expected one of dcgan_sym"):
        resolve(method='gan')
    with pytest.raises(ValueError, match='cgan is conditional but digits has no labels'):
        methods.resolve(
            TrainConfig(method='cgan'), image_size=32, channels=1, num_classes=0, num_examples=200
        )
    with pytest.raises(ValueError, match=r'no labels \(1 image lies beside the folders\): choose'):
        methods.resolve(
            TrainConfig(method='cgan'),
            image_size=32,
            channels=1,
            num_classes=0,
            num_examples=200,
            why_unlabelled='1 image lies beside the folders',
        )
    with pytest.raises(ValueError, match='more than the 100 images of digits'):
        methods.resolve(TrainConfig(), image_size=32, channels=1, num_classes=0, num_examples=100)
    with pytest.raises(ValueError, match='num_steps=5: expected a multiple'):
        resolve(num_steps=5, steps_per_call=2)


def test_default_steps_fit_the_calls():
    assert resolve(steps_per_call=10, log_every=10, dataset='cifar10').num_steps % 10 == 0


def test_run_record_round_trip_and_damage(tmp_path):
    run = runs.Run(small.resolve(small.make_config()), 4, ('a', 'b', 'c', 'd'), 40)
    assert runs.read(tmp_path, TrainConfig) is None
    runs.write(tmp_path, run)
    assert runs.read(tmp_path, TrainConfig) == run
    assert run.steps_per_epoch == 5
    path = tmp_path / 'config.json'
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r'config.json cannot be used'):
        runs.read(tmp_path, TrainConfig)
