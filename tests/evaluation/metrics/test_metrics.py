"""Metrics against independent references, closed forms and what must hold of any such number."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from osgan_jax.evaluation.metrics import (
    frechet,
    inception_score,
    kernel,
    moments,
    precision_recall,
    registry,
)

RNG = np.random.default_rng(0)


def _features(n: int, f: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(f, f))
    return rng.normal(size=(n, f)) @ mix + shift


# Moments


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 100))
def test_moments_of_parts_are_those_of_the_whole(sizes, seed):
    features = _features(sum(sizes), 4, seed, shift=10.0)
    gathered = None
    for part in np.split(features, np.cumsum(sizes)[:-1]):
        own = moments.of(part)
        gathered = own if gathered is None else moments.merge(gathered, own)
    whole = moments.of(features)
    assert gathered.count == sum(sizes)
    np.testing.assert_allclose(gathered.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(gathered.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


def test_covariance_is_numpys():
    features = _features(50, 5)
    np.testing.assert_allclose(moments.of(features).covariance(), np.cov(features.T), rtol=1e-12)


def test_small_variance_far_from_zero_is_kept():
    """float32 sums of squares would leave nothing: 1e4^2 against 1e-4."""
    features = 1e4 + 1e-2 * RNG.normal(size=(2000, 2))
    gathered = moments.of(features[:1])
    for part in np.array_split(features[1:], 13):
        gathered = moments.merge(gathered, moments.of(part))
    np.testing.assert_allclose(np.diag(gathered.covariance()), features.var(0, ddof=1), rtol=1e-6)


def test_moments_refuse_what_has_none():
    with pytest.raises(ValueError, match=r'expected features \[N, F\]'):
        moments.of(np.zeros(3))
    with pytest.raises(ValueError, match='the features of 1 of 3 images are not finite'):
        moments.of([[0.0], [np.nan], [1.0]])
    with pytest.raises(ValueError, match='at least 2 samples, got 1'):
        moments.of(np.zeros((1, 2))).covariance()
    with pytest.raises(ValueError, match='2 and 3 numbers cannot be merged'):
        moments.merge(moments.of(np.zeros((2, 2))), moments.of(np.zeros((2, 3))))


# Frechet distance


def _by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(cov_x + cov_y - 2 * root))


@pytest.mark.parametrize('f', [2, 16, 64])
def test_frechet_distance_is_that_of_scipys_root(f):
    x, y = _features(300, f, 1), _features(200, f, 2, shift=0.5)
    ours = frechet.frechet_distance(moments.of(x), moments.of(y))
    assert ours == pytest.approx(_by_sqrtm(x, y), rel=1e-8)


def _gaussian(mean, covariance) -> moments.Moments:
    return moments.Moments(11, np.asarray(mean, float), 10 * np.asarray(covariance, float))


def test_frechet_distance_of_gaussians_in_closed_form():
    # Diagonal: sum of (m - m')^2 + (s - s')^2.
    a = _gaussian([1.0, 2.0], np.diag([4.0, 9.0]))
    b = _gaussian([0.0, 4.0], np.diag([1.0, 25.0]))
    assert frechet.frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 4, rel=1e-12)
    # The same in a turned basis: commuting covariances.
    turn, _ = np.linalg.qr(RNG.normal(size=(2, 2)))
    a, b = (_gaussian(turn @ m.mean, turn @ m.covariance() @ turn.T) for m in (a, b))
    assert frechet.frechet_distance(a, b) == pytest.approx(10, rel=1e-12)


def test_singular_covariances():
    # One is a point: the distance is the gap and the other's trace.
    point = _gaussian([1.0, 0.0], np.zeros((2, 2)))
    other = _gaussian([0.0, 0.0], [[2.0, 1.0], [1.0, 3.0]])
    assert frechet.frechet_distance(point, other) == pytest.approx(6, rel=1e-12)
    # Both live on the same line.
    line = np.outer([1.0, 1.0], [1.0, 1.0])
    a, b = _gaussian([0.0, 0.0], line), _gaussian([0.0, 0.0], 4 * line)
    assert frechet.frechet_distance(a, b) == pytest.approx(2, rel=1e-6)


def test_fewer_samples_than_features():
    """In the span of the samples nothing else is needed: the same in a basis of it."""
    x, y = RNG.normal(size=(10, 100)), RNG.normal(size=(12, 100)) + 0.3
    basis = scipy.linalg.orth(np.concatenate([x, y]).T)
    ours = frechet.frechet_distance(moments.of(x), moments.of(y))
    within = frechet.frechet_distance(moments.of(x @ basis), moments.of(y @ basis))
    assert ours == pytest.approx(within, rel=1e-6)
    assert ours > 10


@pytest.mark.parametrize(('n', 'f'), [(500, 32), (20, 200), (2, 5)])
def test_identical_sets_are_at_distance_zero(n, f):
    own = moments.of(_features(n, f, 3) / np.sqrt(f))
    assert frechet.frechet_distance(own, own) <= 1e-3


def test_frechet_distance_is_symmetric():
    a, b = moments.of(_features(60, 8, 1)), moments.of(_features(70, 8, 2))
    assert frechet.frechet_distance(a, b) == pytest.approx(frechet.frechet_distance(b, a), rel=1e-9)


def test_frechet_distance_refuses_other_features():
    with pytest.raises(ValueError, match='2 and 3 numbers cannot be compared'):
        frechet.frechet_distance(moments.of(np.eye(2)), moments.of(np.eye(3)))


# Kernel distance


def _kid_by_loops(x, y):
    m, f = x.shape
    kernel = lambda a, b: (sum(a[i] * b[i] for i in range(f)) / f + 1) ** 3  # noqa: E731
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    xy = sum(kernel(x[i], y[j]) for i in range(m) for j in range(m))
    return (xx + yy) / (m * (m - 1)) - 2 * xy / m**2


def test_kernel_distance_is_the_published_estimate():
    """Subsets as large as the sets are the sets, in another order."""
    x, y = RNG.normal(size=(15, 4)), RNG.normal(size=(15, 4)) + 1
    mean, std = kernel.kernel_distance(x, y, num_subsets=3)
    assert mean == pytest.approx(_kid_by_loops(x, y), rel=1e-10)
    # They do not vary, and a deviation of 1e-16 says nothing.
    assert std is None
    more = RNG.normal(size=(40, 4))
    assert kernel.kernel_distance(more, y, num_subsets=3)[1] is None
    assert kernel.kernel_distance(more, y, num_subsets=3, subset_size=10)[1] > 0


def test_kernel_distance_averages_subsets_without_replacement():
    x, y = RNG.normal(size=(40, 4)), RNG.normal(size=(30, 4))
    rng = np.random.default_rng(7)
    values = []
    for _ in range(5):
        a = x[rng.choice(40, 10, replace=False)]
        b = y[rng.choice(30, 10, replace=False)]
        values.append(_kid_by_loops(a, b))
    mean, std = kernel.kernel_distance(x, y, num_subsets=5, subset_size=10, seed=7)
    assert mean == pytest.approx(np.mean(values), rel=1e-9)
    assert std == pytest.approx(np.std(values), rel=1e-9)


def test_kernel_distance_is_without_bias():
    """Of two samples of one distribution it averages to zero, below as often as above."""
    values = [
        kernel.kernel_distance(
            np.random.default_rng(2 * s).normal(size=(20, 3)),
            np.random.default_rng(2 * s + 1).normal(size=(20, 3)),
            num_subsets=1,
        )[0]
        for s in range(300)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
    assert 50 < sum(v < 0 for v in values) < 250


def test_kernel_distance_refuses():
    with pytest.raises(ValueError, match=r'got \(3, 2\) and \(3, 4\)'):
        kernel.kernel_distance(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match='at least 2 samples and 1 subset, got 1 and 100'):
        kernel.kernel_distance(np.zeros((1, 2)), np.zeros((5, 2)))


# Inception score


def test_inception_score_of_certain_and_uniform_classes_is_their_number():
    logits = 1e4 * np.eye(5)[np.arange(100) % 5]
    mean, std = inception_score.inception_score(logits)
    assert mean == pytest.approx(5, rel=1e-9)
    assert std == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize('logits', [np.eye(4)[np.zeros(20, int)] * 30, np.zeros((20, 4))])
def test_inception_score_of_one_distribution_is_one(logits):
    assert inception_score.inception_score(logits) == pytest.approx((1, 0), abs=1e-12)


def test_inception_score_by_hand():
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.6, 0.4]])
    scores = []
    for part in (p[:2], p[2:]):
        scores.append(np.exp(np.mean(np.sum(part * np.log(part / part.mean(0)), 1))))
    # A fifth image is left over.
    logits = np.log(np.concatenate([p, [[0.5, 0.5]]])) + RNG.normal(size=(5, 1))
    mean, std = inception_score.inception_score(logits, splits=2)
    assert mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert std == pytest.approx(np.std(scores), rel=1e-9)


def test_inception_score_refuses():
    with pytest.raises(ValueError, match='5 images cannot be scored in 10 parts'):
        inception_score.inception_score(np.zeros((5, 3)))
    with pytest.raises(ValueError, match='expected logits'):
        inception_score.inception_score(np.zeros(5))
    with pytest.raises(ValueError, match='not finite'):
        inception_score.inception_score(np.full((20, 2), np.inf))


# Precision and recall


def _distances(a, b):
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def _neighbourhoods(real, fake, k):
    """Radii of the real balls, and whether fake sample j lies in real ball i, plainly."""
    radii = np.sort(_distances(real, real), axis=1)[:, k]
    return radii, _distances(real, fake) <= radii[:, None]


@pytest.mark.parametrize('shift', [0.0, 1.5, 1000.0])
def test_precision_and_recall_are_those_of_brute_force(shift):
    # The last: features far from zero, where squared norms would swamp their differences.
    offset = shift if shift < 100 else 0.0
    real = RNG.normal(size=(150, 6)) + shift
    fake = 0.7 * RNG.normal(size=(130, 6)) + shift + offset
    precision, recall = precision_recall.precision_recall(real, fake, k=3, batch_size=64)
    assert precision == pytest.approx(_neighbourhoods(real, fake, 3)[1].any(0).mean())
    assert recall == pytest.approx(_neighbourhoods(fake, real, 3)[1].any(0).mean())


def test_fidelity_and_variety_are_told_apart():
    real = RNG.normal(size=(300, 3))
    near_one_place = real[:1] + 1e-3 * RNG.normal(size=(300, 3))
    precision, recall = precision_recall.precision_recall(real, near_one_place)
    assert precision == 1
    assert recall < 0.05
    far = real + 100
    assert precision_recall.precision_recall(real, far) == (0, 0)
    assert precision_recall.precision_recall(real, real) == (1, 1)


def test_order_does_not_matter():
    real, fake = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 4)) + 0.5
    shuffled = RNG.permutation(fake)
    first = precision_recall.precision_recall(real, fake, batch_size=16)
    assert precision_recall.precision_recall(real, shuffled, batch_size=16) == first


def test_precision_refuses():
    with pytest.raises(ValueError, match='k=3: expected at least 1, and fewer than the 3 samples'):
        precision_recall.precision_recall(np.zeros((5, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match='expected features'):
        precision_recall.precision_recall(np.zeros((9, 2)), np.zeros((9, 3)))


def test_names_on_features():
    kid, pr = registry.get('kid'), registry.get('pr')
    assert kid.names('inception') == ('kid', 'kid_std')
    assert kid.names('classifier') == ('classifier_kd', 'classifier_kd_std')
    # As EDM2 calls it.
    assert registry.get('fid').names('dinov2') == ('fd_dinov2',)
    assert kid.names('dinov2') == ('kd_dinov2', 'kd_dinov2_std')
    assert pr.names('dinov2_vits14') == ('precision_dinov2_vits14', 'recall_dinov2_vits14')


def test_scores_tell_their_metric():
    for name in registry.names():
        metric = registry.get(name)
        for extractor in ('inception', 'classifier', 'dinov2', 'dinov2_vits14', 'dinov2_2x64'):
            for score in metric.names(extractor):
                assert registry.of_score(score) is metric, score
    for other in ('seconds', 'fd_other', 'dinov2'):
        assert registry.of_score(other) is None


def test_features_without_logits_leave_out_what_needs_them():
    names = lambda metrics: [metric.name for metric in metrics]  # noqa: E731
    assert names(registry.select(('is', 'fid'))[0]) == ['fid', 'is']
    chosen, said = registry.select(('is', 'fid'), has_logits=False)
    assert names(chosen) == ['fid']
    assert said == 'Left out: is, for these features have no logits.'
    assert registry.select(('kid',), has_logits=False)[1] is None
    chosen, said = registry.select(('is', 'modes'), own_classes=False)
    assert names(chosen) == ['is']
    assert (
        said
        == "Left out: modes, for these features have no logits of the real images' own classes."
    )
    with pytest.raises(ValueError, match='without modes, for these features have no logits of the'):
        registry.select(('modes',), own_classes=False)
    with pytest.raises(
        ValueError, match='nothing is left to compute without is, for these features have no'
    ):
        registry.select(('is',), has_logits=False)
