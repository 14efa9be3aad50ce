"""Recipes: what was published by method, scheme and dataset, and what is this project's own."""

import dataclasses

import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.gan import methods, model, summary, trainer
from osgan_jax.gan.config import TrainConfig
from tests.support import small

EXAMPLES = {'celeb_a': 202_599, 'mnist': 60_000, 'cifar10': 50_000, 'ffhq': 70_000}
CLASSES = {'celeb_a': 2, 'ffhq': 0, 'lsun_church': 0}


def resolve(dataset='digits', image_size=64, num_examples=None, **fields):
    return methods.resolve(
        TrainConfig(dataset=dataset, **fields),
        image_size=image_size,
        channels=3,
        num_classes=CLASSES.get(dataset, 10),
        num_examples=num_examples or EXAMPLES.get(dataset, 1500),
    )


def told(config):
    """The summary's lines by name."""
    examples = EXAMPLES.get(config.dataset, 1500)
    return {'recipe': summary.whose(config, examples), **dict(summary.lines(config, examples))}


# The twelve configurations that the paper's authors published: G's and D's rate, the factor of both
# after epochs 10 and 15, D's norm ('own' is a class of their own), dimensions of z.
PUBLISHED = [
    ('dcgan', 'one_stage', 'celeb_a', 2e-4, 1e-4, None, 'group', 128),
    ('dcgan', 'two_stage', 'celeb_a', 2e-4, 4e-5, 0.5, 'group', 100),
    ('dcgan_sym', 'one_stage', 'celeb_a', 2e-4, 4e-5, 0.1, 'batch', 100),
    ('dcgan_sym', 'two_stage', 'celeb_a', 2e-4, 2e-5, None, 'batch', 100),
    ('wgan', 'one_stage', 'celeb_a', 1e-4, 1.35e-5, 0.1, 'own', 100),
    ('wgan', 'two_stage', 'celeb_a', 2e-4, 2e-4, 0.1, 'own', 100),
    ('dcgan', 'one_stage', 'mnist', 2e-4, 5e-5, None, 'group', 100),
    ('dcgan', 'two_stage', 'mnist', 2e-4, 2e-4, None, 'batch', 100),
    ('dcgan_sym', 'one_stage', 'mnist', 2e-4, 1.35e-5, None, 'batch', 100),
    ('dcgan_sym', 'two_stage', 'mnist', 2e-4, 2e-4, None, 'batch', 100),
    ('wgan', 'one_stage', 'mnist', 2e-4, 1.35e-5, None, 'own', 100),
    ('wgan', 'two_stage', 'mnist', 2e-4, 2e-4, None, 'own', 100),
]


@pytest.mark.parametrize(
    ('method', 'scheme', 'dataset', 'rate_g', 'rate_d', 'factor', 'norm', 'latent_dim'), PUBLISHED
)
def test_the_twelve_published_configurations(
    method, scheme, dataset, rate_g, rate_d, factor, norm, latent_dim
):
    schemes = ['one_stage', 'shared_forward'] if scheme == 'one_stage' else [scheme]
    for scheme in schemes:
        found = resolve(dataset, method=method, scheme=scheme)
        assert (found.learning_rate_g, found.learning_rate_d) == (rate_g, rate_d)
        schedule = ((10, 15), factor) if factor else ((), 1.0)
        assert (found.decay_epochs, found.decay_factor) == schedule
        assert found.discriminator_norm == ('group' if norm == 'own' else norm)
        assert (found.latent_dim, found.batch_size, found.beta1) == (latent_dim, 128, 0.5)
        assert found.optimizers() == ('adam', 'adam')
        assert found.weight_clip == (0.01 if method == 'wgan' else 0.0)
        epochs = {'celeb_a': 30, 'mnist': 20}[dataset]
        assert found.num_steps == epochs * (EXAMPLES[dataset] // 128)
        text = told(found)['recipe']
        assert text.startswith("published: the paper's authors, for")
        assert 'instead of' not in text


# Gamma, batch, width, channels a group, whether conditional, images of the average's half-life and
# probability of augmentation at the end, of R3GAN's authors' configurations.
R3GAN = {
    ('cifar10', 32): (0.05, 512, None, 16, True, 5e6, 0.55),
    ('ffhq', 64): (2.0, 256, None, 16, False, 5e5, 0.3),
    ('ffhq', 256): (150.0, 256, None, 16, False, 5e5, 0.3),
    ('tfds:imagenet_resized/32x32', 32): (0.5, 4096, 1536, 32, True, 5e7, 0.5),
    ('tfds:imagenet_resized/64x64', 64): (1.0, 4096, 1536, 32, True, 5e7, 0.4),
}


@pytest.mark.parametrize(('dataset', 'size'), R3GAN)
def test_r3gan_as_published(dataset, size):
    found = resolve(dataset, size, method='r3gan', num_examples=50_000)
    gamma, batch, width, group, conditional, images, augment = R3GAN[dataset, size]
    assert (found.r1, found.r2, found.penalty_every) == (gamma, gamma, 1)
    assert (found.batch_size, found.width, found.group_channels) == (batch, width, group)
    assert (found.conditional, found.flip, found.latent_dim) == (conditional, True, 64)
    assert (found.learning_rate_g, found.learning_rate_d) == (2e-4, 2e-4)
    assert (found.beta1, found.beta2, found.loss) == (0.0, 0.9, 'relativistic_pairing')
    # FACTS 10: cosines over 20 M images, of ImageNet over 200 M; the half-life rises from 0.
    length = 2e8 if batch == 4096 else 2e7
    assert (found.schedule, found.schedule_steps) == ('cosine', length // batch)
    assert found.span('learning_rate_g') == found.span('learning_rate_d') == (2e-4, 5e-5)
    assert found.span('beta2_g') == found.span('beta2_d') == (0.9, 0.99)
    assert found.span('r1') == found.span('r2') == (gamma, pytest.approx(gamma / 10))
    assert found.span('ema_decay') == (0.0, pytest.approx(0.5 ** (batch / images)))
    assert (found.ema_ramp, found.num_steps) == (0.0, found.schedule_steps)
    lines = told(found)
    assert lines['recipe'] == (f'published: Huang et al. 2024, for {dataset} at {size} pixels')
    assert (found.augment, found.span('augment_probability')) == (('ada',), (0.0, augment))
    assert lines['D sees'].endswith(f'of ADA, each with probability 0 to {augment}')
    assert lines['rates'] == 'adam (0, 0.9 to 0.99), G 0.0002 to 5e-05, D 0.0002 to 5e-05'
    assert lines['schedule'].startswith(f'cosine over {found.schedule_steps:,} steps')
    assert lines['average'].startswith(f"of G's weights, half-life 0 to {images:,.0f} images")


def test_r3gan_without_its_schedules():
    found = resolve('cifar10', 32, method='r3gan', schedule='constant')
    assert found.num_steps == 30 * (50_000 // 512)
    assert (found.span('r1'), found.span('beta2_g'), found.schedule_steps) == (
        *((0.05, 0.05), (0.9, 0.9)),
        None,
    )
    # The half-life grows with the images so far, at the mean slope of its cosine: 5 M of 20 M.
    assert (found.ema_decay, found.ema_ramp) == (pytest.approx(0.5 ** (512 / 5e6)), 0.25)
    lines = told(found)
    assert 'here augment none instead of ada, schedule constant instead' in lines['recipe']
    assert (found.augment, found.augment_probability, lines['D sees']) == ((), None, None)
    assert lines['rates'].endswith('constant')
    assert lines['schedule'] is None


def test_r3gans_schedules_from_other_values():
    # Rates and gammas fall by the published factors, other numbers that are asked for stay.
    found = resolve('cifar10', 32, method='r3gan', r1=1.0, learning_rate_g=4e-4, beta2=0.5)
    assert found.span('r1') == (1.0, pytest.approx(0.1))
    assert found.span('learning_rate_g') == (4e-4, pytest.approx(1e-4))
    assert (found.span('beta2_g'), found.span('r2')) == ((0.5, 0.5), (0.05, 0.005))
    found = resolve('cifar10', 32, method='r3gan', ema_decay=0.0, weight_clip=0.1)
    assert (found.span('ema_decay'), found.span('r1')) == ((0.0, 0.0), (0.0, 0.0))
    found = resolve('cifar10', 32, method='r3gan', num_steps=1000, schedule_steps=1000)
    assert 'schedule_steps 1000 instead of 39062' in told(found)['recipe']
    found = resolve('cifar10', 32, method='r3gan', decay_epochs=(3,))
    assert (found.schedule, found.span('r1')) == ('step', (0.05, 0.05))


def test_r3gan_elsewhere_is_called_ours():
    found = resolve(image_size=32, method='r3gan', width=64)
    assert (found.r1, found.r2, found.batch_size, found.conditional) == (0.05, 0.05, 64, False)
    assert 'ours: nothing was published for r3gan on digits' in told(found)['recipe']
    # Its cosines are over the run, however short.
    assert (found.schedule, found.schedule_steps) == ('cosine', found.num_steps)
    assert 'over this run instead of 20 M images' in told(found)['recipe']


def test_a_published_norm_that_mixes_samples_trains_in_one_stage():
    # BatchNorm in D, which a symmetric loss allows.
    _, metrics = small.run_steps(1, method='dcgan_sym', dataset='mnist')
    assert metrics['gamma'] == -1


def test_a_norm_of_another_loss_is_not_taken_over():
    assert resolve('mnist', method='dcgan_sym', loss='hinge').discriminator_norm == 'group'


@pytest.mark.parametrize('dataset', ['celeb_a', 'mnist', 'ffhq', 'digits'])
@pytest.mark.parametrize('scheme', ['one_stage', 'two_stage', 'shared_forward'])
def test_what_nobody_published_is_constant_and_called_ours(dataset, scheme):
    published = {row[:3] for row in PUBLISHED}
    for method in methods.TABLE1:
        of = 'two_stage' if scheme == 'two_stage' else 'one_stage'
        if (method, of, dataset) in published or (method == 'cgan' and dataset == 'ffhq'):
            continue
        found = resolve(dataset, method=method, scheme=scheme)
        assert (found.decay_epochs, found.decay_factor) == ((), 1.0)
        assert found.discriminator_norm == ('spectral' if method == 'sngan' else 'group')
        assert found.optimizer == ('adam' if scheme == 'two_stage' else 'optimistic_adam')
        text = told(found)['recipe']
        assert text.startswith(f'rates ours: nothing was published for {method} on {dataset}')
        found = resolve(dataset, method=method, scheme=scheme, optimizer='adam')
        told_of = (
            '' if scheme == 'two_stage' else '; here optimizer adam instead of optimistic_adam'
        )
        assert told(found)['recipe'] == text + told_of


@pytest.mark.parametrize(
    ('fields', 'other'),
    [
        ({'method': 'dcgan'}, ''),
        (
            {'method': 'dcgan', 'scheme': 'two_stage', 'optimizer_d': 'sgd'},
            '; here optimizer_d sgd instead of adam',
        ),
        (
            {'method': 'dcgan', 'learning_rate_g': 1.0, 'schedule': 'cosine'},
            '; here learning_rate_g 1 instead of 0.0002, schedule cosine instead of constant',
        ),
        ({'method': 'sngan_resnet', 'd_steps': 1}, '; here d_steps 1 instead of 5'),
        ({'method': 'stylegan2', 'num_steps': 10}, ''),
        ({'method': 'biggan', 'num_steps': 10}, ''),
        ({'method': 'r3gan', 'num_steps': 10}, ''),
        (
            {'method': 'r3gan', 'r1': 7.0, 'schedule': 'constant'},
            '; here r1 7 instead of 0.05, schedule constant instead of cosine',
        ),
    ],
)
def test_what_is_taken_from_elsewhere_is_told_with_what_is_not(fields, other):
    found = resolve(image_size=32, **fields)
    text, origin = told(found)['recipe'], methods.recipe(found).origin
    assert text.endswith(origin + other)


def test_mnist_is_opened_at_the_papers_64_pixels():
    for method in methods.TABLE1:
        opened = methods.opening(TrainConfig(method=method, dataset='mnist'))
        assert (opened.image_size, opened.flip) == (64, False)
    for fields in ({'method': 'sngan_resnet'}, {'dataset': 'digits'}):
        assert methods.opening(TrainConfig(**{'dataset': 'mnist', **fields})).image_size is None
    assert methods.opening(TrainConfig(dataset='mnist', image_size=32)).image_size == 32


def half_life(config):
    """Images after which a state counts half in the average."""
    steps, weight = 0, 1.0
    while weight > 0.5:
        steps, weight = steps + 1, weight * config.ema_decay
    return steps * config.batch_size


@pytest.mark.parametrize(
    ('dataset', 'image_size', 'expected'),
    [
        # The authors' own, as FACTS 10 has them.
        (
            'ffhq',
            1024,
            {
                'r1': 10.0,
                'learning_rate_d': 0.002,
                'flip': True,
                'ema_ramp': 0.0,
                'num_steps': 25_000_000 // 32,
            },
        ),
        (
            'lsun_church',
            256,
            {'r1': 100.0, 'learning_rate_g': 0.002, 'flip': False, 'num_steps': 88_000_000 // 32},
        ),
        (
            'cifar10',
            32,
            {
                'batch_size': 64,
                'r1': 0.01,
                'learning_rate_g': 0.0025,
                'ema_ramp': 0.05,
                'mapping_layers': 2,
                'path_length': 0.0,
                'style_mixing': 0.0,
                'discriminator_skips': False,
                'minibatch_deviation': 32,
                'num_steps': 100_000_000 // 64,
            },
        ),
        # By hand: 0.0002 * size^2 / batch.
        ('ffhq', 256, {'r1': 0.4096, 'learning_rate_d': 0.0025, 'flip': True, 'path_length': 2.0}),
        ('folder', 1024, {'r1': 6.5536, 'learning_rate_d': 0.002, 'flip': False}),
        ('digits', 32, {'r1': 0.0064, 'mapping_layers': 8, 'discriminator_skips': True}),
    ],
)
def test_stylegan2_by_dataset_and_size(dataset, image_size, expected):
    found = resolve(dataset, image_size, method='stylegan2', scheme='two_stage')
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)
    kimg = {'cifar10': 500}.get(dataset, 10)
    assert half_life(found) == pytest.approx(1000 * kimg, abs=64)


def test_stylegan2s_rules_follow_the_batch():
    found = resolve('folder', 256, method='stylegan2', batch_size=8)
    assert found.r1 == pytest.approx(0.0002 * 256**2 / 8)
    assert half_life(found) == pytest.approx(8 * 10 / 32 * 1000, abs=8)
    assert "rules of ADA's authors" in told(found)['recipe']


def test_what_is_added_to_the_loss_is_said():
    assert told(resolve(method='lsgan'))['loss'] is None
    found = resolve(method='dcgan_sym', label_smoothing=0.1, lecam=0.3, top_k=0.5)
    assert told(found)['loss'] == (
        "D's target at real images 0.9, LeCam 0.3 (running means with decay 0.99), G learns from "
        'the images with the highest logits: all at first, 0.99 times as many after each epoch, at '
        'least 0.5 of the batch; minimax is not symmetric any more, and one_stage needs a '
        'samplewise D'
    )
    recipe = told(resolve('celeb_a', 64, method='dcgan', top_k=0.5))['recipe']
    assert 'top_k 0.5 instead of 1' in recipe


def test_one_stage_leaves_the_deviation_out_and_says_so():
    found = resolve('cifar10', 32, method='stylegan2')
    assert found.minibatch_deviation == 0
    assert 'minibatch_deviation 0 instead of 32' in told(found)['recipe']
    assert (found.augment, found.augment_probability, found.ada_target) == (('ada',), None, 0.6)
    # Also where nothing was published to compare with.
    text = summary.networks_of(resolve(image_size=32, method='stylegan2'))
    assert text.endswith('; no groups for the minibatch standard deviation in D')
    text = summary.networks_of(resolve(image_size=32, method='stylegan2', scheme='two_stage'))
    assert '; groups of 4 for' in text
    assert summary.networks_of(resolve(method='sngan')) == 'dcgan, spectral norm in D, float32'


def test_biggan_on_cifar10():
    found = resolve('cifar10', 32, method='biggan')
    expected = {
        'batch_size': 50,
        'learning_rate_g': 2e-4,
        'learning_rate_d': 2e-4,
        'beta1': 0.0,
        'beta2': 0.999,
        'ema_decay': 0.9999,
        'ema_start': 1000,
        'hierarchical_z': False,
        'init': 'normal',
        'd_steps': 4,
        # Its epochs are the real images that D sees, a step takes four batches of them.
        'num_steps': 500 * 1000 // 4,
    }
    assert {name: getattr(found, name) for name in expected} == expected
    assert 'd_steps' not in told(found)['recipe']


@pytest.mark.parametrize(
    ('method', 'expected'),
    [
        (
            'wgan_gp',
            {
                'loss': 'wasserstein',
                'gradient_penalty': 10.0,
                'weight_clip': 0.0,
                'learning_rate_g': 1e-4,
                'learning_rate_d': 1e-4,
                'beta1': 0.0,
                'beta2': 0.9,
                'discriminator_norm': 'layer',
                # 30 epochs of 781 batches, five a step.
                'num_steps': 30 * 781 // 5,
            },
        ),
        (
            'sngan_resnet',
            {
                'loss': 'hinge',
                'network': 'resnet_gan',
                'discriminator_norm': 'spectral',
                'learning_rate_g': 2e-4,
                'learning_rate_d': 2e-4,
                'beta1': 0.0,
                'beta2': 0.9,
                'num_steps': 50_000,
                'schedule': 'linear',
                'schedule_steps': 50_000,
                'learning_rate_g_final': 0.0,
                'learning_rate_d_final': 0.0,
            },
        ),
    ],
)
def test_methods_of_five_steps_of_d(method, expected):
    found = resolve('cifar10', 32, method=method)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.d_steps == 5
    assert 'd_steps' not in told(found)['recipe']
    assert (
        'here d_steps 1 instead of 5'
        in told(resolve('cifar10', 32, method=method, d_steps=1))['recipe']
    )


@pytest.mark.parametrize(
    'method', ['wgan_gp', pytest.param('sngan_resnet', marks=pytest.mark.slow)]
)
def test_they_train(method):
    fields = {'image_size': 32} if method == 'sngan_resnet' else {}
    resolved = small.resolve(small.make_config(method=method, **fields))
    gan = model.build(resolved, num_classes=0, steps_per_epoch=5)
    assert gan.penalties.gradient_penalty == (10.0 if method == 'wgan_gp' else 0.0)
    if not fields:
        _, metrics = small.run_steps(1, method=method)
        assert metrics['penalty_d'] > 0


def test_wgans_own_rmsprop():
    # Arjovsky et al. 2017, Algorithm 1.
    found = resolve('celeb_a', method='wgan', optimizer='rmsprop')
    assert (found.learning_rate_g, found.learning_rate_d, found.weight_clip) == (5e-5, 5e-5, 0.01)
    assert (found.beta2, found.adam_epsilon, found.decay_epochs) == (0.99, 1e-8, ())
    assert told(found)['recipe'].startswith('published: Arjovsky et al. 2017')
    assert found.d_steps == 5


def test_an_average_that_would_never_start_starts_in_time_and_says_so():
    found = resolve('tfds:birds', 64, method='biggan', num_steps=5850)
    assert (found.ema_start, found.ema_ramp) == (585, 0.05)
    text = told(found)['average']
    assert 'from step 585: the recipe starts at step 20,000, too late in 5,850' in text
    found = resolve('tfds:birds', 64, method='biggan', num_steps=150_000)
    assert (found.ema_start, found.ema_ramp) == (20_000, 0.0)
    found = resolve('tfds:birds', 64, method='biggan', num_steps=150_000, ema_start=9)
    assert told(found)['average'].endswith('from step 9')
    # What was asked for stands, and is told.
    found = resolve(method='lsgan', num_steps=50, ema_decay=0.9, ema_start=50)
    assert found.ema_start == 50
    assert "after the run's end" in told(found)['average']


def test_the_summary_shows_penalties_clip_average_and_schedule():
    found = resolve('celeb_a', method='wgan', num_steps=5 * 1582)
    lines = told(found)
    assert lines['rates'] == (
        'adam (0.5, 0.999), G 0.0001, D 1.35e-05, times 0.1 after epoch 10 and 15 '
        "(of the run's 5 epochs)"
    )
    assert lines['clip'] == "D's weights to +-0.01 after each step"
    assert (lines['penalties'], lines['average']) == ('none', 'none')
    assert 'num_steps 7,910 instead of 47,460' in lines['recipe']
    lines = told(resolve('ffhq', 1024, method='stylegan2', augment=('color',)))
    assert lines['penalties'] == 'R1 10 every 16 steps, path length 2 every 4 steps'
    assert lines['average'] == (
        "of G's weights, half-life 10,000 images (decay 0.997784), "
        'rising to it from 0 as (1 + step) / (10 + step)'
    )
    assert lines['D sees'] == 'images with color'
    assert lines['rates'].endswith('G 0.002, D 0.002, constant')


def test_weights_that_others_scale_otherwise_say_so():
    lines = told(resolve(method='relgan', r1=1.0))
    assert lines['penalties'] == 'R1 1 (half as much as in R3GAN, whose loss is half of this)'
    assert told(resolve(method='r3gan', r1=1.0, r2=0.0))['penalties'] == 'R1 1 to 0.1'
    lines = told(resolve(method='sngan', orthogonal=1e-4))
    assert lines['penalties'] == (
        "orthogonal 0.0001 (Eq. 3; BigGAN-PyTorch's gradient is half as large)"
    )


def test_what_differs_from_what_was_published_is_named():
    found = resolve('celeb_a', method='dcgan', width=32, learning_rate_d=3e-4, batch_size=64)
    text = told(found)['recipe']
    for each in (
        'batch_size 64 instead of 128',
        'learning_rate_d 0.0003 instead of 0.0001',
        'width 32 instead of 128',
    ):
        assert each in text
    found = resolve('celeb_a', method='dcgan', optimizer='sgd', loss='hinge', r1=1.0, ema_decay=0.5)
    text = told(found)['recipe']
    for each in (
        'optimizer sgd instead of adam',
        'loss hinge instead of non_saturating',
        'r1 1 instead of 0',
        'ema_decay 0.5 instead of 0',
    ):
        assert each in text


def test_recipes_name_fields_that_there_are(monkeypatch):
    odd = methods.Method('Odd', 'hinge', recipe=lambda setting: methods.Recipe({'colour': 1}))
    monkeypatch.setitem(methods._METHODS, 'odd', odd)
    with pytest.raises(ValueError, match="'odd' has unknown fields: colour"):
        resolve(method='odd')


def test_the_recipe_is_of_the_images_that_a_program_gives(tmp_path):
    """`train(config, workdir, dataset=...)` leaves the configuration's default, digits."""
    job = trainer.GANJob(TrainConfig(method='dcgan', batch_size=2), tmp_path, None)
    job.dataset = data.from_arrays(np.zeros((4, 64, 64, 3), np.uint8), name='celeb_a')
    job.run = job.open()
    assert job.run.config.latent_dim == 128
    assert 'published: the paper' in job.describe_recipe()
    job.dataset = data.from_arrays(np.zeros((4, 64, 64, 3), np.uint8))
    job.run = job.open()
    assert 'ours: nothing was published for dcgan on arrays' in job.describe_recipe()


def test_a_network_of_another_method_has_its_own_options():
    found = resolve('cifar10', 32, method='stylegan2', network='dcgan')
    assert (found.mapping_layers, found.style_mixing, found.latent_dim) == (None, None, 100)
    found = resolve('cifar10', 32, method='biggan', network='resnet_gan')
    assert (found.width, found.hierarchical_z, found.latent_dim) == (None, None, 100)


def test_runs_from_before_an_option_have_what_they_did():
    resolved = resolve('cifar10', 32, method='stylegan2', scheme='two_stage')
    later = ('ema_ramp', 'mapping_layers', 'discriminator_skips', 'root_epsilon', 'init')
    saved = dataclasses.replace(resolved, **dict.fromkeys(later)).complete()
    assert {name: getattr(saved, name) for name in later} == {
        'ema_ramp': 0.0,
        'mapping_layers': 8,
        'discriminator_skips': True,
        'root_epsilon': False,
        'init': None,
    }
    saved = dataclasses.replace(resolved, optimizer='rmsprop', root_epsilon=None).complete()
    assert saved.root_epsilon is True
