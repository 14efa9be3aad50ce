"""Algorithm 1: Stage I without the teacher, Stage II with it, and when the second begins.

The paper sets the lengths of both stages by hand and leaves open how they might set themselves
(its section 5). Here Stage II may begin by itself: every few steps both discriminators judge the
same images, and once the student's margin between the mean logits of real and fake ones, averaged
over looks, has reached the teacher's (Figure 4 shows it below), Stage II begins. A teacher that is
fooled, its margin 0 or below, as BigGAN's is by early students (Figure 6b), is not to teach yet.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from osgan_jax.compression import objectives
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.gan import model, updates
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import Applied

Array = jax.Array
PyTree = Any

# Steps between looks at both discriminators' scores, and how looks are averaged.
LOOK_EVERY = 16
_LOOK_DECAY = 0.9
_FEWEST_LOOKS = 8
_NEVER = 2**31 - 1
# A stage of a step for drawing, beside those of the schemes and penalties.
_STAGE_LOOK = 4


@flax.struct.dataclass
class CompressState(TrainState):
    """A GAN's state, and what its teacher adds.

    Attributes:
      adapters: 1x1 kernels from the student's features to the teacher's, `{}` without.
      opt_adapters: their optimiser's state.
      guide: single_updated's discriminator, which starts as the teacher's: `{'params', 'stats',
        'opt'}`; None otherwise.
      stage_two_at: the step at which Stage II begins or began, int32.
      scores: newest mean logits, `teacher_real` and `teacher_fake`, and averaged margins `margin`
        (the student's) and `teacher_margin`.
      looks: how many looks they were taken from, int32.
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
        stats = dict(jax.tree.map(jnp.copy, teacher.variables['discriminator']))
        params = stats.pop('params')
        guide = {'params': params, 'stats': stats, 'opt': gan.optimizer_d.init(params)}
    starts = _NEVER if config.objective == 'baseline' else config.stage_one_steps
    names = ('teacher_real', 'teacher_fake', 'margin', 'teacher_margin')
    return CompressState(
        **{each.name: getattr(state, each.name) for each in dataclasses.fields(TrainState)},
        adapters=adapters,
        opt_adapters=gan.optimizer_g.init(adapters),
        guide=guide,
        stage_two_at=jnp.asarray(starts, jnp.int32),
        scores={name: jnp.zeros(()) for name in names},
        looks=jnp.zeros((), jnp.int32),
    )


def make_update(
    config: CompressConfig,
    gan: GAN,
    teacher: Teacher,
    state: CompressState,
    collectives: Collectives = ONE_DEVICE,
):
    """The update of both stages.

    Args:
      config: resolved.
      gan: the student.
      teacher: its teacher.
      state: any state of the student.
      collectives: of the devices it will be mapped over.

    Returns:
      `(state, batch, constants) -> (state, metrics)`, constants being `teacher.variables`. Metrics
      are those of `osgan_jax.gan.updates` and `stage` (1 or 2), `teacher_real`, `teacher_fake`,
      `margin` and `teacher_margin`, of the newest look. Under single_fixed no discriminator learns
      in Stage II, and loss and logits of D are the teacher's.

    Raises:
      ValueError: as `osgan_jax.gan.updates.make_update`; under single_updated also for one_stage
        with a teacher's discriminator that mixes samples.
    """
    step_one = updates.make_update(
        gan, config.scheme, state, collectives, accumulate=config.accumulate
    )
    step_two = None
    if config.objective != 'baseline':
        step_two = _stage_two(config, gan, teacher, state, collectives)

    def update(state: CompressState, batch, constants):
        net = Applied(gan, collectives, parts=config.accumulate, constants=constants)
        state = jax.lax.cond(
            state.step % LOOK_EVERY == 0,
            lambda state: _look(config, net, teacher, state, batch),
            lambda state: state,
            state,
        )
        # Not by a weight of 0: Stage I is not to pay for the teacher.
        in_two = state.step >= state.stage_two_at
        if step_two is None:
            new, metrics = step_one(state, batch)
        else:
            new, metrics = jax.lax.cond(
                in_two,
                lambda state: step_two(state, batch, constants),
                lambda state: step_one(state, batch),
                state,
            )
        return new, {**metrics, 'stage': 1.0 + in_two, **state.scores}

    return update


def _stage_two(config, gan, teacher, state, collectives):
    """A step of Stage II, with the metrics of a step of Stage I."""
    if config.objective == 'single_fixed':
        return _fixed(config, gan, teacher, collectives)
    if config.objective == 'single_updated':
        return _updated(config, gan, teacher, state, collectives)
    return updates.make_update(
        gan,
        config.scheme,
        state,
        collectives,
        accumulate=config.accumulate,
        terms=objectives.terms(config, teacher, gan.optimizer_g),
    )


def _fixed(config, gan, teacher, collectives):
    """Adv(G, teacher D) alone, and no discriminator that learns (Eq. 5)."""
    guidance = objectives.guidance(teacher, 1.0)

    def step(state, batch, constants):
        net = Applied(gan, collectives, parts=config.accumulate, constants=constants)
        key = net.key(state, 0)

        def part(stats_g, inputs):
            def objective(params_g):
                fake, stats = net.generate(params_g, stats_g, inputs, key)
                return guidance(net, inputs)(fake), (fake, stats)

            (loss_g, (fake, stats)), grads = jax.value_and_grad(objective, has_aux=True)(
                state.params_g
            )
            s_real, s_fake = (
                teacher.judge(constants, net.seen(images, inputs, kind), inputs.labels)
                for kind, images in enumerate((inputs.real, fake))
            )
            loss_d = net.loss.discriminator(s_real, s_fake, state.loss_state)
            return stats, (grads, loss_g, loss_d), (s_real, s_fake)

        inputs = net.inputs(state, batch, 0)
        stats_g, (grads, loss_g, loss_d), logits = net.in_parts(part, state.stats_g, inputs)
        new = net.step_g(state, grads, stats_g, inputs)
        metrics = net.metrics(new, loss_d, loss_g, *logits)
        if config.scheme == 'one_stage':
            metrics |= {'gamma': jnp.zeros(()), 'floored': jnp.zeros(())}
        return new.replace(step=state.step + 1), metrics

    return step


def _updated(config, gan, teacher, state, collectives):
    """The student's G against the teacher's discriminator, which goes on learning (Eq. 6)."""
    discriminator = teacher.gan.discriminator.clone(axis_name=collectives.axis_name)
    guided = dataclasses.replace(gan, discriminator=discriminator)

    def swap(state):
        guide = state.guide
        return state.replace(params_d=guide['params'], stats_d=guide['stats'], opt_d=guide['opt'])

    step_guided = updates.make_update(
        guided, config.scheme, swap(state), collectives, accumulate=config.accumulate
    )

    def step(state, batch, constants):
        del constants  # where the guide began
        new, metrics = step_guided(swap(state), batch)
        guide = {'params': new.params_d, 'stats': new.stats_d, 'opt': new.opt_d}
        own = {'params_d': state.params_d, 'stats_d': state.stats_d, 'opt_d': state.opt_d}
        return new.replace(guide=guide, **own), metrics

    return step


def _look(config, net, teacher, state: CompressState, batch) -> CompressState:
    """Both discriminators' scores of the same images, and whether Stage II is to begin."""
    key = net.key(state, _STAGE_LOOK)
    inputs = net.inputs(state, batch, _STAGE_LOOK)

    def part(unused, inputs):
        fake, _ = net.generate(state.params_g, state.stats_g, inputs, key)
        logits = []
        for kind, images in enumerate((inputs.real, fake)):
            seen = net.seen(images, inputs, kind)
            logits.append(net.judge(state.params_d, state.stats_d, seen, inputs.labels)[0])
            logits.append(teacher.judge(net.constants, seen, inputs.labels))
        return unused, (), tuple(logits)

    _, _, logits = net.in_parts(part, (), inputs)
    real, teacher_real, fake, teacher_fake = (
        jnp.mean(net.collectives.whole(values.astype(jnp.float32))) for values in logits
    )
    # Of the first look all, later less: an average without a start at zero.
    share = jnp.maximum(1 - _LOOK_DECAY, 1 / (state.looks + 1.0))
    scores = {
        'teacher_real': teacher_real,
        'teacher_fake': teacher_fake,
        'margin': state.scores['margin'] + share * (real - fake - state.scores['margin']),
        'teacher_margin': state.scores['teacher_margin']
        + share * (teacher_real - teacher_fake - state.scores['teacher_margin']),
    }
    looks = state.looks + 1
    at = state.stage_two_at
    if config.auto_stage_two and config.objective != 'baseline':
        caught_up = scores['margin'] >= scores['teacher_margin']
        begins = (looks >= _FEWEST_LOOKS) & (scores['teacher_margin'] > 0) & caught_up
        at = jnp.where(begins, jnp.minimum(at, state.step), at)
    return state.replace(scores=scores, looks=looks, stage_two_at=at)
