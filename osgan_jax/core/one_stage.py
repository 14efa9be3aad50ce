"""The one idea: both networks' gradients from one pass through the discriminator.

A pullback is linear in its cotangent. If no layer of D mixes samples, the gradient that reaches
fake sample i is its logit's cotangent times something that does not depend on the loss (Eq. 7 and
S7 of Shen et al., "Training Generative Adversarial Networks in One Stage", CVPR 2021). One
backward pass with D's cotangents therefore gives G's gradient too, up to one factor a sample,
gamma_i = (dL_G/ds_i) / (dL_D/ds_i), applied where the gradient leaves D.

Penalties on D's gradients at its images (R1, R2, WGAN-GP's) are carried by the same pass, see
`osgan_jax.core.judging`.

This module depends on jax alone: models of any library fit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import checks, judging, loss_checks, losses, samplewise
from osgan_jax.core.regularizers import Penalties

Array = jax.Array
PyTree = Any
Generate = Callable[[PyTree], tuple[Array, Any]]
Discriminate = Callable[..., tuple[tuple[Array, Array], Any]]
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
      loss_d: L_D without penalties, a float32 scalar.
      loss_g: L_G, the auxiliary term included, a float32 scalar.
      gamma: `[N]`, c_g / carrier for each fake sample; None from `shared_forward_grads` when D has
        several logits a sample, where no such number exists.
      s_real: D's logits for the real batch, float32.
      s_fake: D's logits for the fake batch, float32.
      fake: the generated batch `[N, ...]`.
      aux_generator: the `aux` of `generate`.
      aux_discriminator: the `aux` of `discriminate`.
      loss_state: the loss's state after this step.
      penalties: D's penalties by name (r1, r2, gradient_penalty), times their weights, float32
        scalars; empty without any. D's gradients are those of L_D plus their sum.
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
    penalties: dict[str, Array]


def split_cotangent(
    c_d: Array, c_g: Array, *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Array, Array]:
    """Splits two cotangents of the same logits into one carrier and a per-sample ratio.

    The carrier is the cotangent that D's backward pass takes; gamma times the gradient that arrives
    at the images is G's. The published forms (Eq. 9, S8) divide by c_d or by 1 - gamma, which is
    0 / 0 for a saturated hinge and for any sigmoid loss past a logit of -88. Here the carrier is
    floored at `2^-40 |c_g|` instead: G's gradient stays exact, and D's cotangent is off by at most
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
    penalties: Penalties | None = None,
    real: Array | None = None,
    mixture: Array | None = None,
) -> tuple[Grads, Info]:
    """Both networks' gradients from one forward and one backward pass through D (Algorithm 1).

    They equal grad(L_D) and grad(L_G) computed separately, for a D that treats samples one by one.
    With a symmetric loss gamma is -1 for every sample, and D may be any that keeps real and fake
    samples apart.

    With penalties the pass also goes once through D's gradients at its images, and D's gradient is
    that of L_D plus the penalties, through both. R2 needs J = ds/dx at the fake images, and c_g * J
    is G's gradient: it takes no ratio and no pass of its own, and D must treat samples one by one
    whatever the loss. R1 and WGAN-GP's penalty do not depend on the fake images, so that G's
    gradient is gamma times what reaches them, as without penalties.

    Outside jit, with an asymmetric loss or R2, D is checked by two more pullbacks (see
    `check_samplewise`). Inside jit there are no values to check: call `check_samplewise` once
    beforehand, as the trainer here does. What the functions return is checked by shape, and
    `symmetric` on a few logits, at no cost under jit.

    Args:
      loss: the objective.
      generate: `params_g -> (fake, aux)` with `fake` of shape `[N, ...]`. A pure function, closed
        over z, labels, batch statistics, keys.
      discriminate: `(params_d, fake) -> ((s_real, s_fake), aux)`, logits of shape `[N]` (or
        `[N, 1]`). A pure function, closed over the real batch; where that is given as `real`, D is
        differentiated there, and takes it as a third argument: `(params_d, fake, real)`.
      params_g: G's parameters.
      params_d: D's parameters.
      loss_state: the loss's state, for losses that have one.
      auxiliary: `fake -> scalar`, added to L_G; its gradient at `fake` joins gamma * d_fake.
      penalties: weights of D's penalties at this step; None for none. A lazy penalty of every k-th
        step is passed there alone, with k times the weight.
      real: the real batch `[N, ...]`, for `r1` and `gradient_penalty`.
      mixture: share of the real image in each mixture `[N]`, drawn uniformly from [0, 1], for
        `gradient_penalty`. The mixtures are judged in the place of the real batch, apart from it:
        where `discriminate` applies D to real and fake batch separately, the compiler drops the
        fake half of that.

    Returns:
      `(Grads, Info)`.

    Raises:
      ValueError: for an asymmetric loss, or R2, with a D that gives several logits a sample or
        (outside jit) mixes samples: `shared_forward_grads` is exact there; for penalties without
        `real` or `mixture` where they need them; for functions that return something else than is
        said above, a missing `loss_state`, or a loss that is not symmetric but says so.
    """
    generate, discriminate = _checked(generate, discriminate, params_g, params_d, real)
    one_a_sample = not loss.symmetric or bool(penalties and penalties.r2)
    fake, pull_g, aux_g = jax.vjp(generate, params_g, has_aux=True)

    def generator_cotangent(s_real, s_fake):
        checks.logits(s_real, s_fake, fake, one_a_sample=True)
        return _generator_cotangent(loss, s_real, s_fake, loss_state)

    judge = judging.judging(
        discriminate, penalties, real, mixture, generator_cotangent, samplewise=True
    )
    (s_real, s_fake, _), pull_d, judged = jax.vjp(judge, params_d, fake, has_aux=True)
    checks.logits(s_real, s_fake, fake, one_a_sample=one_a_sample)
    if one_a_sample and not isinstance(s_fake, jax.core.Tracer):
        reached = samplewise.reach(lambda logits: pull_d((*logits, jnp.zeros(()))), s_real, s_fake)
        samplewise.check_reach(*reached)
    loss_checks.check_symmetric(loss, s_real.shape, s_fake.shape, loss_state)

    cotangents = _cotangents(loss, s_real, s_fake, loss_state)
    if loss.symmetric:
        # One ratio for the whole batch: no division, and samples may see each other inside D.
        carrier, gamma = cotangents.c_d, -jnp.ones(fake.shape[0], jnp.float32)
    else:
        carrier, gamma = split_cotangent(cotangents.c_d, cotangents.c_g, dtype=s_fake.dtype)
        gamma = gamma.reshape(fake.shape[0])
    if judged.d_fake is not None:
        carrier = cotangents.c_d  # G needs nothing of it
    grad_d, d_fake = pull_d(
        (cotangents.r.astype(s_real.dtype), carrier.astype(s_fake.dtype), jnp.ones(()))
    )
    if judged.d_fake is None:
        scale = gamma.reshape((-1,) + (1,) * (fake.ndim - 1))
        d_fake = scale * d_fake.astype(jnp.float32)
    else:
        d_fake = judged.d_fake
    d_fake, loss_g = _add_auxiliary(d_fake, cotangents.loss_g, auxiliary, fake)
    (grad_g,) = pull_g(d_fake)
    info = _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, judged, loss_state)
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
    penalties: Penalties | None = None,
    real: Array | None = None,
    mixture: Array | None = None,
) -> tuple[Grads, Info]:
    """Both networks' gradients from one forward pass and two pullbacks; exact for any D.

    The second pullback takes G's cotangent, and only its input gradient is used. Where
    `discriminate` applies D to the real and the fake batch separately, the compiler drops the real
    half of it. Penalties are those of `one_stage_grads`; real and fake images have pullbacks of
    their own, also where samples see each other: J is then the gradient of the sum of their batch's
    logits.

    Args, returns: as `one_stage_grads`, with logits of any shape `[N, ...]`.

    Raises:
      ValueError: if the logits do not lead with the batch; for penalties without `real` or
        `mixture` where they need them; for functions that return something else than is said, or a
        missing `loss_state`.
    """
    generate, discriminate = _checked(generate, discriminate, params_g, params_d, real)
    fake, pull_g, aux_g = jax.vjp(generate, params_g, has_aux=True)

    def generator_cotangent(s_real, s_fake):
        checks.logits(s_real, s_fake, fake, one_a_sample=False)
        return _generator_cotangent(loss, s_real, s_fake, loss_state)

    judge = judging.judging(discriminate, penalties, real, mixture, generator_cotangent)
    (s_real, s_fake, _), pull_d, judged = jax.vjp(judge, params_d, fake, has_aux=True)
    checks.logits(s_real, s_fake, fake, one_a_sample=False)

    cotangents = _cotangents(loss, s_real, s_fake, loss_state)
    r, c_d = cotangents.r.astype(s_real.dtype), cotangents.c_d.astype(s_fake.dtype)
    grad_d, _ = pull_d((r, c_d, jnp.ones(())))
    d_fake = judged.d_fake
    if d_fake is None:
        c_g = cotangents.c_g.astype(s_fake.dtype)
        _, d_fake = pull_d((jnp.zeros_like(s_real), c_g, jnp.zeros(())))
    d_fake, loss_g = _add_auxiliary(d_fake, cotangents.loss_g, auxiliary, fake)
    (grad_g,) = pull_g(d_fake)
    gamma = None
    if s_fake.size == fake.shape[0]:
        gamma = split_cotangent(cotangents.c_d, cotangents.c_g)[1].reshape(fake.shape[0])
    info = _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, judged, loss_state)
    return Grads(grad_g, grad_d), info


def _checked(
    generate: Generate,
    discriminate: Discriminate,
    params_g: PyTree,
    params_d: PyTree,
    real: Array | None,
) -> tuple[Generate, Discriminate]:
    """The two functions, which check what they return as they are traced."""
    if real is not None:
        checks.takes_real(discriminate)
    checks.parameters('params_g', params_g)
    checks.parameters('params_d', params_d)
    return checks.generating(generate), checks.discriminating(discriminate)


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
    loss_checks.check_call(loss, s_real, s_fake, loss_state)
    loss_d, (r, c_d) = jax.value_and_grad(loss.discriminator, argnums=(0, 1))(
        s_real, s_fake, loss_state
    )
    loss_g, c_g = jax.value_and_grad(loss.generator, argnums=1)(s_real, s_fake, loss_state)
    return _Cotangents(loss_d, loss_g, r, c_d, c_g)


def _generator_cotangent(loss, s_real, s_fake, loss_state) -> Array:
    s_real, s_fake = s_real.astype(jnp.float32), s_fake.astype(jnp.float32)
    loss_checks.check_call(loss, s_real, s_fake, loss_state)
    return jax.grad(loss.generator, argnums=1)(s_real, s_fake, loss_state)


def _add_auxiliary(d_fake, loss_g, auxiliary, fake):
    if auxiliary is not None:
        value, gradient = jax.value_and_grad(auxiliary)(fake)
        loss_g, d_fake = loss_g + value, d_fake + gradient
    return d_fake.astype(fake.dtype), loss_g


def _info(loss, cotangents, loss_g, gamma, s_real, s_fake, fake, aux_g, judged, loss_state) -> Info:
    s_real, s_fake = s_real.astype(jnp.float32), s_fake.astype(jnp.float32)
    return Info(
        loss_d=cotangents.loss_d,
        loss_g=loss_g,
        gamma=gamma,
        s_real=s_real,
        s_fake=s_fake,
        fake=fake,
        aux_generator=aux_g,
        aux_discriminator=judged.aux,
        loss_state=loss.update(loss_state, s_real, s_fake),
        penalties=judged.penalties,
    )
