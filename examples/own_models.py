"""The core with models of one's own: a small GAN learns a ring of eight points in the plane."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import osgan_jax

N, LATENT = 256, 16
loss = osgan_jax.losses.get('least_squares')
optimizer = optax.adam(1e-3, b1=0.5)


def mlp(outputs: int) -> nn.Module:
    """Any function of parameters will do; here, three dense layers."""
    return nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(128), nn.relu, nn.Dense(outputs)])


def ring(key: jax.Array) -> jax.Array:
    """Real samples `[N, 2]`: points at radius 1, eight directions, a little noise."""
    angle = jax.random.randint(key, (N,), 0, 8) * jnp.pi / 4
    noise = 0.02 * jax.random.normal(key, (N, 2))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) + noise


@jax.jit
def step(params: tuple, opt_state: tuple, key: jax.Array) -> tuple:
    """One update of G and D from one pass through D."""
    real, z = ring(key), jax.random.normal(key, (N, LATENT))

    def generate(params_g):
        return mlp(2).apply(params_g, z), None

    def discriminate(params_d, fake):
        logits = mlp(1).apply(params_d, jnp.concatenate([real, fake]))[:, 0]
        return (logits[:N], logits[N:]), None

    grads, info = osgan_jax.one_stage_grads(loss, generate, discriminate, *params)
    updates, opt_state = optimizer.update(tuple(grads), opt_state)
    return optax.apply_updates(params, updates), opt_state, info


params = (
    mlp(2).init(jax.random.key(0), jnp.ones(LATENT)),
    mlp(1).init(jax.random.key(1), jnp.ones(2)),
)
opt_state = optimizer.init(params)
for t in range(4000):
    params, opt_state, info = step(params, opt_state, jax.random.fold_in(jax.random.key(2), t))
radius = jnp.linalg.norm(info.fake, axis=-1)
print(f'{jnp.mean(jnp.abs(radius - 1) < 0.2):.0%} of the fakes lie on the ring')
