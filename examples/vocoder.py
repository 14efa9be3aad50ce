"""A tiny vocoder: spectra of harmonic sounds to waveforms, against discriminators of three scales.

    python -m examples.vocoder

It trains like MelGAN (arXiv:1910.06711) and HiFi-GAN (arXiv:2010.05646), with a sequence of Ds that
return logits and features, and with EnCodec's balancer (arXiv:2210.13438). It takes a minute on two
CPU cores.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import osgan_jax

N, LENGTH, FRAME, STEPS = 16, 256, 32, 300  # sounds a step, their samples, a frame's; steps
optimizer = optax.adam(1e-3, b1=0.8, b2=0.99)
balancer = osgan_jax.Balancer({'adversarial': 1.0, 'spectrum': 2.0}, decay=0.99)


def sounds(key: jax.Array, n: int = N) -> jax.Array:
    """Sounds `[n, 256]`: five harmonics of one pitch, each with its own strength and phase."""
    pitch, phase, strength = (jax.random.uniform(k, (n, 5, 1)) for k in jax.random.split(key, 3))
    order, time = jnp.arange(1, 6)[:, None], jnp.linspace(0, 2 * jnp.pi, LENGTH)
    waves = jnp.sin((4 + 8 * pitch[:, :1]) * order * time + 2 * jnp.pi * phase)
    return 0.5 * jnp.sum(strength / order * waves, axis=1)


def spectrum(x: jax.Array) -> jax.Array:
    """Log magnitudes `[n, 16, 17]` of frames that overlap by half."""
    rows = jnp.arange(0, LENGTH, FRAME // 2)[:, None] + jnp.arange(FRAME)
    frames = jnp.pad(x, ((0, 0), (FRAME // 4, FRAME // 4)))[:, rows] * jnp.hanning(FRAME)
    return jnp.log(jnp.abs(jnp.fft.rfft(frames)) ** 2 + 1e-2)


generator = nn.Sequential(  # spectra to sounds; a kernel for each of four samples, twice
    [
        *(nn.Conv(128, (3,)), lambda x: x.reshape(len(x), -1, 32), nn.leaky_relu),
        *(nn.Conv(32, (7,)), nn.leaky_relu, nn.Conv(64, (3,)), lambda x: x.reshape(len(x), -1, 16)),
        *(nn.leaky_relu, nn.Conv(16, (7,)), nn.leaky_relu, nn.Conv(1, (7,)), lambda x: x[..., 0]),
    ]
)


class Discriminator(nn.Module):
    """Sounds `[n, 256]` to logits along them and features of each layer, at one scale."""

    scale: int

    @nn.compact
    def __call__(self, x: jax.Array) -> dict:
        """Judges."""
        x, features = x.reshape(len(x), -1, self.scale).mean(-1, keepdims=True), []
        for width in (8, 16, 32):
            x = nn.leaky_relu(nn.Conv(width, (9,), 2)(x))
            features.append(x)
        return {'logits': nn.Conv(1, (3,))(x), 'features': features}


def loss_g(real: dict, fake: dict, state: None = None) -> jax.Array:
    """Least squares, and twice the distance of features, as HiFi-GAN weighs it."""
    pairs = zip(real['features'], fake['features'], strict=True)
    return jnp.mean((fake['logits'] - 1) ** 2) + 2 * sum(jnp.mean(jnp.abs(r - f)) for r, f in pairs)


loss = osgan_jax.AdversarialLoss(
    'vocoder',
    lambda real, fake, _=None: jnp.mean((real['logits'] - 1) ** 2) + jnp.mean(fake['logits'] ** 2),
    loss_g,
)
discriminators = [Discriminator(scale) for scale in (1, 2, 4)]
key, sound = jax.random.key(0), jnp.zeros((1, LENGTH))
first_params = generator.init(key, spectrum(sound)), [d.init(key, sound) for d in discriminators]


def gradients(params: tuple, balance: tuple, real: jax.Array):
    """Gradients of G and the three discriminators; `info.aux_combine` is the balancer's state."""
    return osgan_jax.shared_forward_grads(
        *(loss, lambda params: (generator.apply(params, spectrum(real)), None)),
        [lambda p, x, d=d: ((d.apply(p, real), d.apply(p, x)), None) for d in discriminators],
        *params,
        auxiliary={'spectrum': lambda x: jnp.mean(jnp.abs(spectrum(x) - spectrum(real)))},
        combine=balancer.combine(balance),
    )


@jax.jit
def update(params: tuple, state: tuple, balance: tuple, key: jax.Array) -> tuple:
    """One step of all networks."""
    grads, info = gradients(params, balance, sounds(key))
    updates, state = optimizer.update(tuple(grads), state)
    return (optax.apply_updates(params, updates), state, info.aux_combine), info.auxiliary


if __name__ == '__main__':
    run = first_params, optimizer.init(first_params), balancer.init()
    for step in range(STEPS):
        run, terms = update(*run, jax.random.key(step))
    print(f'distance of log spectra after {STEPS} steps: {terms["spectrum"]:.2f}')
