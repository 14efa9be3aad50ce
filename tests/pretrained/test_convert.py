"""Published weights as runs: networks of the published kinds, tiny, with random numbers."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from osgan_jax import data, networks
from osgan_jax.compression import teachers
from osgan_jax.engine import checkpoints, runs
from osgan_jax.gan import sampling, trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.networks import inference
from osgan_jax.pretrained import biggan, convert, stylegan2
from tests.support import launching

CONVERTERS = {'stylegan2': stylegan2, 'biggan': biggan}
# Size, width, size of z and classes.
SHAPES = {'stylegan2': (8, 4, 6, 0), 'biggan': (32, 2, 12, 3)}


@functools.cache
def pair(method):
    size, width, latent_dim, classes = SHAPES[method]
    return networks.build(
        method,
        networks.NetworkOptions(
            image_size=size,
            channels=3,
            width=width,
            latent_dim=latent_dim,
            num_classes=classes,
        ),
    )


def draw(network, method, seed=0):
    rng = np.random.default_rng(seed)
    # Variances are above zero.
    return {
        name: np.asarray(rng.uniform(0.5, 1, shape) * rng.choice(signs, shape), np.float32)
        for name, shape in CONVERTERS[method].tensor_shapes(network).items()
        for signs in [(1,) if name.endswith('stored_var') else (-1, 1)]
    }


def config(method, **fields):
    _, width, latent_dim, _ = SHAPES[method]
    values = {'dataset': 'digits', 'width': width, 'latent_dim': latent_dim, **fields}
    return TrainConfig(method=method, **values)


@pytest.fixture
def files(tmp_path):
    """Writes tensors of both networks of a method; returns both files and the tensors."""

    def write(method):
        tensors = [draw(network, method) for network in pair(method)]
        paths = [tmp_path / f'{method}_{name}.npz' for name in 'GD']
        for path, own in zip(paths, tensors, strict=True):
            np.savez(path, **own)
        return paths, tensors

    return write


def equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# The run.


@pytest.mark.parametrize('method', ['stylegan2', pytest.param('biggan', marks=pytest.mark.slow)])
def test_run(method, files, tmp_path):
    size, _, _, classes = SHAPES[method]
    (generator, discriminator), converter = pair(method), CONVERTERS[method]
    paths, tensors = files(method)
    workdir = tmp_path / 'run'
    run, state = convert.convert(paths[::-1], config(method), workdir)
    assert runs.read(workdir, TrainConfig) == run
    assert (run.num_classes, run.num_examples) == (classes, 0)
    assert run.config.image_size == size
    assert run.config.conditional == bool(classes)
    assert run.config.dataset == 'digits'
    assert run.config.minibatch_deviation == (4 if method == 'stylegan2' else None)

    variables = converter.generator_variables(tensors[0], generator)
    sampler = sampling.Sampler(workdir)
    assert sampler.step == 0
    equal(sampler.variables, variables)
    equal({'params': state.params_g, **state.stats_g}, variables)
    z, labels = sampler.latents(4, 0), sampler.labels(4)
    expected = inference.compile_generator(generator)(variables, z, labels)
    assert np.ptp(expected) > 0.01
    np.testing.assert_array_equal(sampler.images(z, labels, noise_seed=None), expected)

    teacher = teachers.load(workdir)
    judge = converter.discriminator_variables(tensors[1], discriminator)
    equal(teacher.variables['discriminator'], judge)
    images = np.random.default_rng(0).normal(size=(4, size, size, 3))
    expected = jax.jit(functools.partial(discriminator.apply, train=False))(judge, images, labels)
    found = jax.jit(teacher.discriminate)(teacher.variables, images, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        metadata = saved.metadata()
    assert metadata['weights'].keys() == {path.name for path in paths}
    assert metadata['generator_only'] is False
    with pytest.raises(ValueError, match=r'^.*run already holds a run: give another workdir$'):
        convert.convert(paths, config(method), workdir)


def test_generator_only(files, tmp_path):
    paths, tensors = files('stylegan2')
    message = "^the discriminator's weights, .* are missing: give their file too, or --generator_"
    with pytest.raises(ValueError, match=message):
        convert.convert(paths[:1], config('stylegan2'), tmp_path / 'run')
    # Given or not.
    run, state = convert.convert(paths, config('stylegan2'), tmp_path / 'run', generator_only=True)
    judge = stylegan2.discriminator_variables(tensors[1], pair('stylegan2').discriminator)
    fresh = np.asarray(state.params_d['dense']['kernel'])
    assert fresh.shape == judge['params']['dense']['kernel'].shape
    assert not np.array_equal(fresh, judge['params']['dense']['kernel'])
    expected = stylegan2.generator_variables(tensors[0], pair('stylegan2').generator)
    equal(sampling.Sampler(tmp_path / 'run').variables, expected)
    with checkpoints.Checkpoints(tmp_path / 'run', read_only=True) as saved:
        assert saved.metadata()['generator_only'] is True
    # It has seen no data to go on from.
    dataset = data.from_arrays(np.zeros((40, 8, 8, 3), np.uint8), None, name='digits')
    asked = dataclasses.replace(run.config, num_devices=1)
    with pytest.raises(ValueError, match='the dataset had 0 images there'):
        trainer.train(asked, tmp_path / 'run', dataset=dataset)


# Whose tensors.


@pytest.mark.parametrize('method', SHAPES)
def test_one_file_of_both(method, files, tmp_path):
    _, (generator, discriminator) = files(method)
    other = draw(pair(method).generator, method, seed=1)
    parts = {'G.': other, 'D.module.': discriminator, 'G_ema.': generator}
    tensors = {f'{prefix}{name}': x for prefix, own in parts.items() for name, x in own.items()}
    np.savez(tmp_path / 'all.npz', **tensors)
    found = convert.read_networks([tmp_path / 'all.npz'], method)
    equal(found, {'generator': generator, 'discriminator': discriminator})
    without = {name: x for name, x in tensors.items() if not name.startswith('G_ema.')}
    np.savez(tmp_path / 'all.npz', **without)
    equal(convert.read_networks([tmp_path / 'all.npz'], method)['generator'], other)


@pytest.mark.parametrize('form', stylegan2.FORMS)
@pytest.mark.parametrize('num_classes', [0, 3])
def test_names_of_stylegan2(form, num_classes, tmp_path):
    if form == 'tensorflow' and num_classes:
        pytest.skip('TensorFlow networks have no labels here')
    networks_ = [network.clone(num_classes=num_classes) for network in pair('stylegan2')]
    tensors = [
        {
            name: np.ones(shape, np.float32)
            for name, shape in stylegan2.tensor_shapes(x, form).items()
        }
        for x in networks_
    ]
    roles = ('generator', 'discriminator')
    for name, own in zip(roles, tensors, strict=True):
        np.savez(tmp_path / f'{name}.npz', **own)
    paths = [tmp_path / f'{name}.npz' for name in roles]
    found = convert.read_networks(paths, 'stylegan2')
    equal(found, dict(zip(roles, tensors, strict=True)))
    if not num_classes:
        np.savez(tmp_path / 'both.npz', **tensors[0], **tensors[1])
        equal(convert.read_networks([tmp_path / 'both.npz'], 'stylegan2'), found)


# What is refused.


def test_what_is_refused(files, tmp_path):
    (generator, discriminator), tensors = files('stylegan2')
    (big_generator, big_discriminator), _ = files('biggan')
    np.savez(tmp_path / 'other.npz', **draw(pair('biggan').generator, 'biggan', seed=1))
    np.savez(tmp_path / 'none.npz', something=np.zeros(3))
    np.savez(tmp_path / 'wide.npz', **{**tensors[0], 'mapping.w_avg': np.zeros(9, np.float32)})
    workdir = tmp_path / 'run'

    def refused(paths, asked, message):
        with pytest.raises(ValueError, match=message) as caught:
            convert.convert(paths, asked, workdir)
        assert '\n' not in str(caught.value)
        assert not workdir.exists()

    asked = config('stylegan2')
    both = [generator, discriminator]
    refused([], asked, '^no weights: give the files')
    refused(both, config('stylegan2', image_size=16), '^image_size=16: .* has 8 pixels; leave')
    refused(both, config('stylegan2', width=8), 'not the pytorch weights of a 8-pixel StyleGAN2')
    refused([discriminator], asked, '^the weights hold only a discriminator: give')
    refused([tmp_path / 'none.npz'], asked, "not hold a network of stylegan2.*'something'$")
    refused([big_generator], asked, "does not hold a network of stylegan2: it has '.* more$")
    refused(both, config('biggan'), "does not hold a network of biggan: it has '.* more$")
    refused(
        [big_generator, tmp_path / 'other.npz', big_discriminator],
        config('biggan'),
        'other.npz and another file both hold a generator, and they differ in .* give one of them$',
    )
    refused([*both, tmp_path / 'wide.npz'], asked, "differ in 'mapping.w_avg': give one")
    refused(both, TrainConfig(method='dcgan'), "^method='dcgan': .* of stylegan2 or biggan$")
    with pytest.raises(FileNotFoundError, match=r'no file of weights .*nothing\.npz'):
        convert.convert([tmp_path / 'nothing.npz'], asked, workdir)


# The command.


@pytest.mark.slow
def test_command(files, tmp_path):
    paths, _ = files('stylegan2')
    workdir = tmp_path / 'run'
    flags = ('--method=stylegan2', '--dataset=digits', '--width=4', '--latent_dim=6')
    weights = f'--weights={paths[0]},{paths[1]}'
    done = launching.call('convert', weights, *flags, '--image_size=8', f'--workdir={workdir}')
    assert done.code == 0, done.err
    assert done.err == ''
    assert 'stylegan2 of 8 pixels, no labels, G ' in done.out
    done = launching.call('sample', f'--workdir={workdir}', '--grid=4')
    assert done.code == 0, done.err
    assert (workdir / 'generated' / 'grid.png').exists()
    done = launching.call(
        'edit', f'--workdir={workdir}', '--sheet=mixing', '--rows=1', '--columns=2'
    )
    assert done.code == 0, done.err
    done = launching.call(
        'compress',
        f'--teacher={workdir}',
        f'--workdir={tmp_path / "half"}',
        '--objective=dgl',
        '--scheme=one_stage',
        '--batch_size=8',
        '--stage_one_kimg=0.016',
        '--stage_two_kimg=0.016',
        '--num_samples=4',
        '--num_devices=1',
    )
    assert done.code == 0, done.err
    # In one sentence.
    done = launching.call('convert', weights, *flags, f'--workdir={workdir}')
    assert done.code == 1
    assert done.err.startswith('error: ')
    assert done.err.count('\n') == 1
    assert 'already holds a run' in done.err
