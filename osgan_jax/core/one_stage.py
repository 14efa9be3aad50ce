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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import (
    checks,
    combining,
    discriminators,
    judging,
    loss_checks,
    losses,
    samplewise,
    values,
)
from osgan_jax.core.combining import Auxiliary, Combine
from osgan_jax.core.discriminators import Discriminator
from osgan_jax.core.regularizers import Penalties

Array = jax.Array
PyTree = Any
Generate = Callable[[PyTree], tuple[PyTree, Any]]
Discriminate = Callable[..., tuple[tuple[PyTree, PyTree], Any]]

# The smallest |carrier| / |c_g|. A power of two, so that scaling by it and back is exact; far below
# float32 resolution (2^-24), so that D does not notice; far above underflow for any logit's c_g.
CARRIER_FLOOR = 2.0**-40


class Grads(NamedTuple):
    """Gradients of L_G and L_D, pytrees like the parameters of each network."""

    generator: PyTree
    discriminator: PyTree


class Info(NamedTuple):
    """Results of a pass besides the gradients.

    Of several discriminators gamma, s_real, s_fake, aux_discriminator, loss_state and penalties are
    tuples, with an entry for each.

    Attributes:
      loss_d: L_D without penalties, a float32 scalar; the sum of several discriminators' own.
      loss_g: L_G, the auxiliary terms included, a float32 scalar; of several discriminators the
        (weighted) sum. With `combine` it is that of the terms as they are.
      gamma: `[N]`, c_g / carrier for each fake sample; None from `shared_forward_grads` when D has
        several logits a sample, where no such number exists.
      s_real: D's logits for the real batch, float32.
      s_fake: D's logits for the fake batch, float32.
      fake: the generated batch `[N, ...]`, or a pytree of that.
      aux_generator: the `aux` of `generate`.
      aux_discriminator: the `aux` of `discriminate`.
      loss_state: the loss's state after this step.
      penalties: D's penalties by name (r1, r2, gradient_penalty), times their weights, float32
        scalars; empty without any. D's gradients are those of L_D plus their sum.
      auxiliary: the auxiliary terms by name, scalars; `auxiliary` where it is one function, empty
        without any.
      aux_combine: what `combine` returned beside the gradient.
    """

    loss_d: Array
    loss_g: Array
    gamma: Any
    s_real: PyTree
    s_fake: PyTree
    fake: PyTree
    aux_generator: Any
    aux_discriminator: Any
    loss_state: Any
    penalties: Any
    auxiliary: dict[str, Array]
    aux_combine: Any


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
      ValueError: if the shapes differ, or for a dtype of fewer exponents than float32's, such as
        float16, in which the floor is 0.
    """
    if jnp.shape(c_d) != jnp.shape(c_g):
        raise ValueError(
            'split_cotangent: expected two cotangents of the same logits, got shapes '
            f'{jnp.shape(c_d)} and {jnp.shape(c_g)}'
        )
    if dtype is not None and jnp.finfo(dtype).minexp > jnp.finfo(jnp.float32).minexp:
        raise ValueError(
            'one_stage with an asymmetric loss needs the exponents of float32, which '
            f'{jnp.dtype(dtype)} lacks: compute D in bfloat16 or float32, or use shared_forward'
        )
    c_d, c_g = jnp.asarray(c_d, jnp.float32), jnp.asarray(c_g, jnp.float32)
    floor = CARRIER_FLOOR * jnp.abs(c_g)
    carrier = jnp.where(jnp.abs(c_d) >= floor, c_d, jnp.where(c_d < 0, -floor, floor))
    if dtype is not None:
        carrier = carrier.astype(dtype).astype(jnp.float32)
    gamma = jnp.where(carrier == 0, 0.0, c_g / jnp.where(carrier == 0, 1.0, carrier))
    return carrier, gamma


def one_stage_grads(
    loss: losses.AdversarialLoss | Sequence[losses.AdversarialLoss],
    generate: Generate,
    discriminate: Discriminate | Sequence[Discriminate],
    params_g: PyTree,
    params_d: PyTree,
    loss_state: Any = None,
    *,
    auxiliary: Auxiliary | None = None,
    combine: Combine | None = None,
    weights: Sequence[float | Array] | None = None,
    penalties: Penalties | Sequence[Penalties | None] | None = None,
    real: PyTree | None = None,
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

    Several discriminators are a sequence of functions, with a sequence of their parameters. Each
    minimises its own L_D with its own penalties; G minimises the sum of its losses against each,
    times `weights`. Each has a gamma and a pullback of its own, and G's gradient at the fake
    samples is the sum of gamma_k * d_fake_k: exact for each D that treats samples one by one, and
    no more than one forward and one backward pass through each. Where they judge features of one
    frozen backbone, let `generate` return the features in `fake`: these are then computed once, and
    pulled back once.

    Outside jit D is checked by one or two more pullbacks (see `check_samplewise`). Inside jit there
    are no values to check: call `check_samplewise` once beforehand, as the trainer here does. What
    the functions return is checked by shape, and `symmetric` on a few logits, at no cost under jit.

    Args:
      loss: the objective; of several discriminators one for all, or a sequence of theirs.
      generate: `params_g -> (fake, aux)` with `fake` of shape `[N, ...]`, or a pytree of such
        arrays, of which each function uses what it needs. A pure function, closed over z, labels,
        batch statistics, keys. A term of L_G that depends on params_g beside the images, such as a
        codebook's, may be one more array of `fake`, a value for each sample.
      discriminate: `(params_d, fake) -> ((s_real, s_fake), aux)`, logits of shape `[N]` (or
        `[N, 1]`; any, also pytrees, with a symmetric loss). No layer may compute in float16, in
        which a carrier at its floor is 0. A pure function, closed over the real batch; where that
        is given as `real`, D is differentiated there, and takes it as a third argument:
        `(params_d, fake, real)`. Or a sequence of such functions.
      params_g: G's parameters.
      params_d: D's parameters; of several discriminators a list or tuple of theirs. Those that
        share parameters are each given them, and their gradients added.
      loss_state: the loss's state, for losses that have one; of several discriminators one from
        which all start, or a sequence of theirs.
      auxiliary: `fake -> scalar`, added to L_G; its gradient at `fake` joins gamma * d_fake. Or a
        dict of such functions.
      combine: the rule by which the two gradients at `fake` are joined, by default their sum; see
        `osgan_jax.core.combining`, and `adaptive_weight` and `Balancer` for two of them.
      weights: of several discriminators, factors of G's loss against each, by default 1.
      penalties: weights of D's penalties at this step; None for none. A lazy penalty of every k-th
        step is passed there alone, with k times the weight. Of several discriminators one for all,
        or a sequence of theirs.
      real: the real batch `[N, ...]`, or a pytree of that, for `r1` and `gradient_penalty`.
      mixture: share of the real image in each mixture `[N]`, drawn uniformly from [0, 1], for
        `gradient_penalty`. The mixtures are judged in the place of the real batch, apart from it:
        where `discriminate` applies D to real and fake batch separately, the compiler drops the
        fake half of that.

    Returns:
      `(Grads, Info)`.

    Raises:
      ValueError: for an asymmetric loss, or R2, with a D that gives several logits a sample or
        (outside jit) mixes samples, and for any loss with a D whose real logits depend on fake
        samples (outside jit): `shared_forward_grads` is exact there; for penalties without
        `real` or `mixture` where they need them; for functions that return something else than is
        said above, a missing `loss_state`, a loss that is not symmetric but says so, or sequences
        of different lengths.
    """
    given = discriminators.gather(
        loss, discriminate, params_d, loss_state, penalties, weights, takes_real=real is not None
    )
    return _gradients(
        _one_pullback, given, generate, params_g, auxiliary, combine, real=real, mixture=mixture
    )


def shared_forward_grads(
    loss: losses.AdversarialLoss | Sequence[losses.AdversarialLoss],
    generate: Generate,
    discriminate: Discriminate | Sequence[Discriminate],
    params_g: PyTree,
    params_d: PyTree,
    loss_state: Any = None,
    *,
    auxiliary: Auxiliary | None = None,
    combine: Combine | None = None,
    weights: Sequence[float | Array] | None = None,
    penalties: Penalties | Sequence[Penalties | None] | None = None,
    real: PyTree | None = None,
    mixture: Array | None = None,
) -> tuple[Grads, Info]:
    """Both networks' gradients from one forward pass and two pullbacks; exact for any D.

    The second pullback takes G's cotangent, and only its input gradient is used. Where
    `discriminate` applies D to the real and the fake batch separately, the compiler drops the real
    half of it. Penalties are those of `one_stage_grads`; real and fake images have pullbacks of
    their own, also where samples see each other: J is then the gradient of the sum of their batch's
    logits.

    Logits are any pytrees of arrays that lead with the batch: patches, scales, heads, features
    beside them. `loss` is then one of them, whose functions take such pytrees, real and fake alike,
    in float32. The real ones are constants of L_G, so that feature matching is
    `mean |f_real - f_fake|` in its `generator`.

    Under jit the first pullback is used for D's gradient alone, the second for G's. What only the
    fake samples' gradient goes through, such as a frozen backbone before the trained heads (its
    weights closed over, not in params_d), is therefore passed backward once, and
    the scheme costs what one stage does, but for a second pass through the heads.

    Args, returns: as `one_stage_grads`, with logits of any shape `[N, ...]`, or pytrees of such
    arrays.

    Raises:
      ValueError: if the logits do not lead with the batch; for penalties without `real` or
        `mixture` where they need them, or of logits that are not an array; for functions that
        return something else than is said, a missing `loss_state`, or sequences of different
        lengths.
    """
    given = discriminators.gather(
        loss, discriminate, params_d, loss_state, penalties, weights, takes_real=real is not None
    )
    return _gradients(
        _two_pullbacks, given, generate, params_g, auxiliary, combine, real=real, mixture=mixture
    )


class _Part(NamedTuple):
    """What one discriminator contributes: its gradients, G's at the fake samples, and its info."""

    grad_d: PyTree
    d_fake: PyTree
    loss_d: Array
    loss_g: Array
    gamma: Array | None
    s_real: PyTree
    s_fake: PyTree
    aux: Any
    loss_state: Any
    penalties: dict[str, Array]


def _gradients(
    differentiate: Callable[..., _Part],
    given: discriminators.Discriminators,
    generate: Generate,
    params_g: PyTree,
    auxiliary: Auxiliary | None,
    combine: Combine | None,
    **images: Array | None,
) -> tuple[Grads, Info]:
    checks.parameters('params_g', params_g)
    for k, discriminator in enumerate(given.each):
        with given.naming(k):
            discriminators.check_objective(discriminator)
    fake, pull_g, aux_g = jax.vjp(checks.generating(generate), params_g, has_aux=True)
    parts = []
    for k, discriminator in enumerate(given.each):
        with given.naming(k):
            parts.append(differentiate(discriminator, fake, **images))
    adversarial, loss_g = parts[0].d_fake, parts[0].loss_g
    if given.several:
        adversarial = _weighted_sum([part.d_fake for part in parts], given.weights)
        loss_g = _weighted_sum([part.loss_g for part in parts], given.weights)
    joined = combining.join(adversarial, auxiliary, combine, fake, pull_g)
    (grad_g,) = pull_g(joined.gradient)
    info = Info(
        loss_d=sum((part.loss_d for part in parts[1:]), parts[0].loss_d),
        loss_g=sum(joined.values.values(), loss_g),
        gamma=given.like_info([part.gamma for part in parts]),
        s_real=given.like_info([_float32(part.s_real) for part in parts]),
        s_fake=given.like_info([_float32(part.s_fake) for part in parts]),
        fake=fake,
        aux_generator=aux_g,
        aux_discriminator=given.like_info([part.aux for part in parts]),
        loss_state=given.like_info([part.loss_state for part in parts]),
        penalties=given.like_info([part.penalties for part in parts]),
        auxiliary=joined.values,
        aux_combine=joined.aux,
    )
    return Grads(grad_g, given.like_params([part.grad_d for part in parts])), info


def _one_pullback(
    d: Discriminator, fake: PyTree, real: PyTree | None, mixture: Array | None
) -> _Part:
    """One discriminator's part by one pullback, and one ratio for each sample."""
    one_a_sample = not d.loss.symmetric or bool(d.penalties and d.penalties.has('r2'))

    def generator_cotangent(s_real, s_fake):
        checks.logits(s_real, s_fake, fake, one_a_sample=True)
        return _generator_cotangent(d, s_real, s_fake)

    judge = judging.judging(
        d.judge, d.penalties, real, mixture, generator_cotangent, samplewise=True
    )
    (s_real, s_fake, _), pull_d, judged = jax.vjp(judge, d.params, fake, has_aux=True)
    checks.logits(s_real, s_fake, fake, one_a_sample=one_a_sample)
    if not values.is_traced((s_real, s_fake)):
        pull = lambda logits: pull_d((*logits, jnp.zeros(())))  # noqa: E731
        reached = samplewise.reach(pull, s_real, s_fake, symmetric=not one_a_sample)
        samplewise.check_reach(*reached, symmetric=not one_a_sample)
    loss_checks.check_symmetric(d.loss, s_real, s_fake, d.loss_state)

    cotangents = _cotangents(d, s_real, s_fake)
    size = checks.batch_size(fake)
    if d.loss.symmetric:
        # One ratio for the whole batch: no division, and samples may see each other inside D.
        carrier, gamma = cotangents.c_d, -jnp.ones(size, jnp.float32)
    else:
        carrier, gamma = split_cotangent(cotangents.c_d, cotangents.c_g, dtype=s_fake.dtype)
        gamma = gamma.reshape(size)
    if judged.d_fake is not None:
        carrier = cotangents.c_d  # G needs nothing of it
    grad_d, d_fake = pull_d((_like(cotangents.r, s_real), _like(carrier, s_fake), jnp.ones(())))
    d_fake = judging.scale_samples(gamma, d_fake) if judged.d_fake is None else judged.d_fake
    return _part(d, grad_d, d_fake, gamma, cotangents, s_real, s_fake, judged)


def _two_pullbacks(
    d: Discriminator, fake: PyTree, real: PyTree | None, mixture: Array | None
) -> _Part:
    """One discriminator's part by a pullback for D and one for G."""

    def generator_cotangent(s_real, s_fake):
        checks.logits(s_real, s_fake, fake, one_a_sample=False)
        return _generator_cotangent(d, s_real, s_fake)

    judge = judging.judging(d.judge, d.penalties, real, mixture, generator_cotangent)
    (s_real, s_fake, _), pull_d, judged = jax.vjp(judge, d.params, fake, has_aux=True)
    checks.logits(s_real, s_fake, fake, one_a_sample=False)

    cotangents = _cotangents(d, s_real, s_fake)
    r, c_d = _like(cotangents.r, s_real), _like(cotangents.c_d, s_fake)
    grad_d, _ = pull_d((r, c_d, jnp.ones(())))
    d_fake = judged.d_fake
    if d_fake is None:
        c_g = _like(cotangents.c_g, s_fake)
        _, d_fake = pull_d((jax.tree.map(jnp.zeros_like, s_real), c_g, jnp.zeros(())))
    gamma, size = None, checks.batch_size(fake)
    if values.is_array(s_fake) and s_fake.size == size:
        gamma = split_cotangent(cotangents.c_d, cotangents.c_g)[1].reshape(size)
    return _part(d, grad_d, d_fake, gamma, cotangents, s_real, s_fake, judged)


class _Cotangents(NamedTuple):
    """Both losses, and their gradients with respect to the logits."""

    loss_d: Array
    loss_g: Array
    r: PyTree
    c_d: PyTree
    c_g: PyTree


def _cotangents(d: Discriminator, s_real: PyTree, s_fake: PyTree) -> _Cotangents:
    # float32 even when the networks run in bfloat16: gamma is a ratio of differences of logits.
    s_real, s_fake = _float32(s_real), _float32(s_fake)
    loss_checks.check_call(d.loss, s_real, s_fake, d.loss_state)
    loss_d, (r, c_d) = jax.value_and_grad(d.loss.discriminator, argnums=(0, 1))(
        s_real, s_fake, d.loss_state
    )
    loss_g, c_g = jax.value_and_grad(d.loss.generator, argnums=1)(s_real, s_fake, d.loss_state)
    return _Cotangents(loss_d, loss_g, r, c_d, c_g)


def _generator_cotangent(d: Discriminator, s_real: PyTree, s_fake: PyTree) -> PyTree:
    s_real, s_fake = _float32(s_real), _float32(s_fake)
    loss_checks.check_call(d.loss, s_real, s_fake, d.loss_state)
    return jax.grad(d.loss.generator, argnums=1)(s_real, s_fake, d.loss_state)


def _part(d, grad_d, d_fake, gamma, cotangents, s_real, s_fake, judged) -> _Part:
    return _Part(
        grad_d=grad_d,
        d_fake=d_fake,
        loss_d=cotangents.loss_d,
        loss_g=cotangents.loss_g,
        gamma=gamma,
        s_real=s_real,
        s_fake=s_fake,
        aux=judged.aux,
        loss_state=d.loss.update(d.loss_state, _float32(s_real), _float32(s_fake)),
        penalties=judged.penalties,
    )


def _weighted_sum(trees: list[PyTree], weights: list[Any] | None) -> PyTree:
    """The sum of pytrees, in float32."""
    trees = [_float32(tree) for tree in trees]
    if weights is not None:
        trees = [
            jax.tree.map(lambda x, weight=weight: weight * x, tree)
            for weight, tree in zip(weights, trees, strict=True)
        ]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *trees)


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def _like(tree: PyTree, other: PyTree) -> PyTree:
    """A pytree in the dtypes of another."""
    return jax.tree.map(lambda x, own: x.astype(own.dtype), tree, other)
