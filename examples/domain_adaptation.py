"""Unsupervised domain adaptation: gradient reversal is one-stage training with a constant gamma.

    python -m examples.domain_adaptation

A classifier learns from labelled digits, and must also read unlabelled digits that are faint on an
uneven grey background. One network computes features, a second predicts the digit, and a third
predicts the domain. The features are trained so that the third fails: the feature network is the
"generator" of a game whose fake samples are the features of both domains. Gradient reversal (Ganin
and Lempitsky 2015, https://arxiv.org/abs/1409.7495) plays this game in one pass, with gamma =
-weight. It takes a minute on two CPU cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import osgan_jax
from osgan_jax.data import digits

N, STEPS, WEIGHT = 128, 600, 0.3  # images of each domain a step; the reversed gradient's weight
features = nn.Sequential(
    [
        *(nn.Conv(32, (3, 3)), nn.relu, nn.Conv(64, (3, 3), 2), nn.relu),
        *(lambda x: x.reshape(x.shape[0], -1), nn.Dense(64), nn.relu),
    ]
)
classifier = nn.Dense(10)
discriminator = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(1), lambda x: x[:, 0]])
optimizer = optax.sgd(0.02, momentum=0.9)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def domains() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Digits of the source, and of the target to train and to test; no image is in two."""
    images, labels = digits.arrays('all')
    corners = np.random.default_rng(0).uniform(0, 0.5, (len(images), 2, 2, 1))
    ground = np.asarray(jax.image.resize(corners, images.shape, 'linear'))
    images = images / np.float32(255)
    faint = (0.5 + 0.5 * images * (1 - ground) - 0.3 * ground).astype(np.float32)
    return {
        'source': (images[:1500:2], labels[:1500:2]),
        'target': (faint[1:1500:2], labels[1:1500:2]),
        'test': (faint[1500:], labels[1500:]),
    }


SIGN = jnp.repeat(jnp.array([1.0, -1.0]), N)  # of the logits, source then target


def told_apart(_, s, weight=None):
    """L_D: mean cross-entropy of the domain."""
    return jnp.mean(jax.nn.softplus(-SIGN * s))


def reversal(_, s, weight=0.0):
    """L_G, the features' loss. With another function of `s`, gamma would differ between samples."""
    return -weight * told_apart(_, s)


loss = osgan_jax.losses.AdversarialLoss('domain', told_apart, reversal, symmetric=False)


def reading(params, both, labels):
    """Mean cross-entropy of the source's digits."""
    return cross_entropy(classifier.apply(params, both[:N]), labels).mean()


def gradients(params, source, labels, target, weight):
    """Gradients of all three networks, from one pass through each; `weight` is the loss's state."""
    grads, info = osgan_jax.one_stage_grads(
        loss,
        lambda p: (features.apply(p, jnp.concatenate([source, target])), None),
        # No sample is "real": features of both domains are to move.
        lambda p, both: ((jnp.zeros(2 * N), discriminator.apply(p, both)), None),
        params['features'],
        params['discriminator'],
        loss_state=weight,
        # The digits' loss joins the reversed gradient where the features end.
        auxiliary=lambda both: reading(params['classifier'], both, labels),
    )
    read = jax.grad(reading)(params['classifier'], info.fake, labels)
    return {'features': grads.generator, 'discriminator': grads.discriminator, 'classifier': read}


def predict(params, images):
    """Logits of the digits, `[n, 10]`."""
    return classifier.apply(params['classifier'], features.apply(params['features'], images))


def initialise(seed: int):
    """Parameters of the three networks."""
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        'features': features.init(keys[0], jnp.zeros((1, 8, 8, 1))),
        'discriminator': discriminator.init(keys[1], jnp.zeros((1, 64))),
        'classifier': classifier.init(keys[2], jnp.zeros((1, 64))),
    }


@jax.jit
def update(params, state, batch, weight):
    """One step of all networks."""
    updates, state = optimizer.update(gradients(params, *batch, weight), state)
    return optax.apply_updates(params, updates), state


def accuracy(weight: float, seed: int, labelled: str = 'source') -> float:
    """Trains on one domain's labels and returns the accuracy on the target's test images."""
    data, rng, params = domains(), np.random.default_rng(seed), initialise(seed)
    state = optimizer.init(params)
    for step in range(STEPS):
        rows, others = rng.integers(0, 750, (2, N))
        batch = (data[labelled][0][rows], data[labelled][1][rows], data['target'][0][others])
        # The domains are worth confusing once the features mean something.
        ramp = 2 / (1 + np.exp(-10 * step / STEPS)) - 1
        params, state = update(params, state, batch, weight * ramp)
    images, labels = data['test']
    return float(jnp.mean(jnp.argmax(predict(params, images), -1) == labels))


if __name__ == '__main__':
    print('accuracy on the target, mean and standard deviation over three seeds')
    for name, arguments in {
        'source alone': (0.0, 'source'),
        'gradient reversal': (WEIGHT, 'source'),
        "the target's labels": (0.0, 'target'),
    }.items():
        found = [100 * accuracy(arguments[0], seed, arguments[1]) for seed in range(3)]
        print(f'{name:<22}{np.mean(found):5.1f} +- {np.std(found, ddof=1):.1f} %', flush=True)
