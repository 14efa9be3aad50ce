"""The one idea: both networks' gradients from one pass through the discriminator.

A pullback is linear in its cotangent. If no layer of D mixes samples, the gradient that reaches
fake sample i is its logit's cotangent times something that does not depend on the loss (Eq. 7 and
S7 of Shen et al., "Training Generative Adversarial Networks in One Stage", CVPR 2021). One
backward pass with D's cotangents therefore gives G's gradient too, up to one factor a sample,
gamma_i = (dL_G/ds_i) / (dL_D/ds_i), applied where the gradient leaves D.

This module depends on jax alone: models of any library fit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import losses

Array = jax.Array
PyTree = Any
Generate = Callable[[PyTree], tuple[Array, Any]]
Discriminate = Callable[[PyTree, Array], tuple[tuple[Array, Array], Any]]
Auxiliary = Callable[[Array], Array]

# The smallest |carrier| / |c_g|. A power of two, so that scaling by it and back is exact; far below
# float32 resolution (2^-24), so that D does not notice; far above underflow for any logit's c_g.
CARRIER_FLOOR = 2.0**-40


class Grads(NamedTuple):
    """Gradients of L_G and L_D, pytrees like the parameters of each network."""

    generator: PyTree
    discriminator: PyTree


class Info(NamedTuple):
    """Results of a pass besides the gradients.

    Attributes:
      loss_d: L_D, a float32 scalar.
      loss_g: L_G, the auxiliary term included, a float32 scalar.
      gamma: `[N]`, c_g / carrier for each fake sample; None from `shared_forward_grads` when D has
        several logits a sample, where no such number exists.
      s_real: D's logits for the real batch, float32.
      s_fake: D's logits for the fake batch, float32.
      fake: the generated batch `[N, ...]`.
      aux_generator: the `aux` of `generate`.
      aux_discriminator: the `aux` of `discriminate`.
      loss_state: the loss's state after this step.
    """

    loss_d: Array
    loss_g: Array
    gamma: Array | None
    s_real: Array
    s_fake: Array
    fake: Array
    aux_generator: Any
    aux_discriminator: Any
    loss_state: Any


def split_cotangent(
    c_d: Array, c_g: Array, *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Array, Array]:
    """Splits two cotangents of the same logits into one carrier and a per-sample ratio.

    The carrier is the cotangent that D's backward pass takes; gamma times the gradient that arrives
    at the images is G's. The published forms (Eq. 9, S8) divide by c_d or by 1 - gamma, which is
    0 / 0 for a saturated hinge and for any sigmoid loss past a logit of -88. Here the carrier is
    floored at 2^-40 |c_g| instead: G's gradient stays exact, and D's cotangent is off by at most
    that.

    Args:
      c_d: dL_D/ds, D's cotangent, of any shape.
      c_g: dL_G/ds, G's cotangent, of the same shape.
      dtype: the logits' own dtype where it is narrower than float32: the carrier is rounded to it
        before gamma is taken, so that the rounding is D's alone and G's gradient stays exact.

    Returns:
      `(carrier, gamma)`, float32 and shaped like the inputs, with `gamma * carrier == c_g`; gamma
      is 0 where both are 0. Never NaN or Inf for finite inputs whose ratio can be represented.

    Raises:
      ValueError: if the shapes differ.
    """
    if jnp.shape(c_d) != jnp.shape(c_g):
        raise ValueError(
            'split_cotangent: expected two cotangents of the same logits, got shapes '
            f'{jnp.shape(c_d)} and {jnp.shape(c_g)}'
        )
    c_d, c_g = jnp.asarray(c_d, jnp.float32), jnp.asarray(c_g, jnp.float32)
    floor = CARRIER_FLOOR * jnp.abs(c_g)
    carrier = jnp.where(jnp.abs(c_d) >= floor, c_d, jnp.where(c_d < 0, -floor, floor))
    if dtype is not None:
        carrier = carrier.astype(dtype).astype(jnp.float32)
    gamma = jnp.where(carrier == 0, 0.0, c_g / jnp.where(carrier == 0, 1.0, carrier))
    return carrier, gamma


def one_stage_grads(
    loss: losses.AdversarialLoss,
    generate: Generate,
    discriminate: Discriminate,
    params_g: PyTree,
    params_d: PyTree,
    loss_state: Any = None,
    *,
    auxiliary: Auxiliary | None = None,
) -> tuple[Grads, Info]:
    """Both networks' gradients from one forward and one backward pass through D (Algorithm 1).

    They equal grad(L_D) and grad(L_G) computed separately, for a D that treats samples one by one.
    With a symmetric loss gamma is -1 for every sample, and D may be any that keeps real and fake
    samples apart.

    Outside jit, with an asymmetric loss, D is checked by two more pullbacks (see
    `check_samplewise`). Inside jit there are no values to check: call `check_samplewise` once
    beforehand, as the trainer here does.

    Args:
      loss: the objective.
      generate: `params_g -> (fake, aux)` with `fake` of shape `[N, ...]`. A pure function, closed
        over z, labels, batch statistics, keys.
      discriminate: `(params_d, fake) -> ((s_real, s_fake), aux)`, logits of shape `[N]` (or
        `[N, 1]`). A pure function, closed over the real batch.
      params_g: G's parameters.
      params_d: D's parameters.
      loss_state: the loss's state, for losses that have one.
      auxiliary: `fake -> scalar`, added to L_G; its gradient at `fake` joins gamma * d_fake.

    Returns:
      `(Grads, Info)`.

    Raises:
      ValueError: for an asymmetric loss with a D that gives several logits a sample or (outside
        jit) mixes samples: `shared_forward_grads` is exact there.
    """
    fake, pull_g, aux_g = jax.vjp(generate, params_g, has_aux=True)
    (s_real, s_fake), pull_d, aux_d = jax.vjp(discriminate, params_d, fake, has_aux=True)
    _check_logits(loss, s_real, s_fake, fake)
    if not loss.symmetric and not isinstance(s_fake, jax.core.Tracer):
        _check_reach(*_reach(pull_d, s_real, s_fake))

    cotangents = _cotangents(loss, s_real, s_fake, loss_state)
    if loss.symmetric:
        # One ratio for the whole batch: no division, and samples may see each other inside D.
        carrier, gamma = cotangents.c_d, -jnp.ones(fake.shape[0], jnp.float32)
    else:
        carrier, gamma = split_cotangent(cotangents.c_d, cotangents.c_g, dtype=s_fake.dtype)
        gamma = gamma.reshape(fake.shape[0])
    grad_d, d_fake = pull_d((cotangents.r.astype(s_real.dtype), carrier.astype(s_fake.dtype)))
    scale = gamma.reshape((-1,) + (1,) * (fake.ndim - 1))
    d_fake, loss_g = _add_auxiliary(
        scale * d_fake.astype(jnp.float32), cotangents.loss_g, auxiliary, fake
    )
    (grad_g,) = pull_g(d_fake)
    info = _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, aux_d, loss_state)
    return Grads(grad_g, grad_d), info


def shared_forward_grads(
    loss: losses.AdversarialLoss,
    generate: Generate,
    discriminate: Discriminate,
    params_g: PyTree,
    params_d: PyTree,
    loss_state: Any = None,
    *,
    auxiliary: Auxiliary | None = None,
) -> tuple[Grads, Info]:
    """Both networks' gradients from one forward pass and two pullbacks; exact for any D.

    The second pullback takes G's cotangent, and only its input gradient is used. Where
    `discriminate` applies D to the real and the fake batch separately, the compiler drops the real
    half of it.

    Args, returns: as `one_stage_grads`, with logits of any shape `[N, ...]`.

    Raises:
      ValueError: if the logits do not lead with the batch.
    """
    fake, pull_g, aux_g = jax.vjp(generate, params_g, has_aux=True)
    (s_real, s_fake), pull_d, aux_d = jax.vjp(discriminate, params_d, fake, has_aux=True)
    _check_batch_axis(s_fake, fake)

    cotangents = _cotangents(loss, s_real, s_fake, loss_state)
    grad_d, _ = pull_d((cotangents.r.astype(s_real.dtype), cotangents.c_d.astype(s_fake.dtype)))
    _, d_fake = pull_d((jnp.zeros_like(s_real), cotangents.c_g.astype(s_fake.dtype)))
    d_fake, loss_g = _add_auxiliary(d_fake, cotangents.loss_g, auxiliary, fake)
    (grad_g,) = pull_g(d_fake)
    gamma = None
    if s_fake.size == fake.shape[0]:
        gamma = split_cotangent(cotangents.c_d, cotangents.c_g)[1].reshape(fake.shape[0])
    info = _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, aux_d, loss_state)
    return Grads(grad_g, grad_d), info


def check_samplewise(discriminate: Discriminate, params_d: PyTree, fake: Array) -> None:
    """Raises unless D treats samples one by one and gives one logit a sample.

    The check is of gradients, not of layer names: a one-hot cotangent on a fake logit must reach
    that sample alone, and one on a real logit must reach no fake sample. It costs two pullbacks;
    call it once, outside jit.

    Args:
      discriminate: as for `one_stage_grads`.
      params_d: D's parameters.
      fake: any batch `[N, ...]`, N >= 2, in the shape that D takes, such as random values.

    Raises:
      ValueError: if D gives several logits a sample or mixes samples (BatchNorm, minibatch
        standard deviation), naming the samples that were reached and by how much; or if N < 2.
    """
    if fake.shape[0] < 2:
        raise ValueError('check_samplewise: needs a batch of at least 2 samples to tell them apart')
    _, s_fake = jax.eval_shape(lambda *args: discriminate(*args)[0], params_d, fake)
    _check_one_logit(s_fake, fake)

    def reach(params_d, fake):
        (s_real, s_fake), pull_d, _ = jax.vjp(discriminate, params_d, fake, has_aux=True)
        return _reach(pull_d, s_real, s_fake)

    # Compiled, because a large network takes minutes layer by layer.
    _check_reach(*jax.jit(reach)(params_d, fake))


class _Cotangents(NamedTuple):
    """Both losses, and their gradients with respect to the logits."""

    loss_d: Array
    loss_g: Array
    r: Array
    c_d: Array
    c_g: Array


def _cotangents(loss, s_real, s_fake, loss_state) -> _Cotangents:
    # float32 even when the networks run in bfloat16: gamma is a ratio of differences of logits.
    s_real, s_fake = s_real.astype(jnp.float32), s_fake.astype(jnp.float32)
    loss_d, (r, c_d) = jax.value_and_grad(loss.discriminator, argnums=(0, 1))(
        s_real, s_fake, loss_state
    )
    loss_g, c_g = jax.value_and_grad(loss.generator, argnums=1)(s_real, s_fake, loss_state)
    return _Cotangents(loss_d, loss_g, r, c_d, c_g)


def _add_auxiliary(d_fake, loss_g, auxiliary, fake):
    if auxiliary is not None:
        value, gradient = jax.value_and_grad(auxiliary)(fake)
        loss_g, d_fake = loss_g + value, d_fake + gradient
    return d_fake.astype(fake.dtype), loss_g


def _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, aux_d, loss_state) -> Info:
    s_real, s_fake = s_real.astype(jnp.float32), s_fake.astype(jnp.float32)
    return Info(
        loss_d=cotangents.loss_d,
        loss_g=loss_g,
        gamma=gamma,
        s_real=s_real,
        s_fake=s_fake,
        fake=fake,
        aux_generator=aux_g,
        aux_discriminator=aux_d,
        loss_state=loss.update(loss_state, s_real, s_fake),
    )


def _check_batch_axis(s_fake, fake) -> None:
    if s_fake.ndim == 0 or s_fake.shape[0] != fake.shape[0]:
        raise ValueError(
            f'expected logits that lead with the batch, `[{fake.shape[0]}, ...]`, '
            f'got shape {s_fake.shape}'
        )


def _check_one_logit(s_fake, fake) -> None:
    _check_batch_axis(s_fake, fake)
    if s_fake.size != fake.shape[0]:
        raise ValueError(
            f'one_stage needs one logit a sample, but this discriminator gives {s_fake.shape} for '
            f'{fake.shape[0]} samples (a patch discriminator?): with several logits the two '
            'gradients of a sample are not proportional. Use shared_forward, which is exact for '
            'any discriminator, average the logits of each sample, or choose a symmetric loss.'
        )


def _check_logits(loss, s_real, s_fake, fake) -> None:
    if loss.symmetric:
        _check_batch_axis(s_fake, fake)
    else:
        _check_one_logit(s_fake, fake)
    if s_real.shape[1:] != s_fake.shape[1:]:
        raise ValueError(
            f'expected real and fake logits of one kind, got {s_real.shape} and {s_fake.shape}'
        )


def _reach(pull_d, s_real, s_fake) -> tuple[Array, Array]:
    """Largest gradient at each fake sample, `[N]`, of the first fake and the first real logit."""
    n = s_fake.shape[0]
    one_fake = jnp.zeros_like(s_fake).at[0].set(1)
    one_real = jnp.zeros_like(s_real).at[0].set(1)

    def reach(cotangent):
        _, d_fake = pull_d(cotangent)
        return jnp.max(jnp.abs(d_fake.astype(jnp.float32)).reshape(n, -1), axis=1)

    own = reach((jnp.zeros_like(s_real), one_fake))
    return own, reach((one_real, jnp.zeros_like(s_fake)))


def _check_reach(own: Array, from_real: Array) -> None:
    scale = jnp.where(jnp.max(own) > 0, jnp.max(own), 1.0)
    mixed = {
        'another fake sample': float(jnp.max(own[1:], initial=0.0) / scale),
        'a real sample': float(jnp.max(from_real) / scale),
    }
    worst = max(mixed, key=mixed.get)
    # Rows that no cotangent enters stay exactly zero through every layer that keeps samples apart,
    # so any other value shows a mixing layer; there is no tolerance to choose.
    if mixed[worst] > 0:
        raise ValueError(
            f'one_stage needs a discriminator that treats samples one by one, but here the logit '
            f'of a fake sample depends on {worst} (gradient {mixed[worst]:.2g} of its own): '
            'some layer mixes the batch, such as BatchNorm or minibatch standard deviation, so no '
            'per-sample ratio gamma exists. Use shared_forward, which is exact for any '
            'discriminator, a group, instance, layer or spectral norm, or a symmetric loss.'
        )
