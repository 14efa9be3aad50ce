"""The paper's objectives: what the teacher adds to the student's (Tian et al. 2024, Eq. 4 to 14).

Adv(G, teacher D), the one term of DGL-GAN, goes through the images alone: in one stage its gradient
joins what the student's own backward pass gives, and costs a pass through the teacher. The terms
that compare features, or show D other images, have gradients of their own in every scheme.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from osgan_jax import networks
from osgan_jax.compression import features
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import Inputs, StepContext
from osgan_jax.gan.terms import ImageTerm, Term, TermInputs, Terms

Array = jax.Array
PyTree = Any

# Objectives whose Stage II has Adv(G, teacher D) beside Adv(G, D).
_GUIDED = ('dgl', 'gdgl', 'from_scratch', 'gradual', 'uncompressed')


def terms(
    config: CompressConfig, teacher: Teacher, optimizer: optax.GradientTransformation
) -> Terms:
    """The terms of an objective in Stage II.

    Args:
      config: resolved configuration.
      teacher: the teacher; the update takes its `variables` as constants.
      optimizer: optimiser of the adapters, where there are any.
    """
    objective, weight = config.objective, config.weight
    of_generator = {
        'g_inter': functools.partial(_imitate_generator, 'out' in config.imitated),
    }
    of_discriminator = {
        'd_inter': _imitate_features,
        'd_out': _imitate_logits,
        'ggl': _reject_teacher_fakes,
        'gdgl': _reject_teacher_fakes,
    }

    def weighted(term) -> Term | None:
        return term and (lambda *args: weight * term(teacher, *args))

    return Terms(
        images=guidance(teacher, weight) if objective in _GUIDED else None,
        generator=weighted(of_generator.get(objective)),
        discriminator=weighted(of_discriminator.get(objective)),
        optimizer=optimizer,
    )


def guidance(teacher: Teacher, weight: float) -> ImageTerm:
    """`weight * Adv(G, teacher D)`, of fake images as D takes them (Eq. 3)."""

    def value(context: StepContext, inputs: Inputs, fake: Array) -> Array:
        real, fake = context.augment_both(inputs, fake)
        # Real logits enter relativistic losses alone; otherwise nobody computes them.
        s_real, s_fake = (
            teacher.discriminate(context.constants, images, inputs.labels).astype(jnp.float32)
            for images in (real, fake)
        )
        loss = context.loss
        return weight * loss.generator(jax.lax.stop_gradient(s_real), s_fake, loss.init())

    return value


def _imitate_generator(
    with_images: bool,
    teacher: Teacher,
    context: StepContext,
    params: PyTree,
    adapters: PyTree,
    given: TermInputs,
) -> Array:
    """Features, and images, of the same z and noise (Eq. 7)."""
    z, labels, rngs = given.inputs.z, given.inputs.labels, {'style': given.key}
    student = without_mixing(context.gan)
    images, student_features = features.apply(
        student, {'params': params, **given.stats}, z, labels, train=True, rngs=rngs
    )
    targets, teacher_features = features.apply(
        teacher.gan.generator, context.constants['generator'], z, labels, train=False, rngs=rngs
    )
    total = features.distance(student_features, teacher_features, adapters, context.mean_share)
    if with_images:
        distance = jnp.abs(images - jax.lax.stop_gradient(targets))
        total += context.mean_share(jnp.mean(distance, axis=(1, 2, 3)))
    return total


def _imitate_features(
    teacher: Teacher, context: StepContext, params: PyTree, adapters: PyTree, given: TermInputs
) -> Array:
    """Features of the same images, real and fake (Eq. 8)."""
    labels = given.inputs.labels
    variables = {'params': params, **given.stats}
    total = jnp.zeros(())
    for images in context.augment_both(given.inputs, given.fake):
        _, student_features = features.apply(
            context.gan.discriminator, variables, images, labels, train=True
        )
        _, teacher_features = features.apply(
            teacher.gan.discriminator,
            context.constants['discriminator'],
            images,
            labels,
            train=False,
        )
        total += features.distance(student_features, teacher_features, adapters, context.mean_share)
    return total


def _imitate_logits(
    teacher: Teacher, context: StepContext, params: PyTree, adapters: PyTree, given: TermInputs
) -> Array:
    """Cross-entropy between the two discriminators' probabilities (Eq. 9)."""
    del adapters
    labels = given.inputs.labels
    total = jnp.zeros(())
    for images in context.augment_both(given.inputs, given.fake):
        logits, _ = context.apply_discriminator(params, given.stats, images, labels)
        targets = jax.nn.sigmoid(teacher.discriminate(context.constants, images, labels))
        total += context.mean_share(
            optax.sigmoid_binary_cross_entropy(logits, jax.lax.stop_gradient(targets))
        )
    return total


def _reject_teacher_fakes(
    teacher: Teacher, context: StepContext, params: PyTree, adapters: PyTree, given: TermInputs
) -> Array:
    """L_D's share of the teacher generator's images as further fakes (Eq. 13)."""
    del adapters
    inputs = given.inputs
    fake = teacher.generate(context.constants, inputs.z, inputs.labels, given.key)
    s_real, s_fake = (
        context.apply_discriminator(params, given.stats, images, inputs.labels)[0]
        for images in context.augment_both(inputs, jax.lax.stop_gradient(fake))
    )
    # The real images have had their share in Adv(G, D). The loss is that of all devices, and so
    # is a share of it for each.
    loss = context.loss
    value = loss.discriminator(jax.lax.stop_gradient(s_real), s_fake, loss.init())
    return value - jax.lax.stop_gradient(value * (1 - 1 / context.collectives.size))


def without_mixing(gan: GAN) -> nn.Module:
    """G with one z a sample, for comparisons between two generators."""
    if 'style_mixing' in gan.network.options:
        return gan.generator.clone(style_mixing=0.0)
    return gan.generator


def create_adapters(
    config: CompressConfig, teacher: Teacher, gan: GAN, state: TrainState, key: Array
) -> PyTree:
    """The adapters of g_inter and d_inter, `{}` for other objectives.

    Raises:
      ValueError: for networks that are not made of blocks, or grids that they have not.
    """
    if config.objective not in ('g_inter', 'd_inter'):
        return {}
    if not gan.network.has_blocks:
        having = [name for name in networks.names() if networks.get(name).has_blocks]
        raise ValueError(
            f'objective={config.objective}: {config.network} has no blocks to compare; '
            f'{" and ".join(having)} have'
        )
    labels = jnp.zeros(2, jnp.int32) if gan.num_classes else None
    if config.objective == 'g_inter':
        inputs = jnp.zeros((2, gan.latent_dim))
        pairs = (
            (gan.generator, {'params': state.params_g, **state.stats_g}),
            (teacher.gan.generator, teacher.variables['generator']),
        )
    else:
        inputs = jnp.zeros((2, *gan.image_shape))
        pairs = (
            (gan.discriminator, {'params': state.params_d, **state.stats_d}),
            (teacher.gan.discriminator, teacher.variables['discriminator']),
        )
    shapes = []
    for module, variables in pairs:
        single = module.clone(axis_name=None)
        shapes.append(
            jax.eval_shape(
                lambda variables, single=single: features.apply(
                    single, variables, inputs, labels, train=False
                )[1],
                variables,
            )
        )
    return features.create_adapters(key, *shapes, config.imitated)
