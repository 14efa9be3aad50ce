"""One round of each algorithm, as a pure function of a state, a batch and the teacher's variables.

* kd: one student step on real images (Hinton et al. 2015).
* dfad: `student_steps` student steps, each on images from fresh z, then one generator step (Fang et
  al. 2019, arXiv:1912.11006, Algorithm 1).
* zskt: one generator step, then `student_steps` student steps on the images of the same z (Micaelli
  and Storkey 2019, arXiv:1905.09768, Algorithm 1), with attention transfer.
* one_stage: one pass whose pullback updates the student and, with the opposite sign at the image,
  the generator (Shen et al. 2021, section 4.4).

The teacher is applied in inference mode and is no part of the state. The student and the generator
are in training mode in both phases, as their authors have them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from osgan_jax.core import classifier_inputs, losses, one_stage
from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.distillation import objectives
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.distillation.learners import Learner, LearnerState, State

Array = jax.Array
PyTree = Any
Metrics = dict[str, Array]
Round = Callable[..., tuple[State, Metrics]]

# With zeros in the place of real logits it is the mean of the fake ones for the student, and minus
# that for the generator: a symmetric loss, so that the student may mix samples (BatchNorm).
_DISAGREEMENT = losses.get('wasserstein')


def make_supervised(config: TeacherConfig, student: Learner, collectives: Collectives) -> Round:
    """One step of a classifier on labelled images: `(state, batch) -> (state, metrics)`.

    `batch` holds this device's `image` `[n, H, W, C]` in [-1, 1] and `label` `[n]`. Metrics: loss
    and accuracy on the batch, float32 scalars.
    """
    makes = _Makes(config, student, None, None, collectives)

    def update(state: State, batch: PyTree) -> tuple[State, Metrics]:
        images = makes.augmented(state, batch['image'])

        def loss(judged):
            return objectives.cross_entropy(judged.logits, batch['label'])

        after, value, judged = makes.student_step(state.student, images, loss)
        right = jnp.argmax(judged.logits, -1) == batch['label']
        metrics = {'loss_student': value, 'accuracy': makes.mean(right)}
        return state.replace(step=state.step + 1, student=after), metrics

    return update


def make_round(
    config: DistillConfig,
    student: Learner,
    generator: Learner | None,
    teacher: Any,
    collectives: Collectives = ONE_DEVICE,
    *,
    unroll: bool = False,
) -> Round:
    """The round of the configured algorithm, for `parallel.compile_update` with one constant.

    Args:
      config: resolved.
      student: what learns.
      generator: what makes images; None for kd.
      teacher: the teacher's linen module.
      collectives: of the devices it will be mapped over.
      unroll: whether the student's steps are written out rather than looped over, so that a
        compiler counts all of them.

    Returns:
      `(state, batch, teacher's variables) -> (state, metrics)`. For kd `batch` is as for
      `make_supervised`; else its `row` `[n]` says how many images this device makes. `metrics` are
      float32 scalars, the same on all devices: loss_student (of the round's last student step),
      loss_generator (not in kd), and agreement: the share of images on which student and teacher
      give one class the greatest logit, before the round's last update.
    """
    makes = _Makes(config, student, generator, teacher, collectives, unroll)
    step = _ROUNDS[config.algorithm]

    def update(state: State, batch: PyTree, variables: PyTree) -> tuple[State, Metrics]:
        state, metrics = step(makes, state, batch, variables)
        return state.replace(step=state.step + 1), metrics

    return update


class _Makes:
    """What the rounds are made of, on this device's part of a batch."""

    def __init__(self, config, student, generator, teacher, collectives, unroll=False):
        self.config = config
        self.student, self.generator, self.teacher = student, generator, teacher
        self.collectives = collectives
        self.unroll = unroll

    def mean(self, per_sample: Array) -> Array:
        """Over the samples of all devices; its gradient is for this device's own."""
        return jnp.mean(self.collectives.whole(per_sample.astype(jnp.float32)))

    def latents(self, state: State, batch: PyTree, index: Array | int) -> Array:
        # Drawn for the whole batch on every device, so that the number of devices changes nothing.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), index)
        rows = batch['row'].shape[0] * self.collectives.size
        return self.collectives.own_part(jax.random.normal(key, (rows, self.config.latent_dim)))

    def augmented(self, state: State, images: Array) -> Array:
        config = self.config
        images = classifier_inputs.shift_and_flip(
            jax.random.fold_in(state.key, state.step),
            images,
            reach=config.crop,
            flip=config.flip,
            collectives=self.collectives,
        )
        return classifier_inputs.standardise(images, config.mean, config.std)

    def judge(self, learned: LearnerState, params: PyTree, images: Array):
        """The student's verdict and its new statistics."""
        return self.student.module.apply(
            {'params': params, **learned.stats}, images, train=True, mutable=['batch_stats']
        )

    def instruct(self, variables: PyTree, images: Array):
        """The teacher's verdict."""
        return self.teacher.apply(variables, images, train=False)

    def make(self, learned: LearnerState, params: PyTree, z: Array) -> tuple[Array, PyTree]:
        """Images and the generator's new statistics."""
        return self.generator.module.apply(
            {'params': params, **learned.stats}, z, train=True, mutable=['batch_stats']
        )

    def disagreement(self, told, judged) -> Array:
        """Of teacher and student, `[n]`."""
        measure = {'l1': objectives.l1, 'kl': objectives.kl}[self.config.disagreement]
        return measure(told.logits, judged.logits)

    def agreement(self, told, judged) -> Array:
        return self.mean(jnp.argmax(told.logits, -1) == jnp.argmax(judged.logits, -1))

    def stepped(
        self, learner: Learner, learned: LearnerState, grads: PyTree, stats: PyTree
    ) -> LearnerState:
        """After the optimiser's update; gradients are summed over devices first."""
        grads = self.collectives.sum(grads)
        updates, opt = learner.optimizer.update(grads, learned.opt, learned.params)
        return LearnerState(optax.apply_updates(learned.params, updates), stats, opt)

    def student_step(self, learned: LearnerState, images: Array, loss):
        """Updates the student on images by `loss: judged -> [n]`; returns value and verdict too."""

        def objective(params):
            judged, stats = self.judge(learned, params, images)
            return self.mean(loss(judged)), (judged, stats)

        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, (judged, stats)), grads = gradient(learned.params)
        return self.stepped(self.student, learned, grads, stats), value, judged

    def imitate(self, learned: LearnerState, images: Array, told) -> tuple[LearnerState, Metrics]:
        """Updates the student to do on images what the teacher does."""

        def loss(judged):
            value = self.disagreement(told, judged)
            if self.config.attention:
                transfer = objectives.attention(told.activations, judged.activations)
                value += self.config.attention * transfer
            return value

        learned, value, judged = self.student_step(learned, images, loss)
        return learned, {'loss_student': value, 'agreement': self.agreement(told, judged)}

    def challenge(self, state: State, z: Array, variables: PyTree) -> tuple[State, Array]:
        """Updates the generator to make images that student and teacher disagree on."""

        def objective(params):
            images, stats_g = self.make(state.generator, params, z)
            judged, stats_s = self.judge(state.student, state.student.params, images)
            told = self.instruct(variables, images)
            return -self.mean(self.disagreement(told, judged)), (stats_g, stats_s)

        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, (stats_g, stats_s)), grads = gradient(state.generator.params)
        generator = self.stepped(self.generator, state.generator, grads, stats_g)
        student = state.student.replace(stats=stats_s)
        return state.replace(generator=generator, student=student), value

    def repeat(self, step, state: State) -> tuple[State, Metrics]:
        """`step: (state, index) -> (state, metrics)`, student_steps times; the last metrics."""
        indices = jnp.arange(self.config.student_steps)
        unroll = self.config.student_steps if self.unroll else 1
        state, metrics = jax.lax.scan(step, state, indices, unroll=unroll)
        return state, {name: values[-1] for name, values in metrics.items()}


def _kd(makes: _Makes, state: State, batch: PyTree, variables: PyTree) -> tuple[State, Metrics]:
    images = makes.augmented(state, batch['image'])
    told = makes.instruct(variables, images)
    config = makes.config

    def loss(judged):
        return objectives.hinton(
            told.logits,
            judged.logits,
            batch['label'],
            temperature=config.temperature,
            hard_weight=config.hard_weight,
        )

    student, value, judged = makes.student_step(state.student, images, loss)
    metrics = {'loss_student': value, 'agreement': makes.agreement(told, judged)}
    return state.replace(student=student), metrics


def _dfad(makes: _Makes, state: State, batch: PyTree, variables: PyTree) -> tuple[State, Metrics]:
    def imitate(state, index):
        z = makes.latents(state, batch, index)
        # No gradient flows into the generator, but its statistics move.
        images, stats_g = makes.make(state.generator, state.generator.params, z)
        told = makes.instruct(variables, images)
        student, metrics = makes.imitate(state.student, images, told)
        generator = state.generator.replace(stats=stats_g)
        return state.replace(student=student, generator=generator), metrics

    state, metrics = makes.repeat(imitate, state)
    z = makes.latents(state, batch, makes.config.student_steps)
    state, loss_g = makes.challenge(state, z, variables)
    return state, {**metrics, 'loss_generator': loss_g}


def _zskt(makes: _Makes, state: State, batch: PyTree, variables: PyTree) -> tuple[State, Metrics]:
    z = makes.latents(state, batch, 0)
    state, loss_g = makes.challenge(state, z, variables)
    images, stats_g = makes.make(state.generator, state.generator.params, z)
    state = state.replace(generator=state.generator.replace(stats=stats_g))
    told = makes.instruct(variables, images)

    def imitate(state, index):
        del index
        student, metrics = makes.imitate(state.student, images, told)
        return state.replace(student=student), metrics

    state, metrics = makes.repeat(imitate, state)
    return state, {**metrics, 'loss_generator': loss_g}


def _one_stage(
    makes: _Makes, state: State, batch: PyTree, variables: PyTree
) -> tuple[State, Metrics]:
    z = makes.latents(state, batch, 0)

    def generate(params):
        return makes.make(state.generator, params, z)

    def disagree(params, images):
        judged, stats = makes.judge(state.student, params, images)
        told = makes.instruct(variables, images)
        each = makes.disagreement(told, judged)
        return (jnp.zeros_like(each), each), (stats, makes.agreement(told, judged))

    grads, info = one_stage.one_stage_grads(
        makes.collectives.loss(_DISAGREEMENT),
        generate,
        disagree,
        state.generator.params,
        state.student.params,
    )
    stats_s, agreement = info.aux_discriminator
    state = state.replace(
        student=makes.stepped(makes.student, state.student, grads.discriminator, stats_s),
        generator=makes.stepped(
            makes.generator, state.generator, grads.generator, info.aux_generator
        ),
    )
    metrics = {'loss_student': info.loss_d, 'agreement': agreement, 'loss_generator': info.loss_g}
    return state, metrics


_ROUNDS = {'kd': _kd, 'dfad': _dfad, 'zskt': _zskt, 'one_stage': _one_stage}
