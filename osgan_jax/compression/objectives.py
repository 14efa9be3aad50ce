"""The paper's objectives: what the teacher adds to the student's (Tian et al. 2024, Eq. 4 to 14).

Adv(G, teacher D), the one term of DGL-GAN, goes through the images alone: in one stage its gradient
joins what the student's own backward pass gives, and costs a pass through the teacher. The terms
that compare features, or show D other images, have gradients of their own in every scheme.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from osgan_jax import networks
from osgan_jax.compression import features
from osgan_jax.compression.config import CompressConfig
from osgan_jax.compression.teachers import Teacher
from osgan_jax.gan.model import GAN
from osgan_jax.gan.updates import Terms

Array = jax.Array
PyTree = Any

# Objectives whose Stage II has Adv(G, teacher D) beside Adv(G, D).
_GUIDED = ('dgl', 'gdgl', 'from_scratch', 'gradual', 'uncompressed')


def terms(config: CompressConfig, teacher: Teacher, optimizer: Any) -> Terms:
    """The terms of an objective in Stage II.

    Args:
      config: resolved.
      teacher: whose `variables` the update is given as constants.
      optimizer: trains the adapters, where there are any.
    """
    objective, weight = config.objective, config.weight
    of_d = {
        'd_inter': lambda *args: weight * _imitate_d(teacher, *args),
        'd_out': lambda *args: weight * _imitate_logits(teacher, *args),
        'ggl': lambda *args: weight * _teacher_fakes(teacher, *args),
        'gdgl': lambda *args: weight * _teacher_fakes(teacher, *args),
    }
    return Terms(
        auxiliary=guidance(teacher, weight) if objective in _GUIDED else None,
        generator=(
            (lambda *args: weight * _imitate_g(teacher, 'out' in config.imitated, *args))
            if objective == 'g_inter'
            else None
        ),
        discriminator=of_d.get(objective),
        optimizer=optimizer,
    )


def guidance(teacher: Teacher, weight: float):
    """`weight * Adv(G, teacher D)`, of fake images as D sees them (Eq. 3)."""

    def auxiliary(net, inputs):
        def judge(images):
            return teacher.judge(net.constants, images, inputs.labels).astype(jnp.float32)

        def value(fake):
            # Real logits enter relativistic losses alone; otherwise nobody computes them.
            s_real = jax.lax.stop_gradient(judge(net.seen(inputs.real, inputs, 0)))
            s_fake = judge(net.seen(fake, inputs, 1))
            return weight * net.loss.generator(s_real, s_fake, net.loss.init())

        return value

    return auxiliary


def _imitate_g(teacher, out, net, params_g, stats_g, adapters, inputs, key) -> Array:
    """Features, and images, of the same z and noise (Eq. 7)."""
    student = without_mixing(net.gan)
    rngs = {'style': key}
    own, own_features = features.apply(
        student, {'params': params_g, **stats_g}, inputs.z, inputs.labels, train=True, rngs=rngs
    )
    theirs, their_features = features.apply(
        teacher.gan.generator,
        net.constants['generator'],
        inputs.z,
        inputs.labels,
        train=False,
        rngs=rngs,
    )
    total = features.distance(own_features, their_features, adapters, net.share)
    if out:
        far = jnp.abs(own - jax.lax.stop_gradient(theirs))
        total += net.share(jnp.mean(far, axis=(1, 2, 3)))
    return total


def _imitate_d(teacher, net, params_d, stats_d, adapters, inputs, fake, key) -> Array:
    """Features of the same images, real and fake (Eq. 8)."""
    total = jnp.zeros(())
    for kind, images in enumerate((inputs.real, fake)):
        seen = net.seen(images, inputs, kind)
        variables = {'params': params_d, **stats_d}
        _, own = features.apply(net.gan.discriminator, variables, seen, inputs.labels, train=True)
        _, theirs = features.apply(
            teacher.gan.discriminator,
            net.constants['discriminator'],
            seen,
            inputs.labels,
            train=False,
        )
        total += features.distance(own, theirs, adapters, net.share)
    return total


def _imitate_logits(teacher, net, params_d, stats_d, adapters, inputs, fake, key) -> Array:
    """Cross entropy between the two verdicts on real and on fake images (Eq. 9)."""
    del adapters
    total = jnp.zeros(())
    for kind, images in enumerate((inputs.real, fake)):
        seen = net.seen(images, inputs, kind)
        own, _ = net.judge(params_d, stats_d, seen, inputs.labels)
        theirs = jax.nn.sigmoid(teacher.judge(net.constants, seen, inputs.labels))
        total += net.share(optax.sigmoid_binary_cross_entropy(own, jax.lax.stop_gradient(theirs)))
    return total


def _teacher_fakes(teacher, net, params_d, stats_d, adapters, inputs, fake, key) -> Array:
    """L_D's share of the teacher generator's images as further fakes (Eq. 13)."""
    del adapters, fake
    images = teacher.generate(net.constants, inputs.z, inputs.labels, key)
    images = net.seen(jax.lax.stop_gradient(images), inputs, 1)
    s_fake, _ = net.judge(params_d, stats_d, images, inputs.labels)
    real = net.seen(inputs.real, inputs, 0)
    s_real, _ = net.judge(params_d, stats_d, real, inputs.labels)
    # The real images have had their share in Adv(G, D). The loss is that of all devices, and so
    # is a share of it for each.
    value = net.loss.discriminator(jax.lax.stop_gradient(s_real), s_fake, net.loss.init())
    return value - jax.lax.stop_gradient(value * (1 - 1 / net.collectives.size))


def without_mixing(gan: GAN) -> nn.Module:
    """G with one z a sample, for comparisons between two generators."""
    if 'style_mixing' in gan.network.options:
        return gan.generator.clone(style_mixing=0.0)
    return gan.generator


def create_adapters(config: CompressConfig, teacher: Teacher, gan, state, key: Array) -> PyTree:
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
