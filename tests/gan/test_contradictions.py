"""Flags that contradict each other or what a method brings: refused, or settled and told."""

import pytest

from osgan_jax.compression import config as compression
from osgan_jax.gan import summary
from tests.support import small


def resolve(**fields):
    return small.resolve(small.make_config(**fields))


@pytest.mark.parametrize('name', ['gradient_penalty', 'r1', 'r2'])
def test_a_penalty_takes_the_place_of_the_methods_clip(name):
    found = resolve(method='wgan', **{name: 10.0})
    assert (found.weight_clip, getattr(found, name)) == (0.0, 10.0)
    lines = dict(summary.lines(found, 40))
    assert lines['clip'] == "off: what was asked for takes the place of the method's, +-0.01"
    assert lines['penalties'].endswith(' 10')


def test_spectral_norm_takes_the_place_of_the_methods_clip():
    assert resolve(method='wgan', discriminator_norm='spectral').weight_clip == 0.0


def test_a_clip_takes_the_place_of_the_methods_penalty():
    found = resolve(method='wgan_gp', weight_clip=0.01)
    assert (found.weight_clip, found.gradient_penalty) == (0.01, 0.0)
    assert 'gradient_penalty 0 instead of 10' in summary.whose(found, 40)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'weight_clip': 0.1, 'gradient_penalty': 10.0}, 'weight_clip=0.1 and gradient_penalty=10'),
        ({'weight_clip': 0.1, 'r1': 1.0}, 'weight_clip=0.1 and r1=1: both bound'),
        ({'weight_clip': 0.1, 'discriminator_norm': 'spectral'}, 'discriminator_norm=spectral'),
        ({'optimizer': 'sgd', 'beta2': 0.9}, 'beta2=0.9: --optimizer=sgd does not use it'),
        ({'optimizer': 'sgd', 'adam_epsilon': 1e-6}, 'adam_epsilon=1e-06: --optimizer=sgd'),
        ({'optimizer': 'rmsprop', 'beta1': 0.9}, 'beta1=0.9: --optimizer=rmsprop'),
        (
            {'optimizer_g': 'sgd', 'optimizer_d': 'sgd', 'beta2': 0.9},
            'beta2=0.9: --optimizer_g=sgd does not use it',
        ),
        (
            {'optimizer': 'sgd', 'optimizer_g': 'adam', 'optimizer_d': 'optimistic_adam'},
            'optimizer=sgd: --optimizer_g=adam and --optimizer_d=optimistic_adam override it',
        ),
        ({'ema_start': 100}, "ema_start=100: there is no average of G's weights"),
        ({'ema_ramp': 0.1}, 'ema_ramp=0.1: there is no average'),
        ({'ema_decay': 0.0, 'ema_start': 9}, 'ema_start=9: there is no'),
        ({'decay_factor': 0.1}, 'decay_factor=0.1: there are no --decay_epochs'),
        ({'penalty_every': 4}, 'penalty_every=4: there is no penalty of D'),
        ({'path_length_every': 4}, 'path_length_every=4: there is no --path_length'),
        ({'lookahead_alpha': 0.8}, 'lookahead_alpha=0.8: there is no --lookahead'),
        ({'r1_final': 1.0}, 'r1_final=1: there is no schedule to end; give --schedule=linear or'),
        ({'beta2_final': 0.9}, 'beta2_final=0.9: there is no schedule'),
        # Rates in steps have a factor.
        (
            {'learning_rate_d_final': 0.1, 'decay_epochs': (2,)},
            'learning_rate_d_final=0.1: there is no schedule',
        ),
        ({'penalty_warmup_steps': 2}, 'penalty_warmup_steps=2: there is no penalty of D'),
        (
            {'schedule': 'linear', 'penalty_warmup_steps': 4, 'r1': 1.0},
            'penalty_warmup_steps=4: the schedule, which begins after them, ends at step 4',
        ),
        ({'schedule_steps': 9, 'schedule': 'constant'}, 'schedule_steps=9: there is no schedule'),
        ({'augment_probability_final': 0.5, 'schedule': 'linear'}, 'there is no --augment=ada'),
        ({'schedule': 'step'}, 'schedule=step: there are no --decay_epochs; give them too'),
        (
            {'schedule': 'cosine', 'decay_epochs': (2,)},
            'schedule=cosine and decay_epochs: decay_epochs belong to --schedule=step',
        ),
        (
            {'schedule': 'cosine', 'warmup_steps': 4},
            r'warmup_steps=4: the schedule, which begins after them, ends at step 4 \(--schedule_',
        ),
        (
            {'schedule': 'linear', 'weight_clip': 0.1, 'r1_final': 1.0},
            'weight_clip=0.1 and r1_final=1: both bound',
        ),
        (
            {'optimizer': 'sgd', 'schedule': 'linear', 'beta2_final': 0.9},
            'beta2_final=0.9: --optimizer=sgd does not use it',
        ),
        (
            {'optimizer_d': 'rmsprop', 'beta1_d': 0.9},
            'beta1_d=0.9: --optimizer_d=rmsprop does not use it; .* choose --optimizer_d=adam',
        ),
        (
            {'beta1': 0.5, 'beta1_g': 0.0, 'beta1_d': 0.9},
            'beta1=0.5: --beta1_g=0 and --beta1_d=0.9 override it for both networks',
        ),
        ({'lecam_decay': 0.9}, 'lecam_decay=0.9: there is no --lecam; give it too'),
        ({'top_k_decay': 0.9}, 'top_k_decay=0.9: there is no --top_k below 1'),
    ],
)
def test_what_excludes_each_other_or_has_no_effect_is_refused(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        resolve(**fields)
    assert '\n' not in str(caught.value)


def test_what_a_method_brings_without_effect_is_left_out():
    found = resolve(method='biggan', ema_decay=0.0, image_size=32, width=2, latent_dim=8)
    assert (found.ema_start, found.ema_ramp) == (0, 0.0)
    assert dict(summary.lines(found, 40))['average'] == 'none'


def test_a_number_that_one_of_the_optimisers_reads_is_taken():
    found = resolve(optimizer='sgd', optimizer_d='optimistic_adam', beta2=0.9, adam_epsilon=1e-6)
    assert (found.optimizers(), found.beta2) == (('sgd', 'optimistic_adam'), 0.9)
    # 0.99 is RMSProp's where it is the only one to read the number.
    assert resolve(optimizer='rmsprop', optimizer_d='adam').beta2 == 0.999
    assert resolve(optimizer_g='rmsprop', optimizer_d='rmsprop').beta2 == 0.99


def test_epochs_without_a_factor_halve_the_rates():
    found = resolve(decay_epochs=(2,))
    assert found.decay_factor == 0.5
    assert 'times 0.5 after epoch 2' in dict(summary.lines(found, 40))['rates']


def test_a_students_penalty_takes_the_place_of_its_teachers_clip():
    teacher = resolve(method='wgan')
    asked = compression.CompressConfig(gradient_penalty=10.0)
    found = compression.resolve(asked, teacher, 'f00d')
    assert (found.weight_clip, found.gradient_penalty) == (0.0, 10.0)
    assert compression.resolve(compression.CompressConfig(), teacher, 'f00d').weight_clip == 0.01


def test_a_students_optimiser_takes_the_place_of_its_teachers():
    teacher = resolve(optimizer='adam', optimizer_d='optimistic_adam')
    found = compression.resolve(compression.CompressConfig(), teacher, 'f00d')
    assert found.optimizers() == ('adam', 'optimistic_adam')
    asked = compression.CompressConfig(optimizer='sgd')
    assert compression.resolve(asked, teacher, 'f00d').optimizers() == ('sgd', 'sgd')
