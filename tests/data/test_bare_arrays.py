"""What is not a dataset is refused with what to give instead."""

import numpy as np
import pytest

from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig


@pytest.mark.parametrize(
    ('given', 'named'),
    [(np.zeros((2, 8, 8, 3)), r'ndarray \[2, 8, 8, 3\]'), ([1], 'list'), ('cifar10', 'str')],
)
def test_bare_arrays_are_refused_with_what_to_give(tmp_path, given, named):
    with pytest.raises(ValueError, match=rf'got {named}: give osgan_jax.data.from_arrays\(images'):
        trainer.train(TrainConfig(), tmp_path / 'a', dataset=given)
    assert not (tmp_path / 'a').exists()
