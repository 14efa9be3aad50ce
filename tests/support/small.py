"""A small run for the tests: 16-pixel grey images, networks of width 4."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import data
from osgan_jax.core.collectives import collectives_over
from osgan_jax.gan import config, methods, model, updates
from osgan_jax.runtime import parallel

SIZE, EXAMPLES, CLASSES, BATCH = 16, 40, 4, 8


def make_config(**fields) -> config.TrainConfig:
    """A configuration that trains in seconds; resolved against `dataset()`."""
    values = {
        'width': 4,
        'latent_dim': 6,
        'batch_size': BATCH,
        'num_steps': 4,
        'image_size': SIZE,
        'channels': 1,
        'num_samples': 4,
        'num_devices': 1,
        **fields,
    }
    return config.TrainConfig(**values)


def resolve(
    unresolved: config.TrainConfig, asked: config.TrainConfig | None = None
) -> config.TrainConfig:
    return methods.resolve(
        unresolved,
        image_size=SIZE,
        channels=1,
        num_classes=CLASSES,
        num_examples=EXAMPLES,
        asked=asked,
    )


def dataset() -> data.Dataset:
    """Images whose brightness tells their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(EXAMPLES) % CLASSES
    images = rng.integers(0, 60, (EXAMPLES, SIZE, SIZE, 1)) + 60 * labels[:, None, None, None]
    return data.from_arrays(images.astype(np.uint8), labels, name='small')


def batch(index: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index)
    return {
        'image': rng.uniform(-1, 1, (BATCH, SIZE, SIZE, 1)).astype(np.float32),
        'label': (np.arange(BATCH) % CLASSES).astype(np.int32),
    }


def build(num_devices: int = 1, **fields):
    """Returns `(gan, state, compiled update, devices)` for a configuration's fields."""
    resolved = resolve(make_config(**fields))
    devices = jax.local_devices()[:num_devices]
    collectives = collectives_over(devices)
    gan = model.build(
        resolved, num_classes=CLASSES, steps_per_epoch=5, axis_name=collectives.axis_name
    )
    state = create(gan, resolved)
    update = updates.make_update(
        gan, resolved.scheme, state, collectives, accumulate=resolved.accumulate
    )
    state = parallel.place(state, devices, model.divided(resolved, devices, state))
    compiled = parallel.compile_update(
        update, devices, state=state, steps_per_call=resolved.steps_per_call
    )
    return gan, state, compiled, devices


_STATES: dict[config.TrainConfig, model.TrainState] = {}


def create(gan: model.GAN, resolved: config.TrainConfig) -> model.TrainState:
    """A fresh state, drawn once of all configurations that differ in no network and optimiser."""
    key = dataclasses.replace(
        resolved, scheme='two_stage', steps_per_call=1, accumulate=1, shard_state=None
    )
    if key not in _STATES:
        _STATES[key] = model.create(gan, resolved.seed)
    return jax.tree.map(jnp.copy, _STATES[key])  # steps take the buffers of what they are given


def run_steps(count: int = 2, num_devices: int = 1, **fields):
    """Returns the state and metrics after `count` updates."""
    gan, state, update, devices = build(num_devices, **fields)
    for index in range(count):
        state, metrics = update(state, parallel.put_batch(step_batch(gan, index), devices))
    return state, metrics


def step_batch(gan, index: int = 0):
    """The batch of a step, or a list of those of its D steps."""
    first = index * gan.d_steps
    found = [batch(first + i) for i in range(gan.d_steps)]
    return found if gan.d_steps > 1 else found[0]
