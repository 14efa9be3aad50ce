"""Algorithm 1: Stage I without the teacher, Stage II with it, and when the second begins.

The paper sets the lengths of both stages by hand and leaves open how they might set themselves
(its section 5). Here Stage II may begin by itself. Every few steps both discriminators score the
same images. A discriminator's margin is the mean logit of real images minus that of fake ones,
averaged over these scores. Stage II begins once the student's margin has reached the teacher's
(Figure 4 shows it below). A teacher that is fooled, its margin 0 or below, as BigGAN's is by early
students (Figure 6b), does not teach yet.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from osgan_jax.compression import objectives
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.gan import model, optimisers, simultaneous, updates
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import (
    STAGE_D,
    STAGE_SCORES,
    Batch,
    Inputs,
    Metrics,
    PartResult,
    StepContext,
)
from osgan_jax.gan.terms import Objective

Array = jax.Array
PyTree = Any
Update = Callable[['CompressState', Batch, PyTree], tuple['CompressState', Metrics]]

# Steps between scores, and how their margins are averaged.
SCORE_EVERY = 16
_MARGIN_DECAY = 0.9
_FEWEST_SCORES = 8
_NEVER = 2**31 - 1


@flax.struct.dataclass
class CompressState(TrainState):
    """The state of a GAN, and of its compression.

    Attributes:
      adapters: 1x1 kernels from the student's features to the teacher's, `{}` without.
      opt_adapters: their optimiser's state.
      guide: single_updated's discriminator, which starts as the teacher's: `{'params', 'stats',
        'opt'}`, with Lookahead also its `slow` weights; None otherwise.
      stage_two_at: the step at which Stage II begins or began, int32.
      scores: newest mean logits, `teacher_real` and `teacher_fake`, and averaged margins `margin`
        (the student's) and `teacher_margin`.
      looks: number of times that scores were taken, int32.
    """

    adapters: PyTree = None
    opt_adapters: PyTree = None
    guide: PyTree = None
    stage_two_at: Any = None
    scores: PyTree = None
    looks: Any = None


def create(config: CompressConfig, gan: GAN, teacher: Teacher) -> CompressState:
    """A fresh state at step 0 of Stage I, or of Stage II where Stage I has no steps."""
    state = model.create(gan, config.seed)
    key = jax.random.fold_in(state.key, 0)
    adapters = objectives.create_adapters(config, teacher, gan, state, key)
    guide = None
    if config.objective == 'single_updated':
        copied = jax.tree.map(jnp.copy, teacher.variables['discriminator'])
        stats, params = model.split(copied)
        guide = {'params': params, 'stats': stats, 'opt': gan.optimizer_d.init(params)}
        if gan.lookahead:
            guide['slow'] = jax.tree.map(jnp.copy, params)
    names = ('teacher_real', 'teacher_fake', 'margin', 'teacher_margin')
    return CompressState(
        **{each.name: getattr(state, each.name) for each in dataclasses.fields(TrainState)},
        adapters=adapters,
        opt_adapters=gan.optimizer_g.init(adapters),
        guide=guide,
        stage_two_at=_first_of_two(config),
        scores={name: jnp.zeros(()) for name in names},
        looks=jnp.zeros((), jnp.int32),
    )


def _first_of_two(config: CompressConfig) -> Array:
    """The step at which Stage II begins at the latest, int32."""
    never = config.objective == 'baseline'
    return jnp.asarray(_NEVER if never else config.stage_one_steps, jnp.int32)


def fork(config: CompressConfig, state: CompressState) -> CompressState:
    """A fork's state: unless its source had begun Stage II, that begins as the fork's flags say."""
    begun = (state.step >= state.stage_two_at) & (config.objective != 'baseline')
    at = jnp.maximum(_first_of_two(config), state.step)
    return state.replace(stage_two_at=jnp.where(begun, state.stage_two_at, at))


def make_update(
    config: CompressConfig,
    gan: GAN,
    teacher: Teacher,
    state: CompressState | Callable[[], CompressState],
    collectives: Collectives = ONE_DEVICE,
) -> Update:
    """The update of both stages.

    Args:
      config: resolved configuration.
      gan: the student.
      teacher: its teacher.
      state: a state of the student, or a function that returns one.
      collectives: collectives of the devices that the update is mapped over.

    Returns:
      `(state, batch, constants) -> (state, metrics)`, constants being `teacher.variables`. Metrics
      are those of `osgan_jax.gan.updates` and `stage` (1 or 2), and the newest `teacher_real`,
      `teacher_fake`, `margin` and `teacher_margin`. Under single_fixed no discriminator learns in
      Stage II, and loss and logits of D are the teacher's.

    Raises:
      ValueError: as `osgan_jax.gan.updates.make_update`; under single_updated also for one_stage
        with a teacher's discriminator that mixes samples.
    """
    # Two discriminators may be looked at.
    create = functools.cache(state if callable(state) else lambda: state)
    step_one = updates.make_update(
        gan, config.scheme, create, collectives, accumulate=config.accumulate
    )
    if config.objective == 'baseline':
        step_two = None
    elif config.objective == 'single_fixed':
        step_two = _make_fixed(config, gan, teacher, collectives)
    elif config.objective == 'single_updated':
        step_two = _make_updated(config, gan, teacher, create, collectives)
    else:
        step_two = functools.partial(
            step_one, terms=objectives.terms(config, teacher, gan.optimizer_g)
        )

    def update(
        state: CompressState, batch: Batch, constants: PyTree
    ) -> tuple[CompressState, Metrics]:
        context = StepContext(gan, collectives, parts=config.accumulate, constants=constants)
        state = jax.lax.cond(
            state.step % SCORE_EVERY == 0,
            lambda state: _score(config, context, teacher, state, batch),
            lambda state: state,
            state,
        )
        in_two = state.step >= state.stage_two_at
        if step_two is None:
            new, metrics = step_one(state, batch)
        else:
            # A branch, not a weight of 0: Stage I does not pay for the teacher.
            new, metrics = jax.lax.cond(
                in_two,
                lambda state: step_two(state, batch, constants),
                lambda state: step_one(state, batch),
                state,
            )
        return new, {**metrics, 'stage': 1.0 + in_two, **state.scores}

    return update


def _make_fixed(
    config: CompressConfig, gan: GAN, teacher: Teacher, collectives: Collectives
) -> Update:
    """Adv(G, teacher D) alone, and no discriminator that learns (Eq. 5): no steps of D alone."""
    guidance = objectives.guidance(teacher, 1.0)

    def step(state, batch, constants):
        context = StepContext(gan, collectives, parts=config.accumulate, constants=constants)
        key = context.key(state, STAGE_D)
        inputs = context.draw_inputs(state, updates.last_batch(gan, batch), STAGE_D)
        whole_g = collectives.gather(state.params_g)

        def differentiate_part(stats_g: PyTree, inputs: Inputs) -> PartResult:
            def loss_g(params_g):
                fake, stats = context.apply_generator(params_g, stats_g, inputs, key)
                return guidance(context, inputs, fake), (fake, stats)

            gradient = jax.value_and_grad(loss_g, has_aux=True)
            (value, (fake, stats)), grads = gradient(whole_g)
            logits = [
                teacher.discriminate(constants, images, inputs.labels)
                for images in context.augment_both(inputs, fake)
            ]
            loss_d = context.loss.discriminator(*logits, state.loss_state)
            return PartResult(stats, (Objective(value, grads), loss_d), logits)

        stats_g, means, logits = context.accumulate(differentiate_part, state.stats_g, inputs)
        objective, loss_d = means
        state = optimisers.update_generator(context, state, objective.grads, stats_g, inputs)
        metrics = context.metrics(state, loss_d, objective.loss, *logits)
        if config.scheme == 'one_stage':
            metrics |= simultaneous.gamma_metrics(jnp.zeros(1))
        return state.replace(step=state.step + 1), metrics

    return step


def _make_updated(
    config: CompressConfig,
    gan: GAN,
    teacher: Teacher,
    create: Callable[[], CompressState],
    collectives: Collectives,
) -> Update:
    """The student's G against the teacher's discriminator, which goes on learning (Eq. 6)."""
    discriminator = teacher.gan.discriminator.clone(axis_name=collectives.axis_name)
    guided = dataclasses.replace(
        gan, discriminator=discriminator, samplewise=teacher.gan.samplewise
    )

    def with_slow(state, slow_d):
        if state.slow is None:
            return state
        return state.replace(slow={**state.slow, 'params_d': slow_d})

    def swap(state):
        guide = state.guide
        state = state.replace(params_d=guide['params'], stats_d=guide['stats'], opt_d=guide['opt'])
        return with_slow(state, guide.get('slow'))

    step_guided = updates.make_update(
        guided,
        config.scheme,
        lambda: swap(create()),
        collectives,
        accumulate=config.accumulate,
    )

    def step(state, batch, constants):
        del constants  # the guide is part of the state
        new, metrics = step_guided(swap(state), batch)
        guide = {'params': new.params_d, 'stats': new.stats_d, 'opt': new.opt_d}
        own = {'params_d': state.params_d, 'stats_d': state.stats_d, 'opt_d': state.opt_d}
        if new.slow is None:
            return new.replace(guide=guide, **own), metrics
        guide['slow'] = new.slow['params_d']
        new = with_slow(new, state.slow['params_d'])
        return new.replace(guide=guide, **own), metrics

    return step


def _score(
    config: CompressConfig,
    context: StepContext,
    teacher: Teacher,
    state: CompressState,
    batch: Batch,
) -> CompressState:
    """The state with both discriminators' scores of the same images; Stage II may begin by them."""
    key = context.key(state, STAGE_SCORES)
    batch = updates.last_batch(context.gan, batch)
    inputs = context.draw_inputs(state, batch, STAGE_SCORES)
    whole_g, whole_d = context.collectives.gather((state.params_g, state.params_d))

    def score_part(unused: PyTree, inputs: Inputs) -> PartResult:
        fake, _ = context.apply_generator(whole_g, state.stats_g, inputs, key)
        both, labels = context.augment_both(inputs, fake), inputs.labels
        own = [
            context.apply_discriminator(whole_d, state.stats_d, images, labels)[0]
            for images in both
        ]
        of_teacher = [teacher.discriminate(context.constants, images, labels) for images in both]
        return PartResult(unused, (), (own, of_teacher))

    logits = context.accumulate(score_part, (), inputs).samples
    (real, fake), (teacher_real, teacher_fake) = jax.tree.map(
        lambda values: context.mean(values.astype(jnp.float32)), logits
    )
    # The first margin counts in full, later ones less: an average that does not start at zero.
    share = jnp.maximum(1 - _MARGIN_DECAY, 1 / (state.looks + 1.0))

    def averaged(name, margin):
        return state.scores[name] + share * (margin - state.scores[name])

    scores = {
        'teacher_real': teacher_real,
        'teacher_fake': teacher_fake,
        'margin': averaged('margin', real - fake),
        'teacher_margin': averaged('teacher_margin', teacher_real - teacher_fake),
    }
    looks = state.looks + 1
    at = state.stage_two_at
    if config.auto_stage_two and config.objective != 'baseline':
        caught_up = scores['margin'] >= scores['teacher_margin']
        begins = (looks >= _FEWEST_SCORES) & (scores['teacher_margin'] > 0) & caught_up
        at = jnp.where(begins, jnp.minimum(at, state.step), at)
    return state.replace(scores=scores, looks=looks, stage_two_at=at)
