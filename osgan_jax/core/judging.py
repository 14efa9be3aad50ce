"""D's verdict with its penalties, from one forward pass and one pass for its gradients at images.

R1, R2 and WGAN-GP's penalty are functions of J = ds/dx, the gradients of logits at the images that
they judge. A pullback with cotangents of 1 gives J of a whole batch at once, and needs nothing but
what the forward pass of the loss has left behind. L_D and the penalties are then differentiated
together, through both passes: for each image one forward pass, one for J, and four that a second
derivative takes (the sensitivity of J going up through D, that of all activations coming down, and
a weight gradient on the way of each). Forward over reverse takes as many, to 0.1% of the compiled
FLOPs; reverse over reverse, which is here, also takes custom gradients that are not
forward-differentiable.

With J at the fake images G's gradient is there already. In a D that treats samples one by one
dL_G/dx_i = c_g,i * J_i, with c_g = dL_G/ds: no ratio, no division, and no further pass.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import regularizers, values
from osgan_jax.core.regularizers import Penalties

Array = jax.Array
PyTree = Any


class Judged(NamedTuple):
    """Results of a judge beside logits and penalty.

    Attributes:
      aux: the `aux` of `discriminate`.
      penalties: the penalties by name, float32 scalars; empty without any.
      d_fake: G's gradient at the fake images, like them; None where the judge's pullback has it.
    """

    aux: Any
    penalties: dict[str, Array]
    d_fake: PyTree | None


Judge = Callable[[PyTree, PyTree], tuple[tuple[PyTree, PyTree, Array], Judged]]


def judging(
    discriminate: Callable[..., Any],
    penalties: Penalties | None = None,
    real: PyTree | None = None,
    mixture: Array | None = None,
    generator_cotangent: Callable[[PyTree, PyTree], PyTree] | None = None,
    *,
    samplewise: bool = False,
) -> Judge:
    """`discriminate` with penalties beside the logits, to be differentiated together.

    Args:
      discriminate: `(params_d, fake) -> ((s_real, s_fake), aux)`; with `real`,
        `(params_d, fake, real) -> ...`. Where it applies D to both batches apart, the compiler
        drops whatever half of a pass is not used.
      penalties: weights of the penalties; None for none.
      real: the real batch, for R1 and WGAN-GP's penalty.
      mixture: share of the real image in each mixture `[N]`, for WGAN-GP's penalty.
      generator_cotangent: `(s_real, s_fake) -> c_g`, where G's gradient at the fake images is to
        come from here.
      samplewise: whether D treats samples one by one, so that one pullback gives J of real and fake
        images alike, and c_g * J is G's gradient. Otherwise real and fake logits, and c_g, are
        pulled back by themselves, which is exact for any D; samples that see each other have the
        gradient of the sum of their batch's logits, as have several logits of a sample.

    Returns:
      `(params_d, fake) -> ((s_real, s_fake, penalty), Judged)`; `penalty` is the penalties' sum, a
      float32 scalar. `Judged.d_fake` is None without penalties, and without R2 in a samplewise D:
      there no penalty depends on the fake images, and what reaches them through the function's own
      pullback is the logits' alone.

    Raises:
      ValueError: for penalties without what they need.
    """
    weights = penalties or Penalties()
    images = () if real is None else (real,)
    if weights.has('r1', 'gradient_penalty') and real is None:
        raise ValueError(
            'penalties: r1 and gradient_penalty differentiate D at real images: pass the batch as '
            'real=, and let discriminate take it as its third argument'
        )
    if weights.has('gradient_penalty') and mixture is None:
        raise ValueError(
            'penalties: gradient_penalty needs mixture=, the share of the real image in each '
            'mixture, `[N]`, drawn uniformly from [0, 1]'
        )

    def judge(params_d: PyTree, fake: PyTree) -> tuple[tuple[PyTree, PyTree, Array], Judged]:
        if not weights.of_discriminator:
            (s_real, s_fake), aux = discriminate(params_d, fake, *images)
            return (s_real, s_fake, jnp.zeros(())), Judged(aux, {}, None)

        def apply(*images: PyTree) -> Any:
            return discriminate(params_d, *images)

        (s_real, s_fake), pull, aux = jax.vjp(apply, fake, *images, has_aux=True)
        if not values.is_array(s_fake):
            raise ValueError(
                "penalties differentiate D's logits, an array, but this discriminator gives "
                f'{values.describe(s_fake)}: give several discriminators as a sequence, each with '
                'an array of logits'
            )
        one_real, one_fake = jnp.ones_like(s_real), jnp.ones_like(s_fake)
        at_real = at_fake = d_fake = None
        if samplewise and weights.has('r1') and weights.has('r2'):
            at_fake, at_real = pull((one_real, one_fake))
        else:
            if weights.has('r1'):
                at_real = pull((one_real, jnp.zeros_like(s_fake)))[1]
            if weights.has('r2'):
                at_fake = pull((jnp.zeros_like(s_real), one_fake))[0]
        found = {}
        if weights.has('r1'):
            found['r1'] = regularizers.r1(at_real, weights.r1)
        if weights.has('r2'):
            found['r2'] = regularizers.r1(at_fake, weights.r2)
        if weights.has('gradient_penalty'):
            constant = jax.lax.stop_gradient(fake)
            if jax.tree.structure(real) != jax.tree.structure(fake):
                raise ValueError(
                    'penalties: gradient_penalty mixes real and fake samples, so that real must be '
                    f'like fake, {values.describe(fake)}, but it is {values.describe(real)}'
                )
            _check_mixture(mixture, real, fake)
            mixed = regularizers.mix(real, constant, mixture)
            # In the place of the real batch: the mixtures have its augmentation and its labels.
            s_mixed, pull_mixed = jax.vjp(lambda mixed: apply(constant, mixed)[0][0], mixed)
            (at_mixed,) = pull_mixed(jnp.ones_like(s_mixed))
            found['gradient_penalty'] = regularizers.gradient_penalty(
                at_mixed, weights.gradient_penalty
            )
        if generator_cotangent is not None and (weights.has('r2') or not samplewise):
            c_g = generator_cotangent(s_real, s_fake)
            if samplewise:
                d_fake = scale_samples(c_g, at_fake)
            else:
                d_fake = pull((jnp.zeros_like(s_real), c_g.astype(s_fake.dtype)))[0]
        means = {name: jnp.mean(value) for name, value in found.items()}
        return (s_real, s_fake, sum(means.values())), Judged(aux, means, d_fake)

    return judge


def _check_mixture(mixture: Array, real: PyTree, fake: PyTree) -> None:
    shapes = [[jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (real, fake)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            'penalties: gradient_penalty mixes each real sample with a fake one, so that both need '
            f'the same shapes, but real has {shapes[0]} and fake {shapes[1]}'
        )
    size = shapes[1][0][0]
    if jnp.size(mixture) != size or not jnp.ndim(mixture):
        raise ValueError(
            f'penalties: mixture must have a share for each sample, `[{size}]`, but is '
            f'{values.describe(mixture)}'
        )


def scale_samples(factor: Array, tree: PyTree) -> PyTree:
    """A pytree of `[N, ...]`, each sample's part times its factor, one of N."""
    return jax.tree.map(lambda x: factor.reshape((-1,) + (1,) * (x.ndim - 1)) * x, tree)
