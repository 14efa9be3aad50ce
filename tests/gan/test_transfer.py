"""Beginning with what another run has learnt: what is taken, what is fresh, and what is said."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.engine import checkpoints, runs
from osgan_jax.engine.checkpoints import leaves
from osgan_jax.gan import model, trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.pretrained import export
from osgan_jax.runtime import parallel
from tests.support import small

NAMES = ('bird', 'cat', 'dog', 'fish')


def pictures(names, channels=1, size=small.SIZE, count=40):
    rng = np.random.default_rng(len(names))
    images = rng.integers(0, 256, (count, size, size, channels), np.uint8)
    labels = np.arange(count) % len(names) if names else None
    return data.from_arrays(images, labels, name='pictures', class_names=names or None)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The workdir and the state of a conditional run with an average and slow weights."""
    workdir = tmp_path_factory.mktemp('source')
    config = small.make_config(
        method='cgan', num_steps=2, scheme='two_stage', ema_decay=0.5, lookahead=2
    )
    result = trainer.train(config, workdir, dataset=pictures(NAMES))
    return workdir, result.state


def begin(workdir, dataset, **fields):
    """The beginning of a run, and its fresh state; no step is compiled."""
    asked = TrainConfig(init_from=str(workdir), batch_size=8, num_devices=1, **fields)
    job = trainer.GANJob(asked, workdir.parent / 'absent', dataset)
    job.resume_config()
    job.run = job.open()
    job.devices = parallel.local_devices(1, job.run.config.batch_size)
    job.build()
    return job.initialise(), job.create()


def values(state):
    return leaves.to_host(dataclasses.replace(state, key=jax.random.key_data(state.key)))[1]


def of_part(arrays, part):
    return {name: array for name, array in arrays.items() if name.startswith(f'{part}/')}


def test_the_same_networks_are_taken_whole(source):
    workdir, trained = source
    begun, fresh = begin(workdir, pictures(NAMES), ema_decay=0.9)
    config = begun.run.config
    assert (config.method, config.scheme, config.width) == ('cgan', 'two_stage', 4)
    found, theirs, own = values(begun.state), values(trained), values(fresh)
    for part in ('params_g', 'params_d', 'stats_g', 'ema_g'):
        assert of_part(found, part)
        chex.assert_trees_all_equal(of_part(found, part), of_part(theirs, part))
    for part in ('opt_g', 'opt_d'):
        chex.assert_trees_all_equal(of_part(found, part), of_part(own, part))
    assert begun.step == int(begun.state.step) == 0
    assert begun.run.origin == {'how': 'init_from', 'workdir': str(workdir), 'step': 2}
    said = f'{workdir}, step 2: 11 of 11 tensors of G, 9 of 9 tensors of D'
    assert begun.notes == [('begun with', said)]
    # Without an average there, the new one begins at G; slow weights always do.
    begun, _ = begin(workdir, pictures(NAMES), ema_decay=0.9, lookahead=3)
    found = values(begun.state)
    for name, array in of_part(found, 'slow').items():
        np.testing.assert_array_equal(array, found[name.removeprefix('slow/')])


def test_classes_are_taken_by_name(source):
    workdir, trained = source
    here = ('cat', 'cow', 'fish')
    begun, fresh = begin(workdir, pictures(here), ema_decay=0.9)
    for part, name in (
        ('params_g', 'Embed_0/embedding'),
        ('params_d', 'Embed_0/embedding'),
        ('ema_g', 'params/Embed_0/embedding'),
    ):
        found, theirs, own = (
            of_part(values(state), part)[f'{part}/{name}']
            for state in (begun.state, trained, fresh)
        )
        np.testing.assert_array_equal(found[[0, 2]], theirs[[1, 3]])
        np.testing.assert_array_equal(found[1], own[1])
    assert ('embeddings', 'cat, fish by name; fresh cow') in begun.notes
    # The same number of others, or another order, is not the same classes.
    begun, _ = begin(workdir, pictures(NAMES[::-1]))
    found, theirs = (
        values(state)['params_g/Embed_0/embedding'] for state in (begun.state, trained)
    )
    np.testing.assert_array_equal(found, theirs[::-1])
    begun, fresh = begin(workdir, pictures(('a', 'b', 'c', 'd')))
    np.testing.assert_array_equal(
        values(begun.state)['params_g/Embed_0/embedding'],
        values(fresh)['params_g/Embed_0/embedding'],
    )
    assert 'params_d/Embed_0/embedding (of other classes)' in dict(begun.notes)['fresh']


def test_what_does_not_fit_is_fresh_and_named(source):
    workdir, trained = source
    begun, fresh = begin(
        workdir, pictures((), channels=3), channels=3, conditional=False, ema_decay=0.9
    )
    found, theirs, own = map(values, (begun.state, trained, fresh))
    # Without an embedding beside z, and to three colours.
    changed = ['params_d/Conv_0/kernel', 'params_g/ConvTranspose_0/kernel']
    changed += ['params_g/ConvTranspose_2/bias', 'params_g/ConvTranspose_2/kernel']
    for name in changed:
        np.testing.assert_array_equal(found[name], own[name])
        average = name.replace('params_g/', 'ema_g/params/')
        np.testing.assert_array_equal(found[average], own[average])
    taken = [name for name in found if name.startswith('params_') and name not in changed]
    for name in taken:
        np.testing.assert_array_equal(found[name], theirs[name])
    said = dict(begun.notes)
    assert said['begun with'].endswith('step 2: 7 of 10 tensors of G, 7 of 8 tensors of D')
    text = 'params_d/Conv_0/kernel (float32[4, 4, 2, 4] there and float32[4, 4, 3, 4] here)'
    assert text in said['fresh']
    # Another size has further layers, another width all others.
    begun, _ = begin(workdir, pictures(NAMES, size=32), image_size=32)
    assert 'tensors of G' in dict(begun.notes)['begun with']


def test_a_run_that_a_converter_wrote(source, tmp_path):
    _, trained = source
    run = runs.read(source[0], TrainConfig)
    run = dataclasses.replace(run, class_names=(), num_examples=0, source=None)
    with checkpoints.Checkpoints(tmp_path / 'converted') as saved:
        saved.save(0, trained, metadata={'generator_only': True}, wait=True)
    runs.write(tmp_path / 'converted', run)
    begun, fresh = begin(tmp_path / 'converted', pictures(NAMES))
    found, theirs, own = map(values, (begun.state, trained, fresh))
    chex.assert_trees_all_equal(of_part(found, 'params_g'), of_part(theirs, 'params_g'))
    # Its discriminator was never trained.
    chex.assert_trees_all_equal(of_part(found, 'params_d'), of_part(own, 'params_d'))
    assert dict(begun.notes)['begun with'].endswith(' 0 of 9 tensors of D')


@pytest.mark.parametrize('average', [True, False])
def test_an_export_gives_what_it_holds(source, tmp_path, average):
    workdir, trained = source
    out = tmp_path / 'export'
    export.export(workdir, 'npz', out=out, average=average, discriminator=not average)
    begun, fresh = begin(out, pictures(NAMES), ema_decay=0.9)
    found, theirs, own = map(values, (begun.state, trained, fresh))
    # The weights that were exported, and where there are no others the average begins at them.
    there = {True: 'ema_g/params', False: 'slow/params_g'}[average]
    for part in ('params_g', 'ema_g/params'):
        for name, array in of_part(theirs, there).items():
            got = found[name.replace(there, part)]
            np.testing.assert_array_equal(got, array, err_msg=f'{part} of {name}')
    chex.assert_trees_all_equal(
        of_part(found, 'params_d'), of_part(own if average else theirs, 'params_d')
    )
    said = dict(begun.notes)['begun with']
    assert said.startswith(f'{out}, step 2: 11 of 11 tensors of G, ')
    assert said.endswith(f' {0 if average else 9} of 9 tensors of D')
    assert begun.run.config.method == 'cgan'
    assert begun.run.origin == {'how': 'init_from', 'workdir': str(out), 'step': 2}
    with pytest.raises(ValueError, match='holds no run'):
        begin(out.with_name('export@2'), pictures(NAMES))


def test_networks_of_a_model_of_the_package_are_the_default(tmp_path):
    job = trainer.GANJob(TrainConfig(init_from='pretrained:digits'), tmp_path / 'absent')
    job.resume_config()
    config = job.config
    assert (config.method, config.width, config.conditional) == ('lsgan', 32, True)
    assert (config.init_from, config.image_size) == ('pretrained:digits', 16)


def test_what_cannot_begin_is_refused(source, tmp_path):
    workdir, _ = source
    small_r3gan = {'network': 'r3gan', 'width': 16, 'blocks': 1, 'group_channels': 4}
    with pytest.raises(ValueError, match='nothing of its networks fits'):
        begin(workdir, pictures(NAMES), **small_r3gan)
    with pytest.raises(ValueError, match='holds no run'):
        begin(tmp_path / 'none', pictures(NAMES))
    with pytest.raises(checkpoints.CheckpointError, match=r'no checkpoint of step 7 .* are 2'):
        begin(workdir.with_name(f'{workdir.name}@7'), pictures(NAMES))
    asked = TrainConfig(init_from=str(workdir), fork=str(workdir))
    with pytest.raises(ValueError, match='a run begins with one of them'):
        trainer.train(asked, tmp_path / 'new', dataset=pictures(NAMES))


def test_a_run_that_began_elsewhere_resumes_alone(source, tmp_path, capsys):
    workdir, trained = source
    asked = TrainConfig(
        init_from=f'{workdir}@2',
        batch_size=8,
        num_steps=1,
        freeze=('discriminator:0-1', 'generator:0-1'),
        log_every=1,
        num_samples=4,
    )
    result = trainer.train(asked, tmp_path, dataset=pictures(NAMES))
    out = ' '.join(capsys.readouterr().out.split())
    assert f'begun with {workdir}, step 2: 11 of 11 tensors of G' in out
    assert 'frozen' in out
    found, theirs = values(result.state), values(trained)
    for name in ('params_d/Conv_0/kernel', 'params_d/Conv_1/bias', 'params_g/BatchNorm_0/scale'):
        np.testing.assert_array_equal(found[name], theirs[name])
    assert (found['params_d/Conv_2/kernel'] != theirs['params_d/Conv_2/kernel']).any()
    with checkpoints.Checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == [0, 1]
    # Its own words, or none, go on; the source may be gone.
    again = trainer.train(asked.replace(log_every=2), tmp_path, dataset=pictures(NAMES))
    assert int(again.state.step) == 1
    assert runs.read(tmp_path, TrainConfig).origin['how'] == 'init_from'
    assert model.digest(again.state.params_g) == model.digest(result.state.params_g)
