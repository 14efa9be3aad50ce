"""Shifts, mirrors and standardisation of images on the device."""

import jax
import numpy as np
import pytest

from osgan_jax.core import classifier_inputs
from osgan_jax.core.collectives import AXIS, ONE_DEVICE, collectives_over

IMAGES = np.random.default_rng(0).uniform(-0.9, 1, (64, 6, 6, 2)).astype(np.float32)


@pytest.mark.parametrize('edge', [False, True])
def test_each_image_is_a_window_of_its_own_padding(edge):
    got = np.asarray(
        classifier_inputs.shift_and_flip(jax.random.key(0), IMAGES, reach=2, flip=False, edge=edge)
    )
    mode = {'mode': 'edge'} if edge else {'constant_values': -1}
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), **mode)
    corners = set()
    for image, whole in zip(got, padded, strict=True):
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(image, whole[y : y + 6, x : x + 6])
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 15  # of 25


def test_about_half_are_mirrored():
    got = np.asarray(
        classifier_inputs.shift_and_flip(jax.random.key(1), IMAGES, reach=0, flip=True)
    )
    same = [np.array_equal(a, b) for a, b in zip(got, IMAGES, strict=True)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(got, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 20 <= sum(mirrored) <= 44


def test_the_number_of_devices_changes_nothing():
    def augment(collectives):
        return lambda images: classifier_inputs.shift_and_flip(
            jax.random.key(2), images, reach=1, flip=True, collectives=collectives
        )

    devices = jax.local_devices()[:4]
    mapped = jax.pmap(augment(collectives_over(devices)), AXIS, devices=devices)
    apart = mapped(IMAGES.reshape(4, 16, *IMAGES.shape[1:])).reshape(IMAGES.shape)
    np.testing.assert_array_equal(apart, augment(ONE_DEVICE)(IMAGES))


def test_standardised_is_what_torchvision_does():
    mean, std = (0.4914, 0.4822), (0.2023, 0.1994)
    got = classifier_inputs.standardise(IMAGES, mean, std)
    expected = ((IMAGES.astype(np.float64) + 1) / 2 - mean) / std
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier_inputs.unstandardise(got, mean, std), IMAGES, atol=1e-6)
    assert classifier_inputs.unstandardise(got * 100, mean, std).max() == 1
