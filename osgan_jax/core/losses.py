"""Adversarial objectives as pure functions of logit vectors.

Every objective is written on the discriminator's raw outputs ("logits", no sigmoid) for a whole
batch, `s_real` and `s_fake`, usually of shape `[N]`. Nothing here knows a network: the gradients
with respect to the logits are the cotangents that `osgan_jax.core.one_stage` sends back through it.
Writing the losses on batches rather than on samples covers paired (relativistic) and constrained
(Fisher) objectives without a special case.

The objectives are R3GAN's and the nine of Table S1 in the supplement of Shen et al., "Training
Generative Adversarial Networks in One Stage" (CVPR 2021), in forms that neither overflow nor take
the logarithm of a rounded probability: -log(sigmoid(s)) is softplus(-s), and so on.

`with_lecam`, `with_label_smoothing` and `with_top_k` make another objective of one.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from osgan_jax.core import loss_checks, loss_names
from osgan_jax.core.loss_wrappers import with_label_smoothing as with_label_smoothing
from osgan_jax.core.loss_wrappers import with_lecam as with_lecam
from osgan_jax.core.loss_wrappers import with_top_k as with_top_k

Array = jax.Array
LossFunction = Callable[..., Array]


def _no_state() -> None:
    return None


def _keep_state(state: Any, s_real: Array, s_fake: Array) -> Any:
    del s_real, s_fake
    return state


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """One adversarial objective. A loss of your own is one more such value.

    Attributes:
      name: name in logs and error messages.
      discriminator: `(s_real, s_fake, state=None) -> scalar`, L_D, minimised by D.
      generator: `(s_real, s_fake, state=None) -> scalar`, L_G, minimised by G; its gradient is
        taken with respect to `s_fake` only (`s_real` is constant for G).
      symmetric: True where L_G is minus the part of L_D that `s_fake` enters, so that gamma is -1
        for every sample. Such losses accept any discriminator in one stage. It is tried on a few
        logits before it is believed.
      boundary: the logit at which D is undecided whether an image is real; None where logits mean
        something only beside each other.
      mean_over_samples: True where both losses are means over samples (or over pairs of one real
        and one fake sample), so that the mean over parts of a batch is the batch's.
      init: `() -> state`, the loss's own state before the first step; None where there is none.
      update: `(state, s_real, s_fake) -> state`, the state after a step with these logits.
      source: the paper it comes from.
    """

    name: str
    discriminator: LossFunction
    generator: LossFunction
    symmetric: bool = False
    boundary: float | None = 0.0
    mean_over_samples: bool = True
    init: Callable[[], Any] = _no_state
    update: Callable[[Any, Array, Array], Any] = _keep_state
    source: str = ''


def minimax() -> AdversarialLoss:
    """The original zero-sum game (DCGAN sym and CGAN in Table 1); symmetric.

    L_D = E[softplus(-s_real)] + E[softplus(s_fake)], L_G = -E[softplus(s_fake)].
    """

    def generator(s_real, s_fake, state=None):
        del s_real, state
        return -jnp.mean(jax.nn.softplus(s_fake))

    return AdversarialLoss(
        name='minimax',
        discriminator=_cross_entropy,
        generator=generator,
        symmetric=True,
        source='Goodfellow et al. 2014, Generative Adversarial Nets (arXiv:1406.2661), Eq. 1',
    )


def wasserstein() -> AdversarialLoss:
    """The critic's estimate of the earth mover's distance (WGAN); symmetric.

    L_D = E[s_fake] - E[s_real], L_G = -E[s_fake]. The trainer keeps D Lipschitz:
    WGAN clips D's weights to +-0.01 after each step.
    """

    def discriminator(s_real, s_fake, state=None):
        del state
        return jnp.mean(s_fake) - jnp.mean(s_real)

    return AdversarialLoss(
        name='wasserstein',
        discriminator=discriminator,
        generator=_linear_generator,
        symmetric=True,
        boundary=None,
        source='Arjovsky et al. 2017, Wasserstein GAN (arXiv:1701.07875), Algorithm 1',
    )


def non_saturating() -> AdversarialLoss:
    """Cross-entropy with the generator's labels flipped (DCGAN asym); gamma = -exp(-s_fake).

    L_D = E[softplus(-s_real)] + E[softplus(s_fake)], L_G = E[softplus(-s_fake)].
    """

    def generator(s_real, s_fake, state=None):
        del s_real, state
        return jnp.mean(jax.nn.softplus(-s_fake))

    return AdversarialLoss(
        name='non_saturating',
        discriminator=_cross_entropy,
        generator=generator,
        source='Goodfellow et al. 2014 (arXiv:1406.2661), section 3; '
        'Arjovsky and Bottou 2017 (arXiv:1701.04862)',
    )


def least_squares() -> AdversarialLoss:
    """Regression of the logits onto 1 and 0 (LSGAN); gamma = (s_fake - 1) / s_fake.

    L_D = E[(s_real - 1)^2] + E[s_fake^2], L_G = E[(s_fake - 1)^2].
    """

    def discriminator(s_real, s_fake, state=None):
        del state
        return jnp.mean(jnp.square(s_real - 1)) + jnp.mean(jnp.square(s_fake))

    def generator(s_real, s_fake, state=None):
        del s_real, state
        return jnp.mean(jnp.square(s_fake - 1))

    return AdversarialLoss(
        name='least_squares',
        discriminator=discriminator,
        generator=generator,
        boundary=0.5,
        source='Mao et al. 2017, Least Squares GAN (arXiv:1611.04076), Eq. 9, without its halves',
    )


def geometric(*, slope: float = 0.0, linear_generator: bool = False) -> AdversarialLoss:
    """The support-vector margin of geometric GAN, as Table S1 prints it.

    With m(u) = max(u, slope * u): L_D = E[m(1 - s_real)] + E[m(1 + s_fake)] and
    L_G = E[m(1 - s_fake)].

    Args:
      slope: Table S1's k, in [0, 1): slope of m where u < 0. The paper gives no value; 0 is the
        plain hinge of the geometric-GAN paper and bounds L_D from below.
      linear_generator: whether L_G is -E[s_fake], as in the geometric-GAN paper.

    Raises:
      ValueError: if `slope` is outside [0, 1).
    """
    if not 0 <= slope < 1:
        raise ValueError(f'geometric: slope must be in [0, 1), got {slope}')

    def margin(u):
        return jnp.where(u > 0, u, slope * u)

    def discriminator(s_real, s_fake, state=None):
        del state
        return jnp.mean(margin(1 - s_real)) + jnp.mean(margin(1 + s_fake))

    def generator(s_real, s_fake, state=None):
        del s_real, state
        return jnp.mean(margin(1 - s_fake))

    return AdversarialLoss(
        name='geometric',
        discriminator=discriminator,
        generator=_linear_generator if linear_generator else generator,
        source='Lim and Ye 2017, Geometric GAN (arXiv:1705.02894), section 4',
    )


def relativistic() -> AdversarialLoss:
    """Cross-entropy of the difference of a real and a fake logit (RelGAN).

    L_D = 2 E[softplus(s_fake - s_real)], L_G = 2 E[softplus(s_real - s_fake)]; sample i of the
    real batch is paired with sample i of the fake one, so both must have the same shape.

    The factor 2 is Table S1's. R3GAN (Huang et al. 2024, https://arxiv.org/abs/2501.05441) has the
    same loss without it, so a penalty's weight counts half as much here as there: take twice its
    gamma.
    """
    return _paired(
        'relativistic',
        2,
        'Jolicoeur-Martineau 2019, The relativistic discriminator (arXiv:1807.00734)',
    )


def relativistic_pairing() -> AdversarialLoss:
    """Half of `relativistic`: R3GAN's, beside which gamma of R1 and R2 means what it means there.

    L_D = E[softplus(s_fake - s_real)], L_G = E[softplus(s_real - s_fake)].
    """
    return _paired(
        'relativistic_pairing',
        1,
        'Huang et al. 2024, A modern GAN baseline (arXiv:2501.05441), Eq. 2',
    )


def _paired(name: str, factor: int, source: str) -> AdversarialLoss:
    def discriminator(s_real, s_fake, state=None):
        del state
        _check_paired(s_real, s_fake)
        return factor * jnp.mean(jax.nn.softplus(s_fake - s_real))

    def generator(s_real, s_fake, state=None):
        del state
        _check_paired(s_real, s_fake)
        return factor * jnp.mean(jax.nn.softplus(s_real - s_fake))

    return AdversarialLoss(
        name=name,
        discriminator=discriminator,
        generator=generator,
        boundary=None,
        source=source,
    )


class FisherState(NamedTuple):
    """Fisher GAN's Lagrange multiplier, a float32 scalar."""

    multiplier: Array


def fisher(*, rho: float = 1e-6) -> AdversarialLoss:
    """Mean difference under a unit second moment of the critic (FisherGAN).

    With R = 1 - (E[s_real^2] + E[s_fake^2]) / 2 over the whole batch:
    L_D = E[s_fake] - E[s_real] - multiplier * R + rho / 2 * R^2 and L_G = -E[s_fake]. The
    multiplier descends its own gradient: multiplier <- multiplier - rho * R after each step.

    Args:
      rho: penalty weight and the multiplier's step, positive; 1e-6 in the Fisher-GAN paper.

    Raises:
      ValueError: if `rho` is not positive and finite.
    """
    if not 0 < rho < math.inf:
        raise ValueError(f'fisher: rho must be positive and finite, got {rho}')

    def slack(s_real, s_fake):
        return 1 - 0.5 * (jnp.mean(jnp.square(s_real)) + jnp.mean(jnp.square(s_fake)))

    def init():
        return FisherState(multiplier=jnp.zeros((), jnp.float32))

    def discriminator(s_real, s_fake, state=None):
        multiplier = 0.0 if state is None else state.multiplier
        r = slack(s_real, s_fake)
        return jnp.mean(s_fake) - jnp.mean(s_real) - multiplier * r + 0.5 * rho * r**2

    def update(state, s_real, s_fake):
        if state is None:
            raise ValueError(
                'fisher: update needs the previous state, which is loss.init() at the first step'
            )
        r = slack(s_real.astype(jnp.float32), s_fake.astype(jnp.float32))
        return FisherState(multiplier=state.multiplier - rho * r)

    return AdversarialLoss(
        name='fisher',
        discriminator=discriminator,
        generator=_linear_generator,
        boundary=None,
        mean_over_samples=False,
        init=init,
        update=update,
        source='Mroueh and Sercu 2017, Fisher GAN (arXiv:1705.09675), Eq. 9 and Algorithm 1',
    )


def boundary_seeking() -> AdversarialLoss:
    """Cross-entropy, with G at D's decision boundary (BGAN); gamma = s_fake / sigmoid(s_fake).

    L_D = E[softplus(-s_real)] + E[softplus(s_fake)], L_G = E[s_fake^2] / 2, since
    log D - log(1 - D) is the logit itself.
    """

    def generator(s_real, s_fake, state=None):
        del s_real, state
        return 0.5 * jnp.mean(jnp.square(s_fake))

    return AdversarialLoss(
        name='boundary_seeking',
        discriminator=_cross_entropy,
        generator=generator,
        source='Hjelm et al. 2018, Boundary-Seeking GANs (arXiv:1702.08431), Eq. 10',
    )


def hinge() -> AdversarialLoss:
    """The hinge game of SNGAN and BigGAN; D receives nothing beyond the margin.

    L_D = E[max(0, 1 - s_real)] + E[max(0, 1 + s_fake)], L_G = -E[s_fake].
    """

    def discriminator(s_real, s_fake, state=None):
        del state
        return jnp.mean(jax.nn.relu(1 - s_real)) + jnp.mean(jax.nn.relu(1 + s_fake))

    return AdversarialLoss(
        name='hinge',
        discriminator=discriminator,
        generator=_linear_generator,
        source='Miyato et al. 2018, Spectral Normalization for GANs (arXiv:1802.05957), Eq. 16-17',
    )


def _cross_entropy(s_real: Array, s_fake: Array, state: Any = None) -> Array:
    del state
    return jnp.mean(jax.nn.softplus(-s_real)) + jnp.mean(jax.nn.softplus(s_fake))


def _linear_generator(s_real: Array, s_fake: Array, state: Any = None) -> Array:
    del s_real, state
    return -jnp.mean(s_fake)


def _check_paired(s_real: Array, s_fake: Array) -> None:
    if jnp.shape(s_real) != jnp.shape(s_fake):
        raise ValueError(
            'relativistic: real and fake logits are compared in pairs and need the same shape, '
            f'got {jnp.shape(s_real)} and {jnp.shape(s_fake)}'
        )


def register(name: str, factory: Callable[..., AdversarialLoss]) -> None:
    """Adds an objective, so that `get` and `--loss` know it.

    Args:
      name: its name.
      factory: returns the objective; its parameters are the objective's hyperparameters.

    Raises:
      ValueError: if the name is taken.
    """
    if name in names():
        raise ValueError(f'a loss named {name!r} already exists: choose another name')
    loss_names.REGISTERED[name] = factory


def names() -> tuple[str, ...]:
    """Names that `get` accepts, in the order of Table S1."""
    return loss_names.names()


def get(name: str, **hyperparameters: Any) -> AdversarialLoss:
    """The objective called `name`.

    Args:
      name: one of `names()`.
      **hyperparameters: the objective's own: `slope` and `linear_generator` for geometric, `rho`
        for fisher, none for the others.

    Returns:
      The AdversarialLoss.

    Raises:
      ValueError: for an unknown name, an unknown hyperparameter or a value out of range; for a
        registered objective also if it does not keep what `symmetric` and `mean_over_samples` say.
    """
    if name not in names():
        raise ValueError(
            f'unknown loss {name!r}: expected one of {", ".join(names())}, or a name that the '
            'program has registered (osgan_jax.losses.register)'
        )
    # A built-in objective is the function of its name above.
    factory = loss_names.REGISTERED.get(name) or globals()[name]
    check_hyperparameters(name, factory, hyperparameters)
    loss = factory(**hyperparameters)
    if name in loss_names.REGISTERED:
        loss_checks.check(loss)
    return loss


def check_hyperparameters(
    name: str, factory: Callable[..., AdversarialLoss], given: Mapping[str, Any]
) -> None:
    """Raises ValueError for a hyperparameter, or a kind of value, that a factory does not take."""
    known = inspect.signature(factory).parameters
    if unknown := sorted(set(given) - set(known)):
        takes = ', '.join(sorted(known)) if known else 'none'
        raise ValueError(f'{name}: unknown hyperparameter {", ".join(unknown)} (it takes: {takes})')
    for key, value in given.items():
        switch = isinstance(known[key].default, bool)
        if isinstance(value, bool) != switch:
            expected = 'true or false' if switch else 'a number'
            raise ValueError(f'{name}: {key}={value}: expected {expected}')
