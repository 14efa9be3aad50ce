"""Small models for the tests, in bare jnp, linen and nnx, with one face.

`build(kind, ...)` gives the `generate`, `discriminate` and parameters that
`osgan_jax.core.one_stage` takes; `scale` and `shift` stretch D's logits to the extremes under test.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from tests.support import modules

N, Z, SIZE, CHANNELS = 6, 5, 8, 3


class Models(NamedTuple):
    generator: Callable
    discriminator: Callable
    params_g: Any
    params_d: Any
    dtype: Any = jnp.float32
    scale: Any = 1.0
    shift: Any = 0.0

    def generate(self, params):
        return self.generator(params, latents(self.dtype)), 'from G'

    def discriminate(self, params, fake, real=None):
        # Apart rather than concatenated: no mixing of real and fake even where D mixes samples.
        s_real = self.discriminator(params, real_batch(self.dtype) if real is None else real)
        s_fake = self.discriminator(params, fake)
        stretch = lambda s: s * self.scale_as(s.dtype) + jnp.asarray(self.shift, s.dtype)  # noqa: E731
        return (stretch(s_real), stretch(s_fake)), 'from D'

    def scale_as(self, dtype):
        return jnp.asarray(self.scale, dtype)


@functools.cache
def latents(dtype=jnp.float32):
    with jax.ensure_compile_time_eval():
        return jax.random.normal(jax.random.key(1), (N, Z), dtype)


@functools.cache
def real_batch(dtype=jnp.float32):
    with jax.ensure_compile_time_eval():
        return jnp.tanh(jax.random.normal(jax.random.key(2), (N, SIZE, SIZE, CHANNELS), dtype))


def _conv(x, w, stride):
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def _normalise(x, axes):
    mean = jnp.mean(x, axes, keepdims=True)
    var = jnp.var(x, axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5)


def _jnp_models(mixing, dtype):
    keys = iter(jax.random.split(jax.random.key(0), 8))
    draw = lambda *shape: jax.random.normal(next(keys), shape, jnp.float32) * 0.3  # noqa: E731
    params_g = {'in': draw(Z, 4 * 4 * 8), 'out': draw(3, 3, 8, CHANNELS)}
    params_d = {
        'conv1': draw(4, 4, CHANNELS, 8),
        'conv2': draw(4, 4, 8, 16),
        'out': draw(2 * 2 * 16 + (mixing == 'minibatch_stddev'), 1),
        'patch': draw(16, 1),
    }

    def generator(params, z):
        x = jax.nn.relu(z @ params['in'].astype(dtype)).reshape(-1, 4, 4, 8)
        x = jax.image.resize(x, (x.shape[0], SIZE, SIZE, 8), 'nearest')
        return jnp.tanh(_conv(x, params['out'].astype(dtype), 1))

    def discriminator(params, x):
        p = jax.tree.map(lambda a: a.astype(dtype), params)
        x = jax.nn.leaky_relu(_conv(x, p['conv1'], 2), 0.2)
        x = _conv(x, p['conv2'], 2)
        if mixing == 'batch_norm':
            x = _normalise(x, (0, 1, 2))
        else:
            # Group norm with 4 groups of 4 channels.
            x = _normalise(x.reshape(*x.shape[:3], 4, 4), (1, 2, 4)).reshape(x.shape)
        x = jax.nn.leaky_relu(x, 0.2)
        if mixing == 'patch':
            return (x @ p['patch'])[..., 0]
        x = x.reshape(x.shape[0], -1)
        if mixing == 'minibatch_stddev':
            deviation = jnp.mean(jnp.std(x, axis=0) + 1e-3)
            x = jnp.concatenate([x, jnp.full((x.shape[0], 1), 1, x.dtype) * deviation], axis=1)
        return (x @ p['out'])[:, 0]

    return generator, discriminator, params_g, params_d


class _LinenG(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, z):
        x = nn.relu(nn.Dense(4 * 4 * 8, dtype=self.dtype)(z)).reshape(-1, 4, 4, 8)
        return jnp.tanh(nn.ConvTranspose(CHANNELS, (4, 4), (2, 2), dtype=self.dtype)(x))


class _LinenD(nn.Module):
    dtype: Any
    mixing: str | None

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Conv(8, (4, 4), (2, 2), dtype=self.dtype)(x), 0.2)
        x = nn.Conv(16, (4, 4), (2, 2), dtype=self.dtype)(x)
        if self.mixing == 'batch_norm':
            x = nn.BatchNorm(use_running_average=False, dtype=self.dtype)(x)
        else:
            x = nn.GroupNorm(num_groups=4, dtype=self.dtype)(x)
        x = nn.leaky_relu(x, 0.2).reshape(x.shape[0], -1)
        return nn.Dense(1, dtype=self.dtype)(x)[:, 0]


def _linen_models(mixing, dtype):
    g, d = _LinenG(dtype), _LinenD(dtype, mixing)
    params_g = modules.init(g, jax.random.key(0), latents())['params']
    variables_d = modules.init(d, jax.random.key(3), real_batch())
    stats = {k: v for k, v in variables_d.items() if k != 'params'}

    def discriminator(params, x):
        logits, _ = d.apply({'params': params, **stats}, x, mutable=['batch_stats'])
        return logits

    return lambda p, z: g.apply({'params': p}, z), discriminator, params_g, variables_d['params']


class _NnxG(nnx.Module):
    def __init__(self, rngs, dtype):
        self.dense = nnx.Linear(Z, 4 * 4 * 8, rngs=rngs, dtype=dtype)
        self.conv = nnx.ConvTranspose(8, CHANNELS, (4, 4), (2, 2), rngs=rngs, dtype=dtype)

    def __call__(self, z):
        x = nnx.relu(self.dense(z)).reshape(-1, 4, 4, 8)
        return jnp.tanh(self.conv(x))


class _NnxD(nnx.Module):
    def __init__(self, rngs, dtype):
        self.conv1 = nnx.Conv(CHANNELS, 8, (4, 4), 2, rngs=rngs, dtype=dtype)
        self.conv2 = nnx.Conv(8, 16, (4, 4), 2, rngs=rngs, dtype=dtype)
        self.norm = nnx.GroupNorm(16, num_groups=4, rngs=rngs, dtype=dtype)
        self.dense = nnx.Linear(2 * 2 * 16, 1, rngs=rngs, dtype=dtype)

    def __call__(self, x):
        x = nnx.leaky_relu(self.conv1(x), 0.2)
        x = nnx.leaky_relu(self.norm(self.conv2(x)), 0.2)
        return self.dense(x.reshape(x.shape[0], -1))[:, 0]


def _nnx_models(mixing, dtype):
    assert mixing is None
    graph_g, params_g = nnx.split(_NnxG(nnx.Rngs(0), dtype))
    graph_d, params_d = nnx.split(_NnxD(nnx.Rngs(3), dtype))
    return (
        lambda p, z: nnx.merge(graph_g, p)(z),
        lambda p, x: nnx.merge(graph_d, p)(x),
        params_g,
        params_d,
    )


_KINDS = {'jnp': _jnp_models, 'linen': _linen_models, 'nnx': _nnx_models}


def build(kind, *, mixing=None, scale=1.0, shift=0.0, dtype=jnp.float32) -> Models:
    """Models of one kind.

    Args:
      kind: 'jnp', 'linen' or 'nnx'.
      mixing: None, or what the discriminator does to the batch: 'batch_norm',
        'minibatch_stddev' or 'patch' (several logits a sample; jnp only).
      scale: factor on the logits, a scalar or one a sample, for real and fake alike.
      shift: added to the logits after that.
      dtype: compute dtype; parameters stay float32.
    """
    return Models(*_made(kind, mixing, dtype), dtype=dtype, scale=scale, shift=shift)


@functools.cache
def _made(kind, mixing, dtype):
    return _KINDS[kind](mixing, dtype)


def extreme_scale(amplitude):
    """Per-sample factors of both signs up to `amplitude`; 0.9 keeps clear of the margins' kinks."""
    return np.array([0.9, -0.9, amplitude / 30, -amplitude / 30, amplitude, -amplitude]) * 0.99


def relative_error(tree, reference):
    """Norm of the difference over the norm of the reference, in float64, over a whole pytree."""
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(reference), strict=True)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in leaves]
    difference = sum(np.sum((a - b) ** 2) for a, b in pairs)
    norm = sum(np.sum(b**2) for _, b in pairs)
    return float(np.sqrt(difference) / max(np.sqrt(norm), 1e-30))
