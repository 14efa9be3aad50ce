"""Sampling from checkpoints, and interpolation between latents."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import reporting
from osgan_jax.engine import checkpoints
from osgan_jax.gan import drawing, sampling, trainer, truncation
from tests.support import modules, small


@pytest.fixture(scope='module')
def conditional_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('cgan')
    rates = {'learning_rate_g': 0.05, 'learning_rate_d': 0.05}  # weights large enough to see
    config = small.make_config(method='cgan', num_steps=4, save_every=2, ema_decay=0.5, **rates)
    result = trainer.train(config, workdir, dataset=small.dataset())
    return workdir, result.state


def test_samples_are_the_averaged_generators(conditional_run):
    workdir, state = conditional_run
    sampler = sampling.Sampler(workdir)
    assert sampler.step == 4
    z, labels = sampler.latents(5, seed=3), sampler.labels(5)
    expected = modules.apply(sampler.gan.generator, state.ema_g, z, labels, train=False)
    np.testing.assert_allclose(sampler.images(z, labels), expected, atol=1e-6)
    assert sampler.images(z, labels).shape == (5, small.SIZE, small.SIZE, 1)


def test_noise_is_drawn_for_each_image_whatever_the_chunk(monkeypatch):
    def generate(variables, z, labels, key, truncation):
        return z if key is None else jax.random.normal(key, (len(z), 1))

    monkeypatch.setattr(sampling, '_ROWS', 4)
    sampler = sampling.Sampler.__new__(sampling.Sampler)
    sampler.variables, sampler._generate = {}, generate
    network = types.SimpleNamespace(has_styles=False)
    sampler.gan = types.SimpleNamespace(network=network, image_shape=(1, 1, 1))
    z = jnp.zeros((10, 1))
    drawn = [sampler.images(z, noise_seed=seed) for seed in (0, 1)]
    assert len(np.unique(drawn)) == 20
    np.testing.assert_array_equal(sampler.images(z, noise_seed=0), drawn[0])
    np.testing.assert_array_equal(sampler.images(z, noise_seed=None), z)


def test_any_checkpoint_can_be_sampled(conditional_run):
    workdir, _ = conditional_run
    older, newer = sampling.Sampler(workdir, 2), sampling.Sampler(workdir, 4)
    z, labels = newer.latents(2, 0), newer.labels(2)
    assert not np.allclose(older.images(z, labels), newer.images(z, labels))
    with pytest.raises(checkpoints.CheckpointError, match='no checkpoint of step 3'):
        sampling.Sampler(workdir, 3)


def test_chunks_do_not_show(conditional_run, monkeypatch):
    sampler = sampling.Sampler(conditional_run[0])
    z, labels = sampler.latents(7, 0), sampler.labels(7)
    whole = sampler.images(z, labels)
    monkeypatch.setattr(sampling, '_ROWS', 3)
    np.testing.assert_allclose(sampler.images(z, labels), whole, atol=1e-6)
    found = drawing.Drawing(sampler, 7)
    assert [len(part) for part in found.batches()] == [3, 3, 1]
    assert differ_by(np.concatenate([*found.batches()]), reporting.to_uint8(whole)) <= 1
    # Where a drawing was interrupted.
    np.testing.assert_array_equal([*found.batches(3)][-1], [*found.batches()][-1])
    with pytest.raises(ValueError, match='start=4: expected a multiple of 3'):
        next(found.batches(4))


def differ_by(one, other):
    """The greatest difference of two uint8 images, in levels."""
    return np.abs(one.astype(int) - other).max()


def test_an_image_is_decided_by_its_seed_alone(conditional_run):
    sampler = sampling.Sampler(conditional_run[0])
    seeds = [2**32 - 1, 9, 0, 14]
    many = drawing.Drawing(sampler, 4, seeds=seeds)
    np.testing.assert_array_equal(many.labels, [3, 1, 0, 2])  # seed modulo 4 classes
    for place, seed in enumerate(seeds):
        alone = drawing.Drawing(sampler, 1, seeds=[seed])
        first = sampler.latents(1, seed)
        np.testing.assert_array_equal(alone.latents(np.array([0])), first)
        np.testing.assert_array_equal(many.latents(np.array([place])), first)
        (image,), images = alone.batches(), np.concatenate([*many.batches()])
        assert differ_by(image[0], images[place]) <= 1
    drawn = [drawing.Drawing(sampler, len(s), seeds=s, policy='uniform') for s in (seeds, [9])]
    assert drawn[0].labels[1] == drawn[1].labels[0]
    some = drawing.Drawing(sampler, 4, seeds=seeds, label=(3, 2))
    np.testing.assert_array_equal(some.labels, [2, 2, 3, 3])


def test_rows_of_a_seed_do_not_depend_on_how_many_are_drawn(conditional_run, monkeypatch):
    sampler = sampling.Sampler(conditional_run[0])
    whole = sampler.latents(10, 5)
    np.testing.assert_array_equal(sampler.latents(3, 5), whole[:3])
    monkeypatch.setattr(sampling, 'BLOCK', 4)
    blocks = sampler.latents(10, 5)
    np.testing.assert_array_equal(blocks[:4], whole[:4])
    assert len(np.unique(blocks)) == blocks.size
    np.testing.assert_array_equal(sampler.latents(5, 5, 3), blocks[3:8])
    found = drawing.Drawing(sampler, 10, 5)
    for places in ([0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 9, 9]):
        np.testing.assert_array_equal(found.latents(np.array(places)), blocks[np.array(places)])


def test_truncated_images_are_those_of_truncated_latents(conditional_run):
    sampler = sampling.Sampler(conditional_run[0])
    z, labels = sampler.latents(3, 0), sampler.labels(3, [1, 2])
    np.testing.assert_array_equal(labels, [1, 2, 1])
    expected = sampler.images(truncation.truncate(z, 0.5), labels)
    np.testing.assert_array_equal(sampler.images(z, labels, truncation=0.5), expected)
    assert np.abs(expected - sampler.images(z, labels)).max() > 0.01
    with pytest.raises(ValueError, match='truncation=0: a threshold of z must be positive'):
        sampler.images(z, labels, truncation=0.0)


def test_labels_are_drawn_as_often_as_in_the_data(conditional_run):
    sampler = sampling.Sampler(conditional_run[0])
    labels = sampler.drawn_labels(20_000, 0, 'data', [90, 0, 9, 1])
    # Three deviations of a share of 20,000 are 0.006.
    np.testing.assert_allclose(
        np.bincount(labels, minlength=4) / 20_000, [0.9, 0, 0.09, 0.01], atol=0.007
    )
    np.testing.assert_array_equal(labels, sampler.drawn_labels(20_000, 0, 'data', [90, 0, 9, 1]))
    evenly = np.bincount(sampler.drawn_labels(20_000, 0, 'uniform'), minlength=4) / 20_000
    np.testing.assert_allclose(evenly, 0.25, atol=0.01)
    with pytest.raises(ValueError, match='trained with 4 classes and the dataset has 2'):
        sampler.drawn_labels(8, 0, 'data', [1, 1])


def test_labels_are_checked(conditional_run, tmp_path):
    sampler = sampling.Sampler(conditional_run[0])
    np.testing.assert_array_equal(sampler.labels(6), [0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(sampler.labels(2, 3), [3, 3])
    with pytest.raises(ValueError, match='label=4: expected 0 to 3'):
        sampler.labels(1, 4)
    trainer.train(small.make_config(num_steps=1), tmp_path, dataset=small.dataset())
    plain = sampling.Sampler(tmp_path)
    assert plain.labels(3) is None
    with pytest.raises(ValueError, match='not trained with labels'):
        plain.labels(1, 0)


def test_rows_and_labels_of_images_are_checked(conditional_run):
    sampler = sampling.Sampler(conditional_run[0])
    z = sampler.latents(2, seed=0)
    np.testing.assert_array_equal(sampler.images(z, [0, 3]), sampler.images(z, jnp.array([0, 3])))
    for labels in ([0, 4], [-1, 0], [0], [0.0, 1.0], np.zeros((2, 1), int)):
        with pytest.raises(ValueError, match='the class of each of 2 images, integers from 0 to 3'):
            sampler.images(z, labels)
    with pytest.raises(ValueError, match='at least one row of latents'):
        sampler.images(z[:0], [])
    with pytest.raises(ValueError, match='a count of at least 1, got 0'):
        sampler.latents(0, seed=0)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no run'):
        sampling.Sampler(tmp_path)


def test_interpolation_keeps_ends_angles_and_lengths():
    start, end = jnp.array([2.0, 0.0]), jnp.array([0.0, 4.0])
    path = sampling.interpolate(jnp.stack([start, end]), 3)
    # Half way: 45 degrees, length 3.
    np.testing.assert_allclose(path, [start, [3 / np.sqrt(2), 3 / np.sqrt(2)], end], atol=1e-6)
    z = jax.random.normal(jax.random.key(0), (4, 100))
    path = sampling.interpolate(z, 5).reshape(2, 5, 100)
    np.testing.assert_allclose(path[:, 0], z[0::2], atol=1e-5)
    np.testing.assert_allclose(path[:, -1], z[1::2], atol=1e-5)
    lengths = np.linalg.norm(path, axis=-1)
    ends = np.linspace(lengths[:, 0], lengths[:, -1], 5).T
    np.testing.assert_allclose(lengths, ends, rtol=1e-5)


def test_interpolation_between_equal_latents_stays_there():
    z = jnp.ones((2, 3))
    path = sampling.interpolate(z, 4)
    chex.assert_tree_all_finite(path)
    np.testing.assert_allclose(path, np.ones((4, 3)), rtol=1e-6)


def test_interpolation_needs_pairs():
    with pytest.raises(ValueError, match='pairs'):
        sampling.interpolate(jnp.ones((3, 2)), 4)
    with pytest.raises(ValueError, match='2 steps'):
        sampling.interpolate(jnp.ones((2, 2)), 1)


@pytest.mark.parametrize(
    ('classes', 'count', 'shape'),
    [
        (0, 64, (64, None)),
        (1, 64, (64, 8)),
        (2, 64, (64, 8)),
        (3, 64, (63, 9)),
        (10, 64, (60, 10)),
        (10, 9, (9, None)),
        (10, 1000, (990, 30)),
        (16, 16, (16, 16)),
        (100, 200, (200, None)),
    ],
)
def test_conditional_grids_have_full_rows(classes, count, shape):
    assert sampling.grid_shape(classes, count) == shape
    images, columns = shape
    if columns:
        assert images % columns == columns % classes == 0


def test_grid_inputs_are_fixed_by_the_seed_and_apart_from_training(conditional_run):
    gan = sampling.Sampler(conditional_run[0]).gan
    z, labels = sampling.grid_inputs(gan, 0, 6)
    again, _ = sampling.grid_inputs(gan, 0, 6)
    other, _ = sampling.grid_inputs(gan, 1, 6)
    np.testing.assert_array_equal(z, again)
    assert not np.allclose(z, other)
    np.testing.assert_array_equal(labels, [0, 1, 2, 3, 0, 1])
    fewer, labels = sampling.grid_inputs(gan, 0, 6, shown=4)
    np.testing.assert_array_equal(fewer, z[:4])
    np.testing.assert_array_equal(labels, [0, 1, 2, 3])
