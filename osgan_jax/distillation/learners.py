"""Learners: the networks that are trained, their optimisers and their state."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import compiling
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.gan import model
from osgan_jax.networks import classifiers, data_free

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network and its optimiser.

    Attributes:
      module: linen module.
      optimizer: optax transformation of its parameters.
    """

    module: nn.Module
    optimizer: optax.GradientTransformation


@flax.struct.dataclass
class LearnerState:
    """The part of a learner that changes.

    Attributes:
      params: parameters.
      stats: other collections, `{'batch_stats': ...}` or `{}`.
      opt: the optimiser's state.
    """

    params: PyTree
    stats: PyTree
    opt: PyTree

    @property
    def variables(self) -> PyTree:
        """Variables to apply the module with in inference."""
        return {'params': self.params, **self.stats}


@flax.struct.dataclass
class State:
    """Everything a round changes; all of it is checkpointed.

    Attributes:
      step: number of finished rounds, int32 scalar.
      student: the classifier that is trained; of a teacher's own training, the teacher.
      generator: None where data are used.
      key: PRNG key of the run; each step folds its number in.
    """

    step: jax.Array
    student: LearnerState
    generator: LearnerState | None
    key: jax.Array


def architecture(config: TeacherConfig | DistillConfig) -> str:
    """The name of the classifier that a configuration trains, see `networks.classifiers`."""
    return config.network if isinstance(config, TeacherConfig) else config.student


def updates_a_round(config: TeacherConfig | DistillConfig) -> int:
    """Updates of the classifier that is trained, a step of the run."""
    return config.student_steps if isinstance(config, DistillConfig) else 1


def classifier(
    config: TeacherConfig | DistillConfig, num_classes: int, axis_name: str | None = None
) -> nn.Module:
    """The classifier that a resolved configuration trains."""
    return classifiers.build(
        architecture(config),
        image_size=config.image_size,
        channels=config.channels,
        num_classes=num_classes,
        dtype=_dtype(config),
        axis_name=axis_name,
    )


def student(
    config: TeacherConfig | DistillConfig, num_classes: int, axis_name: str | None
) -> Learner:
    """The classifier of a resolved configuration, with its optimiser."""
    distills = isinstance(config, DistillConfig)
    optimizer = _optimizer(
        config,
        config.optimizer if distills else 'sgd',
        config.learning_rate,
        updates=updates_a_round(config),
        weight_decay=config.weight_decay,
    )
    return Learner(classifier(config, num_classes, axis_name), optimizer)


def generator(config: DistillConfig, axis_name: str | None) -> Learner:
    """The generator with its optimiser.

    Raises:
      ValueError: for an unknown name or an image size it is not made for.
    """
    module = data_free.build(
        config.generator,
        image_size=config.image_size,
        channels=config.channels,
        latent_dim=config.latent_dim,
        width=config.generator_width,
        dtype=_dtype(config),
        axis_name=axis_name,
    )
    return Learner(module, _optimizer(config, 'adam', config.learning_rate_g, updates=1))


def create(
    config: TeacherConfig | DistillConfig, student: Learner, generator: Learner | None
) -> State:
    """The initial state."""
    initialise = functools.partial(_initialise, config, student, generator)
    return compiling.call_once(initialise, jax.random.key(config.seed))


def creation(
    config: TeacherConfig | DistillConfig, student: Learner, generator: Learner | None
) -> compiling.Deferred:
    """`create` of the same arguments, deferred, with the shapes of the state."""
    initialise = functools.partial(_initialise, config, student, generator)
    return compiling.Deferred(initialise, jax.random.key(config.seed))


def _initialise(
    config: TeacherConfig | DistillConfig,
    student: Learner,
    generator: Learner | None,
    key: jax.Array,
) -> State:
    key_s, key_g, key = jax.random.split(key, 3)
    images = jnp.zeros((2, config.image_size, config.image_size, config.channels))
    generator_state = None
    if generator is not None:
        z = jnp.zeros((2, config.latent_dim))
        generator_state = _initial(generator, generator.module.init(key_g, z, train=False))
    return State(
        step=jnp.zeros((), jnp.int32),
        student=_initial(student, student.module.init(key_s, images, train=False)),
        generator=generator_state,
        key=key,
    )


def _initial(learner: Learner, variables: PyTree) -> LearnerState:
    stats, params = model.split(variables)
    return LearnerState(params, stats, learner.optimizer.init(params))


def at_update(learner: LearnerState, update: jax.Array) -> LearnerState:
    """A learner whose rates are those of an update, int32, wherever its schedule stood before."""
    scheduled = lambda state: isinstance(state, optax.ScaleByScheduleState)  # noqa: E731

    def move(state: Any) -> Any:
        return state._replace(count=update) if scheduled(state) else state

    return learner.replace(opt=jax.tree.map(move, learner.opt, is_leaf=scheduled))


def _dtype(config: TeacherConfig | DistillConfig) -> Any:
    return jnp.bfloat16 if config.precision == 'bfloat16' else jnp.float32


def _optimizer(
    config: TeacherConfig | DistillConfig,
    kind: str,
    rate: float,
    *,
    updates: int,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD or Adam with the configuration's schedule, for `updates` of them a step."""
    parts = []
    distills = isinstance(config, DistillConfig)
    if distills and config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if weight_decay:
        # On all parameters and within the momentum, as in the recipes' framework.
        parts.append(optax.add_decayed_weights(weight_decay))
    schedule = config.schedule if distills else 'steps'
    if schedule == 'cosine':
        rate = optax.cosine_decay_schedule(rate, config.num_steps * updates)
    elif schedule == 'steps':
        at = {round(s * config.num_steps) * updates: config.decay_factor for s in config.decay_at}
        rate = optax.piecewise_constant_schedule(rate, at)
    if kind == 'adam':
        parts.append(optax.adam(rate))
    else:
        parts.append(optax.sgd(rate, momentum=config.momentum or None))
    return optax.chain(*parts)
