"""The summary that a run opens with."""

import pytest

from osgan_jax.engine import runs, summary
from osgan_jax.engine.config import RunConfig


@pytest.mark.parametrize(
    ('num_examples', 'max_seconds', 'text'),
    [
        (0, None, '2,000'),
        (64_000, None, '2,000 (2 epochs)'),
        (1_000_000, None, '2,000 (0.13 epochs)'),
        (640, None, '2,000 (200 epochs)'),
        (640, 30.0, '2,000 (200 epochs), or 30 s of training, whichever ends first'),
    ],
)
def test_length(num_examples, max_seconds, text):
    config = RunConfig(num_steps=2000, batch_size=64, max_seconds=max_seconds)
    assert summary.length(runs.Run(config, 0, (), num_examples)) == text
