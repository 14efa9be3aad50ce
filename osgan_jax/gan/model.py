"""The networks, objective and optimisers of a run (`GAN`), and its state (`TrainState`)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from osgan_jax import networks
from osgan_jax.core import compiling, image_sizes, losses
from osgan_jax.core.collectives import count_processes
from osgan_jax.core.regularizers import AllPenalties
from osgan_jax.gan import augmentation, freezing, objectives, schedules
from osgan_jax.gan.augmentation import Augmentation
from osgan_jax.gan.config import (
    ADAMS,
    GRADIENT_PENALTIES,
    TrainConfig,
)
from osgan_jax.gan.schedules import Schedule
from osgan_jax.io import checked_npz
from osgan_jax.layers import backend, convolutions
from osgan_jax.runtime import shards

Array = jax.Array
PyTree = Any


@dataclasses.dataclass(frozen=True)
class GAN:
    """Networks, objective and optimisers of one run.

    Attributes:
      network: the specification of the two modules.
      generator: linen module `(z [N, Z], labels, train) -> images [N, H, W, C]` in [-1, 1].
      discriminator: linen module `(images, labels, train) -> logits [N]`.
      loss: the objective.
      optimizer_g: G's optax transformation; it is given the training state's step as `step=`.
      optimizer_d: D's optax transformation, likewise.
      latent_dim: Z.
      image_shape: `(H, W, C)`.
      num_classes: number of labels, 0 for unconditional networks.
      weight_clip: bound on the absolute values of D's weights after each step, 0 for none.
      ema_decay: decay per step of the average of G, 0 for no average; the greatest one where the
        half-life is scheduled.
      ema_start: step from which G is averaged; until then the average is G itself.
      ema_ramp: bound on the average's half-life, as a share of the steps so far; 0 for none.
      ema_half_life: half-life of the average in steps, where it is scheduled; else None.
      lookahead: steps after which both networks go back to between their slow weights and
        themselves; 0 for never.
      lookahead_alpha: share of the way from the slow weights that is kept.
      penalties: weights and intervals of the penalties; the greatest ones of scheduled weights.
      penalty_schedules: schedules of weights that change, by the penalty's name.
      d_steps: updates of D a step, all but one of them of D alone.
      augmentation: augmentation of all images that D sees.
      frozen: the parameters that stay as they are.
      samplewise: whether D is known to treat samples one by one.
    """

    network: networks.NetworkSpec
    generator: nn.Module
    discriminator: nn.Module
    loss: losses.AdversarialLoss
    optimizer_g: optax.GradientTransformation
    optimizer_d: optax.GradientTransformation
    latent_dim: int
    image_shape: tuple[int, int, int]
    num_classes: int = 0
    weight_clip: float = 0.0
    ema_decay: float = 0.0
    ema_start: int = 0
    ema_ramp: float = 0.0
    ema_half_life: Schedule | None = None
    lookahead: int = 0
    lookahead_alpha: float = 0.5
    penalties: AllPenalties = dataclasses.field(default_factory=AllPenalties)
    penalty_schedules: Mapping[str, Schedule] = dataclasses.field(default_factory=dict)
    d_steps: int = 1
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    frozen: freezing.Frozen = dataclasses.field(default_factory=freezing.Frozen)
    samplewise: bool = False

    def penalties_at(self, step: Array) -> AllPenalties:
        """The penalties with the weights of a step; what is constant is a Python number."""
        values = {name: schedule(step) for name, schedule in self.penalty_schedules.items()}
        return dataclasses.replace(self.penalties, **values)

    def is_counted(self) -> bool:
        """Whether the compiler counts the FLOPs of every part of a step once.

        It counts lazy penalties as if they were of every step, and groups of channels as they are
        computed.
        """
        uncounted = self.network.has_groups and not convolutions.counts_groups()
        return not (self.penalties.is_lazy or uncounted)


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; all of it is checkpointed.

    Within a step on several devices, tensors of `DIVIDED` may be shards
    (`osgan_jax.core.collectives.Shard`); everywhere else all are whole.

    Attributes:
      step: number of updates so far, int32 scalar.
      params_g: G's parameters.
      params_d: D's parameters.
      stats_g: G's other collections, `{'batch_stats': ...}` or `{}`.
      stats_d: D's other collections, likewise.
      opt_g: G's optimiser state.
      opt_d: D's optimiser state.
      loss_state: the objective's own state, None for most objectives.
      ema_g: averaged `{'params': ..., **stats_g}` of G, None without averaging.
      key: PRNG key of the run; step t draws from `fold_in(key, t)`.
      penalties: newest values of lazy penalties by name, `penalty_d`, `penalty_g` and the running
        mean `path_length`; None without any.
      augmentation: probability of ADA's augmentations and what it is adapted by, see
        `osgan_jax.gan.augmentation`; None where it is not adapted.
      slow: Lookahead's slow weights, `{'params_g': ..., 'params_d': ...}`, and as `stats_g` the
        statistics of G's passes with them; None without it.
    """

    step: Array
    params_g: PyTree
    params_d: PyTree
    stats_g: PyTree
    stats_d: PyTree
    opt_g: PyTree
    opt_d: PyTree
    loss_state: Any
    ema_g: PyTree
    key: Array
    penalties: Any = None
    augmentation: Any = None
    slow: PyTree = None

    def sampling_variables(self) -> PyTree:
        """G's variables for sampling: the average where there is one, else the slow weights."""
        return self.settled_variables() if self.ema_g is None else self.ema_g

    def settled_variables(self) -> PyTree:
        """G's variables: its slow weights and their statistics if it has any."""
        if self.slow is None:
            return {'params': self.params_g, **self.stats_g}
        return {'params': self.slow['params_g'], **self.slow['stats_g']}


DIVIDED = (
    'params_g',
    'params_d',
    'opt_g',
    'opt_d',
    'ema_g/params',
    'slow/params_g',
    'slow/params_d',
)
"""Paths of the parts of a TrainState that are updated element by element."""


def divided(
    config: TrainConfig, devices: Sequence[jax.Device], state: TrainState
) -> tuple[str, ...]:
    """Paths in the state of what these devices, of each process, divide; () for nothing.

    On a CPU, whose devices share one memory, exchanging shards costs more than it saves; several
    processes, which were never tried on accelerators, keep the state whole unless asked.

    Args:
      config: says whether it is asked for.
      devices: as for `parallel.compile_update`.
      state: whole, arrays or their shapes; of some numbers of devices no tensor can be divided.
    """
    processes, wanted = count_processes(devices), config.shard_state
    if wanted is None:
        wanted = backend.platform() != 'cpu' and processes == 1
    count = len(devices) // processes
    if not wanted or count == 1 or not shards.has_any(shards.divide(state, count, DIVIDED)):
        return ()
    return DIVIDED


def build(config: TrainConfig, *, num_classes: int, steps_per_epoch: float, axis_name=None) -> GAN:
    """Builds the GAN that a resolved configuration describes.

    Args:
      config: resolved (`osgan_jax.gan.methods.resolve`).
      num_classes: labels of the dataset, used where the configuration is conditional.
      steps_per_epoch: steps of an epoch, maybe not whole; learning rates decay after some epochs.
      axis_name: mapped axis over which BatchNorm shares its statistics; None on one device.

    Raises:
      ValueError: for an unknown network, norm, loss or option, or an image size that the network is
        not defined for.
    """
    dtype = jnp.bfloat16 if config.precision == 'bfloat16' else jnp.float32
    options = config.network_options(num_classes, dtype=dtype, axis_name=axis_name)
    network = networks.get(config.network).settle(options)
    complete = network.complete(options)
    pair = network.build(complete)
    loss = objectives.objective(config, steps_per_epoch)
    spans = {
        name: dataclasses.replace(
            schedules.of_field(config, name, steps_per_epoch), warmup=config.penalty_warmup_steps
        )
        for name in GRADIENT_PENALTIES
    }
    penalties = AllPenalties(
        **{
            **_common_fields(config, AllPenalties),
            **{name: schedule.greatest for name, schedule in spans.items()},
        }
    )
    half_life = schedules.of_field(config, 'ema_decay', steps_per_epoch, _half_life)
    return GAN(
        network=network,
        generator=pair.generator,
        discriminator=pair.discriminator,
        loss=loss,
        optimizer_g=_optimizer(config, 'g', steps_per_epoch, penalties.generator_every),
        optimizer_d=_optimizer(config, 'd', steps_per_epoch, penalties.discriminator_every),
        latent_dim=config.latent_dim,
        image_shape=(*image_sizes.sides(config.image_size), config.channels),
        num_classes=options.num_classes,
        weight_clip=config.weight_clip,
        ema_decay=max(config.span('ema_decay')),
        ema_start=config.ema_start,
        ema_ramp=config.ema_ramp or 0.0,
        ema_half_life=None if half_life.is_constant else half_life,
        lookahead=config.lookahead,
        lookahead_alpha=config.lookahead_alpha,
        penalties=penalties,
        penalty_schedules={name: each for name, each in spans.items() if not each.is_constant},
        d_steps=config.d_steps,
        augmentation=augmentation.build(config, loss, steps_per_epoch),
        frozen=freezing.build(config.freeze, network, options),
        samplewise=network.is_samplewise(complete),
    )


def create(gan: GAN, seed: int) -> TrainState:
    """The state at step 0: fresh parameters, statistics and optimisers."""
    return compiling.call_once(functools.partial(_initialise, gan), jax.random.key(seed))


def creation(gan: GAN, seed: int) -> compiling.Deferred:
    """`create(gan, seed)`, deferred, with the shapes of the state."""
    return compiling.Deferred(functools.partial(_initialise, gan), jax.random.key(seed))


def _initialise(gan: GAN, key: Array) -> TrainState:
    key_g, key_d, key = jax.random.split(key, 3)
    z = jnp.zeros((2, gan.latent_dim))
    images = jnp.zeros((2, *gan.image_shape))
    labels = jnp.zeros(2, jnp.int32) if gan.num_classes else None
    stats_g, params_g = split(gan.generator.init(key_g, z, labels, train=False))
    stats_d, params_d = split(gan.discriminator.init(key_d, images, labels, train=False))
    averaged = {'params': params_g, **stats_g} if gan.ema_decay else None
    slow = {'params_g': params_g, 'params_d': params_d, 'stats_g': stats_g}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params_g=params_g,
        params_d=params_d,
        stats_g=stats_g,
        stats_d=stats_d,
        opt_g=gan.optimizer_g.init(params_g),
        opt_d=gan.optimizer_d.init(params_d),
        loss_state=gan.loss.init(),
        # Copies: donation must not meet one buffer twice.
        ema_g=jax.tree.map(jnp.copy, averaged),
        key=key,
        penalties={name: jnp.zeros(()) for name in gan.penalties.names} or None,
        augmentation=gan.augmentation.init(),
        slow=jax.tree.map(jnp.copy, slow) if gan.lookahead else None,
    )


def renew(state: TrainState, parts: Collection[str] = ('ema_g', 'slow')) -> TrainState:
    """The state, whose average of G and slow weights, where it has them, begin at the networks.

    Args:
      state: the state.
      parts: which of both.
    """
    copied = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731 (donation: no shared buffers)
    if 'slow' in parts and state.slow is not None:
        state = state.replace(slow=copied({name: getattr(state, name) for name in state.slow}))
    if 'ema_g' in parts and state.ema_g is not None:
        state = state.replace(ema_g=copied(state.settled_variables()))
    return state


def num_parameters(params: PyTree) -> int:
    """The number of parameters in a pytree."""
    return sum(x.size for x in jax.tree.leaves(params))


def digest(variables: PyTree) -> str:
    """A fingerprint of variables, equal if and only if they are, to the bit."""
    parts = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        parts += [jax.tree_util.keystr(path), np.asarray(leaf)]
    return checked_npz.digest(*parts)


def _common_fields(config: TrainConfig, kind: type) -> dict[str, Any]:
    """The values of a configuration's fields that a dataclass has by the same names."""
    names = (field.name for field in dataclasses.fields(kind))
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """The statistics and the parameters of a module's variables."""
    stats = dict(variables)
    params = stats.pop('params')
    return stats, params


def _half_life(decay: float) -> float:
    """The half-life of an average in steps, from its decay per step."""
    return math.log(0.5) / math.log(decay) if decay else 0.0


def _rates(config: TrainConfig, whose: str, share: float, steps_per_epoch: float) -> Schedule:
    """The learning rates of one network, each times `share`."""
    name = f'learning_rate_{whose}'
    schedule = schedules.of_field(config, name, steps_per_epoch, lambda rate: rate * share)
    schedule = dataclasses.replace(schedule, warmup=config.warmup_steps)
    if not config.decay_epochs:
        return schedule
    ends = schedules.boundaries(config, steps_per_epoch)
    return dataclasses.replace(schedule, kind='step', boundaries=ends, factor=config.decay_factor)


def _optimizer(
    config: TrainConfig, whose: str, steps_per_epoch: float, every: int
) -> optax.GradientTransformation:
    """The optimiser of one network, whose penalty is an update of its own every `every` updates.

    StyleGAN2 (appendix B) lowers rate and decays by k / (k + 1), so that k + 1 steps move and
    forget as much as k would without the penalty.
    """
    share = every / (every + 1) if every > 1 else 1.0
    name = config.optimizers()['gd'.index(whose)]
    beta1 = getattr(config, f'beta1_{whose}')
    beta1 = beta1**share if beta1 else 0.0
    rates = _rates(config, whose, share, steps_per_epoch)
    betas = schedules.of_field(config, f'beta2_{whose}', steps_per_epoch)

    def make(rate: Any, beta2: Any) -> optax.GradientTransformation:
        if name in ADAMS:
            numbers = {'b1': beta1, 'b2': beta2, 'eps': config.adam_epsilon}
            if name == 'adam':
                return optax.adam(rate, **numbers)
            # Daskalakis et al. 2018, Algorithm 1, https://arxiv.org/abs/1711.00141.
            return optax.optimistic_adam_v2(rate, **numbers, nesterov=False)
        if name == 'rmsprop':
            # As published and in PyTorch: the epsilon is added to the root.
            return optax.rmsprop(
                rate, decay=beta2, eps=config.adam_epsilon, eps_in_sqrt=bool(config.root_epsilon)
            )
        return optax.sgd(rate, momentum=beta1 or None)

    if rates.is_constant and betas.is_constant:
        return make(rates.start, betas.start**share)

    def at(step: Array) -> optax.GradientTransformation:
        rate = rates(step)
        beta2 = betas.start if betas.is_constant else betas(step)
        # A function of optax's own count, in whose place the step is, leaves that count in the
        # state: there it is in runs with --decay_epochs, also in those of older versions.
        return make((lambda _: rate) if config.decay_epochs else rate, beta2**share)

    return _of_step(at)


def _of_step(
    at: Callable[[Array], optax.GradientTransformation],
) -> optax.GradientTransformationExtraArgs:
    """An optimiser whose numbers are those of the step that `update` is given as `step=`."""

    def init(params: PyTree) -> PyTree:
        return at(jnp.zeros((), jnp.int32)).init(params)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, step: Array, **_: Any
    ) -> tuple[PyTree, PyTree]:
        return at(step).update(grads, state, params)

    return optax.GradientTransformationExtraArgs(init, update)
