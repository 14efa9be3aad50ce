"""Disagreements and distillation losses against torch's and against plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.distillation import objectives

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(0, 3, (6, 5)).astype(np.float32)
STUDENT = RNG.normal(0, 3, (6, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 1, 3, 0], np.int32)


def test_l1_is_the_mean_over_classes():
    expected = [
        sum(abs(a - b) for a, b in zip(t, s, strict=True)) / 5
        for t, s in zip(TEACHER, STUDENT, strict=True)
    ]
    np.testing.assert_allclose(objectives.l1(TEACHER, STUDENT), expected, rtol=1e-6)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_kl_is_the_sum_over_classes(temperature):
    def softmax(row):
        row = np.exp(row.astype(np.float64) / temperature)
        return row / row.sum()

    expected = []
    for t, s in zip(TEACHER, STUDENT, strict=True):
        p, q = softmax(t), softmax(s)
        expected.append(sum(p[k] * np.log(p[k] / q[k]) for k in range(5)))
    got = objectives.kl(TEACHER, STUDENT, temperature)
    np.testing.assert_allclose(got, expected, rtol=2e-5)
    np.testing.assert_allclose(objectives.kl(TEACHER, TEACHER, temperature), 0, atol=1e-6)


def test_zskts_divergence_is_averaged_over_classes_too():
    # By hand, of two classes: p = (0.75, 0.25), q = (0.5, 0.5); sum p log(p / q) = 0.130812 nats.
    teacher = np.log(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    student = np.zeros((2, 2), np.float32)
    np.testing.assert_allclose(objectives.mean_kl(teacher, student), [0.130812 / 2, 0], atol=1e-6)
    np.testing.assert_allclose(
        objectives.mean_kl(TEACHER, STUDENT), objectives.kl(TEACHER, STUDENT) / 5, rtol=1e-6
    )


def test_zskts_divergence_equals_the_default_of_torchs():
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    t, s = torch.tensor(TEACHER), torch.tensor(STUDENT, requires_grad=True)
    with pytest.warns(UserWarning, match='batch size and the support size'):
        expected = functional.kl_div(functional.log_softmax(s, 1), functional.softmax(t, 1))
    expected.backward()
    value, gradient = jax.value_and_grad(lambda x: jnp.mean(objectives.mean_kl(TEACHER, x)))(
        STUDENT
    )
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, s.grad, atol=1e-6)


def test_losses_equal_torchs():
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    t, s = torch.tensor(TEACHER), torch.tensor(STUDENT, requires_grad=True)
    soft = functional.kl_div(
        functional.log_softmax(s / 4, 1), functional.softmax(t / 4, 1), reduction='batchmean'
    )
    hard = functional.cross_entropy(s, torch.tensor(LABELS, dtype=torch.int64))
    expected = 0.7 * 16 * soft + 0.3 * hard
    expected.backward()

    def loss(student):
        each = objectives.hinton(TEACHER, student, LABELS, temperature=4.0, hard_weight=0.3)
        return jnp.mean(each)

    value, gradient = jax.value_and_grad(loss)(STUDENT)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, s.grad, atol=1e-6)


def test_attention_equals_torchs():
    torch = pytest.importorskip('torch')
    shapes = [(3, 4, 4, 6), (3, 2, 2, 8)]
    teacher = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    # Fewer channels on the same grid.
    student = [RNG.normal(size=(*shape[:3], shape[3] // 2)).astype(np.float32) for shape in shapes]

    def at(x):
        x = torch.tensor(x).permute(0, 3, 1, 2)
        return torch.nn.functional.normalize(x.pow(2).mean(1).view(x.size(0), -1))

    expected = sum((at(a) - at(b)).pow(2).mean() for a, b in zip(teacher, student, strict=True))
    got = objectives.attention(teacher, student)
    assert got.shape == (3,)
    np.testing.assert_allclose(jnp.mean(got), expected.item(), rtol=1e-5)


def test_attention_of_a_dead_stage_has_a_finite_gradient():
    dead, alive = jnp.zeros((2, 3, 3, 4)), jnp.ones((2, 3, 3, 4))
    gradient = jax.grad(lambda x: objectives.attention([alive], [x]).sum())(dead)
    assert np.isfinite(gradient).all()


def test_attention_names_grids_that_do_not_fit():
    with pytest.raises(ValueError, match=r'\(4, 4\).*\(2, 2\).*--attention=0'):
        objectives.attention([jnp.zeros((1, 4, 4, 2))], [jnp.zeros((1, 2, 2, 2))])


def test_extreme_logits_stay_finite():
    teacher = jnp.array([[1e4, -1e4, 0.0], [3e4, 3e4, 3e4]])
    student = -teacher
    for measure in objectives.MEASURES.values():
        value, gradient = jax.value_and_grad(lambda s, m=measure: m(teacher, s).sum())(student)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
