"""Networks small enough to write every round out by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from osgan_jax import data
from osgan_jax.distillation import config as configs
from osgan_jax.distillation import learners
from osgan_jax.networks.classifiers import Outputs

SIZE, CLASSES, BATCH = 8, 4, 8
TEACHER_CONFIG = configs.TeacherConfig(image_size=SIZE, channels=1, mean=(0.5,), std=(0.25,))


class Tiny(nn.Module):
    """A convolution, BatchNorm, and logits."""

    features: int = 6
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Conv(self.features, (3, 3), strides=2, use_bias=False)(images)
        x = nn.BatchNorm(not train, momentum=0.9, axis_name=self.axis_name)(x)
        x = nn.tanh(x)  # smooth, so that differences show no kinks
        return Outputs(nn.Dense(CLASSES)(x.reshape(x.shape[0], -1)), (x,))


def resolve(**fields) -> configs.DistillConfig:
    values = {
        'batch_size': BATCH,
        'num_steps': 10,
        'latent_dim': 5,
        'generator_width': 4,
        'learning_rate': 0.05,
        'learning_rate_g': 0.01,
        'num_devices': 1,
        **fields,
    }
    return configs.resolve_student(
        configs.DistillConfig(**values),
        network='resnet18',
        teacher=TEACHER_CONFIG,
        num_examples=40,
        digest='none',
    )


def make_learners(config, axis_name=None):
    """Returns student, generator, teacher's module and teacher's variables."""
    optimizer = learners.student(
        configs.dataclasses.replace(config, student='lenet5', image_size=32), CLASSES, None
    ).optimizer
    student = learners.Learner(Tiny(axis_name=axis_name), optimizer)
    generator = None
    if config.algorithm != 'kd':
        # Not Adam: its biases before BatchNorm have no gradient but rounding, which Adam makes as
        # large as any other.
        module = learners.generator(config, axis_name).module
        generator = learners.Learner(module, optax.sgd(0.1, momentum=0.5))
    teacher = Tiny(8)
    variables = jax.jit(teacher.init, static_argnames='train')(
        jax.random.key(7), jnp.zeros((2, SIZE, SIZE, 1)), train=False
    )
    # Statistics that a teacher in training mode would not keep.
    variables = {
        **variables,
        'batch_stats': jax.tree.map(lambda x: x + 0.5, variables['batch_stats']),
    }
    return student, generator, teacher, variables


def batch(algorithm: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if algorithm != 'kd':
        return {'row': np.arange(BATCH, dtype=np.int32)}
    return {
        'image': rng.uniform(-1, 1, (BATCH, SIZE, SIZE, 1)).astype(np.float32),
        'label': (np.arange(BATCH) % CLASSES).astype(np.int32),
    }


def dataset(count: int = 40, size: int = 32, seed: int = 0) -> data.Dataset:
    """Images whose brightness tells their class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 60, (count, size, size, 1)) + 60 * labels[:, None, None, None]
    return data.from_arrays(images.astype(np.uint8), labels, name='bright')
