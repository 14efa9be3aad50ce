"""Open checkpoints for the tests."""

import pytest

from osgan_jax.engine import checkpoints


@pytest.fixture
def opened(tmp_path):
    warnings = []
    with checkpoints.Checkpoints(tmp_path, warn=warnings.append) as saved:
        saved.warnings = warnings
        yield saved
