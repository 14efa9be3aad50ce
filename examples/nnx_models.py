"""The core with flax.nnx models: a ring of eight points, with BatchNorm in the generator.

    python -m examples.nnx_models

`nnx.split` splits a model into its graph, its parameters and its other state; `nnx.merge` joins
them again inside the differentiated functions. With `copy=True` the merged model is a copy, whose
BatchNorm may update its statistics; `generate` returns them as its `aux`. It takes half a minute on
two CPU cores.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import osgan_jax

N, LATENT, STEPS = 256, 16, 4000
loss = osgan_jax.losses.get('non_saturating')
optimizer = optax.adam(1e-3, b1=0.5)


class Generator(nnx.Module):
    """Latents `[N, 16]` to points `[N, 2]`."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(LATENT, 128, rngs=rngs)
        self.norm = nnx.BatchNorm(128, momentum=0.9, rngs=rngs)
        self.second = nnx.Linear(128, 128, rngs=rngs)
        self.out = nnx.Linear(128, 2, rngs=rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Generates."""
        return self.out(nnx.relu(self.second(nnx.relu(self.norm(self.first(z))))))


class Discriminator(nnx.Module):
    """Points `[N, 2]` to logits `[N]`; no norm that mixes samples."""

    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.Sequential(
            *(nnx.Linear(2, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 128, rngs=rngs), nnx.relu),
            nnx.Linear(128, 1, rngs=rngs),
        )

    def __call__(self, points: jax.Array) -> jax.Array:
        """Judges."""
        return self.layers(points)[:, 0]


graph_g, first_params_g, first_stats = nnx.split(Generator(nnx.Rngs(0)), nnx.Param, ...)
graph_d, first_params_d = nnx.split(Discriminator(nnx.Rngs(1)))


def ring(key: jax.Array) -> jax.Array:
    """Real samples `[N, 2]`: points at radius 1, eight directions, a little noise."""
    angle = jax.random.randint(key, (N,), 0, 8) * jnp.pi / 4
    noise = 0.02 * jax.random.normal(key, (N, 2))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) + noise


def gradients(params: tuple, stats: nnx.State, real: jax.Array, z: jax.Array):
    """Both networks' gradients from one pass through D; `info.aux_generator` is the new state."""

    def generate(params_g):
        model = nnx.merge(graph_g, params_g, stats, copy=True)
        fake = model(z)
        return fake, nnx.split(model, nnx.Param, ...)[2]

    def discriminate(params_d, fake):
        logits = nnx.merge(graph_d, params_d)(jnp.concatenate([real, fake]))
        return (logits[:N], logits[N:]), None

    return osgan_jax.one_stage_grads(loss, generate, discriminate, *params)


@jax.jit
def update(params: tuple, stats: nnx.State, opt_state: tuple, key: jax.Array) -> tuple:
    """One step of both networks."""
    real, z = ring(key), jax.random.normal(key, (N, LATENT))
    grads, info = gradients(params, stats, real, z)
    updates, opt_state = optimizer.update(tuple(grads), opt_state)
    return optax.apply_updates(params, updates), info.aux_generator, opt_state


def train(steps: int) -> tuple[tuple, nnx.State]:
    """Trains; returns the parameters of both networks and G's statistics."""
    params, stats = (first_params_g, first_params_d), first_stats
    opt_state = optimizer.init(params)
    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(2), step)
        params, stats, opt_state = update(params, stats, opt_state, key)
    return params, stats


def draw(params_g: nnx.State, stats: nnx.State, seed: int = 0) -> jax.Array:
    """Points `[N, 2]` of the trained generator, which normalises by its running statistics."""
    model = nnx.merge(graph_g, params_g, stats, copy=True)
    model.eval()
    return model(jax.random.normal(jax.random.key(seed), (N, LATENT)))


if __name__ == '__main__':
    trained, statistics = train(STEPS)
    radius = jnp.linalg.norm(draw(trained[0], statistics), axis=-1)
    print(f'{jnp.mean(jnp.abs(radius - 1) < 0.2):.0%} of the fakes lie on the ring')
