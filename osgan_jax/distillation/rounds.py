"""One round of each algorithm, as a pure function of a state, a batch and the teacher's variables.

* kd: one student step on real images (Hinton et al. 2015).
* dfad: `student_steps` student steps, each on images from fresh z, then one generator step (Fang et
  al. 2019, arXiv:1912.11006, Algorithm 1).
* zskt: one generator step, then `student_steps` student steps on the images of the same z (Micaelli
  and Storkey 2019, arXiv:1905.09768, Algorithm 1), with attention transfer.
* one_stage: one pass whose pullback updates the student and, with the opposite sign at the image,
  the generator (Shen et al. 2021, section 4.4).

The teacher is applied in inference mode and is not part of the state. The student and the generator
are in training mode in both phases, as their authors have them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import classifier_inputs, losses, one_stage
from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.distillation import objectives
from osgan_jax.distillation.config import DistillConfig, TeacherConfig
from osgan_jax.distillation.learners import Learner, LearnerState, State
from osgan_jax.gan import optimisers
from osgan_jax.networks.classifiers import Outputs

Array = jax.Array
PyTree = Any
Metrics = dict[str, Array]
Outcome = tuple[State, Metrics]
Step = Callable[[State, PyTree], Outcome]
Round = Callable[[State, PyTree, PyTree], Outcome]
Loss = Callable[[Outputs], Array]

# With zeros for real logits, the student's loss is the mean of the fake ones and the generator's is
# minus that: a symmetric loss, so the student may mix samples (BatchNorm).
_DISAGREEMENT = losses.get('wasserstein')


def make_supervised(config: TeacherConfig, student: Learner, collectives: Collectives) -> Step:
    """One step of a classifier on labelled images: `(state, batch) -> (state, metrics)`.

    `batch` holds this device's `image` `[n, H, W, C]` in [-1, 1] and `label` `[n]`. Metrics: loss
    and accuracy on the batch, float32 scalars.
    """
    context = RoundContext(config, student, None, None, collectives)

    def update(state: State, batch: PyTree) -> Outcome:
        images = context.augment(state, batch['image'])

        def loss(outputs):
            return objectives.cross_entropy(outputs.logits, batch['label'])

        after, value, outputs = context.update_student(state.student, images, loss)
        correct = jnp.argmax(outputs.logits, -1) == batch['label']
        metrics = {'loss_student': value, 'accuracy': context.mean(correct)}
        return state.replace(step=state.step + 1, student=after), metrics

    return update


def make_round(
    config: DistillConfig,
    student: Learner,
    generator: Learner | None,
    teacher: nn.Module,
    collectives: Collectives = ONE_DEVICE,
    *,
    unroll: bool = False,
) -> Round:
    """The round of the configured algorithm, for `parallel.compile_update` with one constant.

    Args:
      config: resolved.
      student: the classifier that learns.
      generator: the network that makes images; None for kd.
      teacher: the teacher's linen module.
      collectives: collectives of the devices that the round is mapped over.
      unroll: whether the student's steps are written out rather than looped over, so that a
        compiler counts all of them.

    Returns:
      `(state, batch, teacher's variables) -> (state, metrics)`. For kd `batch` is as for
      `make_supervised`; else its `row` `[n]` says how many images this device makes. `metrics` are
      float32 scalars, the same on all devices: loss_student (of the round's last student step),
      loss_generator (not in kd), and agreement: the share of images that student and teacher
      assign to the same class, before the round's last update.
    """
    context = RoundContext(config, student, generator, teacher, collectives, unroll)
    step = _ROUNDS[config.algorithm]

    def update(state: State, batch: PyTree, variables: PyTree) -> Outcome:
        state, metrics = step(context, state, batch, variables)
        return state.replace(step=state.step + 1), metrics

    return update


@dataclasses.dataclass(frozen=True)
class RoundContext:
    """The networks of a round, and its parts on this device's share of a batch.

    Attributes: as the arguments of `make_round`.
    """

    config: TeacherConfig | DistillConfig
    student: Learner
    generator: Learner | None
    teacher: nn.Module | None
    collectives: Collectives
    unroll: bool = False

    def mean(self, per_sample: Array) -> Array:
        """The mean over the samples of all devices; its gradient is this device's own."""
        return jnp.mean(self.collectives.whole(per_sample.astype(jnp.float32)))

    def draw_latents(self, state: State, batch: PyTree, index: Array | int) -> Array:
        """This device's latents `[n, Z]` of a step within the round."""
        # Drawn for the whole batch on every device, so that the number of devices changes nothing.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), index)
        rows = batch['row'].shape[0] * self.collectives.size
        return self.collectives.own_part(jax.random.normal(key, (rows, self.config.latent_dim)))

    def augment(self, state: State, images: Array) -> Array:
        """Real images, shifted, mirrored and standardised."""
        config = self.config
        images = classifier_inputs.shift_and_flip(
            jax.random.fold_in(state.key, state.step),
            images,
            reach=config.crop,
            flip=config.flip,
            collectives=self.collectives,
        )
        return classifier_inputs.standardise(images, config.mean, config.std)

    def apply_student(
        self, student: LearnerState, params: PyTree, images: Array
    ) -> tuple[Outputs, PyTree]:
        """The student's outputs and its new statistics."""
        return self.student.module.apply(
            {'params': params, **student.stats}, images, train=True, mutable=['batch_stats']
        )

    def apply_teacher(self, variables: PyTree, images: Array) -> Outputs:
        """The teacher's outputs."""
        return self.teacher.apply(variables, images, train=False)

    def apply_generator(
        self, generator: LearnerState, params: PyTree, z: Array
    ) -> tuple[Array, PyTree]:
        """Images and the generator's new statistics."""
        return self.generator.module.apply(
            {'params': params, **generator.stats}, z, train=True, mutable=['batch_stats']
        )

    def disagreement(self, targets: Outputs, outputs: Outputs) -> Array:
        """The disagreement of teacher and student, `[n]`."""
        measure = objectives.MEASURES[self.config.disagreement]
        return measure(targets.logits, outputs.logits)

    def agreement(self, targets: Outputs, outputs: Outputs) -> Array:
        """The share of images that teacher and student assign to the same class."""
        return self.mean(jnp.argmax(targets.logits, -1) == jnp.argmax(outputs.logits, -1))

    def apply_gradients(
        self, learner: Learner, state: LearnerState, grads: PyTree, stats: PyTree
    ) -> LearnerState:
        """The state after the optimiser's update; gradients are summed over devices first."""
        grads = self.collectives.sum(grads)
        params, opt = optimisers.apply_gradients(learner.optimizer, grads, state.opt, state.params)
        return LearnerState(params, stats, opt)

    def update_student(
        self, student: LearnerState, images: Array, loss: Loss
    ) -> tuple[LearnerState, Array, Outputs]:
        """Updates the student by a loss of each sample; returns its mean and the outputs too."""

        def objective(params):
            outputs, stats = self.apply_student(student, params, images)
            return self.mean(loss(outputs)), (outputs, stats)

        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, (outputs, stats)), grads = gradient(student.params)
        return self.apply_gradients(self.student, student, grads, stats), value, outputs

    def imitate(
        self, student: LearnerState, images: Array, targets: Outputs
    ) -> tuple[LearnerState, Metrics]:
        """Updates the student towards the teacher's outputs on images."""

        def loss(outputs: Outputs) -> Array:
            value = self.disagreement(targets, outputs)
            if self.config.attention:
                transfer = objectives.attention(targets.activations, outputs.activations)
                value += self.config.attention * transfer
            return value

        student, value, outputs = self.update_student(student, images, loss)
        return student, {'loss_student': value, 'agreement': self.agreement(targets, outputs)}

    def update_generator(self, state: State, z: Array, variables: PyTree) -> tuple[State, Array]:
        """Updates the generator towards images on which student and teacher disagree."""

        def objective(params):
            images, stats_g = self.apply_generator(state.generator, params, z)
            outputs, stats_s = self.apply_student(state.student, state.student.params, images)
            targets = self.apply_teacher(variables, images)
            return -self.mean(self.disagreement(targets, outputs)), (stats_g, stats_s)

        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, (stats_g, stats_s)), grads = gradient(state.generator.params)
        generator = self.apply_gradients(self.generator, state.generator, grads, stats_g)
        student = state.student.replace(stats=stats_s)
        return state.replace(generator=generator, student=student), value

    def repeat(self, step: Callable[[State, Array], Outcome], state: State) -> Outcome:
        """Makes `student_steps` steps `(state, index) -> outcome`; the metrics are the last's."""
        indices = jnp.arange(self.config.student_steps)
        unroll = self.config.student_steps if self.unroll else 1
        state, metrics = jax.lax.scan(step, state, indices, unroll=unroll)
        return state, {name: values[-1] for name, values in metrics.items()}


def _kd(context: RoundContext, state: State, batch: PyTree, variables: PyTree) -> Outcome:
    images = context.augment(state, batch['image'])
    targets = context.apply_teacher(variables, images)
    config = context.config

    def loss(outputs):
        return objectives.hinton(
            targets.logits,
            outputs.logits,
            batch['label'],
            temperature=config.temperature,
            hard_weight=config.hard_weight,
        )

    student, value, outputs = context.update_student(state.student, images, loss)
    metrics = {'loss_student': value, 'agreement': context.agreement(targets, outputs)}
    return state.replace(student=student), metrics


def _dfad(context: RoundContext, state: State, batch: PyTree, variables: PyTree) -> Outcome:
    def imitate(state, index):
        z = context.draw_latents(state, batch, index)
        # No gradient flows into the generator, but its statistics move.
        images, stats_g = context.apply_generator(state.generator, state.generator.params, z)
        targets = context.apply_teacher(variables, images)
        student, metrics = context.imitate(state.student, images, targets)
        generator = state.generator.replace(stats=stats_g)
        return state.replace(student=student, generator=generator), metrics

    state, metrics = context.repeat(imitate, state)
    z = context.draw_latents(state, batch, context.config.student_steps)
    state, loss_g = context.update_generator(state, z, variables)
    return state, {**metrics, 'loss_generator': loss_g}


def _zskt(context: RoundContext, state: State, batch: PyTree, variables: PyTree) -> Outcome:
    z = context.draw_latents(state, batch, 0)
    state, loss_g = context.update_generator(state, z, variables)
    images, stats_g = context.apply_generator(state.generator, state.generator.params, z)
    state = state.replace(generator=state.generator.replace(stats=stats_g))
    targets = context.apply_teacher(variables, images)

    def imitate(state, index):
        del index
        student, metrics = context.imitate(state.student, images, targets)
        return state.replace(student=student), metrics

    state, metrics = context.repeat(imitate, state)
    return state, {**metrics, 'loss_generator': loss_g}


def _one_stage(context: RoundContext, state: State, batch: PyTree, variables: PyTree) -> Outcome:
    z = context.draw_latents(state, batch, 0)

    def generate(params):
        return context.apply_generator(state.generator, params, z)

    def disagree(params, images):
        outputs, stats = context.apply_student(state.student, params, images)
        targets = context.apply_teacher(variables, images)
        each = context.disagreement(targets, outputs)
        return (jnp.zeros_like(each), each), (stats, context.agreement(targets, outputs))

    grads, info = one_stage.one_stage_grads(
        context.collectives.loss(_DISAGREEMENT),
        generate,
        disagree,
        state.generator.params,
        state.student.params,
    )
    stats_s, agreement = info.aux_discriminator
    state = state.replace(
        student=context.apply_gradients(
            context.student, state.student, grads.discriminator, stats_s
        ),
        generator=context.apply_gradients(
            context.generator, state.generator, grads.generator, info.aux_generator
        ),
    )
    metrics = {'loss_student': info.loss_d, 'agreement': agreement, 'loss_generator': info.loss_g}
    return state, metrics


_ROUNDS = {'kd': _kd, 'dfad': _dfad, 'zskt': _zskt, 'one_stage': _one_stage}
