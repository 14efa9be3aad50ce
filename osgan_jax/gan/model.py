"""The networks, objective and optimisers of a run (`GAN`), and its state (`TrainState`)."""

import dataclasses
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from osgan_jax import networks
from osgan_jax.core import losses
from osgan_jax.core.regularizers import AllPenalties
from osgan_jax.gan import augmentation
from osgan_jax.gan.augmentation import Augmentation
from osgan_jax.gan.config import ADAMS, TrainConfig, parse_multiplier
from osgan_jax.io import checked_npz
from osgan_jax.layers import convolutions

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
      optimizer_g: G's optax transformation.
      optimizer_d: D's optax transformation.
      latent_dim: Z.
      image_shape: `(H, W, C)`.
      num_classes: number of labels, 0 for unconditional networks.
      weight_clip: bound on the absolute values of D's weights after each step, 0 for none.
      ema_decay: decay per step of the average of G, 0 for no average.
      ema_start: step from which G is averaged; until then the average is G itself.
      ema_ramp: bound on the average's half-life, as a share of the steps so far; 0 for none.
      penalties: weights and intervals of the penalties.
      d_steps: updates of D a step, all but one of them of D alone.
      augmentation: augmentation of all images that D sees.
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
    penalties: AllPenalties = dataclasses.field(default_factory=AllPenalties)
    d_steps: int = 1
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def is_counted(self) -> bool:
        """Whether the compiler counts the FLOPs of every part of a step once.

        It counts lazy penalties as if they were of every step, and of a loop over groups one.
        """
        loops = self.network.has_groups and convolutions.loops_over_groups()
        return not (self.penalties.is_lazy or loops)


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; all of it is checkpointed.

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

    def sampling_variables(self) -> PyTree:
        """G's variables for sampling: the average where there is one."""
        if self.ema_g is not None:
            return self.ema_g
        return {'params': self.params_g, **self.stats_g}


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
    num_classes = num_classes if config.conditional else 0
    options = networks.NetworkOptions(
        **{
            **_common_fields(config, networks.NetworkOptions),
            'channel_multiplier': parse_multiplier(config.channel_multiplier),
            'num_classes': num_classes,
            'dtype': jnp.bfloat16 if config.precision == 'bfloat16' else jnp.float32,
            'axis_name': axis_name,
        }
    )
    pair = networks.build(config.network, options)
    loss = losses.get(config.loss, **parse_options(config.loss_options))
    penalties = AllPenalties(**_common_fields(config, AllPenalties))
    return GAN(
        network=networks.get(config.network),
        generator=pair.generator,
        discriminator=pair.discriminator,
        loss=loss,
        optimizer_g=_optimizer(
            config,
            config.optimizers()[0],
            config.learning_rate_g,
            steps_per_epoch,
            penalties.generator_every,
        ),
        optimizer_d=_optimizer(
            config,
            config.optimizers()[1],
            config.learning_rate_d,
            steps_per_epoch,
            penalties.discriminator_every,
            config.d_steps,
        ),
        latent_dim=config.latent_dim,
        image_shape=(config.image_size, config.image_size, config.channels),
        num_classes=num_classes,
        weight_clip=config.weight_clip,
        ema_decay=config.ema_decay,
        ema_start=config.ema_start,
        ema_ramp=config.ema_ramp or 0.0,
        penalties=penalties,
        d_steps=config.d_steps,
        augmentation=augmentation.build(config, loss),
    )


def create(gan: GAN, seed: int) -> TrainState:
    """The state at step 0: fresh parameters, statistics and optimisers."""

    def initialise(key):
        key_g, key_d, key = jax.random.split(key, 3)
        z = jnp.zeros((2, gan.latent_dim))
        images = jnp.zeros((2, *gan.image_shape))
        labels = jnp.zeros(2, jnp.int32) if gan.num_classes else None
        stats_g, params_g = split(gan.generator.init(key_g, z, labels, train=False))
        stats_d, params_d = split(gan.discriminator.init(key_d, images, labels, train=False))
        averaged = {'params': params_g, **stats_g} if gan.ema_decay else None
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params_g=params_g,
            params_d=params_d,
            stats_g=stats_g,
            stats_d=stats_d,
            opt_g=gan.optimizer_g.init(params_g),
            opt_d=gan.optimizer_d.init(params_d),
            loss_state=gan.loss.init(),
            # A copy: donation must not meet one buffer twice.
            ema_g=jax.tree.map(jnp.copy, averaged),
            key=key,
            penalties={name: jnp.zeros(()) for name in gan.penalties.names} or None,
            augmentation=gan.augmentation.init(),
        )

    return jax.jit(initialise)(jax.random.key(seed))


def num_parameters(params: PyTree) -> int:
    """The number of parameters in a pytree."""
    return sum(x.size for x in jax.tree.leaves(params))


def digest(variables: PyTree) -> str:
    """A fingerprint of variables, equal if and only if they are, to the bit."""
    parts = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        parts += [jax.tree_util.keystr(path), np.asarray(leaf)]
    return checked_npz.digest(*parts)


def parse_options(options: tuple[str, ...]) -> dict[str, float | bool]:
    """Parses `('slope=0.2', 'linear_generator=true')` to keyword arguments.

    Raises:
      ValueError: for an option that is not `name=number` or `name=true|false`.
    """
    values: dict[str, float | bool] = {}
    for option in options:
        name, _, text = option.partition('=')
        try:
            values[name] = {'true': True, 'false': False}.get(text.lower())
            if values[name] is None:
                values[name] = float(text)
        except ValueError as error:
            raise ValueError(
                f'loss_options={option!r}: expected name=number or name=true|false'
            ) from error
    return values


def _common_fields(config: TrainConfig, kind: type) -> dict[str, Any]:
    """The values of a configuration's fields that a dataclass has by the same names."""
    names = (field.name for field in dataclasses.fields(kind))
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """The statistics and the parameters of a module's variables."""
    stats = dict(variables)
    params = stats.pop('params')
    return stats, params


def _optimizer(
    config: TrainConfig,
    name: str,
    rate: float,
    steps_per_epoch: float,
    every: int,
    updates: int = 1,
) -> optax.GradientTransformation:
    """The optimiser of a network that makes `updates` of them a step.

    Its penalty is an update of its own every `every` updates.

    StyleGAN2 (appendix B) lowers rate and decays by k / (k + 1), so that k + 1 steps move and
    forget as much as k would without the penalty.
    """
    share = every / (every + 1) if every > 1 else 1.0
    beta1, beta2 = config.beta1**share if config.beta1 else 0.0, config.beta2**share
    boundaries = {}
    for epoch in config.decay_epochs:
        step = math.ceil(epoch * steps_per_epoch) * updates
        # A schedule counts the penalty's steps too: one at step 0, and every k after.
        step += -(-step // every) if every > 1 else 0
        boundaries[step] = config.decay_factor
    rate = rate * share
    schedule = optax.piecewise_constant_schedule(rate, boundaries) if boundaries else rate
    if name in ADAMS:
        numbers = {'b1': beta1, 'b2': beta2, 'eps': config.adam_epsilon}
        if name == 'adam':
            return optax.adam(schedule, **numbers)
        # Daskalakis et al. 2018, Algorithm 1, https://arxiv.org/abs/1711.00141.
        return optax.optimistic_adam_v2(schedule, **numbers, nesterov=False)
    if name == 'rmsprop':
        # As published and in PyTorch: the epsilon is added to the root.
        return optax.rmsprop(
            schedule, decay=beta2, eps=config.adam_epsilon, eps_in_sqrt=bool(config.root_epsilon)
        )
    return optax.sgd(schedule, momentum=beta1 or None)
