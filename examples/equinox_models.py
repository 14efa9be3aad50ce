"""The core with equinox models: a ring of eight points.

    python -m examples.equinox_models

`eqx.partition` splits a model into its arrays, which are the parameters, and everything else;
`eqx.combine` joins them again inside the differentiated functions. A model takes one sample, and
`jax.vmap` applies it to a batch, so D treats samples independently. It takes half a minute on two
CPU cores.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import osgan_jax

N, LATENT, STEPS = 256, 16, 4000
loss = osgan_jax.losses.get('non_saturating')
optimizer = optax.adam(1e-3, b1=0.5)
key_g, key_d = jax.random.split(jax.random.key(0))
generator = eqx.nn.MLP(LATENT, 2, width_size=128, depth=2, key=key_g)
discriminator = eqx.nn.MLP(2, 'scalar', width_size=128, depth=2, key=key_d)
first_params_g, rest_g = eqx.partition(generator, eqx.is_inexact_array)
first_params_d, rest_d = eqx.partition(discriminator, eqx.is_inexact_array)


def ring(key: jax.Array) -> jax.Array:
    """Real samples `[N, 2]`: points at radius 1, eight directions, a little noise."""
    angle = jax.random.randint(key, (N,), 0, 8) * jnp.pi / 4
    noise = 0.02 * jax.random.normal(key, (N, 2))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) + noise


def gradients(params: tuple, real: jax.Array, z: jax.Array):
    """Both networks' gradients from one pass through D."""

    def generate(params_g):
        return jax.vmap(eqx.combine(params_g, rest_g))(z), None

    def discriminate(params_d, fake):
        logits = jax.vmap(eqx.combine(params_d, rest_d))(jnp.concatenate([real, fake]))
        return (logits[:N], logits[N:]), None

    return osgan_jax.one_stage_grads(loss, generate, discriminate, *params)


@jax.jit
def update(params: tuple, opt_state: tuple, key: jax.Array) -> tuple:
    """One step of both networks."""
    grads, info = gradients(params, ring(key), jax.random.normal(key, (N, LATENT)))
    updates, opt_state = optimizer.update(tuple(grads), opt_state)
    return optax.apply_updates(params, updates), opt_state, info.fake


def train(steps: int) -> jax.Array:
    """Trains; returns the last step's fakes `[N, 2]`."""
    params = first_params_g, first_params_d
    opt_state = optimizer.init(params)
    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(2), step)
        params, opt_state, fake = update(params, opt_state, key)
    return fake


if __name__ == '__main__':
    radius = jnp.linalg.norm(train(STEPS), axis=-1)
    print(f'{jnp.mean(jnp.abs(radius - 1) < 0.2):.0%} of the fakes lie on the ring')
