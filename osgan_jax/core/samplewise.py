"""Whether a discriminator treats samples one by one, found by gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core import checks, compiling, discriminators

Array = jax.Array
PyTree = Any
Discriminate = Callable[[PyTree, PyTree], tuple[tuple[Array, Array], Any]]
Pullback = Callable[[tuple[Array, Array]], tuple[PyTree, PyTree]]

# Of the root mean square of a parameter's values: enough to open what a zero shuts.
_PERTURBATION = 0.1
_DRAWN = 2**20  # numbers; larger parameters repeat them


def check_samplewise(
    discriminate: Discriminate | Sequence[Discriminate],
    params_d: PyTree,
    fake: PyTree,
    *,
    symmetric: bool = False,
) -> None:
    """Raises unless D treats samples one by one and gives one logit a sample.

    The check is of gradients, not of layer names: a one-hot cotangent on a fake logit must reach
    that sample alone, and one on a real logit must reach no fake sample. That is looked at twice,
    the second time at perturbed parameters: a scale of 0, which residual branches start with, would
    hide what is behind it until training moves it. It costs four pullbacks; call it once, outside
    jit.

    Args:
      discriminate: as for `one_stage_grads`; each of a sequence is checked.
      params_d: D's parameters; of a sequence, one of theirs.
      fake: any batch `[N, ...]`, N >= 2, in the shape that D takes, such as random values; or a
        pytree of that.
      symmetric: whether the loss is symmetric and D has no R2. D may then mix fake samples, and
        give any logits, but no real logit may depend on a fake sample, as with BatchNorm over one
        batch of both.

    Raises:
      ValueError: if D gives several logits a sample or mixes samples (BatchNorm, minibatch
        standard deviation), naming the samples that were reached and by how much; or if N < 2.
    """
    if checks.batch_size(fake) < 2:
        raise ValueError('check_samplewise: needs a batch of at least 2 samples to tell them apart')
    given = discriminators.gather(None, discriminate, params_d)
    for k, one in enumerate(given.each):
        with given.naming(k):
            _check_one(one.judge, one.params, fake, symmetric)


def _check_one(discriminate: Discriminate, params_d: PyTree, fake: PyTree, symmetric: bool) -> None:
    # Compiled, because a large network takes minutes layer by layer; and one program for both
    # looks, quickly, because every launch of one_stage waits for it.
    def reach_from_one(params_d, fake):
        (s_real, s_fake), pull_d, _ = jax.vjp(discriminate, params_d, fake, has_aux=True)
        checks.logits(s_real, s_fake, fake, one_a_sample=not symmetric)
        return reach(pull_d, s_real, s_fake, symmetric=symmetric)

    reached = compiling.compile_quickly(reach_from_one, params_d, fake)
    check_reach(*reached(params_d, fake), symmetric=symmetric)
    check_reach(*reached(perturb(params_d), fake), symmetric=symmetric, perturbed=True)


def perturb(params: PyTree) -> PyTree:
    """The parameters with noise in every one of them, the same in each call.

    Each array moves by a tenth of its root mean square. One of zeros becomes normal with a
    variance of 1 / fan-in, as kernels and vectors are drawn that start otherwise.
    """
    # On the host: a program that draws takes a launch as long as the check.
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(params)]
    count = min(max(sizes, default=0), _DRAWN)
    noise = np.random.default_rng(0).standard_normal(count, np.float32)
    return jax.tree.map(lambda leaf: _perturb(jnp.asarray(leaf), noise), params)


def _perturb(leaf: Array, noise: np.ndarray) -> Array:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    values = np.asarray(leaf, np.float32)
    size = _PERTURBATION * np.sqrt(np.square(values).mean()) if leaf.size else 0.0
    if not size > 0:
        fan_in = max(leaf.size // leaf.shape[-1], 1) if leaf.ndim and leaf.size else 1
        size = fan_in**-0.5
    return jnp.asarray(values + np.float32(size) * np.resize(noise, leaf.shape), leaf.dtype)


def reach(
    pull_d: Pullback, s_real: PyTree, s_fake: PyTree, *, symmetric: bool = False
) -> tuple[Array, Array]:
    """Largest gradient at each fake sample, `[N]`, of the first fake and of the first real sample.

    Args:
      pull_d: D's pullback, `(cotangent of s_real, of s_fake) -> (params, fake)`.
      s_real: logits of the real batch.
      s_fake: logits of the fake batch.
      symmetric: whether fake samples may see each other, so that the first is 0.
    """

    def largest(*cotangent):
        leaves = [jnp.abs(x.astype(jnp.float32)) for x in jax.tree.leaves(pull_d(cotangent)[1])]
        d_fake = jnp.concatenate([x.reshape(x.shape[0], -1) for x in leaves], axis=1)
        # 0 times an infinity shows nothing of who sees whom.
        return jnp.max(jnp.where(jnp.isfinite(d_fake), d_fake, 0), axis=1, initial=0)

    from_real = largest(_first(s_real), jax.tree.map(jnp.zeros_like, s_fake))
    if symmetric:
        return jnp.zeros_like(from_real), from_real
    return largest(jax.tree.map(jnp.zeros_like, s_real), _first(s_fake)), from_real


def _first(logits: PyTree) -> PyTree:
    """The cotangent of the first sample's logits."""
    return jax.tree.map(lambda x: jnp.zeros_like(x).at[0].set(1), logits)


def check_reach(
    own: Array, from_real: Array, *, symmetric: bool = False, perturbed: bool = False
) -> None:
    """Raises ValueError where gradients reached other samples than their logit's own.

    Args:
      own: the first of `reach`.
      from_real: the second.
      symmetric: as for `reach`.
      perturbed: whether the parameters were not D's own.
    """
    own, from_real = np.asarray(own), np.asarray(from_real)
    scale = own.max() or from_real.max() or 1.0
    mixed = {
        'fake sample depends on another fake sample': float(own[1:].max(initial=0.0) / scale),
        'real sample depends on a fake sample': float(from_real.max() / scale),
    }
    worst = max(mixed, key=mixed.get)
    # Rows that no cotangent enters stay exactly zero through every layer that keeps samples apart,
    # so any other value shows a mixing layer; there is no tolerance to choose.
    if not mixed[worst] > 0:
        return
    hidden = ' once a parameter that is 0 now has moved' if perturbed else ''
    found = f'but here the logit of a {worst}{hidden}'
    if symmetric:
        raise ValueError(
            f'one_stage needs a discriminator that judges real and fake samples apart, {found}, as '
            'with BatchNorm over one batch of both: apply D to the real and to the fake batch, or '
            'use shared_forward, which is exact for any discriminator.'
        )
    raise ValueError(
        f'one_stage needs a discriminator that treats samples one by one, {found} (gradient '
        f'{mixed[worst]:.2g} of its own): a layer such as BatchNorm or minibatch standard '
        'deviation mixes the batch, so no per-sample ratio gamma exists. Use shared_forward, which '
        'is exact for any discriminator, or a group, instance, layer or spectral norm, or a '
        'symmetric loss (without R2 at every step) with real and fake batches judged apart.'
    )
