import jax
import numpy as np
import pytest

from osgan_jax import data
from osgan_jax.data import scaling
from osgan_jax.runtime import parallel


def test_range_of_values_is_exact():
    assert (scaling.LEVELS[0], scaling.LEVELS[255]) == (-1.0, 1.0)
    np.testing.assert_array_equal(np.rint((scaling.LEVELS + 1) * 127.5), np.arange(256))


@pytest.mark.parametrize('count', [1, 4])
def test_images_alone_become_floats_where_they_are(count):
    devices = jax.local_devices()[:count]
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), dtype=np.uint8)
    images.reshape(-1)[:256] = np.arange(256)
    labels = np.arange(8, dtype=np.int32)
    placed = parallel.put_batch({'image': images, 'label': labels}, devices)
    found = data.to_float(placed)
    # The formula on the host, in float32.
    expected = images.astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(np.reshape(found['image'], images.shape), expected)
    assert found['image'].sharding == placed['image'].sharding
    assert found['label'] is placed['label']
