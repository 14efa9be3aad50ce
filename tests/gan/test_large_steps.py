"""StyleGAN2 and BigGAN in full width: a step with all penalties compiles, fits and is finite.

On two cores a test takes minutes; BigGAN's was seen to need 8 GiB of memory.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax import networks
from osgan_jax.engine import nonfinite
from osgan_jax.gan import config, methods, model, updates
from osgan_jax.runtime import parallel

pytestmark = pytest.mark.slow

BATCH = 4


def build(image_size, num_classes=0, **fields):
    """Returns the GAN and its scheme's name."""
    resolved = methods.resolve(
        config.TrainConfig(batch_size=BATCH, remat=True, **fields),
        image_size=image_size,
        channels=3,
        num_classes=num_classes,
        num_examples=BATCH,
    )
    return model.build(resolved, num_classes=num_classes, steps_per_epoch=1), resolved.scheme


def step(gan, scheme, state):
    """One update from `state`, which is lost."""
    devices = jax.local_devices()[:1]
    update = parallel.compile_update(updates.make_update(gan, scheme, state), devices)
    rng = np.random.default_rng(0)
    batch = {
        'image': rng.uniform(-1, 1, (BATCH, *gan.image_shape)).astype(np.float32),
        'label': np.arange(BATCH, dtype=np.int32),
    }
    batch = parallel.put_batch(batch, devices)
    return update(parallel.replicate(state, devices), batch)


def is_finite(state):
    return bool(nonfinite.all_finite((state.params_g, state.params_d, state.stats_g, state.ema_g)))


@pytest.mark.parametrize('scheme', ['one_stage', 'two_stage'])
def test_stylegan2_at_256_pixels(scheme):
    gan, scheme = build(256, method='stylegan2', scheme=scheme)
    state = model.create(gan, 0)
    assert model.num_parameters(state.params_g) == 30_034_338
    before = jax.tree.map(np.asarray, state.params_g['mapping_network']['dense_0'])
    state, metrics = step(gan, scheme, state)
    chex.assert_tree_all_finite(metrics)
    assert is_finite(state)
    # All penalties are due at the first step.
    assert float(metrics['penalty_d']) > 0
    assert float(metrics['path_length']) > 0
    after = state.params_g['mapping_network']['dense_0']
    assert not np.array_equal(after['kernel'], before['kernel'])


def fill(shapes, seed=0):
    """Small random numbers in the place of orthogonal ones, which take minutes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(0.02 * rng.standard_normal(x.shape, np.float32)), shapes
    )


def test_biggan_at_128_pixels():
    gan, scheme = build(128, 1000, method='biggan', scheme='one_stage')
    assert networks.get('biggan').latent_dim(128) == gan.latent_dim == 120
    shapes = jax.eval_shape(lambda: model.create(gan, 0))
    names = ('params_g', 'params_d', 'stats_g', 'stats_d')
    filled = {name: fill(getattr(shapes, name)) for name in names}
    zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)  # noqa: E731
    ema_g = {'params': filled['params_g'], **filled['stats_g']}
    state = shapes.replace(
        **filled,
        step=jnp.zeros((), jnp.int32),
        opt_g=zeros(shapes.opt_g),
        opt_d=zeros(shapes.opt_d),
        ema_g=jax.tree.map(jnp.copy, ema_g),
        key=jax.random.key(0),
    )
    assert model.num_parameters(state.params_g) == 70_433_988
    state, metrics = step(gan, scheme, state)
    chex.assert_tree_all_finite(metrics)
    assert is_finite(state)
    assert int(state.step) == 1
