"""Networks of one's own in the trainer: from Python and by a flag, resumed, sampled, scored."""

import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments import sample, train
from osgan_jax.editing import gradients
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.engine import checkpoints, runs
from osgan_jax.engine.checkpoints import leaves
from osgan_jax.evaluation import evaluators
from osgan_jax.evaluation.features.extractors import Extractor, Features
from osgan_jax.gan import Config, Networks, model, own, trainer
from osgan_jax.gan.sampling import Sampler
from tests.support import own_nets, small

SOURCE = pathlib.Path(own_nets.__file__).read_text()
NETWORKS = Networks(own_nets.Generator(), own_nets.Critic(), latent_dim=5, latents='uniform')


def config(**fields):
    values = {'method': 'sngan', 'conditional': True, 'batch_size': 8, 'num_samples': 4}
    return Config(**{**values, 'num_steps': 4, 'save_every': 2, 'num_devices': 1, **fields})


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """A file of the same networks."""
    path = tmp_path_factory.mktemp('code') / 'my_nets.py'
    path.write_text(SOURCE.replace('latent_dim=5', "latent_dim=5, latents='uniform'"))
    return path


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run from Python, and its result."""
    workdir = tmp_path_factory.mktemp('whole')
    return workdir, trainer.train(config(), workdir, dataset=small.dataset(), networks=NETWORKS)


@pytest.fixture(scope='module')
def resumed(tmp_path_factory, whole, file):
    """The same run from its first checkpoint on, by a reference."""
    workdir = tmp_path_factory.mktemp('resumed') / 'run'
    shutil.copytree(whole[0], workdir)
    shutil.rmtree(workdir / 'checkpoints' / '4')
    asked = config(network=f'{file}:build')
    return workdir, trainer.train(asked, workdir, dataset=small.dataset())


def test_a_resumed_run_of_a_file_equals_a_whole_one_from_python(whole, resumed):
    (_, one), (_, other) = whole, resumed
    assert int(one.state.step) == 4
    states = [leaves.to_host(each.state)[1] for each in (one, other)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name], name)
    assert one.metrics == other.metrics
    assert np.any(one.state.stats_g['batch_stats']['BatchNorm_0']['mean'] != 0)
    assert set(one.state.stats_d) == {'batch_stats'}


def test_a_run_records_what_its_networks_are(whole, resumed, file):
    runs_of = [runs.read(workdir, Config) for workdir, _ in (whole, resumed)]
    assert [run.config.network for run in runs_of] == ['own(Generator, Critic)', f'{file}:build']
    assert runs_of[0].own == runs_of[1].own
    described = runs_of[0].own['networks']['discriminator']
    assert (described['class'], described['parameters']) == ('Critic', 4 * 16 + 4 + 5 + 16)
    assert 'width = 4' in described['repr']
    assert (runs_of[0].config.latent_dim, runs_of[0].config.discriminator_norm) == (5, 'own')


def test_runs_are_sampled_where_their_networks_are_found(whole, resumed, file):
    by_file = Sampler(resumed[0])
    z, labels = by_file.latents(6, seed=0), by_file.labels(6)
    assert float(jnp.abs(z).max()) <= 1  # uniform, as declared
    images = by_file.images(z, labels)
    assert images.shape == (6, 16, 16, 1)
    for given in (NETWORKS, f'{file}:build'):
        np.testing.assert_array_equal(Sampler(whole[0], networks=given).images(z, labels), images)
        # Its discriminator is found as the generator was, for projections and maps of gradients.
        (judge,) = gradients.judges(Sampler(whole[0], networks=given))
        chex.assert_trees_all_equal(judge.variables['params'], whole[1].state.params_d)
    with pytest.raises(ValueError, match=r'network=own\(Generator, Critic\): these networks were'):
        Sampler(whole[0])
    wider = Networks(own_nets.Generator(width=5), own_nets.Critic(), latent_dim=5)
    with pytest.raises(
        checkpoints.CheckpointError, match=r'params_g/BatchNorm_0/bias is float32.4.'
    ):
        Sampler(whole[0], networks=wider)


def test_runs_are_scored_and_edited(resumed, tmp_path):
    sampler = Sampler(resumed[0])

    def brightness(images):
        pooled = jnp.asarray(images, jnp.float32).mean((1, 2)) / 255
        return Features(pooled, pooled)

    scored = evaluators.Evaluator(
        sampler.gan,
        small.dataset(),
        Extractor('classifier', 'brightness', 'f00d', brightness),
        metrics=['fid'],
        num_samples=16,
        batch_size=8,
        cache_dir=tmp_path,
    )
    assert np.isfinite(scored(sampler.variables)['classifier_fd'])
    editable = EditableGenerator(sampler.gan, sampler.variables)
    assert (editable.space, editable.label_tables()) == ('z', [])
    assert 'interpolate_classes' not in editable.sheets()


def test_flags_train_and_sample(tmp_path, file, capsys):
    """A fresh run by flags; sampled by the flag once the file has moved."""
    moved, workdir = tmp_path / 'moved.py', tmp_path / 'run'
    moved.write_text(file.read_text())
    flags = [f'--workdir={workdir}', '--image_size=16', '--batch_size=8', '--num_steps=1']
    assert train.main([f'--network={moved}:build', '--num_samples=4', *flags]) == 0
    # Without spaces: a path may be longer than a line.
    assert f'{moved}:build,float32' in ''.join(capsys.readouterr().out.split())
    moved.unlink()
    draw = [f'--workdir={workdir}', '--grid=4']
    assert sample.main(draw) == 1
    assert f'there is no file {moved}' in capsys.readouterr().err
    assert sample.main([*draw, f'--network={file}:build']) == 0
    assert (workdir / 'generated' / 'grid.png').exists()
    # Code in a run's own directory may have come with it.
    inside = workdir / 'nets.py'
    inside.write_text(file.read_text())
    (workdir / 'config.json').write_text(
        (workdir / 'config.json').read_text().replace(str(moved), str(inside))
    )
    assert sample.main(draw) == 1
    assert f'if you trust it, give --network={inside}:build' in capsys.readouterr().err
    assert sample.main([*draw, f'--network={inside}:build']) == 0


def test_a_run_goes_on_with_its_own_networks_alone(whole, capsys):
    workdir, _ = whole
    wider = Networks(own_nets.Generator(width=5), own_nets.Critic(), 5, 'uniform')
    dataset = small.dataset()
    with pytest.raises(
        checkpoints.CheckpointError, match=r'params_g/BatchNorm_0/bias is float32.4.'
    ):
        trainer.train(config(), workdir, dataset=dataset, networks=wider)
    with pytest.raises(ValueError, match='give them again, from Python as networks='):
        trainer.train(config(), workdir, dataset=dataset)
    with pytest.raises(
        ValueError, match=r"network is 'own\(Generator, Critic\)' there and 'dcgan'"
    ):
        trainer.train(config(network='dcgan'), workdir, dataset=dataset)
    with pytest.raises(ValueError, match='network=dcgan and networks: give one of them'):
        trainer.train(config(network='dcgan'), workdir, dataset=dataset, networks=NETWORKS)


class Sigmoid(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.sigmoid(nn.Dense(256)(z)).reshape(-1, 16, 16, 1)


class Mixing(nn.Module):
    @nn.compact
    def __call__(self, images, train=True):
        x = nn.BatchNorm(not train)(nn.Dense(4)(images.reshape(len(images), -1)))
        return nn.Dense(1)(nn.relu(x))


def test_what_is_odd_is_said_before_training(tmp_path, capsys):
    mixing = Networks(Sigmoid(), Mixing())
    asked = config(method='lsgan', conditional=False, precision='bfloat16', num_steps=1)
    with pytest.raises(ValueError, match=r'one_stage needs a discriminator .*BatchNorm'):
        trainer.train(asked, tmp_path / 'run', dataset=small.dataset(), networks=mixing)
    asked = config(method='wgan', conditional=False, precision='bfloat16', network=mixing)
    resolved = small.resolve(asked)
    gan = model.build(resolved, num_classes=0, steps_per_epoch=5)
    precision, span = own.remarks(resolved, gan, model.create(gan, 0))
    assert 'the generator and the discriminator of own(Sigmoid, Mixing) have no' in precision
    assert 'but images are in [-1, 1] here: end it in tanh' in span


class Deep(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(4, name='first')(images.reshape(len(images), -1)))
        return nn.Dense(1, name='last')(x)


def test_declared_blocks_are_frozen():
    networks = Networks(Sigmoid(), Deep(), 5, discriminator_blocks=('first', 'last'))
    fields = {'method': 'lsgan', 'network': networks, 'width': None, 'latent_dim': None}
    _, state, *_ = small.build(**fields)
    before = jax.device_get(state.params_d)
    frozen = {'freeze': ('discriminator:0',), **fields}
    after = small.run_steps(1, **frozen)[0].params_d
    np.testing.assert_array_equal(after['first']['kernel'], before['first']['kernel'])
    assert np.any(np.asarray(after['last']['kernel']) != before['last']['kernel'])
    with pytest.raises(ValueError, match=r'own\(Sigmoid, Deep\) does not declare .*generator_bl'):
        small.build(freeze=('generator:0',), **fields)
