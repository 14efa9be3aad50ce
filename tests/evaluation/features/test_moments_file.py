"""Files of a mean and a covariance, ours and pytorch-fid's."""

import numpy as np
import pytest

from osgan_jax.evaluation.features import moments_file
from osgan_jax.evaluation.metrics import frechet, moments

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(20, 5))
ABOUT = {'extractor': 'inception', 'convention': 'torch', 'fingerprint': 'f00d', 'dataset': 'a'}


def test_a_file_comes_back(tmp_path):
    found = moments.of(FEATURES)
    path = tmp_path / 'new' / 'a.npz'
    moments_file.write(path, found, ABOUT)
    assert moments_file.is_one(path)
    read = moments_file.read(path)
    assert (read.count, read.about) == (20, ABOUT)
    np.testing.assert_allclose(read.moments.covariance(), found.covariance(), rtol=1e-12)
    # pytorch-fid reads these two, and nothing that must be unpickled.
    with np.load(path, allow_pickle=False) as theirs:
        np.testing.assert_array_equal(theirs['mu'], FEATURES.mean(0))
        np.testing.assert_allclose(theirs['sigma'], np.cov(FEATURES, rowvar=False), rtol=1e-12)


def test_pytorch_fids_file_is_read(tmp_path):
    mu, sigma = FEATURES.mean(0), np.cov(FEATURES, rowvar=False)
    np.savez_compressed(tmp_path / 'theirs.npz', mu=mu, sigma=sigma)
    read = moments_file.read(tmp_path / 'theirs.npz')
    assert (read.count, read.about) == (None, {})
    assert frechet.frechet_distance(read.moments, moments.of(FEATURES)) < 1e-9


def test_images_are_not_statistics(tmp_path):
    np.savez(tmp_path / 'images.npz', images=np.zeros((2, 8, 8, 3), np.uint8))
    (tmp_path / 'text.npz').write_text('no archive')
    for name in ('images.npz', 'text.npz', 'none.npz', '.'):
        assert not moments_file.is_one(tmp_path / name)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'mu': None}, 'has no mu'),
        ({'mu': np.zeros(4)}, r'expected mu \[F\] and sigma \[F, F\], got \[4\] and \[5, 5\]'),
        ({'mu': np.full(5, np.nan)}, 'not finite'),
        ({'sigma': RNG.normal(size=(5, 5))}, 'not a covariance'),
        ({'sigma': -np.eye(5)}, 'not a covariance'),
        ({'count': np.asarray(1)}, 'count'),
        ({'count': np.zeros(3, int)}, 'count'),
        ({'mu': np.array([None] * 5)}, 'holds object, expected numbers'),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    arrays = {'mu': np.zeros(5), 'sigma': np.eye(5), **change}
    path = tmp_path / 'odd.npz'
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=rf'odd\.npz.*{message}'):
        moments_file.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file .*none\.npz'):
        moments_file.read(tmp_path / 'none.npz')
