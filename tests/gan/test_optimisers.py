"""Optimisers and averages against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.gan import model
from osgan_jax.runtime import parallel
from tests.support import small


def moves(gradients, **fields):
    """Changes of a parameter under G's optimiser, in learning rates."""
    resolved = small.resolve(small.make_config(**{'learning_rate_g': 1e-3, **fields}))
    optimizer = model.build(resolved, num_classes=0, steps_per_epoch=5).optimizer_g
    params = {'w': jnp.zeros(())}
    state = optimizer.init(params)
    taken = []
    for gradient in gradients:
        change, state = optimizer.update({'w': jnp.float32(gradient)}, state, params)
        taken.append(float(change['w']) / 1e-3)
    return taken


def published_rmsprop(gradients, decay=0.99, epsilon=1e-8):
    """torch.optim.RMSprop as its documentation has it: the epsilon is outside of the root."""
    square, taken = 0.0, []
    for gradient in gradients:
        square = decay * square + (1 - decay) * gradient**2
        taken.append(-gradient / (np.sqrt(square) + epsilon))
    return taken


GRADIENTS = (1e-5, -3e-6, 2e-2, 0.0, -0.5)


def test_rmsprop_is_the_published_one():
    found = moves(GRADIENTS, optimizer='rmsprop')
    np.testing.assert_allclose(found, published_rmsprop(GRADIENTS), rtol=2e-5)
    # A tenth of the root of 0.01: the first step of any size moves ten rates, less the epsilon.
    assert found[0] == pytest.approx(-9.9, abs=0.01)


def test_rmsprop_equals_torchs():
    torch = pytest.importorskip('torch')
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.RMSprop([weight], lr=1.0)
    taken = []
    for gradient in GRADIENTS:
        before = weight.item()
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        taken.append(weight.item() - before)
    np.testing.assert_allclose(moves(GRADIENTS, optimizer='rmsprop'), taken, rtol=1e-3)


def test_rmsprop_takes_what_is_asked_for():
    found = moves(GRADIENTS, optimizer='rmsprop', beta2=0.9, adam_epsilon=1e-4)
    np.testing.assert_allclose(found, published_rmsprop(GRADIENTS, 0.9, 1e-4), rtol=2e-5)


def test_the_average_ramps_up():
    # By hand: after t steps the half-life is at most 0.5 t, so the decay at most 0.5 ** (2 / t).
    _, state, update, devices = small.build(ema_decay=0.9, ema_ramp=0.5)
    kernel = lambda variables: np.asarray(  # noqa: E731
        variables['params']['ConvTranspose_0']['kernel']
    )
    for step in range(3):
        before = kernel(state.ema_g)
        state, _ = update(state, parallel.put_batch(small.batch(step), devices))
        decay = min(0.9, 0.5 ** (2 / step)) if step else 0.0
        now = kernel({'params': state.params_g})
        np.testing.assert_allclose(
            kernel(state.ema_g), decay * before + (1 - decay) * now, rtol=2e-5
        )
