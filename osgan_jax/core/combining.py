"""How the adversarial gradient at the fake samples is joined with those of L_G's other terms.

A rule is a function `combine(adversarial, auxiliary) -> gradient`. Both are gradients at the fake
samples, float32 and like `fake`, `auxiliary` a dict of them where `auxiliary=` is a dict of
functions, and None without any. A rule may also return `(gradient, aux)`, of which `aux` becomes
`info.aux_combine`: a weight to report, or the rule's state after the step, which enters the next
step by a closure.

A rule with an argument named `pull` is also given G's pullback, `gradient at the fake samples ->
gradient of params_g`, so that it can measure at any layer of G. Under jit the compiler drops what
the rule does not use of it: the last layer's gradient costs that layer's, and no pass through G.

On several devices a rule sees its own device's samples; those here add up what they measure over
`collectives`.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import checks, regularizers, values
from osgan_jax.core.collectives import ONE_DEVICE, Collectives

Array = jax.Array
PyTree = Any
Combine = Callable[..., Any]
Auxiliary = Callable[[PyTree], Array] | Mapping[str, Callable[[PyTree], Array]]


class Joined(NamedTuple):
    """The gradient that G takes.

    Attributes:
      gradient: at the fake samples, like them.
      values: of the auxiliary terms, by name.
      aux: what the rule returned beside the gradient; None without any.
    """

    gradient: PyTree
    values: dict[str, Array]
    aux: Any


def join(
    adversarial: PyTree,
    auxiliary: Auxiliary | None,
    combine: Combine | None,
    fake: PyTree,
    pull: Callable[[PyTree], tuple[PyTree]],
) -> Joined:
    """Joins the gradients of L_G's terms, by their sum where there is no rule.

    Args:
      adversarial: the adversarial gradient, like `fake`.
      auxiliary: `fake -> scalar`, or a dict of such functions; None for none.
      combine: the rule; None for the sum.
      fake: the fake batch, `[N, ...]` or a pytree of that.
      pull: G's pullback, `gradient -> (gradient of params_g,)`.

    Raises:
      ValueError: for terms or a rule that take or return something else.
    """
    terms = auxiliary if isinstance(auxiliary, Mapping) else {'auxiliary': auxiliary}
    both = {
        name: jax.value_and_grad(_scalar(name if terms is auxiliary else None, f))(fake)
        for name, f in terms.items()
        if f is not None
    }
    gradients = {name: gradient for name, (_, gradient) in both.items()}

    def like_fake(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x, own: x.astype(own.dtype), tree, fake)

    aux = None
    if combine is None:
        joined = _sum([adversarial, *gradients.values()])
    else:
        given = gradients if terms is auxiliary else gradients.get('auxiliary')
        given = jax.tree.map(lambda x: x.astype(jnp.float32), (adversarial, given))
        options = {}
        checks.takes('combine', combine, 'adversarial', 'auxiliary', keywords=('pull',))
        if 'pull' in inspect.signature(combine).parameters:
            options['pull'] = lambda tree: pull(like_fake(tree))[0]
        joined, aux = _returned(combine(*given, **options), fake)
    return Joined(like_fake(joined), {name: value for name, (value, _) in both.items()}, aux)


def adaptive_weight(
    last_layer: Callable[[PyTree], PyTree] | None = None,
    *,
    weight: float | Array = 1.0,
    delta: float = 1e-6,
    most: float = 1e4,
    collectives: Collectives = ONE_DEVICE,
) -> Combine:
    """VQGAN's rule: the adversarial gradient is made as long as that of the reconstruction.

    lambda = |grad L_rec| / (|grad L_GAN| + delta), both at the last layer of the decoder (Esser et
    al. 2021, https://arxiv.org/abs/2012.09841, Eq. 7), at most 1e4 as in the authors' code. The
    gradient is weight * lambda * adversarial + auxiliary; the reconstruction is all that
    `auxiliary=` has.

    Args:
      last_layer: takes the last layer out of a pytree like params_g, such as
        `lambda grads: grads['decoder']['out']['kernel']`; None for norms at the fake samples
        themselves.
      weight: factor of lambda, 0 before the adversarial term begins; the authors' configurations
        have 0.75 and 0.8.
      delta: keeps lambda finite.
      most: largest lambda.
      collectives: the devices of the step.

    Returns:
      A rule; `info.aux_combine` is weight * lambda, a float32 scalar.
    """

    def combine(adversarial: PyTree, auxiliary: PyTree, pull: Callable[[PyTree], PyTree]) -> Any:
        auxiliary = _sum(list(_terms(adversarial, auxiliary).values()))

        def norm(gradient):
            if last_layer is not None:
                gradient = collectives.sum(last_layer(pull(gradient)))
            square = sum(
                jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(gradient)
            )
            return jnp.sqrt(square if last_layer is not None else collectives.sum(square))

        scale = weight * jnp.clip(norm(auxiliary) / (norm(adversarial) + delta), 0, most)
        return jax.tree.map(lambda a, b: scale * a + b, adversarial, auxiliary), scale

    return combine


class BalancerState(NamedTuple):
    """Averages of a balancer.

    Attributes:
      norms: sums of decayed norms, by name, float32 scalars.
      count: the sum of the decays, by which they are divided.
    """

    norms: dict[str, Array]
    count: Array


@dataclasses.dataclass(frozen=True)
class Balancer:
    """EnCodec's rule: each term has its share of the gradient, whatever its scale.

    A term's gradient at the fake samples is divided by the moving average of its norm and
    multiplied by `total` times its weight's share: total * w_i / sum_j w_j * g_i / <|g_i|>
    (Défossez et al. 2022, https://arxiv.org/abs/2210.13438, Eq. 4). As in the authors' code, the
    norm is the mean over samples of each sample's, and the average is corrected for its start::

        balancer = osgan_jax.Balancer({'adversarial': 3.0, 'mel': 1.0})
        state = balancer.init()
        grads, info = osgan_jax.one_stage_grads(
            ..., auxiliary={'mel': mel_distance}, combine=balancer.combine(state))
        state = info.aux_combine

    Attributes:
      weights: of each term; `adversarial` is the adversarial one, `auxiliary` the other where
        `auxiliary=` is one function. Terms without a weight are added as they are.
      decay: of the moving averages; 0 for the norms of this step alone.
      total: the norm of the sum if all terms pointed one way and had their average norms.
      collectives: the devices of the step.
    """

    weights: Mapping[str, float]
    decay: float = 0.999
    total: float = 1.0
    collectives: Collectives = ONE_DEVICE

    def __post_init__(self):
        """Raises ValueError for numbers out of range."""
        weights = self.weights
        least = min(weights.values(), default=0) if isinstance(weights, Mapping) else -1
        if not (least >= 0 and 0 < sum(weights.values()) < math.inf):
            raise ValueError(
                'the balancer needs finite weights by the names of terms, at least 0 and not all '
                f'0, got {weights!r}'
            )
        if not 0 <= self.decay < 1:
            raise ValueError(f'the balancer needs a decay in [0, 1), got {self.decay}')
        if not 0 < self.total < math.inf:
            raise ValueError(f'the balancer needs a positive finite total, got {self.total}')

    def init(self) -> BalancerState:
        """The state before the first step."""
        return BalancerState({name: jnp.zeros(()) for name in self.weights}, jnp.zeros(()))

    def combine(self, state: BalancerState) -> Combine:
        """The rule of a step; `info.aux_combine` is the state after it."""
        return lambda adversarial, auxiliary: self._balance(state, adversarial, auxiliary)

    def _balance(
        self, state: BalancerState, adversarial: PyTree, auxiliary: PyTree
    ) -> tuple[PyTree, BalancerState]:
        terms = _terms(adversarial, auxiliary)
        if 'adversarial' in terms:
            raise ValueError(
                "the balancer calls D's gradient 'adversarial': give that term of auxiliary= "
                'another name'
            )
        gradients = {'adversarial': adversarial, **terms}
        for name in self.weights:
            if name not in gradients:
                raise ValueError(
                    f'the balancer has a weight of {name!r}, but the terms of this step are '
                    f'{", ".join(gradients)}'
                )
        count = self.decay * state.count + 1
        norms = {}
        for name, weight in self.weights.items():
            norm = jnp.mean(jnp.sqrt(regularizers.squared_norm(gradients[name])))
            norm = self.collectives.sum(norm) / self.collectives.size
            norms[name] = self.decay * state.norms[name] + norm
            scale = self.total * weight / sum(self.weights.values())
            scale /= norms[name] / count + 1e-12
            gradients[name] = jax.tree.map(lambda x, scale=scale: scale * x, gradients[name])
        return _sum(list(gradients.values())), BalancerState(norms, count)


def _scalar(key: str | None, term: Callable[[PyTree], Array]) -> Callable[[PyTree], Array]:
    """An auxiliary term, which raises ValueError unless it returns a float scalar."""
    name = 'auxiliary' if key is None else f'auxiliary[{key!r}]'
    checks.takes(name, term, 'fake')

    def checked(fake: PyTree) -> Array:
        value = term(fake)
        if jnp.shape(value) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ValueError(
                f'{name} must return a floating-point scalar, but returned '
                f'{values.describe(value)}: take the mean over samples'
            )
        return value

    return checked


def _sum(gradients: list[PyTree]) -> PyTree:
    first, *others = gradients
    for other in others:
        first = jax.tree.map(jnp.add, first, other)
    return first


def _terms(adversarial: PyTree, auxiliary: PyTree) -> dict[str, PyTree]:
    """The auxiliary gradients by name, `auxiliary` for the only one."""
    if auxiliary is None or (isinstance(auxiliary, Mapping) and not auxiliary):
        raise ValueError(
            'this combine= weighs the adversarial gradient against auxiliary=: give it'
        )
    if jax.tree.structure(auxiliary) == jax.tree.structure(adversarial):
        return {'auxiliary': auxiliary}
    return auxiliary


def _returned(returned: Any, fake: PyTree) -> tuple[PyTree, Any]:
    """The gradient and `aux` of what a rule returned."""
    aux, gradient = None, returned
    expected = jax.tree.structure(fake)
    if jax.tree.structure(returned) != expected and isinstance(returned, tuple):
        gradient, aux = returned if len(returned) == 2 else (returned, None)
    if jax.tree.structure(gradient) == expected:
        leaves = zip(jax.tree.leaves(gradient), jax.tree.leaves(fake), strict=True)
        if all(jnp.shape(x) == own.shape for x, own in leaves):
            return gradient, aux
    raise ValueError(
        'combine must return a gradient like fake, '
        f'{values.describe(fake)}, or (gradient, aux), but returned {values.describe(returned)}'
    )
