"""Disagreements of student and teacher, per sample, and the other losses of a student."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def l1(teacher: Array, student: Array) -> Array:
    """Mean absolute difference of the logits (DFAD: Fang et al. 2019, arXiv:1912.11006, Eq. 4).

    Args:
      teacher: logits `[N, K]`.
      student: logits `[N, K]`.

    Returns:
      `[N]`, at least 0. Its gradient does not vanish where both are nearly sure, as that of a
      divergence of probabilities does.
    """
    return jnp.mean(jnp.abs(teacher - student), axis=-1)


def kl(teacher: Array, student: Array, temperature: float = 1.0) -> Array:
    """Kullback-Leibler divergence KL(teacher || student) of the probabilities, in nats.

    Args:
      teacher: logits `[N, K]`.
      student: logits `[N, K]`.
      temperature: divisor of both logits, above 0.

    Returns:
      `[N]`, at least 0 up to rounding.
    """
    log_t = jax.nn.log_softmax(teacher / temperature)
    log_s = jax.nn.log_softmax(student / temperature)
    return jnp.sum(jnp.exp(log_t) * (log_t - log_s), axis=-1)


def mean_kl(teacher: Array, student: Array) -> Array:
    """ZSKT's divergence: `kl` averaged over the K classes.

    That is the default reduction of PyTorch's `kl_div`, which the authors' code has
    (https://github.com/polo5/ZeroShotKnowledgeTransfer); their weight of attention, 250, belongs to
    it.

    Args:
      teacher: logits `[N, K]`.
      student: logits `[N, K]`.

    Returns:
      `[N]`, in nats a class, at least 0 up to rounding.
    """
    return kl(teacher, student) / teacher.shape[-1]


MEASURES = {'l1': l1, 'kl': kl, 'mean_kl': mean_kl}
"""Disagreements by name."""


def attention(teacher: Sequence[Array], student: Sequence[Array]) -> Array:
    """Attention transfer (Zagoruyko and Komodakis 2017, arXiv:1612.03928, Eq. 2).

    A stage's attention is the mean over channels of its squared activations, scaled to length 1.

    Args:
      teacher: activations `[N, h, w, C]` of each stage.
      student: activations of as many stages with the same h and w; the channels may differ.

    Returns:
      `[N]`: the mean squared difference of the attentions, summed over stages.

    Raises:
      ValueError: if the stages do not match.
    """
    shapes = [[x.shape[1:3] for x in stages] for stages in (teacher, student)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            'attention transfer needs a teacher and a student whose stages have equal grids, got '
            f'{shapes[0]} and {shapes[1]}: choose others, or --attention=0'
        )
    total = jnp.zeros(teacher[0].shape[0])
    for a, b in zip(teacher, student, strict=True):
        total += jnp.mean(jnp.square(_attention(a) - _attention(b)), axis=-1)
    return total


def _attention(x: Array) -> Array:
    energy = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1).reshape(x.shape[0], -1)
    # The root of a sum of squares has no gradient at zero, which a dead stage reaches.
    length = jnp.sqrt(jnp.sum(jnp.square(energy), axis=-1, keepdims=True) + 1e-24)
    return energy / length


def hinton(
    teacher: Array, student: Array, labels: Array, *, temperature: float, hard_weight: float
) -> Array:
    """Knowledge distillation with labels (Hinton et al. 2015, arXiv:1503.02531, section 2).

    Args:
      teacher: logits `[N, K]`.
      student: logits `[N, K]`.
      labels: `[N]` int32.
      temperature: temperature of both softmaxes, above 0. The divergence is multiplied by its
        square, so that its gradient keeps its size.
      hard_weight: weight of the cross-entropy with the labels, 0 to 1; the divergence has the rest.

    Returns:
      `[N]`.
    """
    soft = temperature**2 * kl(teacher, student, temperature)
    return (1 - hard_weight) * soft + hard_weight * cross_entropy(student, labels)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Minus the log-probability of the label, `[N]`, in nats."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)[:, 0]
